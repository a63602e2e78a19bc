//! Link and routing protocols, which keep the network itself alive.
//!
//! `docs/classification.md` lists them with the reason for each. The tests are cheap, not proofs: anyone can send a packet
//! that passes them.

use crate::wire::{Ethernet, Fragment, Network, Packet, Pppoe, Vlan, ethertype, protocol};

/// Whether `packet` belongs to a link or routing protocol.
#[inline]
pub fn is_control(packet: &Packet, frame: &[u8]) -> bool {
    match packet.network {
        Network::Arp => true,
        Network::Ipv4 | Network::Ipv6 => is_routing(packet),
        Network::Other => is_link(packet, frame),
    }
}

/// Protocols of the link: by type, by what a PPPoE session or an LLC header carries, or by reserved destination.
fn is_link(packet: &Packet, frame: &[u8]) -> bool {
    let payload = || frame.get(Ethernet::LEN + Vlan::LEN * usize::from(packet.vlan_tags)..).unwrap_or_default();
    match packet.ethertype {
        ethertype::ARP | ethertype::PPPOE_DISCOVERY | SLOW_PROTOCOLS | EAPOL | LLDP | CFM => true,
        ethertype::PPPOE_SESSION => Pppoe::new(payload()).is_some_and(|pppoe| pppoe.protocol() >= PPP_CONTROL),
        length if length < ethertype::MIN && payload().starts_with(&ISIS_LLC) => true,
        _ => frame.first_chunk().is_some_and(is_reserved),
    }
}

const SLOW_PROTOCOLS: u16 = 0x8809;
const EAPOL: u16 = 0x888e;
const LLDP: u16 = 0x88cc;
const CFM: u16 = 0x8902;

/// Network control protocols begin here, link control and authentication at 0xc000 (RFC 1661, section 2).
const PPP_CONTROL: u16 = 0x8000;

/// Destination and source service access point of the OSI network layer (ISO 10589), where IS-IS lives.
const ISIS_LLC: [u8; 2] = [0xfe, 0xfe];

/// Whether `destination` is reserved for bridges: IEEE 802.1Q tables 8-1 (00 to 0f) and 10-1 (20 to 2f), or one of the two
/// that CDP, VTP, UDLD and per-VLAN spanning tree use.
fn is_reserved(destination: &[u8; 6]) -> bool {
    match destination {
        [0x01, 0x80, 0xc2, 0x00, 0x00, last] => matches!(last, 0x00..=0x0f | 0x20..=0x2f),
        [0x01, 0x00, 0x0c, 0xcc, 0xcc, last] => matches!(last, 0xcc | 0xcd),
        _ => false,
    }
}

/// Protocols above IP: by protocol number, ICMPv6 type or port.
fn is_routing(packet: &Packet) -> bool {
    let (source, destination) = (packet.source_port, packet.destination_port);
    match packet.protocol {
        IGMP | RSVP | EIGRP | protocol::OSPF | PIM | protocol::VRRP => true,
        // The ports of a fragment say nothing of the other fragments, which share its flow.
        _ if packet.fragment != Fragment::Whole => false,
        // Multicast listeners (RFC 2710, RFC 3810) and neighbour discovery (RFC 4861).
        protocol::ICMPV6 => matches!(source, 130..=137 | 143),
        // A port below 1024 counts at either end; above, others may have it as their source by chance.
        protocol::TCP => [source, destination].iter().any(|port| matches!(port, &BGP | &LDP)),
        protocol::UDP => {
            [source, destination].iter().any(|port| matches!(port, &RIP | &RIPNG | &LDP))
                || matches!(destination, BFD | BFD_ECHO | BFD_MULTIHOP | BFD_LAG | HSRP | HSRP_V6 | GLBP | BABEL)
        }
        _ => false,
    }
}

const IGMP: u8 = 2;
const RSVP: u8 = 46;
const EIGRP: u8 = 88;
const PIM: u8 = 103;

const BGP: u16 = 179;
const LDP: u16 = 646;
const RIP: u16 = 520;
const RIPNG: u16 = 521;
const HSRP: u16 = 1985;
const HSRP_V6: u16 = 2029;
const GLBP: u16 = 3222;
const BFD: u16 = 3784;
const BFD_ECHO: u16 = 3785;
const BFD_MULTIHOP: u16 = 4784;
const BABEL: u16 = 6696;
const BFD_LAG: u16 = 6784;

#[cfg(test)]
mod tests {
    use super::super::frames;
    use super::*;

    fn says(frame: &[u8]) -> bool {
        is_control(&Packet::parse(frame), frame)
    }

    /// An Ethernet frame of `ethertype` with room for any header.
    fn ethernet(destination: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = [&destination[..], &[2, 0, 0, 0, 0, 1], &ethertype.to_be_bytes(), payload].concat();
        frame.resize(frame.len().max(60), 0);
        frame
    }

    const ANY: [u8; 6] = [2, 0, 0, 0, 0, 9];

    #[test]
    fn link_protocols_by_type() {
        for ethertype in [0x0806, 0x8863, 0x8809, 0x888e, 0x88cc, 0x8902] {
            assert!(says(&ethernet(ANY, ethertype, &[])), "{ethertype:#06x}");
        }
        for ethertype in [0x0800, 0x86dd, 0x88f7, 0x8137, 0x8847] {
            assert!(!says(&ethernet(ANY, ethertype, &[])), "{ethertype:#06x}");
        }
    }

    #[test]
    fn link_protocols_by_destination() {
        for (last, control) in [(0x00, true), (0x0f, true), (0x10, false), (0x1f, false), (0x21, true), (0x30, false)] {
            assert_eq!(
                says(&ethernet([0x01, 0x80, 0xc2, 0, 0, last], 0x0026, &[0x42, 0x42, 3])),
                control,
                "{last:#04x}"
            );
        }
        assert!(says(&ethernet([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd], 0x0026, &[0xaa, 0xaa, 3])));
        assert!(!says(&ethernet([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xce], 0x0026, &[0xaa, 0xaa, 3])));
    }

    #[test]
    fn isis_by_its_llc_header_also_behind_a_tag() {
        assert!(says(&ethernet(ANY, 0x0026, &[0xfe, 0xfe, 3])));
        assert!(says(&ethernet(ANY, 0x8100, &[0, 5, 0, 0x26, 0xfe, 0xfe, 3])));
        assert!(!says(&ethernet(ANY, 0x0026, &[0xe0, 0xe0, 3])));
        assert!(!says(&[0; 14]));
    }

    #[test]
    fn only_the_control_protocols_of_a_pppoe_session() {
        for (ppp, control) in [(0xc021_u16, true), (0x8021, true), (0xc223, true), (0x0021, false), (0x003d, false)] {
            let [high, low] = ppp.to_be_bytes();
            assert_eq!(
                says(&ethernet(ANY, 0x8864, &[0x11, 0, 0, 1, 0, 6, high, low, 1, 1, 0, 4])),
                control,
                "{ppp:#06x}"
            );
        }
    }

    #[test]
    fn routing_protocols_by_number() {
        for number in [2, 46, 88, 89, 103, 112] {
            assert!(says(&frames::ip(number)), "{number}");
        }
        for number in [1, 4, 6, 17, 47, 50, 132] {
            assert!(!says(&frames::ip(number)), "{number}");
        }
    }

    #[test]
    fn low_ports_count_at_both_ends_high_ports_at_the_destination() {
        assert!(says(&frames::tcp(40000, 179)) && says(&frames::tcp(179, 40000)));
        assert!(says(&frames::udp(520, 520)) && says(&frames::udp(646, 646)));
        assert!(says(&frames::udp(49152, 3784)) && !says(&frames::udp(3784, 53)));
        assert!(!says(&frames::udp(40000, 179)) && !says(&frames::tcp(40000, 520)) && !says(&frames::udp(68, 67)));
    }

    #[test]
    fn neighbour_discovery_but_not_echo() {
        for (kind, control) in
            [(128, false), (129, false), (130, true), (135, true), (137, true), (143, true), (1, false)]
        {
            assert_eq!(says(&frames::icmpv6(kind)), control, "type {kind}");
        }
    }
}
