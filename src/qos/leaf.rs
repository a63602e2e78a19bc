//! One class's queue and its claims on the link.

use super::Bucket;
use super::fair::{Congested, Fair};
use super::flows::Flows;
use super::tree::LeafSpec;
use crate::frame::{Fifo, Frame, Table};
use crate::units::Nanos;

/// A queue, what it is promised, what it may take, and its turn among equals.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) queue: Queue,
    /// What the leaf is promised whatever the others do; `None` is no promise.
    pub(super) guarantee: Option<Bucket>,
    /// What the leaf may take when others leave it over; `None` is as much as there is.
    pub(super) ceiling: Option<Bucket>,
    /// The most bytes that the queue may hold.
    pub(super) limit: u64,
    /// What one turn is worth among leaves of the same priority, in bytes.
    pub(super) quantum: u32,
    /// What is left of the turn; below zero if the last frame was larger than what was left.
    pub(super) deficit: i64,
    /// The band whose frames the leaf holds; the highest number is evicted first.
    pub(super) band: u8,
}

/// How a leaf's frames wait.
#[derive(Debug)]
pub(super) enum Queue {
    /// In the order in which they came, for as long as it takes.
    Plain(Fifo),
    /// By flow, and none for long.
    Fair(Fair),
}

impl Queue {
    /// Appends `frame`; `leaf` is the slot of this queue's leaf.
    #[inline]
    pub(super) fn push(&mut self, flows: &mut Flows, table: &Table, leaf: u16, frame: Frame) {
        match self {
            Queue::Plain(fifo) => fifo.push(table, frame),
            Queue::Fair(fair) => fair.push(flows, table, leaf, frame),
        }
    }

    /// Takes the frame that leaves at `now`; what goes in its place is given to `congested`.
    #[inline]
    pub(super) fn dequeue(
        &mut self,
        flows: &mut Flows,
        table: &Table,
        now: Nanos,
        congested: &mut impl Congested,
    ) -> Option<Frame> {
        match self {
            Queue::Plain(fifo) => fifo.pop(table),
            Queue::Fair(fair) => fair.dequeue(flows, table, now, congested),
        }
    }

    /// Takes the frame that makes room for others: the oldest, of the fattest flow if flows are told apart.
    #[inline]
    pub(super) fn evict(&mut self, flows: &mut Flows, table: &Table) -> Option<Frame> {
        match self {
            Queue::Plain(fifo) => fifo.pop(table),
            Queue::Fair(fair) => fair.evict(flows, table),
        }
    }

    /// Takes any frame: to empty the queue.
    pub(super) fn take_any(&mut self, flows: &mut Flows, table: &Table) -> Option<Frame> {
        match self {
            Queue::Plain(fifo) => fifo.pop(table),
            Queue::Fair(fair) => fair.take_any(flows, table),
        }
    }

    #[inline]
    pub(super) fn frames(&self) -> u32 {
        match self {
            Queue::Plain(fifo) => fifo.frames(),
            Queue::Fair(fair) => fair.frames(),
        }
    }

    #[inline]
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Queue::Plain(fifo) => fifo.bytes(),
            Queue::Fair(fair) => fair.bytes(),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.frames() == 0
    }
}

impl Leaf {
    pub(super) fn new(spec: &LeafSpec, now: Nanos) -> Leaf {
        Leaf {
            queue: spec.codel.map_or(Queue::Plain(Fifo::new()), |codel| Queue::Fair(Fair::new(codel))),
            guarantee: spec.guarantee.map(|rate| Bucket::new(rate, spec.burst, now)),
            ceiling: spec.ceiling.map(|rate| Bucket::new(rate, spec.burst, now)),
            limit: spec.limit,
            quantum: spec.quantum.max(1),
            deficit: 0,
            band: spec.band,
        }
    }

    /// Fills the buckets and forgets whose turn it was; the queue stays.
    pub(super) fn reset(&mut self, now: Nanos) {
        for bucket in [&mut self.guarantee, &mut self.ceiling].into_iter().flatten() {
            bucket.fill(now);
        }
        self.deficit = 0;
    }

    /// Whether the queue holds more than it may; a single frame it may always hold.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.queue.bytes() > self.limit && self.queue.frames() > 1
    }

    #[inline]
    pub(super) fn refill(&mut self, now: Nanos) {
        for bucket in [&mut self.guarantee, &mut self.ceiling].into_iter().flatten() {
            bucket.refill(now);
        }
    }

    /// Whether the ceiling lets a frame pass.
    #[inline]
    pub(super) fn below_ceiling(&self) -> bool {
        self.ceiling.is_none_or(|bucket| bucket.allows())
    }

    /// Whether the leaf has not had what it was promised.
    #[inline]
    pub(super) fn below_guarantee(&self) -> bool {
        self.guarantee.is_some_and(|bucket| bucket.allows())
    }
}
