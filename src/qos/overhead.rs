//! What a frame costs on a given kind of link, beyond its own bytes.

/// The bytes that a link adds to each frame, and the shortest frame that it carries.
///
/// Frames are counted without their frame check sequence, as every port delivers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overhead {
    /// Bytes added to each frame.
    pub bytes: u32,
    /// A shorter frame is padded to this length before `bytes` are added.
    pub min_frame: u32,
}

impl Overhead {
    /// A link that adds nothing.
    pub const NONE: Overhead = Overhead { bytes: 0, min_frame: 0 };

    /// Ethernet (IEEE 802.3 clause 4): preamble and start delimiter 8, check sequence 4, gap 12; frames of at least 60 before the check sequence.
    pub const ETHERNET: Overhead = Overhead { bytes: 24, min_frame: 60 };

    /// The bytes that a frame of `len` bytes costs on the link.
    #[inline]
    pub const fn cost(self, len: u32) -> u32 {
        let padded = if len < self.min_frame { self.min_frame } else { len };
        padded.saturating_add(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_frame_costs_1538_and_the_shortest_84_on_ethernet() {
        assert_eq!(Overhead::ETHERNET.cost(1514), 1538);
        assert_eq!(Overhead::ETHERNET.cost(14), 84);
        assert_eq!(Overhead::NONE.cost(14), 14);
    }
}
