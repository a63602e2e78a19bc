//! The two ends of a flow, the same whichever of them is speaking.

use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use crate::wire::{Fragment, Packet, protocol};

/// Which end of a [`Key`] sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// From the end that sorts lower by (address, port) to the higher.
    Rising = 0,
    /// From the higher end to the lower.
    Falling = 1,
}

impl Direction {
    /// The way back.
    pub const fn opposite(self) -> Direction {
        match self {
            Direction::Rising => Direction::Falling,
            Direction::Falling => Direction::Rising,
        }
    }
}

/// Addresses, ports, IP protocol and the two outer VLAN identifiers of a flow, ordered so that both directions give one key.
///
/// Inside PPPoE and MPLS the addresses are those of the IP packet within. Ports are zero where the protocol has none, and
/// for all fragments, first and later, so that the fragments of a packet stay together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The address of each end, IPv4 among the IPv6 addresses; in halves, because the alignment of a `u128` wastes space.
    low: [u64; 2],
    high: [u64; 2],
    /// From the top: the port of each end, 16 bits; the identifier of each VLAN, 12 bits; the protocol, 8 bits.
    rest: u64,
}

impl Key {
    /// The key of no flow.
    pub const NONE: Key = Key { low: [0; 2], high: [0; 2], rest: 0 };

    /// The key of `packet` and the direction in which it goes; `None` if it isn't IP.
    #[inline]
    pub fn of(packet: &Packet, frame: &[u8]) -> Option<(Key, Direction)> {
        let (source, destination) = packet.addresses(frame)?;
        let source = (u128::from_be_bytes(source), port_of(packet, packet.source_port));
        let destination = (u128::from_be_bytes(destination), port_of(packet, packet.destination_port));
        Some(if source <= destination {
            (Key::new(source, destination, packet), Direction::Rising)
        } else {
            (Key::new(destination, source, packet), Direction::Falling)
        })
    }

    #[inline]
    fn new(low: (u128, u16), high: (u128, u16), packet: &Packet) -> Key {
        // ICMPv6 messages of the link itself (neighbour and group discovery) share no flow with the pings of the same hosts:
        // they are treated differently and a flow has one verdict. A port, which ICMPv6 has not, tells them apart.
        let ports = u64::from(low.1) << 16 | u64::from(high.1) | u64::from(is_link_local_icmpv6(packet));
        let vlan = u64::from(packet.vlan[0]) << 12 | u64::from(packet.vlan[1]);
        Key { low: halves(low.0), high: halves(high.0), rest: ports << 32 | vlan << 8 | u64::from(packet.protocol) }
    }

    /// A hash of the whole key, the same on every run for the same `seed`; both 32-bit halves are well spread.
    #[inline]
    pub fn hash(&self, seed: u64) -> u64 {
        let mut hasher = FoldHasher::with_seed(seed, SharedSeed::global_fixed());
        hasher.write_u128(whole(self.low));
        hasher.write_u128(whole(self.high));
        hasher.write_u64(self.rest);
        hasher.finish()
    }

    /// The address and port from which packets in `direction` come.
    pub fn source(&self, direction: Direction) -> (IpAddr, u16) {
        let (address, port) = match direction {
            Direction::Rising => (self.low, (self.rest >> 48) as u16),
            Direction::Falling => (self.high, (self.rest >> 32) as u16),
        };
        let port = if protocol::has_ports(self.protocol()) { port } else { 0 };
        (Ipv6Addr::from_bits(whole(address)).to_canonical(), port)
    }

    /// The address and port to which packets in `direction` go.
    pub fn destination(&self, direction: Direction) -> (IpAddr, u16) {
        self.source(direction.opposite())
    }

    /// The IP protocol number.
    pub fn protocol(&self) -> u8 {
        self.rest as u8
    }

    /// The identifiers of the two outer VLAN tags; zero where there is none.
    pub fn vlan(&self) -> [u16; 2] {
        [(self.rest >> 20) as u16 & 0xfff, (self.rest >> 8) as u16 & 0xfff]
    }
}

#[inline]
const fn halves(address: u128) -> [u64; 2] {
    [(address >> 64) as u64, address as u64]
}

#[inline]
const fn whole([high, low]: [u64; 2]) -> u128 {
    (high as u128) << 64 | low as u128
}

/// `port`, if it is one, and each fragment of the packet would have it.
#[inline]
fn port_of(packet: &Packet, port: u16) -> u16 {
    if packet.fragment == Fragment::Whole && protocol::has_ports(packet.protocol) { port } else { 0 }
}

/// Whether `packet` is an ICMPv6 message that only the link uses: MLD (RFC 2710, RFC 3810) or ND (RFC 4861).
fn is_link_local_icmpv6(packet: &Packet) -> bool {
    packet.protocol == protocol::ICMPV6
        && packet.fragment == Fragment::Whole
        && matches!(packet.source_port, 130..=137 | 143)
}

#[cfg(test)]
impl Key {
    /// A key that differs from those of other numbers.
    pub(super) fn numbered(n: u32) -> Key {
        Key { low: halves(n.into()), high: [u64::MAX; 2], rest: u64::from(n) << 48 | 17 }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use etherparse::{IpNumber, PacketBuilder};
    use proptest::prelude::*;

    use super::*;

    type End = (u128, u16);

    /// A frame from one end to the other; addresses below 2^32 give IPv4.
    fn frame(vlan: Option<u16>, number: u8, source: End, destination: End) -> Vec<u8> {
        let mut frame = Vec::new();
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = if let (Ok(from), Ok(to)) = (u32::try_from(source.0), u32::try_from(destination.0)) {
            let (from, to) = (from.to_be_bytes(), to.to_be_bytes());
            match vlan {
                Some(id) => link.single_vlan(id.try_into().unwrap()).ipv4(from, to, 64),
                None => link.ipv4(from, to, 64),
            }
        } else {
            let (from, to) = (source.0.to_be_bytes(), destination.0.to_be_bytes());
            match vlan {
                Some(id) => link.single_vlan(id.try_into().unwrap()).ipv6(from, to, 64),
                None => link.ipv6(from, to, 64),
            }
        };
        let written = match number {
            protocol::TCP => ip.tcp(source.1, destination.1, 0, 0).write(&mut frame, &[0; 30]),
            protocol::UDP => ip.udp(source.1, destination.1).write(&mut frame, &[0; 30]),
            other => ip.write(&mut frame, IpNumber(other), &[0; 30]),
        };
        written.unwrap();
        frame
    }

    fn key(frame: &[u8]) -> Option<(Key, Direction)> {
        Key::of(&Packet::parse(frame), frame)
    }

    fn ends() -> impl Strategy<Value = (End, End)> {
        let v4 = (0..8_u32, any::<u16>()).prop_map(|(address, port)| (u128::from(address), port));
        let v6 = (any::<u128>(), any::<u16>()).prop_map(|(address, port)| (address | 1 << 100, port));
        prop_oneof![(v4.clone(), v4), (v6.clone(), v6)]
    }

    proptest! {
        #[test]
        fn both_directions_meet((a, b) in ends(), vlan in proptest::option::of(0..4096_u16), tcp: bool) {
            let number = if tcp { protocol::TCP } else { protocol::UDP };
            let (there, way) = key(&frame(vlan, number, a, b)).unwrap();
            let (back, way_back) = key(&frame(vlan, number, b, a)).unwrap();
            prop_assert_eq!(there, back);
            prop_assert_eq!(there.hash(7), back.hash(7));
            prop_assert_eq!(way == way_back, a == b);
            prop_assert_eq!(there.source(way).1, a.1);
            prop_assert_eq!(there.destination(way).1, b.1);
            prop_assert_eq!(there.vlan()[0], vlan.unwrap_or(0));
        }

        #[test]
        fn different_flows_have_different_keys((a, b) in ends(), (c, d) in ends()) {
            let (one, _) = key(&frame(None, protocol::UDP, a, b)).unwrap();
            let (other, _) = key(&frame(None, protocol::UDP, c, d)).unwrap();
            let same = (a, b) == (c, d) || (a, b) == (d, c);
            prop_assert_eq!(one == other, same);
            prop_assert_eq!(one.hash(7) == other.hash(7), same);
            prop_assert_ne!(one, key(&frame(None, protocol::TCP, a, b)).unwrap().0);
            prop_assert_ne!(one, key(&frame(Some(9), protocol::UDP, a, b)).unwrap().0);
        }
    }

    #[test]
    fn addresses_read_as_they_are_written() {
        let (v4, way) = key(&frame(None, protocol::UDP, (0x0a00_0001, 9), (0x0a00_0002, 1))).unwrap();
        assert_eq!(v4.source(way), ("10.0.0.1".parse().unwrap(), 9));
        let address = Ipv6Addr::from(1 << 127 | 5);
        let (v6, way) = key(&frame(None, protocol::UDP, (address.to_bits(), 9), (1 << 126, 1))).unwrap();
        assert_eq!((v6.source(way), way), ((address.into(), 9), Direction::Falling));
    }

    #[test]
    fn fragments_stay_together_whatever_they_carry() {
        let (a, b) = ((1, 1000), (2, 2000));
        let whole = frame(None, protocol::UDP, a, b);
        let fragment = |offset_and_flags: u16| {
            let mut frame = whole.clone();
            frame[20..22].copy_from_slice(&offset_and_flags.to_be_bytes());
            key(&frame).unwrap()
        };
        assert_eq!(fragment(0x2000), fragment(0x0010));
        assert_eq!(fragment(0x2000).0.source(Direction::Rising).1, 0);
        assert_ne!(fragment(0x2000), key(&whole).unwrap());
    }

    #[test]
    fn echo_request_and_reply_meet_but_not_with_neighbour_discovery() {
        let (a, b) = ((1 << 120, 0), (2 << 120, 0));
        let icmp = |kind: u8, from, to| {
            let mut frame = frame(None, protocol::ICMPV6, from, to);
            frame[54] = kind;
            key(&frame).unwrap().0
        };
        assert_eq!(icmp(128, a, b), icmp(129, b, a));
        assert_eq!(icmp(135, a, b), icmp(136, b, a));
        assert_ne!(icmp(128, a, b), icmp(135, a, b));
    }

    #[test]
    fn what_is_not_ip_has_no_key() {
        assert_eq!(key(&[]), None);
        assert_eq!(key(&[0; 60]), None);
    }

    /// Consecutive addresses and ports are what real networks have; each of 256 buckets expects 256 of them, give or take 16.
    #[test]
    fn hashes_spread_in_both_halves() {
        for shift in [0, 24, 32, 56] {
            let mut buckets = [0_u32; 256];
            for n in 0..65536 {
                buckets[(Key::numbered(n).hash(1) >> shift) as usize & 255] += 1;
            }
            let (least, most) = (buckets.iter().min().unwrap(), buckets.iter().max().unwrap());
            assert!((176..=336).contains(least) && (176..=336).contains(most), "bits {shift}: {least}..{most}");
        }
        assert_ne!(Key::numbered(1).hash(1), Key::numbered(1).hash(2));
    }
}
