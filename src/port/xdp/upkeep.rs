//! The ports while the bridge runs: links that come and go.

use super::diagnosis::Error;
use super::link::Link;
use super::rtnl::{Facts, Rtnl};
use super::state;
use crate::frame::Side;

use netlink_packet_route::link::LinkFlags;

/// How an interface is, for what it is to a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Frames can come and go.
    Up,
    /// There is nothing at the other end of the cable.
    NoCarrier,
    /// It has been brought down, by its administrator or by [`Watch::cut`].
    Down,
    /// It doesn't exist any more, or its name belongs to another interface: the wire must be opened anew.
    Gone,
}

/// Two ports, looked at from time to time. For the control core: one look is one question to the kernel.
#[derive(Debug)]
pub struct Watch {
    rtnl: Rtnl,
    links: [Link; 2],
    seen: [Condition; 2],
}

impl Watch {
    /// Begins to watch two interfaces of this thread's network namespace; what comes later under their names is others.
    ///
    /// # Errors
    ///
    /// If one doesn't exist.
    pub fn new(inside: &str, outside: &str) -> Result<Watch, Error> {
        let rtnl = Rtnl::open().map_err(|error| Error::refused("opening a netlink socket", inside, error))?;
        let links = [Link::find(inside)?, Link::find(outside)?];
        let mut watch = Watch { rtnl, links, seen: [Condition::Up; 2] };
        for side in Side::BOTH {
            watch.look(side);
        }
        Ok(watch)
    }

    /// How a side's interface is now; if the kernel doesn't answer, how it was.
    pub fn look(&mut self, side: Side) -> Condition {
        let link = &self.links[side as usize];
        if let Ok(facts) = self.rtnl.link(link.index()) {
            self.seen[side as usize] = condition(facts.as_ref(), link.name());
        }
        self.seen[side as usize]
    }

    /// Brings a side's interface down, so that the machine at its far end sees that the other side has lost its link. That
    /// is written down first: [`Wire::open`](super::Wire::open) and [`detach`](super::detach) bring it up again.
    ///
    /// # Errors
    ///
    /// If no wire has been opened over the interface, or the kernel refuses.
    pub fn cut(&mut self, side: Side) -> Result<(), Error> {
        let link = &self.links[side as usize];
        state::record_cut(link, true)?;
        self.set_up(side, false)
    }

    /// Brings a side's interface up after [`Watch::cut`].
    ///
    /// # Errors
    ///
    /// If no wire has been opened over the interface, or the kernel refuses.
    pub fn mend(&mut self, side: Side) -> Result<(), Error> {
        self.set_up(side, true)?;
        state::record_cut(&self.links[side as usize], false)
    }

    fn set_up(&self, side: Side, up: bool) -> Result<(), Error> {
        let link = &self.links[side as usize];
        let step = if up { "bringing the interface up" } else { "bringing the interface down" };
        link.set_up(up).map(drop).map_err(|error| Error::refused(step, link.name(), error))
    }
}

fn condition(facts: Option<&Facts>, name: &str) -> Condition {
    match facts {
        Some(facts) if facts.name != name => Condition::Gone,
        Some(facts) if !facts.flags.contains(LinkFlags::Up) => Condition::Down,
        Some(facts) if !facts.carrier => Condition::NoCarrier,
        Some(_) => Condition::Up,
        None => Condition::Gone,
    }
}
