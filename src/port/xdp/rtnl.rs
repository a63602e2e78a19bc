//! Route netlink: what the kernel knows of interfaces, addresses, routes and bridge entries, asked and told.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::{io, iter};

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NlaBuffer, NlasIterator, Parseable,
    ParseableParametrized,
};
use netlink_packet_route::address::{AddressMessage, AddressProtocol};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkHeader, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::{AddressFamily as Domain, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// Types of messages that every netlink protocol has (linux/netlink.h).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Bytes of the largest datagram that the kernel sends: it cuts longer answers in several.
const DATAGRAM_MAX: usize = 64 << 10;

/// A socket for questions and orders about the network namespace in which it was opened. Each waits for its answer.
#[derive(Debug)]
pub(super) struct Rtnl {
    socket: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

/// What the kernel says of an interface, as far as a port or its bridge cares.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) flags: LinkFlags,
    pub(super) carrier: bool,
    /// The hardware address.
    pub(super) hardware: Vec<u8>,
    /// The bridge or bond above; zero for none.
    pub(super) master: u32,
    pub(super) kind: Option<InfoKind>,
    /// The settings of a bridge.
    pub(super) bridge: Vec<InfoBridge>,
    /// The settings of a port of a bridge.
    pub(super) port: Vec<InfoBridgePort>,
    pub(super) alias: String,
    /// How IPv6 makes addresses; none where there is no IPv6.
    pub(super) address_generation: Option<u8>,
}

/// An address of an interface.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
    /// The kernel made it for the link; known since Linux 5.18.
    pub(super) made_for_link: bool,
}

/// An address at which a bridge takes frames for itself.
#[derive(Debug)]
pub(super) struct LocalEntry {
    /// The port, or the bridge itself.
    pub(super) index: u32,
    pub(super) address: Vec<u8>,
}

impl Rtnl {
    /// Opens a socket in this thread's network namespace.
    pub(super) fn open() -> io::Result<Rtnl> {
        // The first protocol of netlink is the route's.
        let socket = socket_with(Domain::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Rtnl { socket, sequence: 0, buffer: vec![0; DATAGRAM_MAX].into() })
    }

    /// The interface with this index, if there is one.
    pub(super) fn link(&mut self, index: u32) -> io::Result<Option<Facts>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.one_link(message)
    }

    /// The interface with this name, if there is one.
    pub(super) fn link_named(&mut self, name: &str) -> io::Result<Option<Facts>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.one_link(message)
    }

    fn one_link(&mut self, mut message: LinkMessage) -> io::Result<Option<Facts>> {
        let mut facts = None;
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let asked = self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_ACK, |answer| facts = read_link(answer));
        match asked {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            asked => asked.map(|()| facts),
        }
    }

    /// All interfaces of the namespace.
    pub(super) fn links(&mut self) -> io::Result<Vec<Facts>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let mut links = Vec::new();
        self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_DUMP, |answer| links.extend(read_link(answer)))?;
        Ok(links)
    }

    /// The addresses of an interface.
    pub(super) fn addresses(&mut self, index: u32) -> io::Result<Vec<Address>> {
        let mut addresses = Vec::new();
        self.ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP, |answer| {
            let of_this = |message: &AddressMessage| message.header.index == index;
            addresses.extend(AddressMessage::parse(answer).ok().filter(of_this).and_then(read_address));
        })?;
        Ok(addresses)
    }

    /// The destinations of the routes that leave by an interface, without those that the kernel makes for its addresses.
    pub(super) fn routes(&mut self, index: u32) -> io::Result<Vec<String>> {
        let mut routes = Vec::new();
        self.ask(RouteNetlinkMessage::GetRoute(RouteMessage::default()), NLM_F_DUMP, |answer| {
            routes.extend(read_route(answer, index));
        })?;
        Ok(routes)
    }

    /// The addresses at which a bridge keeps frames for itself instead of forwarding them.
    pub(super) fn local_entries(&mut self, bridge: u32) -> io::Result<Vec<LocalEntry>> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        let mut entries = Vec::new();
        self.ask(RouteNetlinkMessage::GetNeighbour(message), NLM_F_DUMP, |answer| {
            entries.extend(NeighbourMessage::parse(answer).ok().and_then(|entry| read_entry(entry, bridge)));
        })?;
        Ok(entries)
    }

    /// Gives an order, with more flags than that it is one.
    pub(super) fn tell(&mut self, order: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(order, NLM_F_ACK | flags, |_| ())
    }

    /// Sends a message and hands each answer's payload to `each`, until the last.
    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(&self.socket, &bytes, SendFlags::empty())?;
        loop {
            let receive = || recv(&self.socket, &mut *self.buffer, RecvFlags::TRUNC);
            let (_, len) = rustix::io::retry_on_intr(receive)?;
            let datagram =
                self.buffer.get(..len).ok_or_else(|| io::Error::other("an answer longer than any should be"))?;
            if let Some(end) = read_datagram(datagram, self.sequence, &mut each)? {
                return end;
            }
        }
    }
}

/// Reads the messages of one datagram; gives the kernel's verdict if it is among them.
fn read_datagram(mut rest: &[u8], sequence: u32, each: &mut impl FnMut(&[u8])) -> io::Result<Option<io::Result<()>>> {
    while !rest.is_empty() {
        let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
        // An older number is the rest of an answer that was given up.
        if message.sequence_number() == sequence {
            match message.message_type() {
                NLMSG_ERROR | NLMSG_DONE => return Ok(Some(verdict(message.payload()))),
                _ => each(message.payload()),
            }
        }
        let length = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(None)
}

/// The end of an answer begins with a negative error number, or zero.
fn verdict(payload: &[u8]) -> io::Result<()> {
    match payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes)) {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(-number)),
    }
}

/// The attributes in `bytes`. Those that `read` doesn't understand are left out: a newer kernel may write them otherwise.
fn attributes<A>(bytes: &[u8], read: impl Fn(&NlaBuffer<&[u8]>) -> Option<A>) -> impl Iterator<Item = A> {
    let mut iterator = NlasIterator::new(bytes);
    iter::from_fn(move || iterator.next()?.ok()).filter_map(move |attribute| read(&attribute))
}

fn read_link(payload: &[u8]) -> Option<Facts> {
    let header = LinkHeader::parse(payload).ok()?;
    let mut facts = Facts {
        index: header.index,
        name: String::new(),
        flags: header.flags,
        carrier: false,
        hardware: Vec::new(),
        master: 0,
        kind: None,
        bridge: Vec::new(),
        port: Vec::new(),
        alias: String::new(),
        address_generation: None,
    };
    let read = |attribute: &NlaBuffer<&[u8]>| LinkAttribute::parse_with_param(attribute, header.interface_family).ok();
    for attribute in attributes(payload.get(header.buffer_len()..)?, read) {
        match attribute {
            LinkAttribute::IfName(name) => facts.name = name,
            LinkAttribute::Address(address) => facts.hardware = address,
            LinkAttribute::IfAlias(alias) => facts.alias = alias,
            LinkAttribute::Carrier(carrier) => facts.carrier = carrier != 0,
            LinkAttribute::Controller(master) => facts.master = master,
            LinkAttribute::LinkInfo(info) => info.into_iter().for_each(|info| facts.note(info)),
            LinkAttribute::AfSpecUnspec(families) => facts.address_generation = address_generation(&families),
            _ => {}
        }
    }
    Some(facts)
}

impl Facts {
    fn note(&mut self, info: LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => self.kind = Some(kind),
            LinkInfo::Data(InfoData::Bridge(settings)) => self.bridge = settings,
            LinkInfo::PortData(InfoPortData::BridgePort(settings)) => self.port = settings,
            _ => {}
        }
    }
}

fn address_generation(families: &[AfSpecUnspec]) -> Option<u8> {
    let inet6 = families.iter().filter_map(|family| match family {
        AfSpecUnspec::Inet6(settings) => Some(settings),
        _ => None,
    });
    inet6.flatten().find_map(|setting| match setting {
        AfSpecInet6::AddrGenMode(mode) => Some(mode.into()),
        _ => None,
    })
}

fn read_address(message: AddressMessage) -> Option<Address> {
    use netlink_packet_route::address::AddressAttribute as Attribute;
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        Attribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            Attribute::Address(address) => Some(*address),
            _ => None,
        })
    });
    let made_for_link = message.attributes.contains(&Attribute::Protocol(AddressProtocol::LinkLocal));
    Some(Address { address: address?, prefix: message.header.prefix_len, made_for_link })
}

/// The destination of a route, if it leaves by this interface and is not the kernel's own.
fn read_route(payload: &[u8], index: u32) -> Option<String> {
    let message = RouteMessage::parse(payload).ok()?;
    if message.header.protocol == RouteProtocol::Kernel {
        return None;
    }
    let leaves = message.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Oif(oif) => *oif == index,
        RouteAttribute::MultiPath(hops) => hops.iter().any(|hop| hop.interface_index == index),
        _ => false,
    });
    leaves.then(|| destination(&message.header, &message.attributes))
}

fn destination(header: &RouteHeader, attributes: &[RouteAttribute]) -> String {
    let address = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::from(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::from(*address)),
        _ => None,
    });
    match address {
        Some(address) => format!("{address}/{}", header.destination_prefix_length),
        None => "default".to_owned(),
    }
}

fn read_entry(message: NeighbourMessage, bridge: u32) -> Option<LocalEntry> {
    let of_bridge = message.attributes.contains(&NeighbourAttribute::Controller(bridge));
    // Lookups of a bridge without VLAN filtering are in VLAN 0, which isn't written.
    let tagged = message.attributes.iter().any(|attribute| matches!(attribute, NeighbourAttribute::Vlan(_)));
    let address = message.attributes.into_iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(address) => Some(address),
        _ => None,
    });
    let local = message.header.state == NeighbourState::Permanent && of_bridge && !tagged;
    Some(LocalEntry { index: message.header.ifindex, address: address? }).filter(|_| local)
}
