//! Ports and clocks that show what simulated ones don't: beats, frames that a port hasn't begun to send, time that jumps.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate::datapath::worker::STALL;
use tidegate::frame::{Burst, Frame, Home, Owner, Table};
use tidegate::port::sim::{Cable, SimRx};
use tidegate::port::{Rx, Tx};
use tidegate::time::Clock;
use tidegate::units::Nanos;

/// A receiving half that counts its beats, and fails at one that comes while frames wait since before a stall.
pub(crate) struct ServedRx {
    port: SimRx,
    cable: Cable,
    /// The time, for a test that tells it.
    pub(crate) now: Arc<AtomicU64>,
    pub(crate) beats: Arc<AtomicU64>,
}

impl ServedRx {
    pub(crate) fn new(cable: &Cable, ring: usize) -> ServedRx {
        let (port, cable) = (SimRx::new(cable.clone(), ring), cable.clone());
        ServedRx { port, cable, now: Arc::default(), beats: Arc::default() }
    }
}

impl Rx for ServedRx {
    fn receive(&mut self, table: &Table, now: Nanos, burst: &mut Burst) {
        self.port.receive(table, now, burst);
    }

    fn refill(&mut self, table: &Table, home: &mut Home) {
        self.port.refill(table, home);
    }

    fn lent(&self) -> u32 {
        self.port.lent()
    }

    fn beat(&mut self) {
        let stale = Nanos(self.now.load(Ordering::Relaxed)).since(STALL);
        assert!(self.cable.next_arrival().is_none_or(|at| at >= stale), "a beat while stale frames wait");
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    fn next_arrival(&self) -> Option<Nanos> {
        self.port.next_arrival()
    }
}

/// A transmitting half that begins to send one frame each time it is flushed, unless that comes too late, and is done with it at once.
#[derive(Default)]
pub(crate) struct FlushedTx {
    ring: VecDeque<Frame>,
    begun: usize,
}

impl Tx for FlushedTx {
    fn room(&mut self) -> usize {
        64 - self.ring.len()
    }

    fn submit(&mut self, table: &Table, _now: Nanos, burst: &mut Burst) {
        for frame in burst.drain(..) {
            table.pass(&frame, Owner::Egress, Owner::Transmit);
            self.ring.push_back(frame);
        }
    }

    fn flush(&mut self, latest: Nanos, clock: &impl Clock) {
        if clock.now() < latest {
            self.begun = (self.begun + 1).min(self.ring.len());
        }
    }

    fn recall(&mut self, burst: &mut Burst) {
        while self.ring.len() > self.begun && !burst.is_full() {
            burst.extend(self.ring.pop_back());
        }
    }

    fn complete(&mut self, _table: &Table, _now: Nanos, burst: &mut Burst) {
        while self.begun > 0 && !burst.is_full() {
            burst.extend(self.ring.pop_front());
            self.begun -= 1;
        }
    }

    fn in_flight(&self) -> u32 {
        self.ring.len() as u32
    }
}

/// A clock whose time is told by the number of looks that were taken at it before.
pub(crate) struct Looks<F> {
    looks: Cell<u64>,
    time: F,
}

impl<F: Fn(u64) -> Nanos> Looks<F> {
    pub(crate) fn new(time: F) -> Looks<F> {
        Looks { looks: Cell::new(0), time }
    }
}

impl<F: Fn(u64) -> Nanos> Clock for Looks<F> {
    fn now(&self) -> Nanos {
        let look = self.looks.replace(self.looks.get() + 1);
        (self.time)(look)
    }
}
