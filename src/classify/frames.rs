//! Frames to judge: from 10.0.0.1 to 192.0.2.1, or from fe80::1 to fe80::2.

use etherparse::{IpNumber, PacketBuilder};

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const ENDS: [[u8; 4]; 2] = [[10, 0, 0, 1], [192, 0, 2, 1]];
const PAYLOAD: &[u8] = &[0; 24];

pub(super) fn tcp(source: u16, destination: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2(MACS[0], MACS[1]).ipv4(ENDS[0], ENDS[1], 64);
    packet.tcp(source, destination, 1, 1024).write(&mut frame, PAYLOAD).unwrap();
    frame
}

pub(super) fn udp(source: u16, destination: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2(MACS[0], MACS[1]).ipv4(ENDS[0], ENDS[1], 64);
    packet.udp(source, destination).write(&mut frame, PAYLOAD).unwrap();
    frame
}

/// An IPv4 packet of any protocol, with zeros behind the IP header.
pub(super) fn ip(number: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2(MACS[0], MACS[1]).ipv4(ENDS[0], ENDS[1], 64);
    packet.write(&mut frame, IpNumber(number), PAYLOAD).unwrap();
    frame
}

pub(super) fn icmpv6(kind: u8) -> Vec<u8> {
    let end = |last| std::array::from_fn(|at| [0xfe, 0x80].get(at).copied().unwrap_or(if at == 15 { last } else { 0 }));
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2(MACS[0], MACS[1]).ipv6(end(1), end(2), 255);
    packet.icmpv6_raw(kind, 0, [0; 4]).write(&mut frame, PAYLOAD).unwrap();
    frame
}

/// `frame` with 802.1Q tags in front, the outermost first.
pub(super) fn tagged(ids: &[u16], frame: &[u8]) -> Vec<u8> {
    let (macs, rest) = frame.split_at(12);
    let tags = ids.iter().flat_map(|id| [[0x81, 0x00], id.to_be_bytes()]).flatten();
    macs.iter().copied().chain(tags).chain(rest.iter().copied()).collect()
}
