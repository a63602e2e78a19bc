//! What an interface says of its own accord, and how it is kept from it.

use std::fs;
use std::io::{self, ErrorKind};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage};
use serde::{Deserialize, Serialize};

use super::rtnl::{Facts, Rtnl};

/// The settings that let an interface speak: a port in a wire, or the bridge below, says nothing but what it forwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Voice {
    /// It asks and answers for IPv4 addresses.
    arp: bool,
    /// How it makes IPv6 addresses for itself (`addrgenmode`), as the kernel numbers it; none where there is no IPv6.
    address_generation: Option<u8>,
    /// IPv6 is on; none where there is no IPv6.
    ipv6: Option<bool>,
}

impl Voice {
    /// The settings of an interface now.
    pub(super) fn of(facts: &Facts) -> io::Result<Voice> {
        let ipv6 = match fs::read_to_string(disable_ipv6(&facts.name)) {
            Ok(disabled) => Some(disabled.trim() == "0"),
            // Not built in, or its module is not loaded.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let arp = !facts.flags.contains(LinkFlags::Noarp);
        Ok(Voice { arp, address_generation: facts.address_generation, ipv6 })
    }

    /// The settings of the same interface when it is silent.
    pub(super) fn silent(&self) -> Voice {
        Voice {
            arp: false,
            address_generation: self.address_generation.map(|_| u8::from(&In6AddrGenMode::None)),
            ipv6: self.ipv6.map(|_| false),
        }
    }

    /// Gives an interface these settings; tells whether that changed anything.
    pub(super) fn give(&self, rtnl: &mut Rtnl, facts: &Facts) -> io::Result<bool> {
        let now = Voice::of(facts)?;
        // Off first and on last, so that IPv6 makes no address in a way that isn't meant to last.
        if now.ipv6 == Some(true) && self.ipv6 == Some(false) {
            fs::write(disable_ipv6(&facts.name), "1")?;
        }
        if (now.arp, now.address_generation) != (self.arp, self.address_generation) {
            self.tell(rtnl, facts, &now)?;
        }
        if now.ipv6 == Some(false) && self.ipv6 == Some(true) {
            fs::write(disable_ipv6(&facts.name), "0")?;
        }
        Ok(now != *self)
    }

    fn tell(&self, rtnl: &mut Rtnl, facts: &Facts, now: &Voice) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = facts.index;
        if now.arp != self.arp {
            message.header.flags = if self.arp { LinkFlags::empty() } else { LinkFlags::Noarp };
            message.header.change_mask = LinkFlags::Noarp;
        }
        if let Some(mode) = self.address_generation.filter(|_| now.address_generation != self.address_generation) {
            let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::from(mode));
            message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
        }
        rtnl.tell(RouteNetlinkMessage::SetLink(message), 0)
    }
}

/// The switch of an interface's IPv6, in the network namespace of the thread that looks.
fn disable_ipv6(interface: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
}
