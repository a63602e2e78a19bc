//! IPv4 (RFC 791, section 3.1; DS field RFC 2474, ECN RFC 3168).

use super::be16;

/// The length of the header without options.
const LEN: usize = 20;
const VERSION_AND_LENGTH: usize = 0;
const DS_FIELD: usize = 1;
const TOTAL_LENGTH: usize = 2;
const IDENTIFICATION: usize = 4;
const FLAGS_AND_OFFSET: usize = 6;
const TIME_TO_LIVE: usize = 8;
const PROTOCOL: usize = 9;
const SOURCE: usize = 12;
const DESTINATION: usize = 16;

/// A view of an IPv4 packet.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    header: &'a [u8; LEN],
    bytes: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// The length of a header without options in bytes.
    pub const MIN_LEN: usize = LEN;

    /// The packet at the front of `bytes`, if the whole header with its options is here and its lengths agree.
    ///
    /// The payload may be cut short; the header's checksum isn't looked at.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Ipv4<'a>> {
        let header = bytes.first_chunk()?;
        let packet = Ipv4 { header, bytes };
        let header_len = packet.header_len();
        let holds = header[VERSION_AND_LENGTH] >> 4 == 4
            && header_len >= LEN
            && header_len <= bytes.len()
            && header_len <= packet.total_len();
        holds.then_some(packet)
    }

    /// Source and destination of the packet at the front of `bytes`, if its version is right: for one that was checked before.
    #[inline]
    pub(super) fn addresses(bytes: &'a [u8]) -> Option<([u8; 4], [u8; 4])> {
        let packet = Ipv4 { header: bytes.first_chunk()?, bytes };
        (packet.header[VERSION_AND_LENGTH] >> 4 == 4).then(|| (packet.source(), packet.destination()))
    }

    /// The length of the header with its options in bytes, 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        (self.header[VERSION_AND_LENGTH] & 0x0f) as usize * 4
    }

    /// The whole DS field: DSCP in the upper six bits, ECN in the lower two.
    #[inline]
    pub fn ds_field(&self) -> u8 {
        self.header[DS_FIELD]
    }

    /// The length of the packet in bytes, as the header says; more than is here if it was cut short.
    ///
    /// Zero stands in captures of a sender whose card cuts segments (TSO): the packet is taken to fill the bytes that are
    /// here, as Linux takes it (`iph_totlen`).
    #[inline]
    pub fn total_len(&self) -> usize {
        match be16(self.header, TOTAL_LENGTH) {
            0 => self.bytes.len(),
            len => len as usize,
        }
    }

    /// The number that a packet's fragments have in common.
    pub fn identification(&self) -> u16 {
        be16(self.header, IDENTIFICATION)
    }

    /// Whether the packet must not be fragmented.
    pub fn dont_fragment(&self) -> bool {
        be16(self.header, FLAGS_AND_OFFSET) & 0x4000 != 0
    }

    /// Whether more fragments follow this one.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        be16(self.header, FLAGS_AND_OFFSET) & 0x2000 != 0
    }

    /// Where the payload belongs in the whole packet, in units of 8 bytes.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        be16(self.header, FLAGS_AND_OFFSET) & 0x1fff
    }

    /// The hops that are left.
    pub fn time_to_live(&self) -> u8 {
        self.header[TIME_TO_LIVE]
    }

    /// The protocol of the payload, see [`protocol`](super::protocol).
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.header[PROTOCOL]
    }

    /// The source address.
    #[inline]
    pub fn source(&self) -> [u8; 4] {
        let h = self.header;
        [h[SOURCE], h[SOURCE + 1], h[SOURCE + 2], h[SOURCE + 3]]
    }

    /// The destination address.
    #[inline]
    pub fn destination(&self) -> [u8; 4] {
        let h = self.header;
        [h[DESTINATION], h[DESTINATION + 1], h[DESTINATION + 2], h[DESTINATION + 3]]
    }

    /// The options, padded to a multiple of 4 bytes.
    pub fn options(&self) -> &'a [u8] {
        &self.bytes[LEN..self.header_len()]
    }

    /// The payload as far as it is here, without the padding of the frame.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len()..self.total_len().min(self.bytes.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 29] = [
        0x46, 0xb9, 0x00, 0x1b, 0x12, 0x34, 0x60, 0x05, 0x40, 0x11, 0, 0, 10, 0, 0, 1, 192, 0, 2, 7, 0x94, 0x04, 0, 0,
        1, 2, 3, 0xee, 0xee,
    ];

    #[test]
    fn every_field_is_read() {
        let packet = Ipv4::new(&PACKET).unwrap();
        assert_eq!(packet.header_len(), 24);
        assert_eq!(packet.ds_field(), 0xb9);
        assert_eq!(packet.total_len(), 27);
        assert_eq!(packet.identification(), 0x1234);
        assert!(packet.dont_fragment() && packet.more_fragments());
        assert_eq!(packet.fragment_offset(), 5);
        assert_eq!(packet.time_to_live(), 64);
        assert_eq!(packet.protocol(), 17);
        assert_eq!(packet.source(), [10, 0, 0, 1]);
        assert_eq!(packet.destination(), [192, 0, 2, 7]);
        assert_eq!(packet.options(), [0x94, 0x04, 0, 0]);
        assert_eq!(packet.payload(), [1, 2, 3]);
    }

    #[test]
    fn a_cut_payload_counts_and_a_cut_header_does_not() {
        assert_eq!(Ipv4::new(&PACKET[..25]).unwrap().payload(), [1]);
        assert!(Ipv4::new(&PACKET[..24]).unwrap().payload().is_empty());
        for len in 0..24 {
            assert!(Ipv4::new(&PACKET[..len]).is_none(), "{len} bytes");
        }
    }

    #[test]
    fn a_total_length_of_zero_fills_what_is_here() {
        let mut offloaded = PACKET;
        offloaded[2..4].fill(0);
        assert_eq!(Ipv4::new(&offloaded).unwrap().payload(), [1, 2, 3, 0xee, 0xee]);
    }

    #[test]
    fn what_does_not_hold_together_is_none() {
        for (offset, value, why) in [
            (0, 0x66, "version 6"),
            (0, 0x44, "header of 16 bytes"),
            (0, 0x4f, "header longer than the packet"),
            (3, 23, "total length within the header"),
        ] {
            let mut broken = PACKET;
            broken[offset] = value;
            assert!(Ipv4::new(&broken).is_none(), "{why}");
        }
    }
}
