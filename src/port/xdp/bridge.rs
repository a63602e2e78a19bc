//! The kernel bridge below the ports: it carries the wire whenever nobody takes the frames before it.
//!
//! A wire stores nothing, answers nothing and drops nothing, so neither does this bridge: it learns no addresses, floods
//! every frame to its other port, and lets link-local groups (LLDP, LACP, spanning tree, EAPOL) pass.

use std::io;
use std::mem::discriminant;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    BridgePortState, BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::diagnosis::Error;
use super::link::Link;
use super::quiet::Voice;
use super::rtnl::{Facts, Rtnl};

/// The longest name of an interface.
const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// Group addresses 01:80:c2:00:00:00 to :0f that pass, one bit each: all but :01, whose frames (pause) end at every port.
const GROUPS: u16 = 0xfffd;

/// What the alias of a wire's bridge begins with.
const ALIAS: &str = "tidegate: ";

/// The name of the bridge of a wire with this inside port.
pub(super) fn name_for(inside: &Link) -> String {
    let name = format!("tidegate{}", inside.index());
    // Indices of eight digits and more are rare, but allowed.
    if name.len() <= NAME_MAX { name } else { format!("tg{}", inside.index()) }
}

/// A bridge of this network namespace that isn't of a wire, if there is one.
pub(super) fn of_others(rtnl: &mut Rtnl) -> io::Result<Option<String>> {
    let ours = |link: &Facts| {
        let named = ["tidegate", "tg"].into_iter().find_map(|stem| link.name.strip_prefix(stem)?.parse::<u32>().ok());
        named.is_some() && link.alias.starts_with(ALIAS)
    };
    let links = rtnl.links()?.into_iter();
    let stranger = links.filter(|link| link.kind == Some(InfoKind::Bridge)).find(|link| !ours(link));
    Ok(stranger.map(|link| link.name))
}

/// Checks that nothing stands where the bridge is to be, or is already, and returns its index if it is there.
pub(super) fn check(rtnl: &mut Rtnl, name: &str, wire: &[Link; 2]) -> Result<Option<u32>, Error> {
    let refused = |error| Error::refused("looking for the bridge", name, error);
    let Some(bridge) = rtnl.link_named(name).map_err(refused)? else { return Ok(None) };
    if bridge.kind != Some(InfoKind::Bridge) {
        return Err(Error::NameTaken { bridge: name.to_owned() });
    }
    let stranger = ports(rtnl, bridge.index).map_err(refused)?.into_iter();
    let stranger = stranger.map(|port| port.name).find(|port| wire.iter().all(|link| link.name() != port));
    match stranger {
        Some(port) => Err(Error::ThirdPort { bridge: name.to_owned(), port }),
        None => Ok(Some(bridge.index)),
    }
}

/// Makes the bridge, or changes what is not as it should be; if all is, nothing is touched.
pub(super) fn lay(rtnl: &mut Rtnl, name: &str, wire: &[Link; 2]) -> Result<(), Error> {
    let refused = |step: &'static str| move |error| Error::refused(step, name, error);
    if rtnl.link_named(name).map_err(refused("looking for the bridge"))?.is_none() {
        make(rtnl, name, wire[0].index()).map_err(refused("making the bridge"))?;
    }
    let bridge = rtnl.link_named(name).map_err(refused("looking for the bridge"))?;
    let bridge = bridge.ok_or_else(|| refused("making the bridge")(io::Error::from_raw_os_error(libc::ENODEV)))?;
    settle(rtnl, &bridge, wire).map_err(refused("setting the bridge"))?;
    for link in wire {
        let refused = |error| Error::refused("putting the interface into the bridge", link.name(), error);
        take(rtnl, bridge.index, link).map_err(refused)?;
    }
    if let Err(error) = forget_own_addresses(rtnl, bridge.index) {
        tracing::warn!(
            "{name} keeps frames for the ports' own addresses to itself while no bridge of ours runs ({error}); the \
             kernel refuses otherwise"
        );
    }
    if !bridge.flags.contains(LinkFlags::Up) {
        // Last: from here on it forwards.
        set_flags(rtnl, bridge.index, LinkFlags::Up).map_err(refused("bringing the bridge up"))?;
    }
    Ok(())
}

/// Takes a port out of the bridge; tells whether it was in.
pub(super) fn release(rtnl: &mut Rtnl, name: &str, link: &Link) -> Result<bool, Error> {
    let refused = |error| Error::refused("taking the interface out of its bridge", link.name(), error);
    let Some(bridge) = rtnl.link_named(name).map_err(refused)? else { return Ok(false) };
    let facts = rtnl.link(link.index()).map_err(refused)?;
    let inside = facts.is_some_and(|facts| facts.master == bridge.index);
    if inside {
        set(rtnl, link.index(), vec![LinkAttribute::Controller(0)]).map_err(refused)?;
    }
    Ok(inside)
}

/// Removes the bridge if it has no ports left; tells whether it did.
pub(super) fn remove_if_empty(rtnl: &mut Rtnl, name: &str) -> Result<bool, Error> {
    let refused = |error| Error::refused("removing the bridge", name, error);
    let bridge = rtnl.link_named(name).map_err(refused)?;
    let Some(bridge) = bridge.filter(|bridge| bridge.kind == Some(InfoKind::Bridge)) else { return Ok(false) };
    let empty = ports(rtnl, bridge.index).map_err(refused)?.is_empty();
    if empty {
        let mut message = LinkMessage::default();
        message.header.index = bridge.index;
        rtnl.tell(RouteNetlinkMessage::DelLink(message), 0).map_err(refused)?;
    }
    Ok(empty)
}

fn ports(rtnl: &mut Rtnl, bridge: u32) -> io::Result<Vec<Facts>> {
    Ok(rtnl.links()?.into_iter().filter(|link| link.master == bridge).collect())
}

/// Makes the bridge, down and without ports.
fn make(rtnl: &mut Rtnl, name: &str, inside: u32) -> io::Result<()> {
    let [a, b, c, d] = inside.to_be_bytes();
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        // Local and of its own: otherwise it changes whenever a port comes or goes, and each time takes frames for itself.
        LinkAttribute::Address(vec![0x02, b't', a, b, c, d]),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(InfoData::Bridge(needed()))]),
    ];
    rtnl.tell(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// What the bridge must be, and what isn't so by itself.
fn needed() -> Vec<InfoBridge> {
    vec![InfoBridge::StpState(BridgeStpState::Disabled), InfoBridge::MulticastSnooping(false)]
}

/// What the bridge is by itself, unless someone changed it.
const UNTOUCHED: [InfoBridge; 4] = [
    // A kernel without VLAN filtering knows no such setting, so it is only sent where it reads as on.
    InfoBridge::VlanFiltering(false),
    InfoBridge::NfCallIpTables(false),
    InfoBridge::NfCallIp6Tables(false),
    InfoBridge::NfCallArpTables(false),
];

/// What a port of the bridge must be, and what isn't so by itself.
const PORT_NEEDED: [InfoBridgePort; 5] = [
    InfoBridgePort::GroupFwdMask(GROUPS),
    InfoBridgePort::Learning(false),
    InfoBridgePort::UnicastFlood(true),
    InfoBridgePort::MulticastFlood(true),
    InfoBridgePort::BroadcastFlood(true),
];

/// What a port of the bridge is by itself, unless someone changed it.
const PORT_UNTOUCHED: [InfoBridgePort; 6] = [
    InfoBridgePort::HairpinMode(false),
    InfoBridgePort::ProxyARP(false),
    InfoBridgePort::ProxyARPWifi(false),
    InfoBridgePort::NeighSupress(false),
    InfoBridgePort::Isolated(false),
    InfoBridgePort::Locked(false),
];

/// The settings that have to be changed: needed ones that aren't `found`, and others that are found to be different.
fn different<S: PartialEq + Clone>(needed: &[S], untouched: &[S], found: &[S]) -> Vec<S> {
    let reported = |setting: &&S| found.iter().any(|other| discriminant(other) == discriminant(*setting));
    let wanted = needed.iter().chain(untouched.iter().filter(reported));
    wanted.filter(|setting| !found.contains(setting)).cloned().collect()
}

/// Brings the bridge itself to what it should be.
fn settle(rtnl: &mut Rtnl, bridge: &Facts, wire: &[Link; 2]) -> io::Result<()> {
    let settings = different(&needed(), &UNTOUCHED, &bridge.bridge);
    if !settings.is_empty() {
        let info = vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(InfoData::Bridge(settings))];
        change(rtnl, bridge.index, info)?;
    }
    let alias = format!("{ALIAS}{} - {}", wire[0].name(), wire[1].name());
    if bridge.alias != alias {
        set(rtnl, bridge.index, vec![LinkAttribute::IfAlias(alias)])?;
    }
    Voice::of(bridge)?.silent().give(rtnl, bridge)?;
    Ok(())
}

/// Brings a port into the bridge and to what it should be there.
fn take(rtnl: &mut Rtnl, bridge: u32, link: &Link) -> io::Result<()> {
    let gone = || io::Error::from_raw_os_error(libc::ENODEV);
    let mut facts = rtnl.link(link.index())?.ok_or_else(gone)?;
    if facts.master != bridge {
        set(rtnl, link.index(), vec![LinkAttribute::Controller(bridge)])?;
        facts = rtnl.link(link.index())?.ok_or_else(gone)?;
    }
    let mut settings = different(&PORT_NEEDED, &PORT_UNTOUCHED, &facts.port);
    if settings.contains(&InfoBridgePort::Learning(false)) {
        // What it learned until now would send frames back where a host no longer is.
        settings.push(InfoBridgePort::Flush);
    }
    // Without spanning tree nothing but a hand blocks a port.
    let blocked = [BridgePortState::Listening, BridgePortState::Learning, BridgePortState::Blocking];
    if blocked.into_iter().any(|state| facts.port.contains(&InfoBridgePort::State(state))) {
        settings.push(InfoBridgePort::State(BridgePortState::Forwarding));
    }
    if settings.is_empty() {
        return Ok(());
    }
    let data = LinkInfo::PortData(InfoPortData::BridgePort(settings));
    change(rtnl, link.index(), vec![LinkInfo::PortKind(InfoPortKind::Bridge), data])
}

/// Removes the entries for the ports' and the bridge's own addresses, so that frames to those pass like all others.
fn forget_own_addresses(rtnl: &mut Rtnl, bridge: u32) -> io::Result<()> {
    for entry in rtnl.local_entries(bridge)? {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = entry.index;
        message.header.state = NeighbourState::Permanent;
        // The bridge answers for itself, and for its ports as their master.
        message.header.flags = if entry.index == bridge { NeighbourFlags::Own } else { NeighbourFlags::Controller };
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(entry.address));
        rtnl.tell(RouteNetlinkMessage::DelNeighbour(message), 0)?;
    }
    Ok(())
}

fn set(rtnl: &mut Rtnl, index: u32, attributes: Vec<LinkAttribute>) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = attributes;
    rtnl.tell(RouteNetlinkMessage::SetLink(message), 0)
}

fn set_flags(rtnl: &mut Rtnl, index: u32, flags: LinkFlags) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = flags;
    message.header.change_mask = flags;
    rtnl.tell(RouteNetlinkMessage::SetLink(message), 0)
}

/// Changes the settings that belong to the kind of an interface, or to its being a port.
fn change(rtnl: &mut Rtnl, index: u32, info: Vec<LinkInfo>) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::LinkInfo(info));
    rtnl.tell(RouteNetlinkMessage::NewLink(message), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_changed() {
        let mut found = PORT_NEEDED.to_vec();
        assert_eq!(different(&PORT_NEEDED, &PORT_UNTOUCHED, &found), []);
        found[1] = InfoBridgePort::Learning(true);
        found.push(InfoBridgePort::Isolated(true));
        found.push(InfoBridgePort::Locked(false));
        let settings = different(&PORT_NEEDED, &PORT_UNTOUCHED, &found);
        assert_eq!(settings, [InfoBridgePort::Learning(false), InfoBridgePort::Isolated(false)]);
        // Nothing reported: what isn't so by itself is set, the rest is left alone.
        assert_eq!(different(&PORT_NEEDED, &PORT_UNTOUCHED, &[]), PORT_NEEDED);
        assert_eq!(different(&needed(), &UNTOUCHED, &[InfoBridge::VlanFiltering(true)]).len(), 3);
    }
}
