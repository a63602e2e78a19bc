//! The transmitting half of a port.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::{array, io};

use rustix::net::sockopt;
use xsk_rs::{CompQueue, FrameDesc, TxQueue};

use super::diagnosis::Error;
use super::link::Link;
use super::umem::{Arena, Options};
use crate::frame::{BURST, Burst, Frame, Owner, Table};
use crate::port::Tx;
use crate::time::Clock;
use crate::units::Nanos;

/// The descriptors that one system call sends in copy mode if the kernel knows no [`XDP_MAX_TX_SKB_BUDGET`]
/// (`TX_BATCH_SIZE` of net/xdp/xsk.c).
const SENT_PER_CALL: u32 = 32;

/// The socket option for more, since Linux 6.17 (linux/if_xdp.h).
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// The transmitting half of a port.
///
/// It must be used with the table that was opened with it. While [`Tx::in_flight`] isn't zero, call [`Tx::flush`] and
/// [`Tx::complete`] every turn: what the kernel would not take yet is offered again by the next flush.
pub struct XdpTx {
    queue: TxQueue,
    completion: CompQueue,
    arena: Arc<Arena>,
    ring: u32,
    in_flight: u32,
    max_in_flight: u32,
    kicks: u32,
    refused: u64,
    invalid: u64,
    descriptors: [FrameDesc; BURST],
}

impl XdpTx {
    pub(super) fn new(
        queue: TxQueue,
        completion: CompQueue,
        arena: Arc<Arena>,
        link: &Link,
        options: &Options,
    ) -> Result<XdpTx, Error> {
        let refused = |error| Error::refused("setting the send buffer", link.name(), error);
        // Copy mode builds a socket buffer for every frame in flight and charges it, with its own header, to the
        // socket. The kernel doubles what it is given.
        let bytes = options.max_in_flight as usize * (options.chunk as usize + 512);
        // SAFETY: the descriptor belongs to `queue`, which outlives the call.
        #[allow(unsafe_code)]
        let socket = unsafe { BorrowedFd::borrow_raw(queue.fd().as_raw_fd()) };
        sockopt::set_socket_send_buffer_size_force(socket, bytes).map_err(|error| refused(error.into()))?;
        raise_send_budget(socket, options.tx_ring);
        Ok(XdpTx {
            queue,
            completion,
            arena,
            ring: options.tx_ring,
            in_flight: 0,
            max_in_flight: options.max_in_flight,
            // Two more than a full ring needs, for calls that the device cut short.
            kicks: options.max_in_flight.div_ceil(SENT_PER_CALL) + 2,
            refused: 0,
            invalid: 0,
            descriptors: array::from_fn(|_| FrameDesc::default()),
        })
    }

    /// Calls to the kernel that failed for another reason than that it was busy; the frames stay in the ring.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Descriptors from the kernel that named no frame; each leaves one frame in flight for good.
    pub fn invalid(&self) -> u64 {
        self.invalid
    }

    /// The descriptors that the kernel hasn't taken from the ring.
    fn waiting(&mut self) -> u32 {
        self.ring - self.queue.nb_free_exact()
    }
}

impl Tx for XdpTx {
    fn room(&mut self) -> usize {
        // Neither ring can be full: both hold at least `max_in_flight`.
        (self.max_in_flight - self.in_flight) as usize
    }

    #[allow(unsafe_code)]
    fn submit(&mut self, table: &Table, _now: Nanos, burst: &mut Burst) {
        let count = self.room().min(burst.len());
        for (descriptor, frame) in self.descriptors.iter_mut().zip(burst.drain(..count)) {
            table.pass(&frame, Owner::Egress, Owner::Transmit);
            *descriptor = self.arena.descriptor(&frame);
            let _ = frame.into_index();
        }
        // SAFETY: the descriptors are those of frames that have just been given up.
        let produced = unsafe { self.queue.produce(&self.descriptors[..count]) };
        assert_eq!(produced, count, "the ring has the room it said it has");
        self.in_flight += count as u32;
    }

    fn flush(&mut self, _latest: Nanos, _clock: &impl Clock) {
        let mut waiting = self.waiting();
        for _ in 0..self.kicks {
            if waiting == 0 || !self.queue.needs_wakeup() {
                return;
            }
            // EAGAIN, EBUSY, ENOBUFS and ENETDOWN mean later, and are not errors here. Any other means that the port
            // has gone; whoever looks after the ports finds out why.
            if self.queue.wakeup().is_err() {
                self.refused += 1;
                return;
            }
            let left = self.waiting();
            if left == waiting {
                return;
            }
            waiting = left;
        }
    }

    #[allow(unsafe_code)]
    fn complete(&mut self, _table: &Table, _now: Nanos, burst: &mut Burst) {
        let room = burst.remaining_capacity();
        // SAFETY: the descriptors are overwritten with those of this socket's UMEM.
        let completed = unsafe { self.completion.consume(&mut self.descriptors[..room]) };
        for descriptor in &self.descriptors[..completed] {
            let Some(index) = self.arena.index(descriptor.addr()) else {
                self.invalid += 1;
                continue;
            };
            self.in_flight -= 1;
            // SAFETY: the kernel has just given the frame up, and the descriptor is used here only.
            burst.push(unsafe { Frame::from_index(index) });
        }
    }

    fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

impl std::fmt::Debug for XdpTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XdpTx")
            .field("in_flight", &self.in_flight)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

/// Lets one system call send as many descriptors as the ring holds, where the kernel can.
#[allow(unsafe_code)]
fn raise_send_budget(socket: BorrowedFd<'_>, descriptors: u32) {
    let (value, len) = ((&raw const descriptors).cast(), size_of::<u32>() as libc::socklen_t);
    // SAFETY: the option takes a 32-bit integer, and `descriptors` is one.
    let answer = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, value, len) };
    if answer != 0 {
        tracing::debug!("{SENT_PER_CALL} frames per system call: {}", io::Error::last_os_error());
    }
}
