//! UDP (RFC 768).

use super::be16;

/// The length of the header.
const LEN: usize = 8;
const SOURCE: usize = 0;
const DESTINATION: usize = 2;
const LENGTH: usize = 4;

/// A view of a UDP datagram.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    header: &'a [u8; LEN],
    bytes: &'a [u8],
}

impl<'a> Udp<'a> {
    /// The length of the header in bytes.
    pub const LEN: usize = LEN;

    /// The datagram that `bytes` hold, if the header is whole.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Udp<'a>> {
        Some(Udp { header: bytes.first_chunk()?, bytes })
    }

    /// The source port, zero if the sender wants no answer.
    pub fn source_port(&self) -> u16 {
        be16(self.header, SOURCE)
    }

    /// The destination port.
    pub fn destination_port(&self) -> u16 {
        be16(self.header, DESTINATION)
    }

    /// The length of the datagram with its header in bytes, as the header says; zero in a jumbogram (RFC 2675).
    pub fn total_len(&self) -> usize {
        be16(self.header, LENGTH) as usize
    }

    /// The payload as far as it is here; all that follows the header if the length field makes no sense.
    pub fn payload(&self) -> &'a [u8] {
        match self.total_len() {
            len @ LEN.. if len < self.bytes.len() => &self.bytes[LEN..len],
            _ => &self.bytes[LEN..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATAGRAM: [u8; 11] = [0x00, 0x35, 0xc0, 0x01, 0x00, 0x0a, 0, 0, 1, 2, 3];

    #[test]
    fn every_field_is_read() {
        let datagram = Udp::new(&DATAGRAM).unwrap();
        assert_eq!(datagram.source_port(), 53);
        assert_eq!(datagram.destination_port(), 0xc001);
        assert_eq!(datagram.total_len(), 10);
        assert_eq!(datagram.payload(), [1, 2]);
    }

    #[test]
    fn the_length_field_only_ever_shortens() {
        assert_eq!(Udp::new(&DATAGRAM[..9]).unwrap().payload(), [1], "cut short");
        for (length, payload) in [(0, 3), (7, 3), (8, 0), (11, 3), (200, 3)] {
            let mut datagram = DATAGRAM;
            datagram[5] = length;
            assert_eq!(Udp::new(&datagram).unwrap().payload().len(), payload, "length {length}");
        }
    }

    #[test]
    fn a_cut_header_is_none() {
        assert!(Udp::new(&DATAGRAM[..7]).is_none());
    }
}
