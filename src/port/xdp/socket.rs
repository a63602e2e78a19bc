//! One socket per queue, cut into its receiving and its transmitting half.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use xsk_rs::config::{BindFlags, Interface, LibxdpFlags, SocketConfig};
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue};

use super::diagnosis::{Error, os_error};
use super::link::Link;
use super::umem::{Arena, Options, ring};
use super::wire::Mode;

/// How long a queue may stay bound, and memory counted as locked, after the last owner closed it: the kernel lets go of
/// both on a work queue of its own, which waits for whoever else changes interfaces.
const RELEASE: Duration = Duration::from_secs(3);

/// The rings of a socket and those of its queue.
pub(super) struct Rings {
    /// What was received.
    pub(super) rx: RxQueue,
    /// What may be received into.
    pub(super) fill: FillQueue,
    /// What is to be transmitted.
    pub(super) tx: TxQueue,
    /// What was transmitted.
    pub(super) completion: CompQueue,
}

/// Binds a socket to one queue of an interface over the memory of the wire.
///
/// The first socket on the memory decides how frames move for all; the kernel asks the driver of every later one for the same.
pub(super) fn bind(arena: &Arena, link: &Link, queue: u32, mode: Mode, options: &Options) -> Result<Rings, Error> {
    let how = match mode {
        Mode::ZeroCopy => BindFlags::XDP_ZEROCOPY,
        Mode::NativeCopy | Mode::Generic => BindFlags::XDP_COPY,
    };
    let config = SocketConfig::builder()
        .rx_queue_size(ring(options.rx_ring))
        .tx_queue_size(ring(options.tx_ring))
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(how | BindFlags::XDP_USE_NEED_WAKEUP)
        .build();
    let interface: Interface = link.name().parse().expect("the kernel has no interface with a zero in its name");
    let bound = patiently(libc::EBUSY, || {
        // SAFETY: no program is loaded by the library (INHIBIT_PROG_LOAD), and every queue is bound once.
        #[allow(unsafe_code)]
        unsafe { Socket::new(config, arena.umem(), &interface, queue) }.map_err(|error| os_error(&error))
    });
    match bound {
        Ok((tx, rx, Some((fill, completion)))) => Ok(Rings { rx, fill, tx, completion }),
        Ok((_, _, None)) => unreachable!("the first socket on a queue brings its fill and completion rings"),
        Err(error) => {
            let step = format!("binding an AF_XDP socket to queue {queue}");
            Err(match mode {
                Mode::ZeroCopy => Error::mode(mode, step, link.name(), error),
                Mode::NativeCopy | Mode::Generic => Error::refused(step, link.name(), error),
            })
        }
    }
}

/// Tries again for a moment while the kernel gives the answer that what its last owner closed is not free yet.
pub(super) fn patiently<T>(taken: i32, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + RELEASE;
    loop {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(taken) && Instant::now() < deadline => {
                sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}
