//! VLAN tags (IEEE 802.1Q, clause 9; service tags IEEE 802.1ad) and their pre-standard types 0x9100 and 0x9200.

use super::{be16, ethertype};

/// The most tags that are followed; a type field behind them that is again a tag's ends the walk.
pub const MAX_TAGS: u8 = 8;

/// The length of the tag control information and the type behind it.
const LEN: usize = 4;
const CONTROL: usize = 0;
const TYPE: usize = 2;

/// A view of a tag, beginning behind the type field that announced it.
#[derive(Clone, Copy, Debug)]
pub struct Vlan<'a> {
    header: &'a [u8; LEN],
    bytes: &'a [u8],
}

impl<'a> Vlan<'a> {
    /// The length of a tag in bytes.
    pub const LEN: usize = LEN;

    /// Whether a tag follows a type field of this value.
    #[inline]
    pub const fn announced_by(ethertype: u16) -> bool {
        use ethertype::{SERVICE_VLAN, STACKED_VLAN, STACKED_VLAN_2, VLAN};
        matches!(ethertype, VLAN | SERVICE_VLAN | STACKED_VLAN | STACKED_VLAN_2)
    }

    /// The tag at the front of `bytes`, if it is whole.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Vlan<'a>> {
        Some(Vlan { header: bytes.first_chunk()?, bytes })
    }

    /// The VLAN identifier, 12 bits; zero means that the tag carries only a priority.
    #[inline]
    pub fn id(&self) -> u16 {
        be16(self.header, CONTROL) & 0x0fff
    }

    /// The priority code point, 0 to 7.
    pub fn priority(&self) -> u8 {
        self.header[CONTROL] >> 5
    }

    /// Whether the frame may be dropped before others.
    pub fn drop_eligible(&self) -> bool {
        self.header[CONTROL] & 0x10 != 0
    }

    /// The type of what follows.
    #[inline]
    pub fn ethertype(&self) -> u16 {
        be16(self.header, TYPE)
    }

    /// What follows the tag.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[LEN..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: [u8; 5] = [0xb1, 0x23, 0x08, 0x00, 0x45];

    #[test]
    fn every_field_is_read() {
        let tag = Vlan::new(&TAG).unwrap();
        assert_eq!(tag.id(), 0x123);
        assert_eq!(tag.priority(), 5);
        assert!(tag.drop_eligible());
        assert_eq!(tag.ethertype(), ethertype::IPV4);
        assert_eq!(tag.payload(), [0x45]);
    }

    #[test]
    fn a_cut_tag_is_none() {
        assert!(Vlan::new(&TAG[..3]).is_none());
    }

    #[test]
    fn standard_and_older_types_announce_a_tag() {
        let announced: Vec<u16> = (0..=u16::MAX).filter(|&t| Vlan::announced_by(t)).collect();
        assert_eq!(announced, [0x8100, 0x88a8, 0x9100, 0x9200]);
    }
}
