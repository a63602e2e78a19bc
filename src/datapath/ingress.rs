//! Port to ring: receive, find the verdict, push.

use std::os::fd::RawFd;
use std::sync::Arc;

use super::bands::{BANDS, BandSender};
use super::counters::IngressCounts;
use super::drop::DropReason;
use super::judge::Judge;
use crate::frame::{Burst, Home, Owner, Side, Table};
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

    /// Takes one burst from every queue, judges and pushes it; returns the frames received.
    pub fn turn(&mut self, now: Nanos) -> usize {
        self.home.collect();
        let mut received = 0;
        let mut burst = Burst::new();
        for index in 0..self.ports.len() {
            let (side, port) = &mut self.ports[index];
            let side = *side;
            port.receive(&self.table, now, &mut burst);
            received += burst.len();
            self.judge.decide(&self.table, &mut burst, side, now, &self.counts);
            self.forward(&mut burst, side, now);
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
                counts.dropped.add(side, table.slot(&frame).class, DropReason::RingFull);
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
