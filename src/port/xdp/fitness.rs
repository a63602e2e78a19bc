//! Whether an interface can be a port: nothing else may use it.

use std::net::{IpAddr, Ipv6Addr};

use super::diagnosis::Error;
use super::link::Link;
use super::rtnl::{Address, Rtnl};

/// Refuses an interface that has addresses or routes, or whose master is not `bridge`.
pub(super) fn check(rtnl: &mut Rtnl, link: &Link, bridge: Option<u32>) -> Result<(), Error> {
    let refused = |error| Error::refused("reading master, addresses and routes", link.name(), error);
    let name = || link.name().to_owned();
    let facts = rtnl.link(link.index()).map_err(refused)?;
    let (master, hardware) = facts.map_or((0, Vec::new()), |facts| (facts.master, facts.hardware));
    if master != 0 && Some(master) != bridge {
        let found = rtnl.link(master).map_err(refused)?;
        let kind = found.as_ref().and_then(|master| Some(format!("the {} ", master.kind.as_ref()?)));
        let master = kind.unwrap_or_default() + &found.map_or_else(|| master.to_string(), |master| master.name);
        return Err(Error::Master { name: name(), master });
    }
    let addresses = rtnl.addresses(link.index()).map_err(refused)?;
    let addresses: Vec<String> =
        addresses.iter().filter(|address| !of_kernel(address, &hardware)).map(written).collect();
    if !addresses.is_empty() {
        return Err(Error::Addresses { name: name(), addresses: addresses.join(", ") });
    }
    match rtnl.routes(link.index()).map_err(refused)?.first() {
        Some(route) => Err(Error::Route { name: name(), route: route.clone() }),
        None => Ok(()),
    }
}

/// Whether the kernel made the address by itself, for the link alone: it goes when IPv6 is switched off, and comes back.
///
/// Before Linux 5.18 it doesn't say so, but its addresses are those that follow from the hardware's (RFC 4291, appendix A).
fn of_kernel(address: &Address, hardware: &[u8]) -> bool {
    address.made_for_link || address.address == IpAddr::from(link_local(hardware))
}

fn link_local(hardware: &[u8]) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    if let [a, b, c, d, e, f] = *hardware {
        octets[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    }
    Ipv6Addr::from(octets)
}

fn written(address: &Address) -> String {
    format!("{}/{}", address.address, address.prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_follows_from_the_hardware_is_known() {
        let hardware = [0x00, 0x1b, 0x21, 0xaa, 0xbb, 0xcc];
        let at = |text: &str| Address { address: text.parse().unwrap(), prefix: 64, made_for_link: false };
        assert!(of_kernel(&at("fe80::21b:21ff:feaa:bbcc"), &hardware));
        assert!(!of_kernel(&at("fe80::1"), &hardware) && !of_kernel(&at("192.0.2.1"), &hardware));
        assert!(of_kernel(&Address { made_for_link: true, ..at("fe80::1") }, &hardware));
    }
}
