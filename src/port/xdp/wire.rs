//! Two ports opened together.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::{fmt, io};

use super::beat::QUEUES_MAX;
use super::bridge;
use super::diagnosis::{self, Error};
use super::firewall;
use super::fitness;
use super::link::Link;
use super::lock::Lock;
use super::program::{Attached, Program, lacks_zero_copy};
use super::quiet::Voice;
use super::rtnl::Rtnl;
use super::rx::XdpRx;
use super::socket;
use super::state::{self, Recorded, State};
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
/// the kernel takes the frames; what was changed on the interfaces stays until [`detach`](super::detach). The table also
/// holds the locks: while it lives, nobody else opens the ports or detaches them.
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
    /// The driver of either side; empty if it doesn't say.
    pub drivers: [String; 2],
    /// The kernel bridge below, which carries the wire when we don't.
    pub bridge: String,
    /// The kernel program of either side, for its counters.
    pub programs: [Program; 2],
}

impl Wire {
    /// Opens two interfaces of this thread's network namespace as a wire.
    ///
    /// From here on every frame that either receives comes to its [`XdpRx`], and crosses the kernel bridge below while no
    /// program of ours takes it. Both are made promiscuous, lose the offloads that alter frames and say nothing of their
    /// own, and the namespace's firewall no longer judges frames on bridges; a state file keeps what was set before. If this
    /// fails, whatever it changed is undone.
    ///
    /// # Errors
    ///
    /// If an interface is missing, down, in use, has addresses, routes or another master, or has an MTU too large for a
    /// chunk; if a privilege is missing; if the options don't fit; if a state file is damaged; if a firewall
    /// judges bridged frames and another bridge may depend on that; or if no mode is possible.
    pub fn open(inside: &str, outside: &str, options: &Options) -> Result<Wire, Error> {
        let mut plan = Plan::new(inside, outside, options)?;
        for link in &plan.links {
            Attached::find(link)?;
        }

        let recorded = plan.prepare()?;
        let wire = plan.obtain()?;
        recorded.into_iter().for_each(Recorded::keep);
        for (side, link) in Side::BOTH.into_iter().zip(&plan.links) {
            let (queues, mtu) = (plan.queues[side as usize], plan.mtu[side as usize]);
            let (name, driver) = (link.name(), &wire.drivers[side as usize]);
            tracing::info!("{} port {name} ({driver}): {} mode, {queues} queues, MTU {mtu}", side.name(), wire.mode);
        }
        tracing::info!("{} frames of {} bytes; below them the bridge {}", plan.frames, options.chunk, wire.bridge);
        Ok(wire)
    }
}

/// What is to be opened, checked as far as it can be without changing anything.
struct Plan<'a> {
    links: [Link; 2],
    /// Held until the last of the wire's memory goes.
    locks: Arc<[Lock; 2]>,
    rtnl: Rtnl,
    /// The name of the bridge below.
    bridge: String,
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
        diagnosis::check_privileges()?;
        let locks = Arc::new([state::lock(links[0].name())?, state::lock(links[1].name())?]);

        let states = [State::of(&links[0])?, State::of(&links[1])?];
        let cut = states.each_ref().map(|state| state.as_ref().is_some_and(State::is_cut));
        let mtu = [links[0].check(options, cut[0])?, links[1].check(options, cut[1])?];
        let queues = [expected_queues(&links[0])?, expected_queues(&links[1])?];
        let frames = options.frames(queues[0] + queues[1])?;

        let mut rtnl = Rtnl::open().map_err(|error| Error::refused("opening a netlink socket", inside, error))?;
        let bridge = bridge_name(&links, &states)?;
        let present = bridge::check(&mut rtnl, &bridge, &links)?;
        for link in &links {
            fitness::check(&mut rtnl, link, present)?;
        }
        firewall::check(&mut rtnl)?;
        Ok(Plan { links, locks, rtnl, bridge, mtu, queues, frames, options })
    }

    /// Writes down what is set, and sets what ports and bridge need; undone when the answer is dropped.
    fn prepare(&mut self) -> Result<[Recorded; 2], Error> {
        let Plan { links, rtnl, bridge, .. } = self;
        let recorded = [Recorded::new(&links[0], rtnl, bridge)?, Recorded::new(&links[1], rtnl, bridge)?];
        firewall::switch_off()?;
        for link in links.iter() {
            prepare(link, rtnl)?;
        }
        bridge::lay(rtnl, bridge, links)?;
        // Only now it is known which channels could be reduced.
        self.queues = [counted_queues(&links[0])?, counted_queues(&links[1])?];
        self.frames = self.options.frames(self.queues[0] + self.queues[1])?;
        Ok(recorded)
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
        let (table, frames) = Table::external(self.frames, Box::new((arena, Arc::clone(&self.locks))));
        Ok(Wire {
            table: Arc::new(table),
            frames,
            rx: [inside_rx, outside_rx],
            tx: [inside_tx, outside_tx],
            mode,
            slow: None,
            mtu: self.mtu,
            drivers: self.links.each_ref().map(Link::driver),
            bridge: self.bridge.clone(),
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

/// The name of the bridge below: that of an earlier run over these ports, or else a new one.
fn bridge_name(links: &[Link; 2], states: &[Option<State>; 2]) -> Result<String, Error> {
    let earlier = states.each_ref().map(|state| state.as_ref().and_then(State::bridge));
    match earlier {
        [Some(one), Some(other)] if one != other => Err(Error::TwoWires {
            inside: links[0].name().to_owned(),
            outside: links[1].name().to_owned(),
            bridges: format!("{one} and {other}"),
        }),
        [Some(name), _] | [None, Some(name)] => Ok(name.to_owned()),
        [None, None] => Ok(bridge::name_for(&links[0])),
    }
}

/// The receive queues that a port will have, if its channels can be reduced where there are too many.
fn expected_queues(link: &Link) -> Result<u32, Error> {
    let channels = link.channels().ok().flatten();
    match channels.and_then(|channels| channels.reduced()) {
        Some(reduced) => Ok(reduced.receiving()),
        None => counted_queues(link),
    }
}

/// The receive queues that a port has: the program must be able to tell them apart.
fn counted_queues(link: &Link) -> Result<u32, Error> {
    let queues = link.rx_queues()?;
    if queues > QUEUES_MAX {
        return Err(Error::Queues { name: link.name().to_owned(), queues });
    }
    Ok(queues)
}

/// Sets what a port needs on its interface.
fn prepare(link: &Link, rtnl: &mut Rtnl) -> Result<(), Error> {
    let refused = |step: &'static str| move |error| Error::refused(step, link.name(), error);
    silence(link, rtnl).map_err(refused("keeping the interface from speaking"))?;
    if let Some(reduced) = link.channels().ok().flatten().and_then(|channels| channels.reduced())
        && let Err(error) = link.set_channels(&reduced)
    {
        let queues = reduced.receiving();
        tracing::warn!(
            "{}: the driver doesn't go down to {queues} receive channels ({error}); all are bound",
            link.name()
        );
    }

    let step = refused("switching offloads off");
    let altering = link.altering_features().map_err(step)?;
    link.set_features(&altering.into_keys().map(|name| (name, false)).collect()).map_err(step)?;
    let stubborn = link.stubborn_features().map_err(step)?.join(", ");
    if !stubborn.is_empty() {
        tracing::warn!("{}: these offloads can't be switched off and may alter frames: {stubborn}", link.name());
    }
    link.set_promiscuous(true).map_err(refused("making the interface promiscuous"))?;
    // It is down only if an earlier run cut it.
    if link.set_up(true).map_err(refused("bringing the interface up"))? {
        tracing::info!("{} is up again, which an earlier run had brought down for the other side's link", link.name());
    }
    state::record_cut(link, false)
}

/// Lets a port say nothing of its own accord.
fn silence(link: &Link, rtnl: &mut Rtnl) -> io::Result<()> {
    let gone = || io::Error::from_raw_os_error(libc::ENODEV);
    let facts = rtnl.link(link.index())?.ok_or_else(gone)?;
    Voice::of(&facts)?.silent().give(rtnl, &facts).map(drop)
}
