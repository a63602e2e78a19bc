//! Why a frame was dropped: one variant, one counter, one line here.

/// The reasons for which the datapath itself drops a frame. What the kernel or a device drops is counted by the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// The priority ring to the egress half was full: egress can't keep up.
    RingFull = 0,
    /// The class's queue held as many bytes as it may; the oldest frame of its fattest flow went.
    LeafFull = 1,
    /// All queues of a direction together held as much as they may; the oldest frame of the fattest flow of one above its share went, or
    /// of what is only observed where there was no other.
    OverBudget = 2,
    /// The frame is longer than the port by which it should leave can carry.
    TooLong = 3,
    /// The frame was still queued when the bridge was told to stop.
    Stopped = 4,
    /// The frame was held while the worker stalled, and newer ones may have gone past it.
    StaleAfterStall = 5,
    /// The frame's flow had stood in its queue for too long, and could not be told by a mark.
    Aqm = 6,
    /// Its meter found the frame beyond its profile, and the policer drops that.
    Policed = 7,
}

impl DropReason {
    /// Every reason, in the order of their counters.
    pub const ALL: [DropReason; 8] = [
        DropReason::RingFull,
        DropReason::LeafFull,
        DropReason::OverBudget,
        DropReason::TooLong,
        DropReason::Stopped,
        DropReason::StaleAfterStall,
        DropReason::Aqm,
        DropReason::Policed,
    ];

    /// The reason's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::RingFull => "ring_full",
            DropReason::LeafFull => "leaf_full",
            DropReason::OverBudget => "over_budget",
            DropReason::TooLong => "too_long",
            DropReason::Stopped => "stopped",
            DropReason::StaleAfterStall => "stale_after_stall",
            DropReason::Aqm => "aqm",
            DropReason::Policed => "policed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_listed_in_the_order_of_their_counters() {
        for (i, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
    }
}
