//! The transmitting half of a port.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::{array, io};

use rustix::net::sockopt;
use xsk_rs::{CompQueue, FrameDesc, TxQueue};

use super::diagnosis::Error;
use super::link::Link;
use super::umem::{Arena, Options};
use super::wire::Mode;
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
///
/// Submitted frames wait with us, where [`Tx::recall`] finds them. In the modes that copy, a flush puts no more into the
/// kernel's ring than its next call sends; what a call leaves there because the device was busy can't be taken back.
pub struct XdpTx {
    queue: TxQueue,
    completion: CompQueue,
    arena: Arc<Arena>,
    /// Submitted, and not in the kernel's ring yet; holds at most `max_in_flight`.
    staged: VecDeque<Frame>,
    ring: u32,
    in_flight: u32,
    max_in_flight: u32,
    /// The most descriptors that may wait in the kernel's ring.
    per_call: u32,
    calls: u32,
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
        mode: Mode,
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
        let per_call = match mode {
            // The device empties the ring by itself.
            Mode::ZeroCopy => options.tx_ring,
            Mode::NativeCopy | Mode::Generic => send_budget(socket, options.tx_ring),
        };
        Ok(XdpTx {
            queue,
            completion,
            arena,
            staged: VecDeque::with_capacity(options.max_in_flight as usize),
            ring: options.tx_ring,
            in_flight: 0,
            max_in_flight: options.max_in_flight,
            per_call,
            // Two more than all that is in flight needs, for calls that the device cut short.
            calls: options.max_in_flight.div_ceil(per_call) + 2,
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

    /// Puts at most this many of the submitted frames into the kernel's ring, and returns how many.
    #[allow(unsafe_code)]
    fn produce(&mut self, most: u32) -> u32 {
        let total = self.staged.len().min(most as usize);
        let mut left = total;
        while left > 0 {
            let count = left.min(BURST);
            for (descriptor, frame) in self.descriptors.iter_mut().zip(self.staged.drain(..count)) {
                *descriptor = self.arena.descriptor(&frame);
                let _ = frame.into_index();
            }
            // SAFETY: the descriptors are those of frames that have just been given up.
            let produced = unsafe { self.queue.produce(&self.descriptors[..count]) };
            // The ring holds at least `max_in_flight`.
            assert_eq!(produced, count, "the ring has the room it must have");
            left -= count;
        }
        total as u32
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

    fn submit(&mut self, table: &Table, _now: Nanos, burst: &mut Burst) {
        let count = self.room().min(burst.len());
        for frame in burst.drain(..count) {
            table.pass(&frame, Owner::Egress, Owner::Transmit);
            self.staged.push_back(frame);
        }
        self.in_flight += count as u32;
    }

    fn flush(&mut self, latest: Nanos, clock: &impl Clock) {
        let mut waiting = self.waiting();
        for _ in 0..self.calls {
            if waiting == 0 && self.staged.is_empty() || clock.now() >= latest {
                return;
            }
            let offered = waiting + self.produce(self.per_call.saturating_sub(waiting));
            if !self.queue.needs_wakeup() {
                return;
            }
            // EAGAIN, EBUSY, ENOBUFS and ENETDOWN mean later, and are not errors here. Any other means that the port
            // has gone; whoever looks after the ports finds out why.
            if self.queue.wakeup().is_err() {
                self.refused += 1;
                return;
            }
            waiting = self.waiting();
            if waiting == offered {
                return;
            }
        }
    }

    fn recall(&mut self, burst: &mut Burst) {
        let count = self.staged.len().min(burst.remaining_capacity());
        burst.extend(self.staged.drain(..count));
        self.in_flight -= count as u32;
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

/// Lets one system call send as many descriptors as the ring holds, where the kernel can; returns how many it sends now.
#[allow(unsafe_code)]
fn send_budget(socket: BorrowedFd<'_>, descriptors: u32) -> u32 {
    let (value, len) = ((&raw const descriptors).cast(), size_of::<u32>() as libc::socklen_t);
    // SAFETY: the option takes a 32-bit integer, and `descriptors` is one.
    let answer = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, value, len) };
    if answer == 0 {
        return descriptors;
    }
    tracing::debug!("{SENT_PER_CALL} frames per system call: {}", io::Error::last_os_error());
    SENT_PER_CALL
}
