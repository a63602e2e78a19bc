//! The receiving half of a queue.

use std::array;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use xsk_rs::{FillQueue, FrameDesc, RxQueue};

use super::beat::Beat;
use super::umem::Arena;
use crate::frame::{BURST, Burst, Home, Owner, Table};
use crate::port::{Rx, RxLosses};
use crate::units::Nanos;

/// The receiving half of one queue of a port.
///
/// It must be used with the table that was opened with it, and refilled with that table's frames. Nothing arrives here before
/// the first [`Rx::beat`], nor when the last is older than [`STALE`](super::STALE).
pub struct XdpRx {
    queue: RxQueue,
    fill: FillQueue,
    arena: Arc<Arena>,
    beat: Beat,
    lent: u32,
    invalid: u64,
    descriptors: [FrameDesc; BURST],
}

impl XdpRx {
    pub(super) fn new(queue: RxQueue, fill: FillQueue, arena: Arc<Arena>, beat: Beat) -> XdpRx {
        let descriptors = array::from_fn(|_| FrameDesc::default());
        XdpRx { queue, fill, arena, beat, lent: 0, invalid: 0, descriptors }
    }

    /// Descriptors from the kernel that named no frame; each leaves one frame lent for good.
    pub fn invalid(&self) -> u64 {
        self.invalid
    }

    /// Tells the kernel that there is something in the fill ring, if it asked for that.
    fn wake(&mut self) {
        if self.fill.needs_wakeup() {
            // What can fail here is poll(2) on a descriptor of ours; the next turn asks again.
            let _ = self.fill.wakeup(self.queue.fd_mut(), 0);
        }
    }
}

impl Rx for XdpRx {
    #[allow(unsafe_code)]
    fn receive(&mut self, table: &Table, _now: Nanos, burst: &mut Burst) {
        let room = burst.remaining_capacity();
        // SAFETY: the descriptors are overwritten with those of this socket's UMEM.
        let received = unsafe { self.queue.consume(&mut self.descriptors[..room]) };
        for descriptor in &mut self.descriptors[..received] {
            // SAFETY: the kernel has just given up this descriptor, and it is used here only.
            let Some(frame) = (unsafe { self.arena.receive(table, descriptor) }) else {
                self.invalid += 1;
                continue;
            };
            table.pass(&frame, Owner::Fill, Owner::Ingress);
            self.lent -= 1;
            burst.push(frame);
        }
    }

    #[allow(unsafe_code)]
    fn refill(&mut self, table: &Table, home: &mut Home) {
        let lent = self.lent;
        loop {
            let room = (self.fill.nb_free(BURST as u32) as usize).min(BURST);
            let mut filled = 0;
            while filled < room
                && let Some(frame) = home.take()
            {
                table.pass(&frame, Owner::Home, Owner::Fill);
                self.descriptors[filled] = self.arena.descriptor(&frame);
                let _ = frame.into_index();
                filled += 1;
            }
            // SAFETY: the descriptors are those of frames that were free and have just been given up.
            let produced = unsafe { self.fill.produce(&self.descriptors[..filled]) };
            assert_eq!(produced, filled, "the ring has the room it said it has");
            self.lent += filled as u32;
            if filled < BURST {
                break;
            }
        }
        if self.lent > lent {
            self.wake();
        }
    }

    fn lent(&self) -> u32 {
        self.lent
    }

    fn losses(&self) -> RxLosses {
        let Ok(kernel) = self.queue.fd().xdp_statistics() else { return RxLosses::default() };
        let fill_empty = kernel.rx_fill_ring_empty_descs();
        RxLosses {
            ring_full: kernel.rx_ring_full(),
            fill_empty,
            // In copy mode the kernel counts a frame that found no free chunk here as well (net/xdp/xsk.c, __xsk_rcv).
            other: kernel.rx_dropped().saturating_sub(fill_empty) + kernel.rx_invalid_descs(),
        }
    }

    #[inline]
    fn beat(&mut self) {
        self.beat.advance();
    }

    fn before_sleep(&mut self) {
        self.wake();
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.queue.fd().as_raw_fd())
    }
}

impl std::fmt::Debug for XdpRx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XdpRx").field("lent", &self.lent).field("invalid", &self.invalid).finish_non_exhaustive()
    }
}
