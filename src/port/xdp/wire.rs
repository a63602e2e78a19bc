//! Two ports opened together.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::{fmt, io};

use super::beat::QUEUES_MAX;
use super::diagnosis::{self, Error};
use super::link::Link;
use super::program::{Attached, Program, lacks_zero_copy};
use super::rx::XdpRx;
use super::socket;
use super::state::Recorded;
use super::tx::XdpTx;
use super::umem::{Arena, Options};
use crate::frame::{Frame, Side, Table};

/// How the kernel moves frames between the device and the UMEM; one for the whole wire, because the UMEM has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The driver runs the program, and the device reads and writes the UMEM itself.
    ZeroCopy,
    /// The driver runs the program, and frames are copied.
    NativeCopy,
    /// The network stack runs the program on any device, and frames are copied.
    Generic,
}

impl Mode {
    /// All modes, best first.
    pub const ALL: [Mode; 3] = [Mode::ZeroCopy, Mode::NativeCopy, Mode::Generic];
}

impl Mode {
    /// The mode's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::ZeroCopy => "zero_copy",
            Mode::NativeCopy => "native_copy",
            Mode::Generic => "generic",
        }
    }

    /// What a better mode would save; `None` for the best.
    const fn costs(self) -> Option<&'static str> {
        match self {
            Mode::ZeroCopy => None,
            Mode::NativeCopy => {
                Some("every frame is copied twice, into our memory and out of it, which zero-copy would save")
            }
            Mode::Generic => Some(
                "every frame is copied twice, and the kernel builds a socket buffer for it before we see it, which native modes \
                 would save",
            ),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::ZeroCopy => "zero-copy",
            Mode::NativeCopy => "native copy",
            Mode::Generic => "generic",
        })
    }
}

/// Two ports over one UMEM, and everything that came with them. Arrays are indexed by [`Side`].
///
/// Take it apart: the halves go to their workers. When the last of them and the table are dropped, the sockets close and
/// the kernel takes the frames; what was changed on the interfaces stays until [`detach`](super::detach).
#[derive(Debug)]
pub struct Wire {
    /// The side table of all frames.
    pub table: Arc<Table>,
    /// All frames, free.
    pub frames: Vec<Frame>,
    /// The receiving halves of either side, one per receive queue.
    pub rx: [Vec<XdpRx>; 2],
    /// The transmitting half of either side.
    pub tx: [XdpTx; 2],
    /// What was obtained.
    pub mode: Mode,
    /// Why no better mode was obtained and what that costs, in words; `None` if there is no better one.
    pub slow: Option<String>,
    /// The MTU of either side in bytes, without the Ethernet header.
    pub mtu: [u32; 2],
    /// The kernel program of either side, for its counters.
    pub programs: [Program; 2],
}

impl Wire {
    /// Opens two interfaces of this thread's network namespace as a wire.
    ///
    /// From here on every frame that either receives comes to its [`XdpRx`]. Both are made promiscuous and lose the
    /// offloads that alter frames; a state file keeps what was set before. If this fails, whatever it changed is undone.
    ///
    /// # Errors
    ///
    /// If an interface is missing, down, in use, or has an MTU too large for a chunk; if a privilege is missing; if the
    /// options don't fit; if a state file is damaged; or if no mode is possible.
    pub fn open(inside: &str, outside: &str, options: &Options) -> Result<Wire, Error> {
        let plan = Plan::new(inside, outside, options)?;
        diagnosis::check_privileges()?;
        for link in &plan.links {
            Attached::find(link)?;
        }

        let recorded = [Recorded::new(&plan.links[0])?, Recorded::new(&plan.links[1])?];
        for link in &plan.links {
            prepare(link)?;
        }
        let wire = plan.obtain()?;
        recorded.into_iter().for_each(Recorded::keep);
        for (side, link) in Side::BOTH.into_iter().zip(&plan.links) {
            let (queues, mtu) = (plan.queues[side as usize], plan.mtu[side as usize]);
            tracing::info!("{} port {}: {} mode, {queues} queues, MTU {mtu}", side.name(), link.name(), wire.mode);
        }
        tracing::info!("{} frames of {} bytes", plan.frames, options.chunk);
        Ok(wire)
    }
}

/// What is to be opened, checked as far as it can be without changing anything.
struct Plan<'a> {
    links: [Link; 2],
    mtu: [u32; 2],
    queues: [u32; 2],
    frames: u32,
    options: &'a Options,
}

impl Plan<'_> {
    fn new<'a>(inside: &str, outside: &str, options: &'a Options) -> Result<Plan<'a>, Error> {
        let links = [Link::find(inside)?, Link::find(outside)?];
        if links[0].index() == links[1].index() {
            return Err(Error::SameInterface { inside: inside.to_owned(), outside: outside.to_owned() });
        }
        let mtu = [links[0].check(options)?, links[1].check(options)?];
        let queues = [links[0].rx_queues()?, links[1].rx_queues()?];
        if let Some((link, queues)) = links.iter().zip(queues).find(|(_, queues)| *queues > QUEUES_MAX) {
            return Err(Error::Queues { name: link.name().to_owned(), queues });
        }
        let frames = options.frames(queues[0] + queues[1])?;
        Ok(Plan { links, mtu, queues, frames, options })
    }

    /// Tries the modes, best first, each with a UMEM of its own.
    fn obtain(&self) -> Result<Wire, Error> {
        let only = self.options.mode;
        let mut refusals = Vec::new();
        for mode in Mode::ALL.into_iter().filter(|mode| only.is_none_or(|only| only == *mode)) {
            match self.attempt(mode) {
                Ok(wire) => {
                    let slow = mode.costs().map(|costs| format!("{costs}; {}", why(mode, only.is_some(), &refusals)));
                    match (&slow, mode) {
                        (None, _) => {}
                        (Some(slow), Mode::Generic) => tracing::warn!("{slow}"),
                        (Some(slow), _) => tracing::info!("{slow}"),
                    }
                    return Ok(Wire { slow, ..wire });
                }
                Err(error @ Error::Mode { .. }) => refusals.push(error),
                Err(error) => return Err(error),
            }
        }
        Err(refusals.pop().expect("there is at least one mode"))
    }

    /// Opens everything in one mode.
    fn attempt(&self, mode: Mode) -> Result<Wire, Error> {
        // To be told so by the kernel would cost a UMEM.
        if let (Mode::ZeroCopy, Some(link)) = (mode, self.links.iter().find(|link| lacks_zero_copy(link))) {
            let refusal = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
            return Err(Error::mode(mode, "asking for zero-copy", link.name(), refusal));
        }
        let arena = Arc::new(Arena::new(self.options, self.frames)?);
        let (inside_rx, inside_tx, inside) = port(&arena, &self.links[0], self.queues[0], mode, self.options)?;
        let (outside_rx, outside_tx, outside) = port(&arena, &self.links[1], self.queues[1], mode, self.options)?;
        // Last, so that no frame is redirected before every queue has its socket.
        inside.attach(&self.links[0], mode)?;
        outside.attach(&self.links[1], mode)?;
        let (table, frames) = Table::external(self.frames, Box::new(arena));
        Ok(Wire {
            table: Arc::new(table),
            frames,
            rx: [inside_rx, outside_rx],
            tx: [inside_tx, outside_tx],
            mode,
            slow: None,
            mtu: self.mtu,
            programs: [inside, outside],
        })
    }
}

/// Why no better mode than this was obtained.
fn why(mode: Mode, asked: bool, refusals: &[Error]) -> String {
    if asked {
        return format!("{mode} mode is what the options ask for");
    }
    refusals.iter().map(Error::to_string).collect::<Vec<_>>().join("; ")
}

/// Binds every queue of a port; the first also transmits.
fn port(
    arena: &Arc<Arena>,
    link: &Link,
    queues: u32,
    mode: Mode,
    options: &Options,
) -> Result<(Vec<XdpRx>, XdpTx, Program), Error> {
    let program = Program::load(link, queues, options.closed)?;
    let mut receivers = Vec::new();
    let mut transmitter = None;
    for queue in 0..queues {
        let rings = socket::bind(arena, link, queue, mode, options)?;
        program
            .connect(queue, rings.rx.fd().as_raw_fd())
            .map_err(|error| Error::refused("entering a socket into the program's map", link.name(), error))?;
        receivers.push(XdpRx::new(rings.rx, rings.fill, Arc::clone(arena), program.beat(queue)));
        if transmitter.is_none() {
            transmitter = Some(XdpTx::new(rings.tx, rings.completion, Arc::clone(arena), link, mode, options)?);
        }
    }
    Ok((receivers, transmitter.expect("every interface has a receive queue"), program))
}

/// Sets what a port needs on its interface.
fn prepare(link: &Link) -> Result<(), Error> {
    let refused = |error| Error::refused("switching offloads off", link.name(), error);
    let altering = link.altering_features().map_err(refused)?;
    link.set_features(&altering.into_keys().map(|name| (name, false)).collect()).map_err(refused)?;
    let stubborn = link.stubborn_features().map_err(refused)?.join(", ");
    if !stubborn.is_empty() {
        tracing::warn!("{}: these offloads can't be switched off and may alter frames: {stubborn}", link.name());
    }
    link.set_promiscuous(true).map_err(|error| Error::refused("making the interface promiscuous", link.name(), error))
}
