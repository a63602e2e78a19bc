//! The flow queues of a tree: one pool that all leaves draw from, and the way from a flow to its queue.
//!
//! A queue is taken from the pool with a flow's first frame and given back when its leaf has forgotten the flow, so that an
//! idle leaf has none. Nothing is allocated after the start.
//!
//! A flow's queue is found by its *bucket*: the flow's hash, perturbed, plus a number of the leaf's own, modulo the number of
//! buckets. Flows of one leaf that meet in a bucket share a queue, as in RFC 8290 (section 4.1), so that a flow's frames stay in
//! order whatever else comes and goes; but here a leaf has as many buckets as the tree, and no memory for them. Queues of
//! several leaves in one bucket form a chain, which holds one queue of each leaf at most and 1/2 on average.

use super::codel;
use crate::frame::Fifo;

/// Marks the end of a list.
pub(super) const NONE: u32 = u32::MAX;

/// Perturbs flow hashes, which the ports have seen and used before: a constant, so that a replay is exact.
const SEED: u32 = 0x5bd1_e995;

/// Multipliers with well-mixed bits, odd: 2⁶⁴ and 2³² over the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const LEAF_STEP: u32 = 0x9e37_79b9;

/// A list of its leaf that a queue is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// None: it is free.
    #[default]
    Free,
    /// That of queues that have not had a quantum since their flow began.
    New,
    /// That of all others.
    Old,
}

/// One flow's queue.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) queue: Fifo,
    pub(super) codel: codel::State,
    /// The bytes that are left of its turn; below zero if the last frame was larger than what was left.
    pub(super) deficit: i32,
    /// The neighbours in the leaf's list; `next` links free queues, too.
    pub(super) next: u32,
    pub(super) prev: u32,
    /// The next queue in the same bucket.
    chain: u32,
    bucket: u32,
    leaf: u16,
    pub(super) place: Place,
}

/// A doubly linked list of flow queues.
#[derive(Debug)]
pub(super) struct List {
    pub(super) head: u32,
    tail: u32,
}

impl List {
    pub(super) const EMPTY: List = List { head: NONE, tail: NONE };

    /// Appends the queue `index`, which is in no list.
    #[inline]
    pub(super) fn push(&mut self, flows: &mut Flows, index: u32) {
        let flow = flows.at(index);
        (flow.prev, flow.next) = (self.tail, NONE);
        match self.tail {
            NONE => self.head = index,
            tail => flows.at(tail).next = index,
        }
        self.tail = index;
    }

    /// Takes the queue `index` out, wherever in the list it is.
    #[inline]
    pub(super) fn remove(&mut self, flows: &mut Flows, index: u32) {
        let Flow { prev, next, .. } = *flows.at(index);
        match prev {
            NONE => self.head = next,
            prev => flows.at(prev).next = next,
        }
        match next {
            NONE => self.tail = prev,
            next => flows.at(next).prev = prev,
        }
    }
}

/// The pool, and the buckets that lead into it.
#[derive(Debug)]
pub(super) struct Flows {
    pool: Box<[Flow]>,
    /// The first queue in each bucket.
    buckets: Box<[u32]>,
    /// The first free queue.
    free: u32,
    /// Where the search for a queue that is only remembered goes on.
    hand: u32,
}

impl Flows {
    /// A pool for leaves that hold `max_frames` together, with as many queues again for those that are empty and only
    /// remembered.
    pub(super) fn new(max_frames: u32) -> Flows {
        // A frame comes before another one goes.
        let count = if max_frames == 0 { 0 } else { 2 * (max_frames + 1) };
        let flow = |index| Flow { next: if index + 1 < count { index + 1 } else { NONE }, ..Flow::default() };
        Flows {
            pool: (0..count).map(flow).collect(),
            buckets: vec![NONE; count.next_power_of_two() as usize].into(),
            free: if count > 0 { 0 } else { NONE },
            hand: 0,
        }
    }

    #[inline]
    pub(super) fn at(&mut self, index: u32) -> &mut Flow {
        &mut self.pool[index as usize]
    }

    #[inline]
    pub(super) fn bytes(&self, index: u32) -> u64 {
        self.pool[index as usize].queue.bytes()
    }

    #[inline]
    pub(super) fn next(&self, index: u32) -> u32 {
        self.pool[index as usize].next
    }

    /// The bucket of the flows of `leaf` with this hash.
    #[inline]
    pub(super) fn bucket(&self, leaf: u16, flow_hash: u32) -> u32 {
        let spread = (u64::from(flow_hash ^ SEED).wrapping_mul(SPREAD) >> 32) as u32;
        spread.wrapping_add(LEAF_STEP.wrapping_mul(leaf.into())) & (self.buckets.len() as u32 - 1)
    }

    /// The queue of `leaf` in `bucket`, if there is one.
    #[inline]
    pub(super) fn find(&self, leaf: u16, bucket: u32) -> Option<u32> {
        let mut index = self.buckets[bucket as usize];
        while index != NONE {
            let flow = &self.pool[index as usize];
            if flow.leaf == leaf {
                return Some(index);
            }
            index = flow.chain;
        }
        None
    }

    /// Whether no queue is free: [`Flows::forgettable`] names one that can be.
    #[inline]
    pub(super) fn is_exhausted(&self) -> bool {
        self.free == NONE
    }

    /// A free queue, now that of `leaf` in `bucket`.
    #[inline]
    pub(super) fn take(&mut self, leaf: u16, bucket: u32) -> u32 {
        let index = self.free;
        let chain = std::mem::replace(&mut self.buckets[bucket as usize], index);
        let flow = self.at(index);
        let next_free = flow.next;
        *flow = Flow { chain, bucket, leaf, ..Flow::default() };
        self.free = next_free;
        index
    }

    /// Gives back the queue `index`, which is empty and in no list.
    #[inline]
    pub(super) fn give_back(&mut self, index: u32) {
        let free = self.free;
        let Flow { chain, bucket, .. } = *self.at(index);
        let flow = self.at(index);
        debug_assert!(flow.queue.is_empty());
        (flow.next, flow.place) = (free, Place::Free);
        self.free = index;
        let first = self.buckets[bucket as usize];
        if first == index {
            self.buckets[bucket as usize] = chain;
            return;
        }
        let mut before = first;
        while self.at(before).chain != index {
            before = self.at(before).chain;
        }
        self.at(before).chain = chain;
    }

    /// A queue that is empty and only remembered, and its leaf; `None` in a tree without flow queues. At least half of the pool is, when all of it is taken, so that a
    /// round of the hand, which goes on where it stopped, looks at two queues for each that it finds.
    #[cold]
    pub(super) fn forgettable(&mut self) -> Option<(u32, u16)> {
        for _ in 0..self.pool.len() {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.pool.len() as u32;
            let flow = &self.pool[index as usize];
            if flow.place != Place::Free && flow.queue.is_empty() {
                return Some((index, flow.leaf));
            }
        }
        None
    }

    /// The queues that are taken; a count over all, for tests.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.pool.iter().filter(|flow| flow.place != Place::Free).count()
    }
}
