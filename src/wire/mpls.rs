//! MPLS label stack entries (RFC 3032, section 2.1; traffic class RFC 5462).

use super::be32;

/// The most labels that are followed; what lies behind a deeper stack isn't looked at.
pub const MAX_LABELS: u8 = 16;

/// The length of an entry.
const LEN: usize = 4;

/// A view of one label stack entry.
#[derive(Clone, Copy, Debug)]
pub struct Label<'a> {
    header: &'a [u8; LEN],
    bytes: &'a [u8],
}

impl<'a> Label<'a> {
    /// The length of an entry in bytes.
    pub const LEN: usize = LEN;

    /// The entry at the front of `bytes`, if it is whole.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Label<'a>> {
        Some(Label { header: bytes.first_chunk()?, bytes })
    }

    /// The label's value, 20 bits.
    pub fn value(&self) -> u32 {
        be32(self.header, 0) >> 12
    }

    /// The traffic class, 0 to 7.
    pub fn traffic_class(&self) -> u8 {
        self.header[2] >> 1 & 0x7
    }

    /// Whether this is the last entry of the stack.
    #[inline]
    pub fn bottom(&self) -> bool {
        self.header[2] & 1 != 0
    }

    /// The hops that are left.
    pub fn time_to_live(&self) -> u8 {
        self.header[3]
    }

    /// What follows the entry: the next one, or behind the bottom a packet whose type the label implies.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[LEN..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: [u8; 5] = [0x12, 0x34, 0x5b, 0x40, 0x45];

    #[test]
    fn every_field_is_read() {
        let label = Label::new(&ENTRY).unwrap();
        assert_eq!(label.value(), 0x12345);
        assert_eq!(label.traffic_class(), 5);
        assert!(label.bottom());
        assert_eq!(label.time_to_live(), 64);
        assert_eq!(label.payload(), [0x45]);
        assert!(!Label::new(&[0x12, 0x34, 0x5a, 0x40]).unwrap().bottom());
    }

    #[test]
    fn a_cut_entry_is_none() {
        assert!(Label::new(&ENTRY[..3]).is_none());
    }
}
