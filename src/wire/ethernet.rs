//! Ethernet (IEEE 802.3, clause 3): addresses and the type field; the frame check sequence never reaches us.

use super::be16;

/// Values of the type field (IEEE 802.3 section 3.2.6; "IEEE 802 Numbers" at IANA).
pub mod ethertype {
    /// IPv4 (RFC 894).
    pub const IPV4: u16 = 0x0800;
    /// ARP (RFC 826).
    pub const ARP: u16 = 0x0806;
    /// A customer VLAN tag follows (IEEE 802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// IPv6 (RFC 2464).
    pub const IPV6: u16 = 0x86dd;
    /// MPLS (RFC 3032), and with an upstream-assigned or multicast label (RFC 5332).
    pub const MPLS: u16 = 0x8847;
    /// See [`MPLS`].
    pub const MPLS_MULTICAST: u16 = 0x8848;
    /// PPPoE discovery (RFC 2516), which carries no network layer.
    pub const PPPOE_DISCOVERY: u16 = 0x8863;
    /// PPPoE session (RFC 2516).
    pub const PPPOE_SESSION: u16 = 0x8864;
    /// A service VLAN tag follows (IEEE 802.1ad).
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// A stacked VLAN tag follows, before IEEE 802.1ad was a standard.
    pub const STACKED_VLAN: u16 = 0x9100;
    /// Likewise, of other makers.
    pub const STACKED_VLAN_2: u16 = 0x9200;
    /// The least value that is a type; below it the field is the length of an IEEE 802.3 frame.
    pub const MIN: u16 = 0x0600;
}

/// The length of the header.
const LEN: usize = 14;
const TYPE: usize = 12;

/// A view of an Ethernet frame.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet<'a> {
    header: &'a [u8; LEN],
    bytes: &'a [u8],
}

impl<'a> Ethernet<'a> {
    /// The length of the header in bytes.
    pub const LEN: usize = LEN;

    /// The frame that `bytes` hold, if its header is whole.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Ethernet<'a>> {
        Some(Ethernet { header: bytes.first_chunk()?, bytes })
    }

    /// The destination address.
    pub fn destination(&self) -> [u8; 6] {
        let [a, b, c, d, e, f, ..] = *self.header;
        [a, b, c, d, e, f]
    }

    /// The source address.
    pub fn source(&self) -> [u8; 6] {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.header;
        [a, b, c, d, e, f]
    }

    /// The type of what follows; a value below [`ethertype::MIN`] is an IEEE 802.3 length.
    #[inline]
    pub fn ethertype(&self) -> u16 {
        be16(self.header, TYPE)
    }

    /// What follows the header, padding included.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[LEN..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 16] = [0x01, 0, 0x5e, 0, 0, 0xfb, 0x02, 1, 2, 3, 4, 5, 0x86, 0xdd, 0xaa, 0xbb];

    #[test]
    fn every_field_is_read() {
        let frame = Ethernet::new(&FRAME).unwrap();
        assert_eq!(frame.destination(), [0x01, 0, 0x5e, 0, 0, 0xfb]);
        assert_eq!(frame.source(), [0x02, 1, 2, 3, 4, 5]);
        assert_eq!(frame.ethertype(), ethertype::IPV6);
        assert_eq!(frame.payload(), [0xaa, 0xbb]);
    }

    #[test]
    fn a_cut_header_is_none() {
        assert!(Ethernet::new(&FRAME[..13]).is_none());
        assert!(Ethernet::new(&FRAME[..14]).unwrap().payload().is_empty());
    }
}
