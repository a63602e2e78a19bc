//! The shaping tree of one direction: a link, and the leaves that share it.
//!
//! A frame leaves when the link's bucket allows it. Among backlogged leaves below their ceiling, those that have not had
//! their guarantee come first, then those that borrow; within each group the lower priority number comes first, and equals
//! take turns by deficit round robin (Shreedhar and Varghese, 1996) in proportion to their quanta.
//!
//! A frame that borrows is charged to the link and to its leaf's ceiling, not to the guarantee: what a leaf takes from the
//! others' leftovers does not count against its promise. This is how Linux HTB charges, too.
//!
//! Beside the leaves stands one queue that nothing here holds ([`OBSERVED`]): its frames go after those of the first
//! priority and before all others, whatever the link's bucket says, and the link pays for them.

use super::flows::Flows;
use super::leaf::{Leaf, Queue};
use super::link::Link;
use super::{Codel, Congested, Overhead};
use crate::frame::{Fifo, Frame, Table};
use crate::units::{Nanos, Rate};

/// The most leaves of one tree; one bit each in the backlog map.
pub const MAX_LEAVES: usize = 32;

/// The leaf slot of frames that are only observed, in every tree: they are in no leaf, and no rate holds them.
pub const OBSERVED: u16 = u16::MAX;

/// What a tree is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeSpec {
    /// The rate of the link; `None` lets everything go at once.
    pub link: Option<Rate>,
    /// The bytes that may leave at once after a pause; also covers the time that a worker may come late.
    pub burst: u32,
    /// What a frame costs on the link.
    pub overhead: Overhead,
    /// The leaves; a leaf's slot is its position and keeps its meaning for as long as the policy names it.
    pub leaves: Vec<LeafSpec>,
    /// The most frames that all leaves may hold together.
    pub max_frames: u32,
    /// The most bytes that all leaves may hold together.
    pub max_bytes: u64,
}

/// What a leaf is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafSpec {
    /// The promised rate.
    pub guarantee: Option<Rate>,
    /// The highest rate.
    pub ceiling: Option<Rate>,
    /// The bytes that guarantee and ceiling let go at once after a pause.
    pub burst: u32,
    /// Smaller goes first.
    pub priority: u8,
    /// Bytes per turn among leaves of the same priority.
    pub quantum: u32,
    /// The most bytes that the leaf holds.
    pub limit: u64,
    /// The band whose frames it holds.
    pub band: u8,
    /// The law by which each flow's queue is kept short; `None` is one queue for all flows, in which nothing waits too long.
    pub codel: Option<Codel>,
}

/// Why a tree gave up a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The leaf held as many bytes as it may; the oldest frame of its fattest flow went.
    LeafFull,
    /// The tree held as much as it may; the oldest frame went of the fattest flow of a leaf that held more than its share, or of those only observed
    /// where there was no other.
    OverBudget,
}

/// A link and its leaves.
#[derive(Debug)]
pub struct Tree {
    link: Option<Link>,
    overhead: Overhead,
    leaves: Vec<Leaf>,
    /// The queues of all leaves' flows.
    flows: Flows,
    /// Frames that go past the leaves.
    observed: Fifo,
    /// Leaves of equal priority, highest priority first.
    groups: Vec<Group>,
    /// One bit per leaf that holds frames.
    backlog: u32,
    frames: u32,
    bytes: u64,
    max_frames: u32,
    max_bytes: u64,
    standing: Standing,
}

/// How the leaves stand at one instant, found out for each when it is first asked; one bit per leaf.
#[derive(Debug, Default)]
struct Standing {
    at: Nanos,
    /// Those that were looked at.
    known: u32,
    /// Of these, those that their ceiling lets send.
    allowed: u32,
    /// Of these again, those that have not had their guarantee.
    promised: u32,
}

/// Leaves of equal priority and whose turn it is among them.
#[derive(Debug)]
struct Group {
    members: u32,
    /// The leaf that is served until its deficit is used up.
    turn: u8,
}

impl Tree {
    /// Builds the tree that `spec` describes, empty and with full buckets.
    ///
    /// # Panics
    ///
    /// If there are no leaves or more than [`MAX_LEAVES`].
    pub fn new(spec: &TreeSpec, now: Nanos) -> Tree {
        assert!((1..=MAX_LEAVES).contains(&spec.leaves.len()), "{} leaves", spec.leaves.len());
        let mut priorities: Vec<u8> = spec.leaves.iter().map(|leaf| leaf.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let groups = priorities.iter().map(|priority| {
            let of_group = |(_, leaf): &(usize, &LeafSpec)| leaf.priority == *priority;
            let members: u32 = spec.leaves.iter().enumerate().filter(of_group).map(|(i, _)| 1 << i).sum();
            Group { members, turn: members.trailing_zeros() as u8 }
        });
        let by_flow = spec.leaves.iter().any(|leaf| leaf.codel.is_some());
        Tree {
            link: spec.link.map(|rate| Link::new(rate, spec.burst, now)),
            overhead: spec.overhead,
            leaves: spec.leaves.iter().map(|leaf| Leaf::new(leaf, now)).collect(),
            flows: Flows::new(if by_flow { spec.max_frames } else { 0 }),
            observed: Fifo::new(),
            groups: groups.collect(),
            backlog: 0,
            frames: 0,
            bytes: 0,
            max_frames: spec.max_frames,
            max_bytes: spec.max_bytes,
            standing: Standing::default(),
        }
    }

    /// Begins anew, as if just built: all buckets full, and the turn with the first leaf. What is queued stays.
    pub fn reset(&mut self, now: Nanos) {
        if let Some(link) = &mut self.link {
            link.reset(now);
        }
        self.leaves.iter_mut().for_each(|leaf| leaf.reset(now));
        self.groups.iter_mut().for_each(|group| group.turn = group.members.trailing_zeros() as u8);
        self.standing = Standing::default();
    }

    /// The frames that the tree holds.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// The bytes that the tree holds, without overhead.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rate of the link, if it has one.
    pub fn link_rate(&self) -> Option<Rate> {
        self.link.as_ref().map(Link::rate)
    }

    /// Queues `frame` in the leaf that its slot names; whatever must go to make room is given to `refused`.
    ///
    /// A leaf slot that the tree doesn't have means the last leaf, so that a policy's mistake delays but never loses a frame.
    #[inline]
    pub fn enqueue(&mut self, table: &Table, frame: Frame, mut refused: impl FnMut(Frame, Refusal)) {
        let slot = table.slot(&frame);
        let leaf = slot.leaf;
        self.frames += 1;
        self.bytes += u64::from(slot.wire_len);
        if leaf == OBSERVED {
            self.observed.push(table, frame);
        } else {
            let index = usize::from(leaf).min(self.leaves.len() - 1);
            self.push(table, index, frame);
            self.backlog |= 1 << index;
            // A long frame may take the place of many short ones.
            while self.leaves[index].is_full() {
                self.evict(table, index).into_iter().for_each(|frame| refused(frame, Refusal::LeafFull));
            }
        }
        while self.is_over_budget() && self.frames > 1 {
            let oldest = if self.backlog == 0 { self.take_observed(table) } else { self.evict(table, self.fattest()) };
            oldest.into_iter().for_each(|frame| refused(frame, Refusal::OverBudget));
        }
    }

    /// Takes the frame whose turn it is, if the link and some leaf allow one at `now`; what has stood in its leaf for too long
    /// is given to `congested` on the way.
    #[inline]
    pub fn dequeue(&mut self, table: &Table, now: Nanos, congested: &mut impl Congested) -> Option<Frame> {
        if self.frames == 0 {
            return None;
        }
        let is_open = self.link.as_mut().is_none_or(|link| link.allows(now));
        if !self.observed.is_empty() {
            let first = if is_open { self.choose(self.backlog & self.groups[0].members, now) } else { None };
            return match first {
                Some((index, promised)) => self.send(table, index, promised, now, congested),
                None => self.send_observed(table),
            };
        }
        let (index, promised) = if is_open { self.choose(self.backlog, now)? } else { return None };
        self.send(table, index, promised, now, congested)
    }

    /// Takes the next frame of a leaf and charges whoever has to pay for it.
    #[inline]
    fn send(
        &mut self,
        table: &Table,
        index: usize,
        promised: bool,
        now: Nanos,
        congested: &mut impl Congested,
    ) -> Option<Frame> {
        let frame = self.take(index, |queue, flows| queue.dequeue(flows, table, now, congested))?;
        let cost = self.overhead.cost(table.slot(&frame).wire_len);
        let leaf = &mut self.leaves[index];
        leaf.deficit = if leaf.queue.is_empty() { 0 } else { leaf.deficit - i64::from(cost) };
        if let Some(ceiling) = &mut leaf.ceiling {
            ceiling.charge(cost);
        }
        if promised && let Some(guarantee) = &mut leaf.guarantee {
            guarantee.charge(cost);
        }
        self.standing.note(index, leaf);
        if let Some(link) = &mut self.link {
            link.charge(cost);
        }
        Some(frame)
    }

    /// Takes the oldest frame that is only observed and charges the link.
    fn send_observed(&mut self, table: &Table) -> Option<Frame> {
        let frame = self.take_observed(table)?;
        if let Some(link) = &mut self.link {
            link.charge_observed(self.overhead.cost(table.slot(&frame).wire_len));
        }
        Some(frame)
    }

    /// The first instant at which [`Tree::dequeue`] may give a frame: `None` without backlog.
    pub fn next_departure(&self) -> Option<Nanos> {
        if !self.observed.is_empty() {
            return Some(Nanos::ZERO);
        }
        let link = self.link.as_ref().map_or(Nanos::ZERO, Link::allows_at);
        bits(self.backlog)
            .map(|index| self.leaves[index].ceiling.map_or(Nanos::ZERO, |bucket| bucket.allows_at()))
            .min()
            .map(|leaf| leaf.max(link))
    }

    /// Takes any frame, the oldest of the first queue that holds one, whatever the rates say: to empty the tree.
    pub fn take_any(&mut self, table: &Table) -> Option<Frame> {
        if self.backlog == 0 {
            return self.take_observed(table);
        }
        self.take(self.backlog.trailing_zeros() as usize, |queue, flows| queue.take_any(flows, table))
    }

    /// The leaf whose turn it is among those of `backlog`, which hold frames, and whether the frame counts against its guarantee.
    #[inline]
    fn choose(&mut self, backlog: u32, now: Nanos) -> Option<(usize, bool)> {
        if self.standing.at != now || backlog & !self.standing.known != 0 {
            self.look(now);
        }
        let promised = backlog & self.standing.promised;
        let candidates = if promised != 0 { promised } else { backlog & self.standing.allowed };
        self.turn_among(candidates).map(|index| (index, promised != 0))
    }

    /// Finds out how those leaves stand at `now` that hold frames and were not looked at yet.
    #[inline(never)]
    fn look(&mut self, now: Nanos) {
        if self.standing.at != now {
            self.standing = Standing { at: now, ..Standing::default() };
        }
        for index in bits(self.backlog & !self.standing.known) {
            self.leaves[index].refill(now);
            self.standing.note(index, &self.leaves[index]);
        }
    }

    /// Deficit round robin among the `candidates` of the first group that has any.
    #[inline]
    fn turn_among(&mut self, candidates: u32) -> Option<usize> {
        let group = self.groups.iter_mut().find(|group| group.members & candidates != 0)?;
        let candidates = candidates & group.members;
        // One that has no equals waiting needs no turn.
        if candidates.is_power_of_two() {
            let index = candidates.trailing_zeros() as usize;
            self.leaves[index].deficit = self.leaves[index].deficit.max(0);
            return Some(index);
        }
        Some(group.next_turn(candidates, &mut self.leaves))
    }

    /// Puts `frame`, which is counted, into a leaf.
    #[inline]
    fn push(&mut self, table: &Table, index: usize, frame: Frame) {
        if self.flows.is_exhausted() {
            self.forget_a_flow();
        }
        self.leaves[index].queue.push(&mut self.flows, table, index as u16, frame);
    }

    /// Makes a queue free that is only remembered, if any is.
    #[cold]
    fn forget_a_flow(&mut self) {
        if let Some((index, leaf)) = self.flows.forgettable()
            && let Queue::Fair(fair) = &mut self.leaves[usize::from(leaf)].queue
        {
            fair.forget(&mut self.flows, index);
        }
    }

    /// Takes the frame of a leaf that makes room for others.
    #[inline]
    fn evict(&mut self, table: &Table, index: usize) -> Option<Frame> {
        self.take(index, |queue, flows| queue.evict(flows, table))
    }

    /// Takes a frame out of a leaf by `how`, and counts it with all others that went on the way.
    #[inline]
    fn take(&mut self, index: usize, how: impl FnOnce(&mut Queue, &mut Flows) -> Option<Frame>) -> Option<Frame> {
        let queue = &mut self.leaves[index].queue;
        let (frames, bytes) = (queue.frames(), queue.bytes());
        let frame = how(queue, &mut self.flows);
        self.frames -= frames - queue.frames();
        self.bytes -= bytes - queue.bytes();
        if queue.is_empty() {
            self.backlog &= !(1 << index);
        }
        frame
    }

    #[inline]
    fn take_observed(&mut self, table: &Table) -> Option<Frame> {
        let frame = self.observed.pop(table)?;
        self.frames -= 1;
        self.bytes -= u64::from(table.slot(&frame).wire_len);
        Some(frame)
    }

    /// Whether frames must go: all together are too many, or the leaves hold more bytes than what is observed leaves them.
    #[inline]
    fn is_over_budget(&self) -> bool {
        let observed = self.observed.bytes();
        self.frames > self.max_frames || self.bytes - observed > self.max_bytes.saturating_sub(observed)
    }

    /// The leaf that pays when the tree holds too much: of those that hold more than an equal share of the budget, in frames
    /// or in bytes, those of the lowest band, and of these the one with the most bytes. What is only observed comes off the
    /// budget before it is shared.
    ///
    /// So a flood pays for itself, in whatever class it comes, and never takes the last place of a frame of others.
    fn fattest(&self) -> usize {
        let leaves = self.leaves.len() as u32;
        let frames = self.max_frames.saturating_sub(self.observed.frames()) / leaves;
        let bytes = self.max_bytes.saturating_sub(self.observed.bytes()) / u64::from(leaves);
        bits(self.backlog)
            .filter(|index| {
                let queue = &self.leaves[*index].queue;
                queue.frames() > frames || queue.bytes() > bytes
            })
            .max_by_key(|index| (self.leaves[*index].band, self.leaves[*index].queue.bytes()))
            .expect("not all leaves of a full tree hold less than their share")
    }
}

impl Group {
    /// Deficit round robin among `candidates`, members of which there are two or more.
    #[inline(never)]
    fn next_turn(&mut self, candidates: u32, leaves: &mut [Leaf]) -> usize {
        // A deficit is at most one frame below zero: with quanta of a frame or more the second round finds one.
        for _ in 0..=2 * MAX_LEAVES {
            let turn = usize::from(self.turn);
            if candidates & (1 << turn) != 0 {
                if leaves[turn].deficit > 0 {
                    return turn;
                }
                leaves[turn].deficit += i64::from(leaves[turn].quantum);
            }
            // A leaf whose deficit was just raised is served when the turn comes round to it again.
            self.turn = next_bit(candidates, turn) as u8;
        }
        usize::from(self.turn)
    }
}

impl Standing {
    /// Notes how `leaf` stands, which has been refilled.
    #[inline]
    fn note(&mut self, index: usize, leaf: &Leaf) {
        let bit = 1 << index;
        let allowed = if leaf.below_ceiling() { bit } else { 0 };
        let promised = if leaf.below_guarantee() { allowed } else { 0 };
        self.known |= bit;
        self.allowed = self.allowed & !bit | allowed;
        self.promised = self.promised & !bit | promised;
    }
}

/// The positions of the bits that are set, lowest first.
fn bits(mut set: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if set == 0 {
            return None;
        }
        let bit = set.trailing_zeros() as usize;
        set &= set - 1;
        Some(bit)
    })
}

/// The position of the first bit of `set` above `after`, or of the lowest if there is none. `set` is not empty.
#[inline]
fn next_bit(set: u32, after: usize) -> usize {
    let above = set & !(u32::MAX >> (31 - after));
    if above != 0 { above.trailing_zeros() as usize } else { set.trailing_zeros() as usize }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Rate;
    use proptest::prelude::*;

    const MBIT: u64 = 1_000_000;

    fn leaf(guarantee: u64, ceiling: u64, priority: u8) -> LeafSpec {
        LeafSpec {
            guarantee: Some(Rate(guarantee * MBIT)),
            ceiling: Some(Rate(ceiling * MBIT)),
            burst: 3_000,
            priority,
            quantum: 1_538,
            limit: 150_000,
            band: priority,
            codel: None,
        }
    }

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

    fn spec(link: u64, leaves: Vec<LeafSpec>) -> TreeSpec {
        TreeSpec {
            link: Some(Rate(link * MBIT)),
            burst: 3_000,
            overhead: Overhead::ETHERNET,
            leaves,
            max_frames: 1_000,
            max_bytes: 10_000_000,
        }
    }

    /// Keeps the leaves of `offered` backlogged for ten virtual seconds; returns each leaf's Mbit/s at the link, overhead included.
    fn saturate(spec: &TreeSpec, offered: &[u16]) -> Vec<f64> {
        let (table, mut free) = Table::heap(400, 2_048);
        let mut tree = Tree::new(spec, Nanos::ZERO);
        let mut bytes = vec![0u64; spec.leaves.len()];
        for leaf in offered {
            for _ in 0..50 {
                let mut frame = free.pop().unwrap();
                table.write(&mut frame, &[0; 1_514], 1_514);
                table.slot_mut(&mut frame).leaf = *leaf;
                tree.enqueue(&table, frame, |_, why| panic!("{why:?}"));
            }
        }
        let mut now = Nanos::ZERO;
        while now < Nanos(10_000_000_000) {
            while let Some(frame) = tree.dequeue(&table, now, &mut Calm) {
                bytes[usize::from(table.slot(&frame).leaf)] += 1_538;
                tree.enqueue(&table, frame, |_, why| panic!("{why:?}"));
            }
            let next = tree.next_departure().expect("there is a backlog");
            assert!(next > now, "a tree that gives nothing at {now} must name a later instant");
            now = next;
        }
        bytes.iter().map(|bytes| *bytes as f64 * 8.0 / 10.0 / MBIT as f64).collect()
    }

    fn assert_shares(got: &[f64], want: &[f64]) {
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() <= want * 0.002 + 0.01, "{got:?} Mbit/s, want {want:?}");
        }
    }

    #[test]
    fn one_leaf_gets_the_whole_link_or_its_ceiling() {
        let spec = spec(100, vec![leaf(10, 30, 1), leaf(10, 100, 5)]);
        assert_shares(&saturate(&spec, &[0]), &[30.0, 0.0]);
        assert_shares(&saturate(&spec, &[1]), &[0.0, 100.0]);
    }

    #[test]
    fn guarantees_hold_against_higher_priority_and_the_rest_goes_by_priority() {
        let spec = spec(100, vec![leaf(10, 30, 1), leaf(20, 100, 3), leaf(15, 100, 5)]);
        assert_shares(&saturate(&spec, &[0, 1, 2]), &[30.0, 55.0, 15.0]);
    }

    #[test]
    fn equals_share_what_is_left_in_proportion_to_their_quanta() {
        let mut leaves = vec![leaf(1, 100, 3), leaf(1, 100, 3), leaf(1, 100, 3)];
        for (leaf, quantum) in leaves.iter_mut().zip([1_538, 3_076, 4_614]) {
            leaf.guarantee = None;
            leaf.quantum = quantum;
        }
        assert_shares(&saturate(&spec(60, leaves), &[0, 1, 2]), &[10.0, 20.0, 30.0]);
    }

    #[test]
    fn a_full_leaf_gives_up_its_own_oldest_frame() {
        let (table, mut free) = Table::heap(4, 2_048);
        let mut spec = spec(1, vec![leaf(1, 1, 0), leaf(1, 1, 1)]);
        spec.leaves[0].limit = 3_000;
        let mut tree = Tree::new(&spec, Nanos::ZERO);
        let mut refused = Vec::new();
        for _ in 0..3 {
            let mut frame = free.remove(0);
            table.write(&mut frame, &[0; 1_400], 1_400);
            tree.enqueue(&table, frame, |frame, why| refused.push((frame.index(), why)));
        }
        assert_eq!(refused, [(0, Refusal::LeafFull)]);
    }

    #[test]
    fn the_fattest_leaf_of_the_lowest_band_above_its_share_pays_for_an_empty_budget() {
        let (table, free) = Table::heap(10, 2_048);
        let mut spec = spec(1, vec![leaf(1, 1, 0), leaf(1, 1, 3), leaf(1, 1, 3)]);
        spec.max_frames = 6;
        let mut tree = Tree::new(&spec, Nanos::ZERO);
        let mut refused = Vec::new();
        let offers =
            [(0, 1_500), (1, 100), (2, 900), (0, 1_500), (2, 900), (1, 100), (2, 60), (0, 60), (1, 100), (2, 60)];
        for (mut frame, (leaf, len)) in free.into_iter().zip(offers) {
            table.write(&mut frame, &vec![0; len], len as u32);
            table.slot_mut(&mut frame).leaf = leaf;
            tree.enqueue(&table, frame, |frame, why| refused.push((frame.index(), why)));
        }
        // Two frames each are their share; whoever brings a third gives up its own oldest, in whatever band.
        assert_eq!(refused, [2, 0, 1, 4].map(|index| (index, Refusal::OverBudget)));
        assert_eq!(tree.frames(), 6);
    }

    /// Of two flows in the leaf that pays, the one that holds more, with its oldest; the other leaf is within its share.
    #[test]
    fn the_fattest_flow_of_the_leaf_that_pays_gives_up_its_oldest() {
        let (table, free) = Table::heap(9, 2_048);
        let mut spec = spec(1, vec![leaf(1, 1, 0), leaf(1, 1, 3)]);
        spec.max_frames = 6;
        for leaf in &mut spec.leaves {
            leaf.codel = Some(Codel::default());
        }
        let mut tree = Tree::new(&spec, Nanos::ZERO);
        let mut refused = Vec::new();
        let offers = [(0, 1), (1, 2), (1, 3), (1, 3), (0, 1), (1, 3), (1, 2), (1, 2), (1, 2)];
        for (mut frame, (leaf, flow)) in free.into_iter().zip(offers) {
            table.write(&mut frame, &[0; 500], 500);
            let slot = table.slot_mut(&mut frame);
            (slot.leaf, slot.flow_hash) = (leaf, flow);
            tree.enqueue(&table, frame, |frame, why| refused.push((frame.index(), why)));
        }
        assert_eq!(refused, [2, 1, 6].map(|index| (index, Refusal::OverBudget)));
        assert_eq!(tree.frames(), 6);
    }

    #[test]
    fn a_leaf_never_holds_more_bytes_than_it_may_whatever_the_frames() {
        let (table, free) = Table::heap(25, 2_048);
        let mut spec = spec(1, vec![leaf(1, 1, 0)]);
        spec.leaves[0].limit = 2_000;
        let mut tree = Tree::new(&spec, Nanos::ZERO);
        for (mut frame, len) in free.into_iter().zip([60; 20].into_iter().chain([1_500; 5])) {
            table.write(&mut frame, &vec![0; len], len as u32);
            tree.enqueue(&table, frame, |_, why| assert_eq!(why, Refusal::LeafFull));
            assert!(tree.bytes() <= 2_000, "{} bytes", tree.bytes());
        }
    }

    #[test]
    fn without_a_rate_everything_leaves_at_once_in_order_of_priority() {
        let (table, free) = Table::heap(4, 64);
        let mut spec = spec(1, vec![leaf(1, 1, 0), leaf(1, 1, 1)]);
        spec.link = None;
        for leaf in &mut spec.leaves {
            (leaf.guarantee, leaf.ceiling) = (None, None);
        }
        let mut tree = Tree::new(&spec, Nanos::ZERO);
        for (mut frame, leaf) in free.into_iter().zip([1, 0, 1, 0]) {
            table.write(&mut frame, &[0; 60], 60);
            table.slot_mut(&mut frame).leaf = leaf;
            tree.enqueue(&table, frame, |_, _| unreachable!());
        }
        assert_eq!(tree.next_departure(), Some(Nanos::ZERO));
        let order: Vec<u32> =
            std::iter::from_fn(|| tree.dequeue(&table, Nanos::ZERO, &mut Calm)).map(|frame| frame.index()).collect();
        assert_eq!(order, [1, 3, 0, 2]);
        assert_eq!(tree.next_departure(), None);
    }

    proptest! {
        /// Whatever is offered when: every frame is refused or leaves, order holds within a leaf, and the link is never exceeded.
        #[test]
        fn frames_are_conserved_and_the_link_is_never_exceeded(
            offers in prop::collection::vec((0u64..400_000, 0u16..4, 14usize..1_514), 1..400),
        ) {
            let (table, mut free) = Table::heap(64, 2_048);
            let mut spec = spec(50, vec![leaf(5, 10, 0), leaf(5, 50, 2), leaf(5, 50, 2), leaf(5, 20, 4)]);
            spec.max_frames = 40;
            let mut tree = Tree::new(&spec, Nanos::ZERO);
            let (mut now, mut next_id) = (Nanos::ZERO, [0u32; 4]);
            let (mut last_out, mut sent, mut offered, mut refused) = ([None; 4], 0u64, 0, 0);
            let mut out = 0;
            for (span, leaf, len) in offers {
                now += Nanos(span);
                let mut frame = free.pop().unwrap();
                table.write(&mut frame, &vec![0; len], len as u32);
                let slot = table.slot_mut(&mut frame);
                slot.leaf = leaf;
                slot.flow_hash = next_id[usize::from(leaf)];
                next_id[usize::from(leaf)] += 1;
                offered += 1;
                let mut back = Vec::new();
                tree.enqueue(&table, frame, |frame, _| back.push(frame));
                refused += back.len();
                free.append(&mut back);
                while let Some(frame) = tree.dequeue(&table, now, &mut Calm) {
                    let slot = table.slot(&frame);
                    let last = &mut last_out[usize::from(slot.leaf)];
                    prop_assert!(last.is_none_or(|last| last < slot.flow_hash));
                    *last = Some(slot.flow_hash);
                    sent += u64::from(Overhead::ETHERNET.cost(slot.wire_len));
                    out += 1;
                    free.push(frame);
                }
                prop_assert!(sent <= Rate(50 * MBIT).bytes_in(now) + 3_000 + 1_538);
                prop_assert_eq!(offered, out + refused + tree.frames() as usize);
            }
        }
    }
}
