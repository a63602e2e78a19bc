//! Nanoseconds to read one frame, alone and with the addresses that a flow key needs.

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use tidegate::wire::Packet;

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
const TCP: [u8; 20] = [0xc0, 1, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0];
const UDP: [u8; 20] = [0xc0, 1, 1, 0xbb, 0, 20, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = [0x45, 0, 0, 20 + payload.len() as u8, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    [&header, payload].concat()
}

fn ipv6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = [0x60, 0, 0, 0, 0, payload.len() as u8, protocol, 64];
    [&header[..], &[0xfe; 16], &[0xfd; 16], payload].concat()
}

/// A frame of at least 60 bytes, the least that Ethernet carries.
fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = [&MACS[..], &parts.concat()].concat();
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

fn parse(c: &mut Criterion) {
    let frames = [
        ("ipv4_tcp_60", frame(&[&[0x08, 0x00], &ipv4(6, &TCP)])),
        ("vlan_ipv6_udp", frame(&[&[0x81, 0x00, 0x00, 0x05, 0x86, 0xdd], &ipv6(17, &UDP)])),
        ("pppoe_ipv4_tcp", frame(&[&[0x88, 0x64, 0x11, 0, 0, 1, 0, 42, 0x00, 0x21], &ipv4(6, &TCP)])),
        (
            "qinq_mpls2_ipv4_tcp",
            frame(&[&[0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 6, 0x88, 0x47], &[0, 1, 0, 64, 0, 2, 1, 64], &ipv4(6, &TCP)]),
        ),
        (
            "ipv6_two_extensions_tcp",
            frame(&[&[0x86, 0xdd], &ipv6(0, &[&[60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0][..], &TCP].concat())]),
        ),
    ];
    let mut group = c.benchmark_group("wire");
    for (name, frame) in &frames {
        assert_eq!(Packet::parse(frame).destination_port, 443, "{name}");
        group.bench_function(format!("parse/{name}"), |b| b.iter(|| Packet::parse(black_box(frame))));
        group.bench_function(format!("parse_and_addresses/{name}"), |b| {
            b.iter(|| {
                let frame = black_box(&frame[..]);
                let packet = Packet::parse(frame);
                (packet, packet.addresses(frame))
            })
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
