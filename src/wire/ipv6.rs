//! IPv6 and its extension headers (RFC 8200; order and list: "IPv6 Extension Header Types" at IANA).

use super::{be16, protocol};

/// The most extension headers that are followed; the protocol behind a longer chain stays unknown.
pub const MAX_EXTENSIONS: usize = 16;

/// The length of the header.
const LEN: usize = 40;
const VERSION: usize = 0;
const PAYLOAD_LENGTH: usize = 4;
const NEXT_HEADER: usize = 6;
const HOP_LIMIT: usize = 7;
const SOURCE: usize = 8;
const DESTINATION: usize = 24;

/// A view of an IPv6 packet.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a> {
    header: &'a [u8; LEN],
    bytes: &'a [u8],
}

impl<'a> Ipv6<'a> {
    /// The length of the header in bytes, without extension headers.
    pub const LEN: usize = LEN;

    /// The packet at the front of `bytes`, if the header is whole; the payload may be cut short.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Ipv6<'a>> {
        let header: &[u8; LEN] = bytes.first_chunk()?;
        (header[VERSION] >> 4 == 6).then_some(Ipv6 { header, bytes })
    }

    /// Source and destination of the packet at the front of `bytes`, if its version is right: for one that was checked before.
    #[inline]
    pub(super) fn addresses(bytes: &'a [u8]) -> Option<([u8; 16], [u8; 16])> {
        let packet = Ipv6 { header: bytes.first_chunk()?, bytes };
        (packet.header[VERSION] >> 4 == 6).then(|| (packet.source(), packet.destination()))
    }

    /// The traffic class, which is the DS field: DSCP in the upper six bits, ECN in the lower two.
    #[inline]
    pub fn ds_field(&self) -> u8 {
        (be16(self.header, VERSION) >> 4) as u8
    }

    /// The flow label, 20 bits.
    pub fn flow_label(&self) -> u32 {
        let [_, a, b, c, ..] = *self.header;
        u32::from_be_bytes([0, a & 0x0f, b, c])
    }

    /// The length of the packet with its header in bytes, as the header says; more than is here if it was cut short.
    ///
    /// Zero, although something follows, stands in jumbograms (RFC 2675) and in captures of a sender whose card cuts
    /// segments (TSO): the packet is taken to fill the bytes that are here.
    #[inline]
    pub fn total_len(&self) -> usize {
        match be16(self.header, PAYLOAD_LENGTH) {
            0 if self.next_header() != protocol::NO_NEXT_HEADER => self.bytes.len(),
            len => LEN + len as usize,
        }
    }

    /// The protocol of the payload or the kind of the first extension header, see [`protocol`].
    #[inline]
    pub fn next_header(&self) -> u8 {
        self.header[NEXT_HEADER]
    }

    /// The hops that are left.
    pub fn hop_limit(&self) -> u8 {
        self.header[HOP_LIMIT]
    }

    /// The source address.
    #[inline]
    pub fn source(&self) -> [u8; 16] {
        std::array::from_fn(|i| self.header[SOURCE + i])
    }

    /// The destination address.
    #[inline]
    pub fn destination(&self) -> [u8; 16] {
        std::array::from_fn(|i| self.header[DESTINATION + i])
    }

    /// The payload with the extension headers, as far as it is here, without the padding of the frame.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[LEN..self.total_len().min(self.bytes.len())]
    }
}

/// The least length of an extension header.
const EXTENSION_LEN: usize = 8;
const EXTENSION_NEXT: usize = 0;
const EXTENSION_LENGTH: usize = 1;
const FRAGMENT_OFFSET: usize = 2;

/// A view of one extension header.
#[derive(Clone, Copy, Debug)]
pub struct Extension<'a> {
    header: &'a [u8; EXTENSION_LEN],
    kind: u8,
}

impl<'a> Extension<'a> {
    /// Whether a next header of this value is an extension header behind which the chain goes on.
    ///
    /// ESP isn't: nothing behind it can be read.
    #[inline]
    pub const fn announced_by(kind: u8) -> bool {
        use protocol::{AH, DESTINATION, FRAGMENT, HIP, HOP_BY_HOP, MOBILITY, ROUTING, SHIM6};
        matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | AH | DESTINATION | MOBILITY | HIP | SHIM6)
    }

    /// The extension header of the given kind at the front of `bytes`, if it is whole.
    #[inline]
    pub fn new(kind: u8, bytes: &'a [u8]) -> Option<Extension<'a>> {
        let extension = Extension { header: bytes.first_chunk()?, kind };
        (extension.len() <= bytes.len()).then_some(extension)
    }

    /// The length of the extension header in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        let len = self.header[EXTENSION_LENGTH] as usize;
        match self.kind {
            protocol::FRAGMENT => EXTENSION_LEN,
            // RFC 4302, section 2.2: in units of 4 bytes, minus 2; on IPv6 padded to a multiple of 8.
            protocol::AH => (len + 2) * 4,
            _ => (len + 1) * 8,
        }
    }

    /// The protocol or the kind of extension header that follows.
    #[inline]
    pub fn next_header(&self) -> u8 {
        self.header[EXTENSION_NEXT]
    }

    /// Offset (units of 8 bytes) and "more fragments", if this is a fragment header.
    #[inline]
    pub fn fragment(&self) -> Option<(u16, bool)> {
        let field = be16(self.header, FRAGMENT_OFFSET);
        (self.kind == protocol::FRAGMENT).then_some((field >> 3, field & 1 != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload_length: u16, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let [high, low] = payload_length.to_be_bytes();
        let fixed = [0x6b, 0x91, 0x23, 0x45, high, low, next_header, 64];
        [&fixed[..], &[0xfe; 16], &[0xfd; 16], payload].concat()
    }

    #[test]
    fn every_field_is_read() {
        let bytes = packet(3, protocol::UDP, &[1, 2, 3, 0xee]);
        let ip = Ipv6::new(&bytes).unwrap();
        assert_eq!(ip.ds_field(), 0xb9);
        assert_eq!(ip.flow_label(), 0x12345);
        assert_eq!(ip.total_len(), 43);
        assert_eq!(ip.next_header(), protocol::UDP);
        assert_eq!(ip.hop_limit(), 64);
        assert_eq!(ip.source(), [0xfe; 16]);
        assert_eq!(ip.destination(), [0xfd; 16]);
        assert_eq!(ip.payload(), [1, 2, 3]);
        assert_eq!(Ipv6::new(&bytes[..41]).unwrap().payload(), [1]);
    }

    #[test]
    fn a_payload_length_of_zero_fills_what_is_here() {
        let bytes = packet(0, protocol::HOP_BY_HOP, &[6, 0, 0xc2, 4, 0, 1, 0, 0]);
        assert_eq!(Ipv6::new(&bytes).unwrap().total_len(), 48);
        let bytes = packet(0, protocol::NO_NEXT_HEADER, &[1, 2]);
        assert!(Ipv6::new(&bytes).unwrap().payload().is_empty());
    }

    #[test]
    fn what_does_not_hold_together_is_none() {
        let mut bytes = packet(0, protocol::NO_NEXT_HEADER, &[]);
        assert!(Ipv6::new(&bytes[..39]).is_none());
        bytes[0] = 0x45;
        assert!(Ipv6::new(&bytes).is_none());
    }

    #[test]
    fn extension_lengths_have_three_units() {
        let bytes = [protocol::TCP, 2, 0x12, 0x35, 0, 0, 0, 1].repeat(3);
        let options = Extension::new(protocol::DESTINATION, &bytes).unwrap();
        assert_eq!((options.len(), options.next_header(), options.fragment()), (24, protocol::TCP, None));
        let fragment = Extension::new(protocol::FRAGMENT, &bytes).unwrap();
        assert_eq!((fragment.len(), fragment.fragment()), (8, Some((0x246, true))));
        assert_eq!(Extension::new(protocol::AH, &bytes).unwrap().len(), 16);
        assert!(Extension::new(protocol::ROUTING, &bytes[..23]).is_none());
        assert!(Extension::new(protocol::FRAGMENT, &bytes[..7]).is_none());
    }

    #[test]
    fn the_list_is_the_one_of_iana_without_esp_and_experiments() {
        let announced: Vec<u8> = (0..=u8::MAX).filter(|&kind| Extension::announced_by(kind)).collect();
        assert_eq!(announced, [0, 43, 44, 51, 60, 135, 139, 140]);
    }
}
