//! Port to ring: receive, find the verdict, push.

use std::os::fd::RawFd;
use std::sync::Arc;

use super::bands::BandSender;
use super::counters::IngressCounts;
use super::drop::DropReason;
use super::judge::{Decision, Decisions, Judge};
use crate::frame::{Burst, Frame, Home, Owner, Side, Table};
use crate::port::{Rx, RxLosses};
use crate::units::Nanos;

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
}

impl<R: Rx> Ingress<R> {
    /// An ingress half over `ports`, with the free frames of `home`.
    pub fn new(table: Arc<Table>, ports: Vec<(Side, R)>, home: Home, bands: BandSender, judge: Judge) -> Ingress<R> {
        let mut ingress = Ingress { table, ports, home, bands, judge, counts: Arc::default() };
        ingress.refill();
        ingress
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

    /// Frames that are free, or lent to the ports.
    pub fn idle_frames(&self) -> usize {
        self.home.free() + self.ports.iter().map(|(_, port)| port.lent() as usize).sum::<usize>()
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

    /// Takes one burst from every queue, judges and pushes it; returns the frames received.
    pub fn turn(&mut self, now: Nanos) -> usize {
        self.home.collect();
        let mut received = 0;
        let (mut burst, mut decisions) = (Burst::new(), Decisions::new());
        for index in 0..self.ports.len() {
            let (side, port) = &mut self.ports[index];
            let side = *side;
            port.receive(&self.table, now, &mut burst);
            received += burst.len();
            self.judge.decide(&self.table, &burst, side, now, &self.counts, &mut decisions);
            for (frame, decision) in burst.drain(..).zip(&decisions) {
                self.forward(frame, side, *decision, now);
            }
        }
        self.refill();
        debug_assert!(self.counts.balanced(), "{:?}", self.counts);
        received
    }

    fn refill(&mut self) {
        for (_, port) in &mut self.ports {
            port.refill(&self.table, &mut self.home);
        }
    }

    /// Notes in the frame's slot what was decided, and pushes it into the ring of its band.
    #[inline]
    fn forward(&mut self, mut frame: Frame, side: Side, decision: Decision, now: Nanos) {
        let wire_len = self.table.slot(&frame).wire_len;
        self.counts.received[side as usize].add(wire_len);
        let class = decision.verdict.class.slot();
        let policy = self.judge.policy();
        let slot = self.table.slot_mut(&mut frame);
        slot.arrived = now;
        slot.side = side;
        slot.class = class;
        slot.flow_hash = decision.flow_hash;
        slot.leaf = policy.leaves[usize::from(class)];
        slot.band = policy.bands[usize::from(class)];
        let band = slot.band;
        self.table.pass(&frame, Owner::Ingress, Owner::Ring);
        match self.bands.push(band, frame) {
            Ok(()) => self.counts.pushed[side as usize][usize::from(class)].add(wire_len),
            Err(frame) => {
                self.counts.dropped.add(side, class, DropReason::RingFull);
                self.table.pass(&frame, Owner::Ring, Owner::Ingress);
                self.home.give(&self.table, frame);
            }
        }
    }
}
