//! `Packet::parse` against `etherparse`: on frames that it builds, on the same frames broken, and on noise.

use etherparse::{
    IpAuthHeader, IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6FragmentHeader,
    Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions, LaxIpv4Slice, LaxIpv6Slice, LaxLinkExtSlice, LaxNetSlice,
    LaxSlicedPacket, PacketBuilder, SlicedPacket, TransportSlice, VlanId,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tidegate::wire::{Extension, Fragment, Network, Packet, TcpFlags, protocol};

/// How many tags `etherparse` follows.
const THEIR_TAGS: usize = 3;

/// What IP carries.
#[derive(Clone, Debug)]
enum Transport {
    Tcp(u16, u16),
    Udp(u16, u16),
    Icmp(u8, u8),
    Other(u8),
}

fn transport() -> impl Strategy<Value = Transport> {
    // No extension headers, nor what etherparse would read as another of its layers.
    let other = select(vec![0x2e_u8, 47, 50, 59, 89, 103, 132, 136, 253]);
    prop_oneof![
        any::<(u16, u16)>().prop_map(|(source, destination)| Transport::Tcp(source, destination)),
        any::<(u16, u16)>().prop_map(|(source, destination)| Transport::Udp(source, destination)),
        (130..=255_u8, any::<u8>()).prop_map(|(kind, code)| Transport::Icmp(kind, code)),
        other.prop_map(Transport::Other),
    ]
}

/// Offset in units of 8 bytes and "more fragments", whole packets half of the time.
fn fragment() -> impl Strategy<Value = (IpFragOffset, bool)> {
    let offset = prop_oneof![Just(0), 1..0x2000_u16].prop_map(|offset| IpFragOffset::try_new(offset).unwrap());
    prop_oneof![Just((IpFragOffset::ZERO, false)), (offset, any::<bool>())]
}

prop_compose! {
    fn ipv4()(
        source: [u8; 4], destination: [u8; 4], ds_field: u8, dont_fragment: bool, fragment in fragment(), options in 0..=10_usize,
    ) -> IpHeaders {
        let mut header = Ipv4Header {
            dscp: (ds_field >> 2).try_into().unwrap(),
            ecn: (ds_field & 3).try_into().unwrap(),
            source,
            destination,
            dont_fragment,
            fragment_offset: fragment.0,
            more_fragments: fragment.1,
            ..Default::default()
        };
        header.options = vec![1; options * 4].as_slice().try_into().unwrap();
        IpHeaders::Ipv4(header, Ipv4Extensions::default())
    }
}

/// An extension header of 8 to 80 bytes.
fn extension() -> impl Strategy<Value = Ipv6RawExtHeader> {
    (0..=9_usize).prop_map(|units| Ipv6RawExtHeader::new_raw(IpNumber::TCP, &vec![0; 6 + 8 * units]).unwrap())
}

prop_compose! {
    fn ipv6()(
        source: [u8; 16], destination: [u8; 16], traffic_class: u8, hop_by_hop in of(extension()), options in of(extension()),
        routing in of((extension(), of(extension()))), fragment in of(fragment()), auth in of(0..=9_usize),
    ) -> IpHeaders {
        let header = Ipv6Header { traffic_class, source, destination, ..Default::default() };
        let extensions = Ipv6Extensions {
            hop_by_hop_options: hop_by_hop,
            destination_options: options,
            routing: routing
                .map(|(routing, last)| Ipv6RoutingExtensions { routing, final_destination_options: last }),
            fragment: fragment.map(|(offset, more)| Ipv6FragmentHeader::new(IpNumber::TCP, offset, more, 7)),
            auth: auth.map(|units| IpAuthHeader::new(IpNumber::TCP, 1, 2, &vec![0; 4 + 8 * units]).unwrap()),
        };
        IpHeaders::Ipv6(header, extensions)
    }
}

prop_compose! {
    /// A frame of zero to two tags, IP, a transport layer, a payload and padding.
    fn frame()(
        tags in vec(0..0x1000_u16, 0..=2), ip in prop_oneof![ipv4(), ipv6()], transport in transport(),
        payload in vec(any::<u8>(), 0..40), padding in 0..20_usize,
    ) -> Vec<u8> {
        let is_ipv4 = matches!(ip, IpHeaders::Ipv4(..));
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let tag = |at: usize| VlanId::try_new(tags[at]).unwrap();
        let builder = match tags.len() {
            0 => link.ip(ip),
            1 => link.single_vlan(tag(0)).ip(ip),
            _ => link.double_vlan(tag(0), tag(1)).ip(ip),
        };
        let mut bytes = Vec::new();
        match transport {
            Transport::Tcp(source, destination) => {
                builder.tcp(source, destination, 1, 1024).syn().write(&mut bytes, &payload).unwrap();
            }
            Transport::Udp(source, destination) => builder.udp(source, destination).write(&mut bytes, &payload).unwrap(),
            Transport::Icmp(kind, code) if is_ipv4 => {
                builder.icmpv4_raw(kind, code, [0; 4]).write(&mut bytes, &payload).unwrap();
            }
            Transport::Icmp(kind, code) => builder.icmpv6_raw(kind, code, [0; 4]).write(&mut bytes, &payload).unwrap(),
            Transport::Other(number) => builder.write(&mut bytes, IpNumber(number), &payload).unwrap(),
        }
        bytes.resize(bytes.len() + padding, 0xee);
        bytes
    }
}

/// Compares all that both say; returns whether etherparse found an IP header that we refused.
fn compare(frame: &[u8]) -> bool {
    let ours = Packet::parse(frame);
    let Ok(theirs) = LaxSlicedPacket::from_ethernet(frame) else {
        assert!(frame.len() < 14);
        assert_eq!((ours.ethertype, ours.network), (0, Network::Other));
        return false;
    };
    let mut tags = 0;
    for extension in &theirs.link_exts {
        let LaxLinkExtSlice::Vlan(tag) = extension else { return false };
        if let Some(&id) = ours.vlan.get(tags) {
            assert_eq!(id, tag.vlan_identifier().value());
        }
        tags += 1;
        if tags == ours.vlan_tags as usize {
            assert_eq!(ours.ethertype, tag.ether_type().0);
        }
    }
    assert!(tags <= ours.vlan_tags as usize);
    if tags < ours.vlan_tags as usize {
        let next = u16::from_be_bytes([frame[12 + 4 * tags], frame[13 + 4 * tags]]);
        assert!(tags == THEIR_TAGS || next == 0x9200, "we found a tag of type {next:#06x} more");
        return false;
    }
    match &theirs.net {
        Some(LaxNetSlice::Ipv4(ip)) if ours.ethertype == 0x0800 => compare_ipv4(frame, ours, ip, &theirs.transport),
        Some(LaxNetSlice::Ipv6(ip)) if ours.ethertype == 0x86dd => compare_ipv6(frame, ours, ip, &theirs.transport),
        // The version contradicts the type: etherparse believes the version.
        Some(LaxNetSlice::Ipv4(_) | LaxNetSlice::Ipv6(_)) => {
            assert_eq!(ours.network, Network::Other);
            true
        }
        Some(LaxNetSlice::Arp(_)) => {
            assert_eq!(ours.network, Network::Arp);
            false
        }
        // Layers that only we know, or an ARP packet that was cut.
        None if ours.mpls_labels > 0 || ours.pppoe || ours.network == Network::Arp => false,
        None => {
            assert_eq!(ours.network, Network::Other);
            false
        }
    }
}

fn compare_ipv4(frame: &[u8], ours: Packet, theirs: &LaxIpv4Slice, transport: &Option<TransportSlice>) -> bool {
    let header = theirs.header();
    if (1..header.slice().len()).contains(&header.total_len().into()) {
        assert_eq!(ours.network, Network::Other, "the total length ends within the header");
        return true;
    }
    assert_eq!(ours.network, Network::Ipv4);
    let addresses = [header.source_addr(), header.destination_addr()].map(|a| a.to_ipv6_mapped().octets());
    assert_eq!(ours.addresses(frame), Some(addresses.into()));
    let ip = ours.ipv4(frame).unwrap();
    assert_eq!(ip.options(), header.options());
    assert_eq!(ip.identification(), header.identification());
    assert_eq!(ip.time_to_live(), header.ttl());
    assert_eq!(ours.ds_field, header.dcp().value() << 2 | header.ecn().value());
    assert_eq!(ours.protocol, header.protocol().0);
    let offset = header.fragments_offset().value();
    assert_eq!(ours.fragment == Fragment::Later, offset != 0);
    assert_eq!(ours.fragment == Fragment::First, offset == 0 && header.more_fragments());
    // They follow an authentication header here too; for us it is what IPv4 carries.
    if ours.protocol != protocol::AH {
        compare_transport(frame, ours, theirs.payload().payload, transport);
    }
    false
}

fn compare_ipv6(frame: &[u8], ours: Packet, theirs: &LaxIpv6Slice, transport: &Option<TransportSlice>) -> bool {
    let header = theirs.header();
    assert_eq!(ours.network, Network::Ipv6);
    assert_eq!(ours.addresses(frame), Some((header.source(), header.destination())));
    assert_eq!(ours.ds_field, header.traffic_class());
    let ip = ours.ipv6(frame).unwrap();
    assert_eq!(ip.next_header(), header.next_header().0);
    assert_eq!(ip.flow_label(), header.flow_label().value());
    assert_eq!(ip.hop_limit(), header.hop_limit());
    let number = theirs.payload().ip_number.0;
    if Extension::announced_by(number) {
        // They stopped: the header is cut, stands where it mustn't, or is none that they know. We may have gone on.
        return false;
    }
    if header.payload_length() == 0 && number == protocol::NO_NEXT_HEADER {
        // They take the padding for a payload.
        return false;
    }
    assert_eq!(ours.fragment != Fragment::Whole, theirs.is_payload_fragmented());
    if ours.fragment != Fragment::Later {
        assert_eq!(ours.protocol, number);
    }
    compare_transport(frame, ours, theirs.payload().payload, transport);
    false
}

/// `carried` is what IP carries for etherparse.
fn compare_transport(frame: &[u8], ours: Packet, carried: &[u8], theirs: &Option<TransportSlice>) {
    let ports = (ours.source_port, ours.destination_port);
    if ours.fragment == Fragment::Later {
        assert!(ours.transport(frame).is_empty());
        assert_eq!(ports, (0, 0));
    } else {
        assert_eq!(ours.transport(frame), carried);
        let wanted = match *carried {
            [a, b, c, d, ..] if protocol::has_ports(ours.protocol) => {
                (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
            }
            [kind, code, ..] if matches!(ours.protocol, protocol::ICMP | protocol::ICMPV6) => {
                (kind.into(), code.into())
            }
            _ => (0, 0),
        };
        assert_eq!(ports, wanted);
    }
    match theirs {
        Some(TransportSlice::Tcp(tcp)) => {
            assert_eq!(ports, (tcp.source_port(), tcp.destination_port()));
            let segment = ours.tcp(frame).unwrap();
            assert_eq!(segment.sequence(), tcp.sequence_number());
            assert_eq!(segment.window(), tcp.window_size());
            assert_eq!(segment.options(), tcp.options());
            assert_eq!(segment.flags().contains(TcpFlags::SYN), tcp.syn());
            assert_eq!(segment.flags().contains(TcpFlags::FIN), tcp.fin());
            assert_eq!(ours.payload(frame), Some(tcp.payload()));
        }
        Some(TransportSlice::Udp(udp)) => {
            assert_eq!(ports, (udp.source_port(), udp.destination_port()));
            // A length of less than its header: they take what is there, or nothing.
            if !(1..8).contains(&udp.length()) {
                assert_eq!(ours.payload(frame), Some(udp.payload()));
            }
        }
        Some(TransportSlice::Icmpv4(icmp)) => assert_eq!(ports, (icmp.type_u8().into(), icmp.code_u8().into())),
        Some(TransportSlice::Icmpv6(icmp)) => assert_eq!(ports, (icmp.type_u8().into(), icmp.code_u8().into())),
        Some(TransportSlice::Igmp(_)) => assert_eq!(ours.protocol, 2),
        None if ours.fragment == Fragment::Whole => {
            assert!(ours.tcp(frame).is_none(), "a TCP header that they don't see");
            assert!(ours.udp(frame).is_none(), "a UDP header that they don't see");
        }
        None => {}
    }
    if let (Some(offset), Some(payload)) = (ours.payload_offset(frame), ours.payload(frame)) {
        assert_eq!(&frame[offset..][..payload.len()], payload);
    }
}

/// Overwrites some bytes near the front, where the headers are, and cuts the frame.
fn broken(mut frame: Vec<u8>, changes: Vec<(Index, u8)>, cut: Option<Index>) -> Vec<u8> {
    for (at, value) in changes {
        let at = at.index(frame.len().min(120));
        frame[at] = value;
    }
    if let Some(len) = cut {
        frame.truncate(len.index(frame.len() + 1));
    }
    frame
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn valid_frames(frame in frame()) {
        let theirs = SlicedPacket::from_ethernet(&frame).unwrap();
        prop_assert!(theirs.net.is_some());
        prop_assert!(!compare(&frame), "we refused a valid header");
    }

    #[test]
    fn broken_frames(frame in frame(), changes in vec(any::<(Index, u8)>(), 0..4), cut in of(any::<Index>())) {
        compare(&broken(frame, changes, cut));
    }

    #[test]
    fn noise(ethertype in select(vec![0_u16, 0x0800, 0x0806, 0x8100, 0x86dd, 0x8847, 0x8864, 0x88a8, 0x9200]),
             mut bytes in vec(prop_oneof![any::<u8>(), select(vec![0, 0x11, 0x45, 0x60, 0x81])], 0..200)) {
        if bytes.len() >= 14 {
            bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
        }
        compare(&bytes);
        let packet = Packet::parse(&bytes);
        prop_assert!(usize::from(packet.network_offset.max(packet.transport_offset)) <= bytes.len());
        let _ = (packet.addresses(&bytes), packet.payload(&bytes), packet.payload_offset(&bytes), packet.tcp(&bytes));
    }
}
