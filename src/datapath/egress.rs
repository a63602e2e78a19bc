//! Ring to port: queue, shape, transmit, and send every frame home.

use std::sync::Arc;

use super::bands::{BANDS, BandReceiver};
use super::congestion::Signals;
use super::counters::EgressCounts;
use super::drop::DropReason;
use super::policy::Policy;
use super::report::{Desk, EgressReport};
use super::sojourn::Sojourn;
use super::stages::{STAGES as COUNT, Stopwatch};
use super::worker::STALL;
use crate::frame::{BURST, Burst, Frame, Owner, Returns, Side, Table};
use crate::port::Tx;
use crate::qos::{Refusal, Tree};
use crate::time::Clock;
use crate::units::{Nanos, Rate};

/// What this half does with a burst, in order.
pub const STAGES: [&str; COUNT] = ["queue", "shape", "transmit"];
const QUEUE: usize = 0;
const SHAPE: usize = 1;
const TRANSMIT: usize = 2;

/// The most frames taken from the rings in one turn; bounds the turn, not the throughput.
const DRAIN: usize = 8 * BURST;

/// The most frames sent to one port in one turn.
const SEND: usize = 8 * BURST;

/// The egress half of a wire: both ports' transmitting sides, each behind its shaping tree.
#[derive(Debug)]
pub struct Egress<T> {
    table: Arc<Table>,
    bands: BandReceiver,
    returns: Returns,
    /// By the side at which frames leave.
    ways_out: [WayOut<T>; 2],
    counts: Arc<EgressCounts>,
    sojourn: Sojourn,
    /// When the last turn began.
    turned: Option<Nanos>,
    watch: Stopwatch,
    desk: Option<Desk<EgressReport>>,
}

/// One direction: a tree and the port behind it.
#[derive(Debug)]
struct WayOut<T> {
    tree: Tree,
    port: T,
    /// The longest frame that the port carries.
    max_frame: u32,
    /// The most frames that may be in the port at once: more would stand in a queue that nothing manages.
    depth: usize,
    /// The port had no room for the next frame: what comes next is a completion, whatever the tree would let go.
    full: bool,
    /// The port has disappeared: nobody waits for the frames in it any more.
    gone: bool,
}

/// What an egress half has to do next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agenda {
    /// Frames that moved in this turn.
    pub moved: usize,
    /// When the shaper lets the next frame go, if one waits and its port has room.
    pub departure: Option<Nanos>,
    /// Frames are in a port, whose completion nobody announces.
    pub in_transmit: bool,
}

impl Agenda {
    /// What this half and another have to do next, together.
    pub(super) fn add(&mut self, other: Agenda) {
        self.moved += other.moved;
        self.departure = self.departure.into_iter().chain(other.departure).min();
        self.in_transmit |= other.in_transmit;
    }
}

impl<T: Tx> Egress<T> {
    /// An egress half over `ports` (by the side at which frames leave), whose longest frames are `max_frame` bytes.
    pub fn new(
        table: Arc<Table>,
        bands: BandReceiver,
        returns: Returns,
        ports: [T; 2],
        max_frame: [u32; 2],
        policy: &Policy,
        now: Nanos,
    ) -> Egress<T> {
        let mut specs = policy.trees.iter().zip(max_frame);
        let ways_out = ports.map(|port| {
            let (spec, max_frame) = specs.next().expect("one tree for each port");
            WayOut {
                tree: Tree::new(spec, now),
                port,
                max_frame,
                depth: spec.link.map_or(usize::MAX, transmit_depth),
                full: false,
                gone: false,
            }
        });
        Egress {
            table,
            bands,
            returns,
            ways_out,
            counts: Arc::default(),
            sojourn: Sojourn::default(),
            turned: None,
            watch: Stopwatch::new(STAGES),
            desk: None,
        }
    }

    /// Goes on with the counters of a predecessor that holds nothing any more.
    pub fn with_counts(self, counts: Arc<EgressCounts>) -> Egress<T> {
        Egress { counts, ..self }
    }

    /// Answers at `desk` when it is asked for a report.
    pub fn answering(self, desk: Desk<EgressReport>) -> Egress<T> {
        Egress { desk: Some(desk), ..self }
    }

    /// The half's counters.
    pub fn counts(&self) -> &Arc<EgressCounts> {
        &self.counts
    }

    /// How long frames stayed, by class; the first frame of each class in a burst is measured.
    pub fn sojourn(&self) -> &Sojourn {
        &self.sojourn
    }

    /// Frames queued in the trees.
    pub fn queued(&self) -> u64 {
        self.ways_out.iter().map(|way| u64::from(way.tree.frames())).sum()
    }

    /// Frames in the ports.
    pub fn in_transmit(&self) -> u64 {
        self.ways_out.iter().map(WayOut::in_transmit).sum()
    }

    /// The port by which frames leave on `side`.
    pub fn port(&mut self, side: Side) -> &mut T {
        &mut self.ways_out[side as usize].port
    }

    /// Whether no frame waits in the rings.
    pub fn rings_empty(&self) -> bool {
        self.bands.is_empty()
    }

    /// Whether no frame is in the rings, the queues or the ports.
    pub fn is_empty(&self) -> bool {
        self.rings_empty() && self.queued() + self.in_transmit() == 0
    }

    /// Takes in what is done, queues what waits, and sends what may go. The turn is one of `now`; `clock` only tells
    /// whether it has been held up so long that what it was to send must stay, and measures the stages of some turns.
    pub fn turn(&mut self, now: Nanos, clock: &impl Clock) -> Agenda {
        self.turned = Some(now);
        let completed = self.complete(now);
        self.watch.start(clock);
        let mut moved = self.drain(now);
        self.watch.lap(QUEUE, clock);
        for side in Side::BOTH {
            moved += self.send(side, now, clock);
        }
        self.watch.stop(moved > 0);
        self.counts.turns.add(1);
        debug_assert!(self.counts.balanced(self.queued(), self.in_transmit()), "{:?}", self.counts);
        self.answer(now);
        Agenda { moved: completed + moved, departure: self.next_departure(), in_transmit: self.in_transmit() > 0 }
    }

    /// When the shaper lets the next frame go, if one waits and its port had room in the last turn.
    pub fn next_departure(&self) -> Option<Nanos> {
        self.ways_out.iter().filter(|way| !way.full).filter_map(|way| way.tree.next_departure()).min()
    }

    /// When a port that knows will be done with its next frame.
    pub fn next_completion(&self) -> Option<Nanos> {
        self.ways_out.iter().filter_map(|way| way.port.next_completion()).min()
    }

    /// Sends home what the ports are done with.
    fn complete(&mut self, now: Nanos) -> usize {
        let mut done = Burst::new();
        let mut total = 0;
        for way in self.ways_out.iter_mut().filter(|way| !way.gone) {
            loop {
                way.port.complete(&self.table, now, &mut done);
                let count = done.len();
                self.returns.send_burst(&self.table, &mut done, Owner::Transmit);
                total += count;
                if count < BURST {
                    break;
                }
            }
        }
        self.counts.completed.add(total as u64);
        total
    }

    /// Takes frames from the rings: one burst of every band first, so that none starves, then the high bands first.
    fn drain(&mut self, now: Nanos) -> usize {
        let Egress { table, bands, returns, ways_out, counts, .. } = self;
        let mut drop = |frame: Frame, reason| {
            let slot = table.slot(&frame);
            counts.dropped.add(slot.side, slot.class, reason, slot.wire_len);
            returns.send(table, frame, Owner::Egress);
        };
        let mut enqueue = |frame: Frame| {
            table.pass(&frame, Owner::Ring, Owner::Egress);
            let slot = table.slot(&frame);
            counts.popped[slot.side as usize][usize::from(slot.class)].add(1, u64::from(slot.wire_len));
            let way = &mut ways_out[slot.side.opposite() as usize];
            if slot.wire_len > way.max_frame {
                drop(frame, DropReason::TooLong);
            } else if now.since(slot.arrived) > STALL {
                // Rings are emptied every turn: it was in the hands of an ingress half that stalled before it pushed.
                drop(frame, DropReason::StaleAfterStall);
            } else {
                way.tree.enqueue(table, frame, |frame, refusal| drop(frame, reason(refusal)));
            }
        };
        let mut left = DRAIN;
        for band in 0..BANDS {
            left -= bands.drain(band, BURST, &mut enqueue);
        }
        for band in 0..BANDS {
            left -= bands.drain(band, left, &mut enqueue);
        }
        DRAIN - left
    }

    /// Hands the port what the tree lets go and the port has room for.
    fn send(&mut self, side: Side, now: Nanos, clock: &impl Clock) -> usize {
        let Egress { table, returns, ways_out, counts, sojourn, watch, .. } = self;
        let mut signals = Signals { table, counts, returns };
        let way = &mut ways_out[side as usize];
        if way.gone {
            return 0;
        }
        let mut sent = 0;
        while sent < SEND {
            let room = way.port.room().min(way.depth.saturating_sub(way.port.in_flight() as usize)).min(BURST);
            way.full = room == 0;
            let mut burst = Burst::new();
            let mut measured = 0u32;
            while burst.len() < room {
                let Some(frame) = way.tree.dequeue(table, now, &mut signals) else { break };
                let slot = table.slot(&frame);
                counts.submitted[slot.side as usize][usize::from(slot.class)].add(1, u64::from(slot.wire_len));
                if measured & (1 << slot.class) == 0 {
                    measured |= 1 << slot.class;
                    sojourn.record(slot.class, now.since(slot.arrived));
                }
                burst.push(frame);
            }
            watch.lap(SHAPE, clock);
            let count = burst.len();
            if count == 0 {
                break;
            }
            way.port.submit(table, now, &mut burst);
            assert!(burst.is_empty(), "a port takes as many frames as it said it has room for");
            watch.lap(TRANSMIT, clock);
            sent += count;
            if count < room {
                break;
            }
        }
        if way.port.in_flight() > 0 {
            way.port.flush(now + STALL, clock);
            watch.lap(TRANSMIT, clock);
        }
        sent
    }

    /// Drops everything that this half holds if its last turn was so long ago that newer frames may have gone past it, and
    /// begins anew with full buckets.
    #[inline]
    pub fn recover(&mut self, now: Nanos) {
        if self.turned.is_some_and(|turned| now.since(turned) > STALL) {
            self.counts.stalls.add(1);
            self.drop_held(now, DropReason::StaleAfterStall);
            for way in &mut self.ways_out {
                way.tree.reset(now);
            }
        }
    }

    /// Drops everything that this half holds; for the end, after the last turn.
    pub fn stop(&mut self, now: Nanos) {
        self.drop_held(now, DropReason::Stopped);
    }

    /// Gives up what is in the ports, which have disappeared. Those frames don't come home: the table goes with the ports.
    pub fn abandon(&mut self) {
        for way in &mut self.ways_out {
            self.counts.abandoned.add(way.in_transmit());
            way.gone = true;
        }
    }

    /// Drops all that waits in the rings and queues, and takes back from the ports what they haven't begun to send. What
    /// they have begun to send stays with them until it is done.
    #[cold]
    fn drop_held(&mut self, now: Nanos, reason: DropReason) {
        self.complete(now);
        self.recall();
        let Egress { table, bands, returns, ways_out, counts, .. } = self;
        let mut drop = |frame: Frame| {
            let slot = table.slot(&frame);
            counts.dropped.add(slot.side, slot.class, reason, slot.wire_len);
            returns.send(table, frame, Owner::Egress);
        };
        for band in 0..BANDS {
            bands.drain(band, bands.waiting(band), |frame| {
                table.pass(&frame, Owner::Ring, Owner::Egress);
                let slot = table.slot(&frame);
                counts.popped[slot.side as usize][usize::from(slot.class)].add(1, u64::from(slot.wire_len));
                drop(frame);
            });
        }
        for way in ways_out {
            while let Some(frame) = way.tree.take_any(table) {
                drop(frame);
            }
        }
        debug_assert!(self.counts.balanced(self.queued(), self.in_transmit()), "{:?}", self.counts);
    }

    /// Sends home what the ports haven't begun to send.
    fn recall(&mut self) {
        let mut recalled = Burst::new();
        for way in self.ways_out.iter_mut().filter(|way| !way.gone) {
            loop {
                way.port.recall(&mut recalled);
                let count = recalled.len();
                self.returns.send_burst(&self.table, &mut recalled, Owner::Transmit);
                self.counts.abandoned.add(count as u64);
                if count < BURST {
                    break;
                }
            }
            way.full = false;
        }
    }

    /// Answers if this half is asked for a report.
    #[inline]
    fn answer(&mut self, now: Nanos) {
        if let Some(mut report) = self.desk.as_mut().and_then(Desk::question) {
            self.report(&mut report, now);
            self.desk.as_mut().expect("who asks has a desk").answer(report);
        }
    }

    /// Fills in `report`, whose histograms change places with this half's.
    pub fn report(&mut self, report: &mut EgressReport, now: Nanos) {
        report.at = now;
        report.counts = EgressCounts::clone(&self.counts);
        for side in Side::BOTH {
            report.queued[side as usize] = std::array::from_fn(|class| report.counts.queued(side, class));
            report.in_transmit[side as usize] = self.ways_out[side as usize].in_transmit();
        }
        std::mem::swap(&mut report.sojourn, &mut self.sojourn);
        std::mem::swap(&mut report.stages, &mut self.watch.stages);
    }
}

impl<T: Tx> WayOut<T> {
    /// Frames in the port.
    fn in_transmit(&self) -> u64 {
        if self.gone { 0 } else { u64::from(self.port.in_flight()) }
    }
}

const fn reason(refusal: Refusal) -> DropReason {
    match refusal {
        Refusal::LeafFull => DropReason::LeafFull,
        Refusal::OverBudget => DropReason::OverBudget,
    }
}

/// How many frames may be in a port at once before a link of `rate`: two bursts, or one millisecond of full frames if that is more.
pub fn transmit_depth(rate: Rate) -> usize {
    (rate.bytes_in(Nanos::from_millis(1)) as usize / 1_538).max(2 * BURST)
}
