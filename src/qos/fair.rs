//! A leaf's queue by flow: deficit round robin with priority for sparse flows, and CoDel for each (FQ-CoDel, RFC 8290).
//!
//! A flow that begins, or has been forgotten, joins the *new* queues, which go first; once it has had a quantum, or is found
//! empty, it goes to the end of the *old* ones. So what comes now and then is sent at once, and what always has frames
//! waiting takes turns with its like. A queue that is found empty among the old is forgotten, and so are all queues of a leaf that
//! holds no frame any more.
//!
//! Where this differs from the RFC, and why: `docs/decisions/flow-queues.md`.

use super::codel::{Codel, Verdict};
use super::flows::{Flows, List, NONE, Place};
use crate::frame::{Frame, Table};
use crate::units::Nanos;

/// The bytes of one turn: a full frame.
pub const QUANTUM: u32 = 1_514;

/// The most bytes that one frame is charged with: only a capture has longer ones.
const LONGEST: u32 = 64 * QUANTUM;

/// The queues that the search for the fattest looks at, beside the one that it remembers.
pub const LOOK: usize = 16;

/// What a dequeue does with the frames that CoDel picks.
pub trait Congested {
    /// Tells the frame's ends of congestion, if they can be told; false means that it must go.
    fn mark(&mut self, frame: &mut Frame) -> bool;

    /// Takes a frame that goes.
    fn drop(&mut self, frame: Frame);
}

/// The flow queues of one leaf, in two lists.
#[derive(Debug)]
pub(super) struct Fair {
    codel: Codel,
    new: List,
    old: List,
    /// About the fattest queue, or [`NONE`].
    fattest: u32,
    frames: u32,
    bytes: u64,
}

impl Fair {
    pub(super) fn new(codel: Codel) -> Fair {
        Fair { codel, new: List::EMPTY, old: List::EMPTY, fattest: NONE, frames: 0, bytes: 0 }
    }

    #[inline]
    pub(super) fn frames(&self) -> u32 {
        self.frames
    }

    #[inline]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends `frame` to its flow's queue in `leaf`, which is this leaf's slot. There is a free queue if one is needed.
    #[inline]
    pub(super) fn push(&mut self, flows: &mut Flows, table: &Table, leaf: u16, frame: Frame) {
        let slot = table.slot(&frame);
        self.frames += 1;
        self.bytes += u64::from(slot.wire_len);
        let bucket = flows.bucket(leaf, slot.flow_hash);
        let index = match flows.find(leaf, bucket) {
            Some(index) => index,
            None => self.begin(flows, leaf, bucket),
        };
        let queue = &mut flows.at(index).queue;
        queue.push(table, frame);
        let bytes = queue.bytes();
        if self.fattest == NONE || bytes > flows.bytes(self.fattest) {
            self.fattest = index;
        }
    }

    /// A queue for a flow that is new.
    fn begin(&mut self, flows: &mut Flows, leaf: u16, bucket: u32) -> u32 {
        let index = flows.take(leaf, bucket);
        let flow = flows.at(index);
        (flow.deficit, flow.place) = (QUANTUM as i32, Place::New);
        self.new.push(flows, index);
        index
    }

    /// Takes the frame whose turn it is at `now`, if the leaf holds one; what CoDel picks on the way goes to `congested`.
    ///
    /// A frame longer than a quantum costs as many rounds as it has quanta, [`LONGEST`] bytes at most. A row of drops is as long as the queue at most, and
    /// each frame is dropped once.
    #[inline]
    pub(super) fn dequeue(
        &mut self,
        flows: &mut Flows,
        table: &Table,
        now: Nanos,
        congested: &mut impl Congested,
    ) -> Option<Frame> {
        while self.frames > 0 {
            let (index, is_new) = match self.new.head {
                NONE => (self.old.head, false),
                head => (head, true),
            };
            let flow = flows.at(index);
            if flow.deficit <= 0 {
                flow.deficit += QUANTUM as i32;
                self.retire(flows, index);
            } else if flow.queue.is_empty() {
                if is_new {
                    self.retire(flows, index);
                } else {
                    self.forget(flows, index);
                }
            } else {
                return self.take_judged(flows, table, index, now, congested);
            }
        }
        None
    }

    /// Takes the first frame of the queue `index` that CoDel lets pass; of a queue that isn't empty there always is one.
    #[inline]
    fn take_judged(
        &mut self,
        flows: &mut Flows,
        table: &Table,
        index: u32,
        now: Nanos,
        congested: &mut impl Congested,
    ) -> Option<Frame> {
        loop {
            let mut frame = self.take_head(flows, table, index)?;
            let slot = table.slot(&frame);
            let (sojourn, wire_len) = (now.since(slot.arrived), slot.wire_len);
            let flow = flows.at(index);
            let behind = flow.queue.bytes();
            if flow.codel.judge(&self.codel, now, sojourn, behind) == Verdict::Signal {
                if !congested.mark(&mut frame) {
                    flow.codel.dropped(&self.codel, now);
                    congested.drop(frame);
                    continue;
                }
                flow.codel.marked(&self.codel, now);
            }
            flow.deficit -= wire_len.min(LONGEST) as i32;
            self.forget_all_if_empty(flows);
            return Some(frame);
        }
    }

    /// Takes the oldest frame of about the fattest flow, if the leaf holds one.
    ///
    /// That is the fattest of the one that was when a frame last came, and the first [`LOOK`] others whose turn comes; if all of
    /// those are empty, of the rest.
    pub(super) fn evict(&mut self, flows: &mut Flows, table: &Table) -> Option<Frame> {
        if self.frames == 0 {
            return None;
        }
        let mut fattest = (if self.fattest == NONE { 0 } else { flows.bytes(self.fattest) }, self.fattest);
        let mut looked = 0;
        for head in [self.old.head, self.new.head] {
            let mut index = head;
            while index != NONE && (looked < LOOK || fattest.1 == NONE) {
                let bytes = flows.bytes(index);
                if !flows.at(index).queue.is_empty() && (fattest.1 == NONE || bytes > fattest.0) {
                    fattest = (bytes, index);
                }
                looked += 1;
                index = flows.next(index);
            }
        }
        self.fattest = fattest.1;
        let frame = self.take_head(flows, table, fattest.1);
        self.forget_all_if_empty(flows);
        frame
    }

    /// Takes any frame: to empty the leaf.
    pub(super) fn take_any(&mut self, flows: &mut Flows, table: &Table) -> Option<Frame> {
        while self.frames > 0 {
            let index = if self.new.head == NONE { self.old.head } else { self.new.head };
            match self.take_head(flows, table, index) {
                None => self.forget(flows, index),
                frame => {
                    self.forget_all_if_empty(flows);
                    return frame;
                }
            }
        }
        None
    }

    /// Gives back the queue `index`, which is empty: whatever comes of its flow is new.
    pub(super) fn forget(&mut self, flows: &mut Flows, index: u32) {
        match flows.at(index).place {
            Place::New => self.new.remove(flows, index),
            Place::Old => self.old.remove(flows, index),
            Place::Free => unreachable!("a free queue is in no list"),
        }
        flows.give_back(index);
    }

    /// Takes the oldest frame of the queue `index`.
    #[inline]
    fn take_head(&mut self, flows: &mut Flows, table: &Table, index: u32) -> Option<Frame> {
        let queue = &mut flows.at(index).queue;
        let frame = queue.pop(table)?;
        if queue.is_empty() && self.fattest == index {
            self.fattest = NONE;
        }
        self.frames -= 1;
        self.bytes -= u64::from(table.slot(&frame).wire_len);
        Some(frame)
    }

    /// Moves the queue `index`, the first of its list, to the end of the old ones.
    #[inline]
    fn retire(&mut self, flows: &mut Flows, index: u32) {
        match flows.at(index).place {
            Place::New => self.new.remove(flows, index),
            _ => self.old.remove(flows, index),
        }
        flows.at(index).place = Place::Old;
        self.old.push(flows, index);
    }

    /// Forgets all flows if the leaf holds no frame: nobody competes for it, and an idle leaf costs no queues. Each was taken
    /// for a frame, so this is a constant for each frame.
    #[inline]
    fn forget_all_if_empty(&mut self, flows: &mut Flows) {
        if self.frames > 0 {
            return;
        }
        for list in [&mut self.new, &mut self.old] {
            while list.head != NONE {
                let index = list.head;
                list.remove(flows, index);
                flows.give_back(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the frames that CoDel drops.
    struct Dropped(Vec<Frame>);

    impl Congested for Dropped {
        fn mark(&mut self, _: &mut Frame) -> bool {
            false
        }

        fn drop(&mut self, frame: Frame) {
            self.0.push(frame);
        }
    }

    /// A leaf, and what it needs.
    struct Bed {
        fair: Fair,
        flows: Flows,
        table: Table,
        free: Vec<Frame>,
    }

    impl Bed {
        fn new() -> Bed {
            let (table, free) = Table::heap(100, 2_048);
            Bed { fair: Fair::new(Codel::default()), flows: Flows::new(100), table, free }
        }

        fn offer(&mut self, flow_hash: u32, len: u32) {
            let mut frame = self.free.pop().unwrap();
            self.table.write(&mut frame, &[], len);
            self.table.slot_mut(&mut frame).flow_hash = flow_hash;
            self.fair.push(&mut self.flows, &self.table, 0, frame);
        }

        fn told(&mut self, frame: Option<Frame>) -> Option<u32> {
            let frame = frame?;
            let flow_hash = self.table.slot(&frame).flow_hash;
            self.free.push(frame);
            Some(flow_hash)
        }

        fn leave(&mut self) -> Option<u32> {
            let mut dropped = Dropped(Vec::new());
            let frame = self.fair.dequeue(&mut self.flows, &self.table, Nanos(1), &mut dropped);
            assert_eq!(dropped.0, []);
            self.told(frame)
        }

        fn evict(&mut self) -> Option<u32> {
            let frame = self.fair.evict(&mut self.flows, &self.table);
            self.told(frame)
        }
    }

    #[test]
    fn a_flow_that_begins_goes_first_and_then_takes_turns() {
        let mut bed = Bed::new();
        for _ in 0..4 {
            bed.offer(1, 1_514);
        }
        assert_eq!((bed.leave(), bed.leave()), (Some(1), Some(1)), "nobody else wants to");
        for _ in 0..5 {
            bed.offer(2, 1_000);
        }
        // The new flow has its quantum and what takes it below zero. Then both wait for a quantum, 1 first because it is old; 2 has
        // it first, because 1 had none left.
        assert_eq!(std::iter::from_fn(|| bed.leave()).collect::<Vec<_>>(), [2, 2, 2, 2, 1, 2, 1]);
    }

    #[test]
    fn the_fattest_flow_pays_with_its_oldest() {
        let mut bed = Bed::new();
        for (flow, len) in [(1, 100), (2, 1_500), (3, 900), (3, 900), (1, 100)] {
            bed.offer(flow, len);
        }
        let order: Vec<_> = std::iter::from_fn(|| bed.evict()).collect();
        assert_eq!(order, [3, 2, 3, 1, 1]);
        assert_eq!((bed.fair.frames(), bed.fair.bytes()), (0, 0));
    }

    /// However many flows are empty before it in the lists, one that holds a frame is found.
    #[test]
    fn a_frame_is_found_behind_any_number_of_empty_queues() {
        let mut bed = Bed::new();
        for flow in 0..50 {
            bed.offer(flow, 60);
        }
        // Evicted queues stay in their lists, empty.
        for left in (0..50).rev() {
            assert!(bed.evict().is_some());
            assert_eq!(bed.fair.frames(), left);
        }
        assert_eq!(bed.evict(), None);
    }

    #[test]
    fn an_idle_leaf_has_no_queues_however_it_was_emptied() {
        for how in 0..3 {
            let mut bed = Bed::new();
            for n in 0..90 {
                bed.offer(n % 40, 700);
            }
            assert_eq!(bed.flows.taken(), 40);
            for _ in 0..90 {
                let gone = match how {
                    0 => bed.leave(),
                    1 => bed.evict(),
                    _ => {
                        let frame = bed.fair.take_any(&mut bed.flows, &bed.table);
                        bed.told(frame)
                    }
                };
                assert!(gone.is_some());
            }
            assert_eq!((bed.flows.taken(), bed.free.len()), (0, 100));
        }
    }

    /// What a leaf costs, with queues or without; the pool is the tree's.
    #[test]
    fn a_leaf_and_a_flow_are_small() {
        assert!(size_of::<Fair>() <= 64, "{} bytes", size_of::<Fair>());
        assert!(size_of::<super::super::flows::Flow>() <= 96, "{} bytes", size_of::<super::super::flows::Flow>());
    }
}
