//! The walk from the MAC header to the ports: one pass, no copy, every loop with its limit.
//!
//! Each step returns what it read, and the packet is put together once at the end: fields that are written to memory one
//! by one and then copied as wider words cost more than the whole walk.

use std::ops::Range;

use super::ethertype::{ARP, IPV4, IPV6, MPLS, MPLS_MULTICAST, PPPOE_SESSION};
use super::{Ethernet, Extension, Ipv4, Ipv6, Label, MAX_EXTENSIONS, MAX_LABELS, MAX_TAGS, Pppoe, Vlan, ppp, protocol};
use super::{Fragment, Network, Packet};

impl Packet {
    /// Reads a frame from its MAC header on; any bytes will do, and what can't be understood is absent.
    ///
    /// A frame longer than 65535 bytes is read as if it were cut there.
    #[inline(always)]
    pub fn parse(frame: &[u8]) -> Packet {
        let frame = &frame[..frame.len().min(u16::MAX as usize)];
        let tags = Tags::read(frame);
        let inner = match tags.ethertype {
            IPV4 => Inner { network: Network::Ipv4, at: tags.end, mpls_labels: 0, pppoe: false },
            IPV6 => Inner { network: Network::Ipv6, at: tags.end, mpls_labels: 0, pppoe: false },
            ARP => Inner { network: Network::Arp, at: tags.end, mpls_labels: 0, pppoe: false },
            PPPOE_SESSION => Inner::behind_pppoe(frame, tags.end),
            MPLS | MPLS_MULTICAST => Inner::behind_mpls(frame, tags.end),
            _ => Inner::unknown(),
        };
        let ip = match inner.network {
            Network::Ipv4 => Ip::read_v4(frame, inner.at),
            Network::Ipv6 => Ip::read_v6(frame, inner.at),
            Network::Arp | Network::Other => None,
        };
        let (network, network_offset) = match (inner.network, &ip) {
            (Network::Ipv4 | Network::Ipv6, None) | (Network::Other, _) => (Network::Other, frame.len()),
            (network, _) => (network, inner.at),
        };
        let ip = ip.unwrap_or(Ip { protocol: 0, ds_field: 0, fragment: Fragment::Whole, transport: 0..0 });
        let transport = frame.get(ip.transport.clone()).unwrap_or_default();
        let (source_port, destination_port) = ports(ip.protocol, transport);
        let transport_offset = if transport.is_empty() { frame.len() } else { ip.transport.start };
        Packet {
            vlan_tags: tags.count,
            vlan: tags.ids,
            ethertype: tags.ethertype,
            mpls_labels: inner.mpls_labels,
            pppoe: inner.pppoe,
            network,
            network_offset: network_offset as u16,
            protocol: ip.protocol,
            ds_field: ip.ds_field,
            fragment: ip.fragment,
            transport_offset: transport_offset as u16,
            source_port,
            destination_port,
        }
    }
}

/// The VLAN tags, and what follows them.
struct Tags {
    count: u8,
    ids: [u16; 2],
    ethertype: u16,
    end: usize,
}

impl Tags {
    #[inline(always)]
    fn read(frame: &[u8]) -> Tags {
        let mut tags = Tags { count: 0, ids: [0; 2], ethertype: 0, end: Ethernet::LEN };
        let Some(ethernet) = Ethernet::new(frame) else { return tags };
        tags.ethertype = ethernet.ethertype();
        while Vlan::announced_by(tags.ethertype) && tags.count < MAX_TAGS {
            let Some(tag) = frame.get(tags.end..).and_then(Vlan::new) else { break };
            match tags.count {
                0 => tags.ids[0] = tag.id(),
                1 => tags.ids[1] = tag.id(),
                _ => {}
            }
            tags.count += 1;
            tags.ethertype = tag.ethertype();
            tags.end += Vlan::LEN;
        }
        tags
    }
}

/// The network layer as the layers below announce it, and those that stand between it and the tags.
struct Inner {
    network: Network,
    at: usize,
    mpls_labels: u8,
    pppoe: bool,
}

impl Inner {
    const fn unknown() -> Inner {
        Inner { network: Network::Other, at: 0, mpls_labels: 0, pppoe: false }
    }

    fn behind_pppoe(frame: &[u8], at: usize) -> Inner {
        let Some(pppoe) = frame.get(at..).and_then(Pppoe::new) else { return Inner::unknown() };
        let network = match pppoe.protocol() {
            ppp::IPV4 => Network::Ipv4,
            ppp::IPV6 => Network::Ipv6,
            _ => Network::Other,
        };
        Inner { network, at: at + Pppoe::LEN, mpls_labels: 0, pppoe: true }
    }

    fn behind_mpls(frame: &[u8], mut at: usize) -> Inner {
        let mut labels = 0;
        let mut network = Network::Other;
        while labels < MAX_LABELS {
            let Some(label) = frame.get(at..).and_then(Label::new) else { break };
            labels += 1;
            at += Label::LEN;
            if label.bottom() {
                // The label alone says what follows, and only its routers know: like them, guess by the first nibble
                // (RFC 4928, section 3). A pseudowire's control word begins with zero.
                network = match frame.get(at).map(|byte| byte >> 4) {
                    Some(4) => Network::Ipv4,
                    Some(6) => Network::Ipv6,
                    _ => Network::Other,
                };
                break;
            }
        }
        Inner { network, at, mpls_labels: labels, pppoe: false }
    }
}

/// What the IP header and its extension headers say.
struct Ip {
    protocol: u8,
    ds_field: u8,
    fragment: Fragment,
    /// The payload without the padding of the frame; empty if it can't be read.
    transport: Range<usize>,
}

impl Ip {
    #[inline(always)]
    fn read_v4(frame: &[u8], at: usize) -> Option<Ip> {
        let ip = Ipv4::new(frame.get(at..)?)?;
        let fragment = Fragment::of(ip.fragment_offset(), ip.more_fragments());
        let transport = match fragment {
            Fragment::Later => 0..0,
            Fragment::Whole | Fragment::First => at + ip.header_len()..frame.len().min(at + ip.total_len()),
        };
        Some(Ip { protocol: ip.protocol(), ds_field: ip.ds_field(), fragment, transport })
    }

    #[inline(always)]
    fn read_v6(frame: &[u8], at: usize) -> Option<Ip> {
        let ip = Ipv6::new(frame.get(at..)?)?;
        let end = frame.len().min(at + ip.total_len());
        let (protocol, fragment, start) = match ip.next_header() {
            kind if Extension::announced_by(kind) => follow_extensions(&frame[..end], at + Ipv6::LEN, kind),
            protocol => (protocol, Fragment::Whole, at + Ipv6::LEN),
        };
        Some(Ip { protocol, ds_field: ip.ds_field(), fragment, transport: start..end })
    }
}

/// Follows a chain of extension headers to the protocol behind it and where that begins: at the end of the packet, which
/// is the frame's here, if it can't be read.
fn follow_extensions(packet: &[u8], mut at: usize, mut kind: u8) -> (u8, Fragment, usize) {
    let mut fragment = Fragment::Whole;
    for _ in 0..MAX_EXTENSIONS {
        let Some(extension) = packet.get(at..).and_then(|bytes| Extension::new(kind, bytes)) else { break };
        kind = extension.next_header();
        at += extension.len();
        match extension.fragment() {
            // An atomic fragment (RFC 6946), which takes nothing back if it stands behind a real one.
            None | Some((0, false)) => {}
            Some((0, true)) => fragment = Fragment::First,
            Some(_) => return (kind, Fragment::Later, packet.len()),
        }
        if !Extension::announced_by(kind) {
            return (kind, fragment, at);
        }
    }
    (kind, fragment, packet.len())
}

/// The ports, or type and code, at the front of what IP carries.
#[inline(always)]
fn ports(number: u8, transport: &[u8]) -> (u16, u16) {
    match *transport {
        [a, b, c, d, ..] if protocol::has_ports(number) => (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
        [kind, code, ..] if matches!(number, protocol::ICMP | protocol::ICMPV6) => (kind.into(), code.into()),
        _ => (0, 0),
    }
}

impl Fragment {
    /// What an offset and "more fragments" say.
    #[inline]
    const fn of(offset: u16, more: bool) -> Fragment {
        match (offset, more) {
            (0, false) => Fragment::Whole,
            (0, true) => Fragment::First,
            _ => Fragment::Later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses that no test looks at.
    const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    const TCP_PORTS: [u8; 4] = [0xc0, 0x01, 0x01, 0xbb];

    fn frame(parts: &[&[u8]]) -> Vec<u8> {
        [&[&MACS[..]], parts].concat().concat()
    }

    fn ipv4(flags_and_offset: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut ip = vec![0x45, 0xb8, 0, 20 + payload.len() as u8, 0, 1, 0, 0, 64, protocol, 0, 0];
        ip[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
        [&ip[..], &[10, 0, 0, 1, 10, 0, 0, 2], payload].concat()
    }

    fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let fixed = [0x6b, 0x80, 0, 0, 0, payload.len() as u8, next_header, 64];
        [&fixed[..], &[0xfe; 16], &[0xfd; 16], payload].concat()
    }

    fn ports(packet: Packet) -> (u16, u16) {
        (packet.source_port, packet.destination_port)
    }

    #[test]
    fn plain_ipv4_in_a_padded_frame() {
        let mut bytes = frame(&[&[0x08, 0x00], &ipv4(0x4000, protocol::UDP, &[0, 53, 0xc0, 1, 0, 9, 0, 0, 7])]);
        bytes.resize(60, 0xee);
        let packet = Packet::parse(&bytes);
        assert_eq!((packet.network, packet.network_offset, packet.transport_offset), (Network::Ipv4, 14, 34));
        assert_eq!((packet.protocol, packet.ds_field, packet.dscp()), (protocol::UDP, 0xb8, 46));
        assert_eq!(packet.fragment, Fragment::Whole);
        assert_eq!(ports(packet), (53, 0xc001));
        assert_eq!(packet.payload(&bytes), Some(&[7][..]));
        assert_eq!(packet.payload_offset(&bytes), Some(42));
        let (source, destination) = packet.addresses(&bytes).unwrap();
        assert_eq!(source, std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets());
        assert_eq!(destination, std::net::Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped().octets());
    }

    #[test]
    fn padding_is_no_transport_header() {
        let mut bytes = frame(&[&[0x08, 0x00], &ipv4(0, protocol::TCP, &[1, 2])]);
        bytes.resize(60, 0xee);
        let packet = Packet::parse(&bytes);
        assert_eq!((packet.transport_offset, ports(packet)), (34, (0, 0)));
        bytes[17] = 20;
        let packet = Packet::parse(&bytes);
        assert_eq!((packet.transport_offset, ports(packet)), (60, (0, 0)));
        assert!(packet.transport(&bytes).is_empty());
    }

    #[test]
    fn a_payload_that_was_cut_short_still_has_ports() {
        let whole = frame(&[&[0x08, 0x00], &ipv4(0, protocol::TCP, &[&TCP_PORTS[..], &[0; 36]].concat())]);
        assert_eq!(ports(Packet::parse(&whole[..38])), (0xc001, 443));
        assert_eq!(ports(Packet::parse(&whole[..37])), (0, 0));
        assert!(Packet::parse(&whole[..38]).tcp(&whole[..38]).is_none());
        let header_only = Packet::parse(&whole[..34]);
        assert_eq!((header_only.network, header_only.transport_offset), (Network::Ipv4, 34));
        assert_eq!(Packet::parse(&whole[..33]).network, Network::Other);
    }

    #[test]
    fn fragments() {
        for (field, fragment, offset, wanted) in [
            (0x2000, Fragment::First, 34, (0xc001, 443)),
            (0x2001, Fragment::Later, 38, (0, 0)),
            (0x0001, Fragment::Later, 38, (0, 0)),
            (0x8000, Fragment::Whole, 34, (0xc001, 443)),
        ] {
            let packet = Packet::parse(&frame(&[&[0x08, 0x00], &ipv4(field, protocol::TCP, &TCP_PORTS)]));
            assert_eq!((packet.fragment, packet.transport_offset), (fragment, offset), "{field:#06x}");
            assert_eq!((packet.protocol, ports(packet)), (protocol::TCP, wanted), "{field:#06x}");
        }
        for (field, fragment, wanted) in [
            (0x0000_u16, Fragment::Whole, (0xc001, 443)),
            (0x0001, Fragment::First, (0xc001, 443)),
            (0x0008, Fragment::Later, (0, 0)),
        ] {
            let [high, low] = field.to_be_bytes();
            let payload = [&[protocol::TCP, 0, high, low, 0, 0, 0, 1][..], &TCP_PORTS].concat();
            let packet = Packet::parse(&frame(&[&[0x86, 0xdd], &ipv6(protocol::FRAGMENT, &payload)]));
            assert_eq!((packet.fragment, packet.protocol), (fragment, protocol::TCP), "{field:#06x}");
            assert_eq!(ports(packet), wanted, "{field:#06x}");
        }
    }

    #[test]
    fn the_strongest_of_several_fragment_headers_counts() {
        use protocol::{FRAGMENT, TCP};
        let (whole, first, later) = (0, 1, 8);
        for (fields, fragment) in [
            ([first, whole], Fragment::First),
            ([whole, first], Fragment::First),
            ([whole, later], Fragment::Later),
            ([first, later], Fragment::Later),
            ([later, whole], Fragment::Later),
        ] {
            let headers = [[FRAGMENT, 0, 0, fields[0], 0, 0, 0, 1], [TCP, 0, 0, fields[1], 0, 0, 0, 1]].concat();
            let packet =
                Packet::parse(&frame(&[&[0x86, 0xdd], &ipv6(FRAGMENT, &[headers, TCP_PORTS.into()].concat())]));
            assert_eq!(packet.fragment, fragment, "{fields:?}");
        }
    }

    #[test]
    fn tags_up_to_the_limit() {
        let ip = ipv4(0, protocol::TCP, &TCP_PORTS);
        for count in 0..=MAX_TAGS as usize + 2 {
            let mut bytes = frame(&[]);
            for tag in 0..count {
                bytes.extend([[0x88, 0xa8], [0x81, 0x00], [0x91, 0x00], [0x92, 0x00]][tag % 4]);
                bytes.extend([0xe0 | tag as u8, 0x10 + tag as u8]);
            }
            bytes.extend([0x08, 0x00]);
            bytes.extend(&ip);
            let packet = Packet::parse(&bytes);
            let followed = count.min(MAX_TAGS as usize);
            assert_eq!(packet.vlan_tags as usize, followed);
            assert_eq!(packet.vlan, [if count > 0 { 0x010 } else { 0 }, if count > 1 { 0x111 } else { 0 }]);
            assert_eq!(packet.ethertype == IPV4, followed == count);
            assert_eq!(ports(packet), if followed == count { (0xc001, 443) } else { (0, 0) });
        }
    }

    #[test]
    fn a_cut_tag_leaves_its_own_type() {
        let packet = Packet::parse(&frame(&[&[0x81, 0x00, 0x00, 0x05, 0x81, 0x00, 0x00]]));
        assert_eq!((packet.vlan_tags, packet.vlan, packet.ethertype), (1, [5, 0], 0x8100));
        assert_eq!((packet.network, packet.network_offset), (Network::Other, 19));
    }

    #[test]
    fn labels_up_to_the_limit() {
        for count in 1..=MAX_LABELS as usize + 1 {
            for (ip, network) in [
                (ipv4(0, protocol::TCP, &TCP_PORTS), Network::Ipv4),
                (ipv6(protocol::TCP, &TCP_PORTS), Network::Ipv6),
                (vec![0, 0, 0, 0, 2, 0, 0, 0], Network::Other),
                (vec![], Network::Other),
            ] {
                let mut stack = [0, 0, 0, 64].repeat(count);
                stack[count * 4 - 2] = 1;
                let packet = Packet::parse(&frame(&[&[0x88, 0x47], &stack, &ip]));
                assert_eq!(packet.mpls_labels as usize, count.min(MAX_LABELS as usize));
                let seen = if count <= MAX_LABELS as usize { network } else { Network::Other };
                assert_eq!(packet.network, seen, "{count} labels");
                assert_eq!(ports(packet), if seen == Network::Other { (0, 0) } else { (0xc001, 443) });
            }
        }
    }

    #[test]
    fn a_session_and_its_discovery() {
        let ip = ipv6(protocol::TCP, &TCP_PORTS);
        let header = [0x11, 0, 0, 7, 0, 2 + ip.len() as u8, 0x00, 0x57];
        let packet = Packet::parse(&frame(&[&[0x88, 0x64], &header, &ip]));
        assert!(packet.pppoe);
        assert_eq!((packet.network, packet.network_offset, ports(packet)), (Network::Ipv6, 22, (0xc001, 443)));
        assert_eq!(packet.ip_offset().map(u16::from), Some(22));
        let echo = Packet::parse(&frame(&[&[0x88, 0x64], &[0x11, 0, 0, 7, 0, 10, 0xc0, 0x21], &[9, 0, 0, 8]]));
        assert_eq!((echo.pppoe, echo.network), (true, Network::Other));
        let discovery = Packet::parse(&frame(&[&[0x88, 0x63], &[0x11, 0x09, 0, 0, 0, 0, 0, 0]]));
        assert_eq!((discovery.pppoe, discovery.network), (false, Network::Other));
    }

    #[test]
    fn every_extension_header_is_passed_and_esp_is_not() {
        use protocol::{AH, DESTINATION, ESP, HIP, HOP_BY_HOP, MOBILITY, NO_NEXT_HEADER, ROUTING, SHIM6, TCP};
        let chain = [HOP_BY_HOP, ROUTING, DESTINATION, AH, MOBILITY, HIP, SHIM6];
        let mut bytes = Vec::new();
        for next in chain[1..].iter().chain([&TCP]) {
            bytes.extend([*next, 0, 0, 0, 0, 0, 0, 0]);
        }
        bytes.extend(TCP_PORTS);
        let packet = Packet::parse(&frame(&[&[0x86, 0xdd], &ipv6(HOP_BY_HOP, &bytes)]));
        assert_eq!((packet.protocol, packet.transport_offset, ports(packet)), (TCP, 54 + 56, (0xc001, 443)));

        for last in [ESP, NO_NEXT_HEADER] {
            let payload = [&[last, 0, 0, 0, 0, 0, 0, 0][..], &TCP_PORTS].concat();
            let packet = Packet::parse(&frame(&[&[0x86, 0xdd], &ipv6(DESTINATION, &payload)]));
            assert_eq!((packet.protocol, packet.transport_offset, ports(packet)), (last, 62, (0, 0)));
        }
    }

    #[test]
    fn a_chain_that_is_cut_or_too_long_ends_in_its_own_number() {
        use protocol::{DESTINATION, TCP};
        for count in [MAX_EXTENSIONS, MAX_EXTENSIONS + 1] {
            let mut bytes = [DESTINATION, 0, 0, 0, 0, 0, 0, 0].repeat(count);
            bytes[count * 8 - 8] = TCP;
            bytes.extend(TCP_PORTS);
            let packet = Packet::parse(&frame(&[&[0x86, 0xdd], &ipv6(DESTINATION, &bytes)]));
            let followed = count == MAX_EXTENSIONS;
            assert_eq!(packet.protocol, if followed { TCP } else { DESTINATION });
            assert_eq!(ports(packet), if followed { (0xc001, 443) } else { (0, 0) });
        }
        let bytes = frame(&[&[0x86, 0xdd], &ipv6(DESTINATION, &[TCP, 1, 0, 0, 0, 0, 0, 0, 0])]);
        let packet = Packet::parse(&bytes);
        assert_eq!((packet.protocol, packet.transport_offset as usize), (DESTINATION, bytes.len()));
    }

    #[test]
    fn icmp_has_type_and_code() {
        let echo = Packet::parse(&frame(&[&[0x08, 0x00], &ipv4(0, protocol::ICMP, &[3, 1, 0, 0])]));
        assert_eq!(ports(echo), (3, 1));
        let cut = Packet::parse(&frame(&[&[0x86, 0xdd], &ipv6(protocol::ICMPV6, &[135])]));
        assert_eq!((ports(cut), cut.transport_offset), ((0, 0), 54));
    }

    #[test]
    fn what_is_not_understood_is_absent() {
        for len in 0..14 {
            let packet = Packet::parse(&MACS.repeat(2)[..len]);
            assert_eq!((packet.vlan_tags, packet.ethertype, packet.network), (0, 0, Network::Other));
            assert_eq!((packet.network_offset, packet.transport_offset), (len as u16, len as u16));
        }
        let arp = Packet::parse(&frame(&[&[0x08, 0x06], &[0, 1, 8, 0]]));
        assert_eq!((arp.network, arp.network_offset, arp.ip_offset()), (Network::Arp, 14, None));
        let llc = Packet::parse(&frame(&[&[0x00, 0x26], &[0x42, 0x42, 3]]));
        assert_eq!((llc.ethertype, llc.network, llc.ip_offset()), (0x26, Network::Other, None));
        assert_eq!(llc.addresses(&[0; 17]), None);
    }

    #[test]
    fn longer_than_an_offset_can_say() {
        let mut bytes = frame(&[&[0x86, 0xdd], &ipv6(protocol::TCP, &TCP_PORTS)]);
        bytes.resize(100_000, 0);
        assert_eq!(ports(Packet::parse(&bytes)), (0xc001, 443));
        bytes[12..14].fill(0xff);
        assert_eq!(Packet::parse(&bytes).network_offset, u16::MAX);
    }

    #[test]
    fn another_frame_never_panics() {
        let bytes = frame(&[&[0x08, 0x00], &ipv4(0, protocol::TCP, &[0x50; 40])]);
        let packet = Packet::parse(&bytes);
        assert!(packet.tcp(&bytes).is_some());
        for len in 0..bytes.len() {
            let _ = (packet.addresses(&bytes[..len]), packet.payload(&bytes[..len]), packet.tcp(&bytes[..len]));
            let _ = packet.payload_offset(&bytes[..len]);
        }
        let zeros = [0; 80];
        assert_eq!((packet.addresses(&zeros), packet.tcp(&zeros).is_none()), (None, true));
    }
}
