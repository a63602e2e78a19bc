//! What goes past the shaper, and what the others give up for it.
//!
//! Frames of this queue are held by no rate and no limit of the policy: they wait for the port alone. The link's bucket is
//! charged for them, so that the shaped leaves leave them room and the link's total stays at its rate; but only as far as a
//! bucket of the queue's own allows. That one earns nine tenths of the link's rate, so that a tenth stays for the leaves
//! however much comes past them, and holds five milliseconds of it, so that no burst takes the link from them for longer.

use super::{Bucket, bucket};
use crate::frame::Fifo;
use crate::units::{Nanos, Rate};

/// The leaf slot that means this queue, in every tree.
pub const OBSERVED: u16 = u16::MAX;

/// What the leaves give up at most, in percent of the link's rate.
const GIVEN_UP_PERCENT: u128 = 90;

/// What they give up at once: so long they may be silent after a burst.
const GIVEN_UP_AT_ONCE: Nanos = Nanos::from_millis(5);

/// The least that they give up at once, in bytes: two full frames, so that a slow link doesn't let frames go past unpaid.
const GIVEN_UP_BYTES_MIN: u64 = 2 * 1_538;

/// The queue of frames that are only observed.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) queue: Fifo,
    /// What the leaves of a link with a rate still give up.
    given_up: Option<Bucket>,
}

impl Observed {
    /// An empty queue beside the leaves of a link with the rate `link`.
    pub(super) fn new(link: Option<Rate>, now: Nanos) -> Observed {
        let given_up = link.map(|link| {
            // Of the lowest rates nothing may be left by rounding.
            let rate = Rate((u128::from(link.0) * GIVEN_UP_PERCENT / 100).max(1) as u64);
            Bucket::new(rate, at_once(link), now)
        });
        Observed { queue: Fifo::new(), given_up }
    }

    /// Whether the link is to be charged for a frame that costs `cost` and passes now.
    #[inline]
    pub(super) fn is_paid_for(&mut self, cost: u32, now: Nanos) -> bool {
        self.given_up.as_mut().is_some_and(|bucket| {
            bucket.refill(now);
            let paid = bucket.allows();
            if paid {
                bucket.charge(cost);
            }
            paid
        })
    }
}

/// The bytes that the leaves of a link with the rate `link` give up at once.
fn at_once(link: Rate) -> u32 {
    link.bytes_in(GIVEN_UP_AT_ONCE).clamp(GIVEN_UP_BYTES_MIN, bucket::MAX_BURST.into()) as u32
}

#[cfg(test)]
mod tests {
    use super::super::{LeafSpec, Overhead, Refusal, Tree, TreeSpec};
    use super::*;
    use crate::frame::{Frame, Table};

    const LINK: Rate = Rate(100_000_000);

    /// What a full frame costs on Ethernet.
    const FULL: u64 = 1_538;

    /// A control leaf with a ceiling of a tenth, and one that may have everything.
    fn spec(link: Option<Rate>) -> TreeSpec {
        let leaf = |priority, ceiling| LeafSpec {
            guarantee: None,
            ceiling,
            burst: 3_076,
            priority,
            quantum: 1_538,
            limit: 30_000,
            band: priority,
        };
        let leaves = vec![leaf(0, Some(Rate(10_000_000))), leaf(3, None)];
        TreeSpec { link, burst: 12_500, overhead: Overhead::ETHERNET, leaves, max_frames: 100, max_bytes: 150_000 }
    }

    /// A tree, the memory, and the free frames.
    struct Bed {
        tree: Tree,
        table: Table,
        free: Vec<Frame>,
        refused: Vec<(u16, Refusal)>,
    }

    impl Bed {
        fn new(link: Option<Rate>) -> Bed {
            let (table, free) = Table::heap(1_000, 2_048);
            Bed { tree: Tree::new(&spec(link), Nanos::ZERO), table, free, refused: Vec::new() }
        }

        /// Queues `count` full frames in `leaf`.
        fn offer(&mut self, leaf: u16, count: usize) {
            for _ in 0..count {
                let mut frame = self.free.pop().expect("enough frames");
                self.table.write(&mut frame, &[0; 1_514], 1_514);
                self.table.slot_mut(&mut frame).leaf = leaf;
                let Bed { tree, table, free, refused } = self;
                tree.enqueue(table, frame, |frame, why| {
                    refused.push((table.slot(&frame).leaf, why));
                    free.push(frame);
                });
            }
        }

        /// The leaf of the frame that leaves next at `now`, if one does.
        fn leave(&mut self, now: Nanos) -> Option<u16> {
            let frame = self.tree.dequeue(&self.table, now)?;
            let leaf = self.table.slot(&frame).leaf;
            self.free.push(frame);
            Some(leaf)
        }

        /// All that leaves at `now`.
        fn burst(&mut self, now: Nanos) -> Vec<u16> {
            std::iter::from_fn(|| self.leave(now)).collect()
        }
    }

    #[test]
    fn control_goes_first_then_what_is_observed_then_the_rest() {
        let mut bed = Bed::new(Some(LINK));
        bed.offer(1, 2);
        bed.offer(OBSERVED, 2);
        bed.offer(0, 4);
        // Three full frames are what control's bucket lets go at once; the fourth doesn't hold the others.
        assert_eq!(bed.burst(Nanos::ZERO), [0, 0, 0, OBSERVED, OBSERVED, 1, 1]);
        assert_eq!(bed.tree.next_departure(), Some(Rate(10_000_000).time_for(3 * FULL - 3_076)));
    }

    #[test]
    fn a_burst_leaves_at_once_and_the_leaves_wait_until_it_is_paid_for_but_no_longer_than_the_bound() {
        // (frames of the burst, bytes of it that the leaves give up)
        for (count, given_up) in [(10, 10 * FULL), (40, 40 * FULL), (90, 41 * FULL)] {
            let mut bed = Bed::new(Some(LINK));
            bed.offer(1, 1);
            bed.offer(OBSERVED, count);
            assert_eq!(bed.tree.next_departure(), Some(Nanos::ZERO));
            let burst = bed.burst(Nanos::ZERO);
            assert!(burst.starts_with(&vec![OBSERVED; count]), "{burst:?}");
            // The link's own bucket had 12,500 bytes; what more has left is debt.
            let due = LINK.time_for(given_up.saturating_sub(12_500));
            let bound = GIVEN_UP_AT_ONCE + LINK.time_for(FULL);
            assert!(due <= bound, "{due} until the leaves may send, at most {bound}");
            assert_eq!(bed.tree.next_departure(), Some(due));
            assert_eq!((bed.leave(due - Nanos(1)), bed.leave(due)), (None, Some(1)));
        }
    }

    /// For ten seconds a leaf is backlogged while twice the link's rate goes past it: a tenth of the link stays for it.
    #[test]
    fn a_tenth_stays_for_the_leaves_however_much_goes_past_them() {
        let mut bed = Bed::new(Some(LINK));
        let (gap, end) = (LINK.time_for(FULL / 2), Nanos::from_millis(10_000));
        let (mut now, mut left, mut last, mut silent) = (Nanos::ZERO, 0, Nanos::ZERO, Nanos::ZERO);
        bed.offer(1, 10);
        while now < end {
            bed.offer(OBSERVED, 1);
            let burst = bed.burst(now);
            assert!(burst.contains(&OBSERVED), "what is observed leaves at once");
            let own = burst.iter().filter(|leaf| **leaf == 1).count();
            if own > 0 {
                silent = silent.max(now.since(last));
                last = now;
            }
            bed.offer(1, own);
            left += own as u64 * FULL;
            now += gap;
        }
        let ratio = left as f64 / LINK.bytes_in(end) as f64;
        assert!((0.099..0.101).contains(&ratio), "{ratio} of the link");
        assert!(silent <= Nanos::from_millis(55), "silent for {silent}");
        assert_eq!(bed.refused, []);
    }

    #[test]
    fn what_is_observed_is_refused_only_where_the_memory_ends_and_the_leaves_make_room_first() {
        let mut bed = Bed::new(Some(LINK));
        bed.offer(1, 10);
        // More bytes than all leaves together may hold, and than a leaf's limit.
        bed.offer(OBSERVED, 100);
        assert_eq!(bed.refused, [(1, Refusal::OverBudget); 10]);
        bed.refused.clear();
        bed.offer(1, 1);
        assert_eq!(bed.refused, [(1, Refusal::OverBudget)], "there is no place left for it");
        bed.refused.clear();
        bed.offer(OBSERVED, 1);
        assert_eq!((&bed.refused[..], bed.tree.frames()), (&[(OBSERVED, Refusal::OverBudget)][..], 100));
        assert_eq!(std::iter::from_fn(|| bed.tree.take_any(&bed.table)).count(), 100);
        assert_eq!((bed.tree.frames(), bed.tree.bytes()), (0, 0));
    }

    #[test]
    fn without_a_rate_nothing_is_given_up_and_nothing_waits() {
        let mut bed = Bed::new(None);
        bed.offer(1, 1);
        bed.offer(OBSERVED, 90);
        let burst = bed.burst(Nanos::ZERO);
        assert_eq!((burst.len(), burst[90]), (91, 1));
    }

    #[test]
    fn a_slow_link_pays_for_two_frames_and_the_lowest_rate_for_something() {
        assert_eq!((at_once(Rate(1_000_000)), at_once(LINK)), (3_076, 62_500));
        assert_eq!(at_once(bucket::MAX_RATE), bucket::MAX_BURST);
        assert!(Observed::new(Some(Rate(1)), Nanos::ZERO).is_paid_for(84, Nanos::ZERO));
    }
}
