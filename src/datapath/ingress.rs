//! Port to ring: receive, find the verdict, push.

use std::os::fd::RawFd;
use std::sync::Arc;

use super::bands::{BANDS, BandSender};
use super::counters::{EgressCounts, IngressCounts};
use super::drop::DropReason;
use super::judge::Judge;
use super::report::{Desk, IngressReport};
use super::stages::{STAGES as COUNT, Stopwatch};
use super::worker::STALL;
use crate::frame::{Burst, Home, Owner, Side, Table};
use crate::port::{Rx, RxLosses};
use crate::time::Clock;
use crate::units::Nanos;

/// What this half does with a burst, in order.
pub const STAGES: [&str; COUNT] = ["receive", "classify", "push"];
const RECEIVE: usize = 0;
const CLASSIFY: usize = 1;
const PUSH: usize = 2;

/// How often a port hears that its queue is served, at most: a fraction of the time after which it believes otherwise.
const BEAT: Nanos = Nanos::from_millis(1);

/// The ingress half of a wire: the receiving sides of both ports, so that both directions of a flow meet before one judge.
#[derive(Debug)]
pub struct Ingress<R> {
    table: Arc<Table>,
    /// Every receive queue, with the side of the wire it is on.
    ports: Vec<(Side, R)>,
    home: Home,
    bands: BandSender,
    judge: Judge,
    counts: Arc<IngressCounts>,
    /// The counters of the egress half that is fed, without which no port hears that its queue is served.
    fed: Option<Arc<EgressCounts>>,
    /// The turns that the egress half had made at the last beat, and when the next beat is due.
    beat: (u64, Nanos),
    /// When the last turn began.
    turned: Option<Nanos>,
    watch: Stopwatch,
    desk: Option<Desk<IngressReport>>,
}

impl<R: Rx> Ingress<R> {
    /// An ingress half over `ports`, with the free frames of `home`.
    pub fn new(table: Arc<Table>, ports: Vec<(Side, R)>, home: Home, bands: BandSender, judge: Judge) -> Ingress<R> {
        let mut ingress = Ingress {
            table,
            ports,
            home,
            bands,
            judge,
            counts: Arc::default(),
            fed: None,
            beat: (0, Nanos::ZERO),
            turned: None,
            watch: Stopwatch::new(STAGES),
            desk: None,
        };
        ingress.refill();
        ingress
    }

    /// Goes on with the counters of a predecessor that holds nothing any more.
    pub fn with_counts(self, counts: Arc<IngressCounts>) -> Ingress<R> {
        Ingress { counts, ..self }
    }

    /// Names the counters of the egress half that this one feeds: its ports hear a beat as long as that half turns, too.
    pub fn feeding(self, egress: Arc<EgressCounts>) -> Ingress<R> {
        Ingress { beat: (egress.turns.read(), Nanos::ZERO), fed: Some(egress), ..self }
    }

    /// Answers at `desk` when it is asked for a report.
    pub fn answering(self, desk: Desk<IngressReport>) -> Ingress<R> {
        Ingress { desk: Some(desk), ..self }
    }

    /// The half's counters.
    pub fn counts(&self) -> &Arc<IngressCounts> {
        &self.counts
    }

    /// Who finds the verdicts.
    pub fn judge(&mut self) -> &mut Judge {
        &mut self.judge
    }

    /// The receive queues, with the side of each.
    pub fn ports(&mut self) -> &mut [(Side, R)] {
        &mut self.ports
    }

    /// What the ports on `side` lost before this half saw it.
    pub fn losses(&self, side: Side) -> RxLosses {
        self.ports.iter().filter(|(at, _)| *at == side).map(|(_, port)| port.losses()).sum()
    }

    /// The frames of the home.
    pub fn frames(&self) -> u64 {
        u64::from(self.home.frames())
    }

    /// Frames of the home that are free, or lent to the ports.
    pub fn idle_frames(&self) -> u64 {
        self.home.free() as u64 + self.ports.iter().map(|(_, port)| u64::from(port.lent())).sum::<u64>()
    }

    /// Takes back what came home.
    pub fn collect(&mut self) {
        self.home.collect();
    }

    /// What becomes readable when frames arrive.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.ports.iter().filter_map(|(_, port)| port.fd())
    }

    /// When the next frame will arrive, if every port knows or is at its end.
    pub fn next_arrival(&self) -> Option<Nanos> {
        self.ports.iter().filter_map(|(_, port)| port.next_arrival()).min()
    }

    /// Has the ports arm whatever must wake a sleeper.
    pub fn before_sleep(&mut self) {
        for (_, port) in &mut self.ports {
            port.before_sleep();
        }
    }

    /// Takes one burst from every queue, judges and pushes it, and lends the ports frames for more; returns the frames
    /// received. The turn is one of `now`; `clock` only measures the stages of some turns.
    pub fn turn(&mut self, now: Nanos, clock: &impl Clock) -> usize {
        self.home.collect();
        let received = self.receive(now, clock);
        self.refill();
        self.answer(now);
        received
    }

    /// Takes one burst from every queue, judges and pushes it; returns the frames received.
    pub(super) fn receive(&mut self, now: Nanos, clock: &impl Clock) -> usize {
        self.turned = Some(now);
        self.watch.start(clock);
        let mut received = 0;
        let mut burst = Burst::new();
        for index in 0..self.ports.len() {
            let (side, port) = &mut self.ports[index];
            let side = *side;
            port.receive(&self.table, now, &mut burst);
            received += burst.len();
            self.watch.lap(RECEIVE, clock);
            let policed = self.judge.decide(&self.table, &mut burst, side, now, &self.counts);
            if policed != 0 {
                self.drop_policed(&mut burst, policed, side);
            }
            self.watch.lap(CLASSIFY, clock);
            self.forward(&mut burst, side, now);
            self.watch.lap(PUSH, clock);
        }
        self.watch.stop(received > 0);
        debug_assert!(self.counts.balanced(), "{:?}", self.counts);
        received
    }

    /// Says to every port that its queue is served, if the egress half has turned since the last time; a look at the time
    /// and nothing more until the next beat is due.
    pub fn beat(&mut self, now: Nanos) {
        let Some(egress) = &self.fed else { return };
        let (seen, due) = self.beat;
        let turns = egress.turns.read();
        if now < due || turns == seen {
            return;
        }
        self.beat = (turns, now + BEAT);
        for (_, port) in &mut self.ports {
            port.beat();
        }
    }

    /// Drops everything that the ports hold if the last turn was so long ago that newer frames may have gone past it.
    #[inline]
    pub fn recover(&mut self, now: Nanos) {
        if self.turned.is_some_and(|turned| now.since(turned) > STALL) {
            self.counts.stalls.add(1);
            self.drop_held(now, DropReason::StaleAfterStall);
        }
    }

    /// Drops every frame that the ports have received. They get none to receive into meanwhile, so that this has an end.
    #[cold]
    pub(super) fn drop_held(&mut self, now: Nanos, reason: DropReason) {
        let Ingress { table, ports, home, judge, counts, .. } = self;
        let mut burst = Burst::new();
        for (side, port) in ports {
            loop {
                port.receive(table, now, &mut burst);
                if burst.is_empty() {
                    break;
                }
                // Whatever a policer says, it all goes.
                judge.decide(table, &mut burst, *side, now, counts);
                for frame in burst.drain(..) {
                    let slot = table.slot(&frame);
                    counts.received[*side as usize].add(1, u64::from(slot.wire_len));
                    counts.dropped.add(*side, slot.class, reason, slot.wire_len);
                    home.give(table, frame);
                }
            }
        }
        debug_assert!(counts.balanced(), "{counts:?}");
    }

    /// Answers if this half is asked for a report.
    #[inline]
    fn answer(&mut self, now: Nanos) {
        if let Some(mut report) = self.desk.as_mut().and_then(Desk::question) {
            self.report(&mut report, now);
            self.desk.as_mut().expect("who asks has a desk").answer(report);
        }
    }

    /// Fills in `report`, whose histograms change places with this half's. May cost a system call per port.
    pub fn report(&mut self, report: &mut IngressReport, now: Nanos) {
        report.at = now;
        report.counts = IngressCounts::clone(&self.counts);
        report.losses = Side::BOTH.map(|side| self.losses(side));
        report.frames = self.frames();
        report.idle_frames = self.idle_frames();
        report.flows = self.judge.flows().len() as u64;
        std::mem::swap(&mut report.stages, &mut self.watch.stages);
    }

    fn refill(&mut self) {
        for (_, port) in &mut self.ports {
            port.refill(&self.table, &mut self.home);
        }
    }

    /// Drops the frames of a burst whose bits are set in `policed`; the others stay in their order.
    fn drop_policed(&mut self, burst: &mut Burst, policed: u32, side: Side) {
        let Ingress { table, home, counts, .. } = self;
        for (index, frame) in std::mem::take(burst).into_iter().enumerate() {
            if policed >> index & 1 == 0 {
                burst.push(frame);
                continue;
            }
            let slot = table.slot(&frame);
            counts.received[side as usize].add(1, u64::from(slot.wire_len));
            counts.dropped.add(side, slot.class, DropReason::Policed, slot.wire_len);
            home.give(table, frame);
        }
    }

    /// Notes in each frame's slot when and where it came, and pushes the frames of each band together.
    #[inline]
    fn forward(&mut self, burst: &mut Burst, side: Side, now: Nanos) {
        let Ingress { table, home, bands, counts, .. } = self;
        let mut groups: [Burst; BANDS] = Default::default();
        let (frames, mut bytes) = (burst.len() as u64, 0);
        for mut frame in burst.drain(..) {
            let slot = table.slot_mut(&mut frame);
            slot.arrived = now;
            slot.side = side;
            bytes += u64::from(slot.wire_len);
            groups[usize::from(slot.band).min(BANDS - 1)].push(frame);
        }
        counts.received[side as usize].add(frames, bytes);
        for (band, group) in groups.iter_mut().enumerate().filter(|(_, group)| !group.is_empty()) {
            for frame in group.drain(bands.room(band, group.len())..) {
                let slot = table.slot(&frame);
                counts.dropped.add(side, slot.class, DropReason::RingFull, slot.wire_len);
                home.give(table, frame);
            }
            for frame in &*group {
                let slot = table.slot(frame);
                counts.pushed[side as usize][usize::from(slot.class)].add(1, u64::from(slot.wire_len));
                table.pass(frame, Owner::Ingress, Owner::Ring);
            }
            bands.push(band, group);
        }
    }
}
