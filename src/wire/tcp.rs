//! TCP (RFC 9293, section 3.1; ECN flags RFC 3168).

use super::{be16, be32};

/// The length of the header without options.
const LEN: usize = 20;
const SOURCE: usize = 0;
const DESTINATION: usize = 2;
const SEQUENCE: usize = 4;
const ACKNOWLEDGMENT: usize = 8;
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const WINDOW: usize = 14;

/// The eight flags of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// Reset the connection.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// Push.
    pub const PSH: TcpFlags = TcpFlags(0x08);
    /// The acknowledgment number is significant.
    pub const ACK: TcpFlags = TcpFlags(0x10);
    /// The urgent pointer is significant.
    pub const URG: TcpFlags = TcpFlags(0x20);
    /// ECN echo.
    pub const ECE: TcpFlags = TcpFlags(0x40);
    /// Congestion window reduced.
    pub const CWR: TcpFlags = TcpFlags(0x80);

    /// Whether all flags of `flags` are set.
    #[inline]
    pub const fn contains(self, flags: TcpFlags) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// A view of a TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    header: &'a [u8; LEN],
    bytes: &'a [u8],
}

impl<'a> Tcp<'a> {
    /// The length of a header without options in bytes.
    pub const MIN_LEN: usize = LEN;

    /// The segment that `bytes` hold, if the whole header with its options is here.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Tcp<'a>> {
        let segment = Tcp { header: bytes.first_chunk()?, bytes };
        (LEN..=bytes.len()).contains(&segment.header_len()).then_some(segment)
    }

    /// The source port.
    pub fn source_port(&self) -> u16 {
        be16(self.header, SOURCE)
    }

    /// The destination port.
    pub fn destination_port(&self) -> u16 {
        be16(self.header, DESTINATION)
    }

    /// The sequence number of the first byte of the payload (or of SYN).
    pub fn sequence(&self) -> u32 {
        be32(self.header, SEQUENCE)
    }

    /// The sequence number that is expected next from the other side; without meaning unless ACK is set.
    pub fn acknowledgment(&self) -> u32 {
        be32(self.header, ACKNOWLEDGMENT)
    }

    /// The length of the header with its options in bytes, 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        (self.header[DATA_OFFSET] >> 4) as usize * 4
    }

    /// The flags.
    #[inline]
    pub fn flags(&self) -> TcpFlags {
        TcpFlags(self.header[FLAGS])
    }

    /// The receive window as it stands in the header, unscaled.
    pub fn window(&self) -> u16 {
        be16(self.header, WINDOW)
    }

    /// The options, padded to a multiple of 4 bytes.
    pub fn options(&self) -> &'a [u8] {
        &self.bytes[LEN..self.header_len()]
    }

    /// The payload.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len()..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: [u8; 26] = [
        0x00, 0x50, 0xc0, 0x01, 1, 2, 3, 4, 5, 6, 7, 8, 0x60, 0x12, 0xff, 0xfe, 0, 0, 0, 0, 0x02, 0x04, 0x05, 0xb4, 9,
        10,
    ];

    #[test]
    fn every_field_is_read() {
        let segment = Tcp::new(&SEGMENT).unwrap();
        assert_eq!(segment.source_port(), 80);
        assert_eq!(segment.destination_port(), 0xc001);
        assert_eq!(segment.sequence(), 0x0102_0304);
        assert_eq!(segment.acknowledgment(), 0x0506_0708);
        assert_eq!(segment.header_len(), 24);
        assert!(segment.flags().contains(TcpFlags::SYN) && segment.flags().contains(TcpFlags::ACK));
        assert!(!segment.flags().contains(TcpFlags(TcpFlags::SYN.0 | TcpFlags::FIN.0)));
        assert_eq!(segment.window(), 0xfffe);
        assert_eq!(segment.options(), [0x02, 0x04, 0x05, 0xb4]);
        assert_eq!(segment.payload(), [9, 10]);
    }

    #[test]
    fn what_does_not_hold_together_is_none() {
        for len in 0..24 {
            assert!(Tcp::new(&SEGMENT[..len]).is_none(), "{len} bytes");
        }
        for data_offset in [0x00, 0x40, 0x70, 0xf0] {
            let mut broken = SEGMENT;
            broken[12] = data_offset;
            assert!(Tcp::new(&broken).is_none(), "data offset {data_offset:#x}");
        }
    }
}
