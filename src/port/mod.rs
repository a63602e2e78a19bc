//! Where frames enter and leave: a port is a receiving half and a transmitting half, which may run on two cores.
//!
//! The datapath knows nothing more of a port than [`Rx`] and [`Tx`]. Time comes in as an argument, so that a simulated port
//! runs in virtual time under the very same code as a network card.

// AF_XDP sockets on real interfaces.
pub mod xdp;
// Frames lent to a port that has no kernel ring.
mod fill;
// A transmit ring before a line that carries one frame at a time.
mod line;
// Frames out of memory and into nothing, for benchmarks.
pub mod memory;
// Captures: read, write, replay.
pub mod pcap;
// Lines with rate, delay and loss, for tests and demonstrations.
pub mod sim;

use std::os::fd::RawFd;

pub use line::Line;

use crate::frame::{Burst, Home, Table};
use crate::time::Clock;
use crate::units::Nanos;

/// What a port lost before the datapath saw it; each is a term of the accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxLosses {
    /// The ring to us was full.
    pub ring_full: u64,
    /// There was no free frame to receive into.
    pub fill_empty: u64,
    /// The kernel or the device dropped it for another reason.
    pub other: u64,
}

impl std::iter::Sum for RxLosses {
    fn sum<I: Iterator<Item = RxLosses>>(iter: I) -> RxLosses {
        iter.fold(RxLosses::default(), |sum, losses| RxLosses {
            ring_full: sum.ring_full + losses.ring_full,
            fill_empty: sum.fill_empty + losses.fill_empty,
            other: sum.other + losses.other,
        })
    }
}

/// The receiving half of a port, or of one of its queues.
pub trait Rx: Send {
    /// Appends frames that have arrived by `now` until `burst` is full.
    ///
    /// Each goes from [`Owner::Fill`](crate::frame::Owner::Fill) to [`Owner::Ingress`](crate::frame::Owner::Ingress) with its bytes and `wire_len` set.
    fn receive(&mut self, table: &Table, now: Nanos, burst: &mut Burst);

    /// Lends free frames to the port ([`Owner::Home`](crate::frame::Owner::Home) to `Fill`) until it has as many as it can use or `home` is empty.
    fn refill(&mut self, table: &Table, home: &mut Home);

    /// The frames that are lent to the port now.
    fn lent(&self) -> u32;

    /// Losses since the port was opened. May cost a system call: not for every turn.
    fn losses(&self) -> RxLosses {
        RxLosses::default()
    }

    /// Says that this queue is being served: what stands before the port takes frames past us if that isn't said in time.
    fn beat(&mut self) {}

    /// Says that the caller is about to sleep until [`Rx::fd`] is readable; the port arms whatever must wake it.
    fn before_sleep(&mut self) {}

    /// What becomes readable when a frame arrives, if the port has such a thing.
    fn fd(&self) -> Option<RawFd> {
        None
    }

    /// When the next frame will arrive, for a port that knows; [`Nanos::MAX`] for one that is at its end.
    fn next_arrival(&self) -> Option<Nanos> {
        None
    }
}

/// The transmitting half of a port.
pub trait Tx: Send {
    /// How many frames [`Tx::submit`] would take now.
    fn room(&mut self) -> usize;

    /// Takes frames from the front of `burst`, in order, while there is room, from `Owner::Egress` to `Owner::Transmit`; leaves the rest.
    fn submit(&mut self, table: &Table, now: Nanos, burst: &mut Burst);

    /// Makes the port send what was submitted; does nothing if it already does. Whatever hasn't begun to be sent when
    /// `clock` reaches `latest` stays where it is.
    fn flush(&mut self, latest: Nanos, clock: &impl Clock);

    /// Takes back frames that were submitted and that the port hasn't begun to send, until `burst` is full; they are still
    /// `Owner::Transmit`, and in flight no more.
    fn recall(&mut self, _burst: &mut Burst) {}

    /// Appends frames that the port is done with until `burst` is full; they are still `Owner::Transmit`.
    fn complete(&mut self, table: &Table, now: Nanos, burst: &mut Burst);

    /// The frames submitted and not yet completed.
    fn in_flight(&self) -> u32;

    /// When the next frame will be complete, for a port that knows.
    fn next_completion(&self) -> Option<Nanos> {
        None
    }
}
