//! What the datapath is told to do; immutable, and swapped whole.

use super::counters::CLASSES;
use crate::classify::{Classifier, Verdict};
use crate::qos::{Marks, TreeSpec};

/// Everything that a worker needs to know, computed once by control.
///
/// Class slots and leaf slots keep their meaning from one policy to the next, so that frames queued and verdicts cached
/// under the old one stay right.
#[derive(Debug)]
pub struct Policy {
    /// Grows by one with each policy; a cached verdict of an older epoch is judged again.
    pub epoch: u32,
    /// Finds the verdict of a flow's first frame.
    pub classifier: Classifier,
    /// The leaf of each class slot in the tree of either direction.
    pub leaves: [u16; CLASSES],
    /// The priority band of each class slot.
    pub bands: [u8; CLASSES],
    /// The leaf and the band of what belongs to a subscriber who is only observed, whatever its class.
    pub observed: (u16, u8),
    /// The tree for what leaves by the inside port, and by the outside port.
    pub trees: [TreeSpec; 2],
    /// The marks with which frames leave; `None` if as they came.
    pub marks: Option<Marks<CLASSES>>,
}

impl Policy {
    /// The leaf and the priority band of what got `verdict`.
    #[inline]
    pub fn lane(&self, verdict: Verdict) -> (u16, u8) {
        if verdict.observed {
            return self.observed;
        }
        let slot = usize::from(verdict.class.slot());
        (self.leaves[slot], self.bands[slot])
    }
}
