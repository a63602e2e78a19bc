//! The smallest datapath: what comes in on one side goes out on the other.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tidegate::frame::{Burst, Frame, Home, Owner, Returns, Side, Table, homes};
use tidegate::port::xdp::{Mode, Options, Program, Wire, XdpRx, XdpTx};
use tidegate::port::{Rx, RxLosses, Tx};
use tidegate::units::Nanos;

use crate::lab::PATIENCE;

/// Rings so small that they wrap often.
pub(crate) fn small() -> Options {
    Options {
        rx_ring: 256,
        fill_ring: 256,
        tx_ring: 128,
        completion_ring: 128,
        egress_frames: 256,
        ..Options::default()
    }
}

pub(crate) struct Forwarder {
    pub(crate) table: Arc<Table>,
    pub(crate) home: Home,
    returns: Returns,
    pub(crate) rx: [Vec<XdpRx>; 2],
    pub(crate) tx: [XdpTx; 2],
    waiting: [VecDeque<Frame>; 2],
    /// Frames received by every queue of either side.
    pub(crate) received: [Vec<u64>; 2],
    pub(crate) programs: [Program; 2],
    pub(crate) mode: Mode,
    /// A flush comes before this, or too late.
    pub(crate) latest: Nanos,
    max_in_flight: u32,
}

impl Forwarder {
    /// Opens `port0` and `port1`, ready to receive.
    pub(crate) fn open(options: &Options) -> Forwarder {
        let wire = Wire::open("port0", "port1", options).unwrap_or_else(|error| panic!("{error}"));
        let (mut homes, mut returns) = homes(wire.frames, 1, 1);
        let mut forwarder = Forwarder {
            table: wire.table,
            home: homes.remove(0),
            returns: returns.remove(0),
            received: [vec![0; wire.rx[0].len()], vec![0; wire.rx[1].len()]],
            rx: wire.rx,
            tx: wire.tx,
            waiting: Default::default(),
            programs: wire.programs,
            mode: wire.mode,
            latest: Nanos::MAX,
            max_in_flight: options.max_in_flight,
        };
        forwarder.turn();
        forwarder
    }

    pub(crate) fn turn(&mut self) {
        for side in Side::BOTH {
            self.receive(side);
        }
        for side in Side::BOTH {
            self.transmit(side);
        }
        self.home.collect();
    }

    /// Says that every queue is served, whether it is or not.
    pub(crate) fn beat(&mut self) {
        self.rx.iter_mut().flatten().for_each(Rx::beat);
    }

    fn receive(&mut self, side: Side) {
        let (from, to) = (side as usize, side.opposite() as usize);
        for (rx, received) in self.rx[from].iter_mut().zip(&mut self.received[from]) {
            let mut burst = Burst::new();
            rx.receive(&self.table, Nanos::ZERO, &mut burst);
            *received += burst.len() as u64;
            for frame in burst {
                self.table.pass(&frame, Owner::Ingress, Owner::Egress);
                self.waiting[to].push_back(frame);
            }
            rx.refill(&self.table, &mut self.home);
            rx.beat();
        }
    }

    fn transmit(&mut self, side: Side) {
        let (tx, waiting) = (&mut self.tx[side as usize], &mut self.waiting[side as usize]);
        let mut burst = Burst::new();
        let room = tx.room();
        burst.extend(waiting.drain(..waiting.len().min(burst.capacity())));
        let offered = burst.len();
        tx.submit(&self.table, Nanos::ZERO, &mut burst);
        assert_eq!(burst.len(), offered.saturating_sub(room), "submit takes exactly what room promised");
        for frame in burst.into_iter().rev() {
            waiting.push_front(frame);
        }
        assert!(tx.in_flight() <= self.max_in_flight, "{tx:?}");
        tx.flush(self.latest, &Nanos::ZERO);
        let mut burst = Burst::new();
        tx.complete(&self.table, Nanos::ZERO, &mut burst);
        for frame in burst {
            self.returns.send(&self.table, frame, Owner::Transmit);
        }
    }

    /// Takes back what a port hasn't begun to send, oldest first, and sends it home.
    pub(crate) fn recall(&mut self, side: Side) -> Vec<u32> {
        let mut recalled = Vec::new();
        loop {
            let mut burst = Burst::new();
            self.tx[side as usize].recall(&mut burst);
            if burst.is_empty() {
                self.home.collect();
                return recalled;
            }
            for frame in burst {
                recalled.push(frame.index());
                self.returns.send(&self.table, frame, Owner::Transmit);
            }
        }
    }

    pub(crate) fn turn_until(&mut self, what: &str, mut done: impl FnMut(&mut Forwarder) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "no {what} in time: {self:?}");
            self.turn();
        }
    }

    pub(crate) fn losses(&self, side: Side) -> RxLosses {
        let all = self.rx[side as usize].iter().map(Rx::losses);
        all.fold(RxLosses::default(), |sum, one| RxLosses {
            ring_full: sum.ring_full + one.ring_full,
            fill_empty: sum.fill_empty + one.fill_empty,
            other: sum.other + one.other,
        })
    }

    /// Checks that every frame is where the halves say it is.
    pub(crate) fn check_accounts(&mut self) {
        self.turn_until("rest", |forwarder| {
            forwarder.waiting.iter().all(VecDeque::is_empty) && forwarder.tx.iter().all(|tx| tx.in_flight() == 0)
        });
        let lent: u32 = self.rx.iter().flatten().map(Rx::lent).sum();
        let free = self.home.free() as u32;
        assert_eq!(free + lent, self.table.frames(), "{self:?}");
        if let Some(census) = self.table.census() {
            assert_eq!(census, [free, lent, 0, 0, 0, 0]);
        }
        assert!(self.rx.iter().flatten().all(|rx| rx.invalid() == 0) && self.tx.iter().all(|tx| tx.invalid() == 0));
    }
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder")
            .field("rx", &self.rx)
            .field("tx", &self.tx)
            .field("received", &self.received)
            .field("losses", &Side::BOTH.map(|side| self.losses(side)))
            .field("programs", &self.programs.each_ref().map(Program::counts))
            .field("census", &self.table.census())
            .finish()
    }
}
