//! ICMP (RFC 792) and ICMPv6 (RFC 4443; neighbour discovery RFC 4861), which begin alike.

/// The length of what all messages have: type, code and checksum.
const LEN: usize = 4;
const KIND: usize = 0;
const CODE: usize = 1;

/// A view of an ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug)]
pub struct Icmp<'a> {
    header: &'a [u8; LEN],
    bytes: &'a [u8],
}

impl<'a> Icmp<'a> {
    /// The ICMPv6 types of neighbour discovery: router and neighbour solicitation and advertisement, redirect.
    pub const NEIGHBOR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;

    /// The message that `bytes` hold, if type, code and checksum are here.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Icmp<'a>> {
        Some(Icmp { header: bytes.first_chunk()?, bytes })
    }

    /// The type.
    pub fn kind(&self) -> u8 {
        self.header[KIND]
    }

    /// The code, whose meaning depends on the type.
    pub fn code(&self) -> u8 {
        self.header[CODE]
    }

    /// What follows the checksum; its form depends on the type.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[LEN..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read() {
        let message = Icmp::new(&[3, 1, 0xaa, 0xbb, 9]).unwrap();
        assert_eq!((message.kind(), message.code()), (3, 1));
        assert_eq!(message.body(), [9]);
    }

    #[test]
    fn a_cut_header_is_none() {
        assert!(Icmp::new(&[3, 1, 0xaa]).is_none());
    }
}
