//! The bucket of a link, and what goes past the leaves that share it.
//!
//! Frames that are only observed are held by nothing. The link pays for them nevertheless, so that the leaves make room and
//! the total stays at the link's rate. A burst of them takes the bucket into debt: about as much as now stands in the queue
//! of the slower line behind us, and the leaves give way until it is worked off. Two bounds keep them alive: of debt beyond
//! [`DEBT`] the rest is forgiven, and while there is debt they may send at a tenth of the link's rate, whatever goes past.

use super::{Bucket, bucket};
use crate::units::{Nanos, Rate};

/// The most that a link owes for what went past the leaves, in time at its rate.
const DEBT: Nanos = Nanos::from_millis(50);

/// The part of the rate that stays for the leaves meanwhile.
const SPARED_PART: u64 = 10;

/// A link with a rate.
#[derive(Debug)]
pub(super) struct Link {
    bucket: Bucket,
    /// The most that the link owes for what went past the leaves, in bytes.
    debt_max: u32,
    /// Whether it may owe some. If not, debt is what the last frame was larger than the level, and the leaves wait for it.
    owes: bool,
    /// What the leaves may send while it owes.
    spared: Bucket,
}

impl Link {
    /// A link of `rate` that may send `burst` bytes at once after a pause, and owes nothing.
    pub(super) fn new(rate: Rate, burst: u32, now: Nanos) -> Link {
        Link {
            bucket: Bucket::new(rate, burst, now),
            debt_max: rate.bytes_in(DEBT).min(bucket::MAX_BURST.into()) as u32,
            owes: false,
            // The lowest rates must not be rounded to nothing.
            spared: Bucket::new(Rate((rate.0 / SPARED_PART).max(1)), 0, now),
        }
    }

    /// Begins anew: full buckets, and nothing owed.
    pub(super) fn reset(&mut self, now: Nanos) {
        self.bucket.fill(now);
        self.spared.fill(now);
        self.owes = false;
    }

    pub(super) fn rate(&self) -> Rate {
        self.bucket.rate()
    }

    /// Whether a leaf may send at `now`.
    #[inline]
    pub(super) fn allows(&mut self, now: Nanos) -> bool {
        self.bucket.refill(now);
        self.owes &= !self.bucket.allows();
        if self.owes {
            self.spared.refill(now);
            return self.spared.allows();
        }
        self.bucket.allows()
    }

    /// The first instant at which a leaf may send, if nothing is charged before.
    pub(super) fn allows_at(&self) -> Nanos {
        let at = self.bucket.allows_at();
        if self.owes { at.min(self.spared.allows_at()) } else { at }
    }

    /// Pays for a leaf's frame, which [`Link::allows`] has let pass.
    #[inline]
    pub(super) fn charge(&mut self, bytes: u32) {
        self.bucket.charge(bytes);
        if self.owes {
            self.spared.charge(bytes);
        }
    }

    /// Pays for a frame that goes past the leaves.
    #[inline]
    pub(super) fn charge_observed(&mut self, bytes: u32) {
        self.bucket.charge_down_to(bytes, self.debt_max);
        self.owes = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Congested, LeafSpec, OBSERVED, Overhead, Refusal, Tree, TreeSpec};
    use super::*;
    use crate::frame::{Frame, Table};

    const LINK: Rate = Rate(100_000_000);

    /// What a full frame costs on Ethernet.
    const FULL: u64 = 1_538;

    /// No leaf has a law by which a frame goes early.
    struct Calm;

    impl Congested for Calm {
        fn mark(&mut self, _: &mut Frame) -> bool {
            unreachable!("nothing is marked")
        }

        fn drop(&mut self, frame: Frame) {
            unreachable!("{frame:?} goes early")
        }
    }

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
            codel: None,
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
            let frame = self.tree.dequeue(&self.table, now, &mut Calm)?;
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

    /// The instants at which full frames leave a leaf that always has some, up to `end`, while `count` frames go past it every
    /// `gap` until `quiet`.
    fn departures(count: usize, gap: Nanos, quiet: Nanos, end: Nanos) -> Vec<Nanos> {
        let mut bed = Bed::new(Some(LINK));
        let (mut now, mut due, mut left) = (Nanos::ZERO, Nanos::ZERO, Vec::new());
        bed.offer(1, 10);
        while now < end {
            if due <= now {
                bed.offer(OBSERVED, count);
                due = if now + gap < quiet { now + gap } else { Nanos::MAX };
            }
            let burst = bed.burst(now);
            let own = burst.iter().filter(|leaf| **leaf == 1).count();
            left.extend(std::iter::repeat_n(now, own));
            bed.offer(1, own);
            assert_eq!(bed.tree.frames(), 10, "what is observed has left at once");
            let next = bed.tree.next_departure().expect("there is a backlog").min(due);
            assert!(next > now, "a tree that gives nothing at {now} must name a later instant");
            now = next;
        }
        assert_eq!(bed.refused, []);
        left
    }

    /// What left in `span` as a part of the link.
    fn part(left: &[Nanos], span: std::ops::Range<Nanos>) -> f64 {
        let frames = left.iter().filter(|at| span.contains(at)).count() as u64;
        (frames * FULL) as f64 / LINK.bytes_in(span.end.since(span.start)) as f64
    }

    #[test]
    fn a_burst_is_paid_for_to_the_byte_while_the_leaves_have_their_tenth() {
        // 40 frames take the link 4.9 ms, of which its own bucket has saved one; the leaf sends meanwhile, which it pays as well.
        let left = departures(40, Nanos::MAX, Nanos::ZERO, Nanos::from_millis(1_000));
        let expected = 1.0 - (40 * FULL) as f64 / 12_500_000.0;
        assert!((part(&left, Nanos::ZERO..Nanos::from_millis(1_000)) - expected).abs() < 0.0011, "{}", left.len());
        let tenth = part(&left, Nanos::ZERO..Nanos::from_millis(4));
        assert!((0.07..0.14).contains(&tenth), "{tenth} of the link after a burst");
        let longest = left.windows(2).map(|pair| pair[1].since(pair[0])).max();
        assert!(longest <= Some(LINK.time_for(10 * FULL)), "silent for {longest:?}");
    }

    /// Twice the link's rate goes past for ten seconds: a tenth stays, and a moment later the link is the leaf's again.
    #[test]
    fn a_tenth_stays_for_the_leaves_however_much_goes_past_them() {
        let flood = Nanos::from_millis(10_000);
        let left = departures(2, LINK.time_for(FULL), flood, flood + Nanos::from_millis(1_000));
        let during = part(&left, Nanos::ZERO..flood);
        assert!((0.0999..0.1005).contains(&during), "{during} of the link");
        // 50 ms of debt, worked off at nine tenths of the rate.
        let paid = flood + Nanos::from_millis(56);
        let after = part(&left, flood..paid);
        assert!((0.09..0.12).contains(&after), "{after} of the link until it is paid");
        let then = part(&left, paid..paid + Nanos::from_millis(900));
        assert!((0.999..1.001).contains(&then), "{then} of the link");
    }

    /// What goes past is less than the link carries: together they make the link's rate.
    #[test]
    fn the_leaves_get_exactly_what_is_left() {
        let (gap, end) = (LINK.time_for(100 * FULL), Nanos::from_millis(10_000));
        // A clump of 60 frames takes 60 % of the time between two clumps.
        let left = part(&departures(60, gap, Nanos::MAX, end), Nanos::ZERO..end);
        assert!((0.399..0.402).contains(&left), "{left} of the link");
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
    fn the_lowest_rate_and_the_highest_have_a_debt_and_a_tenth() {
        for rate in [Rate(1), Rate(1_000), bucket::MAX_RATE] {
            let mut link = Link::new(rate, 0, Nanos::ZERO);
            link.charge_observed(bucket::MAX_BURST);
            assert!(link.allows(Nanos::ZERO));
            link.charge(84);
            assert!(link.allows_at() > Nanos::ZERO && !link.allows(Nanos::ZERO));
        }
    }
}
