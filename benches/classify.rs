//! What the first packet of a flow costs: the control test, the port table, and rules of which none or the last matches.

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{BenchmarkId, Criterion, criterion_group};
use etherparse::PacketBuilder;
use tidegate::classify::{Apps, Class, Classifier, Prefix, Rule, Rules, is_control};
use tidegate::frame::Side;
use tidegate::wire::Packet;

fn tcp(source: u16, destination: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [192, 0, 2, 1], 64);
    packet.tcp(source, destination, 1, 1024).write(&mut frame, &[0; 10]).expect("a vector takes everything");
    frame
}

/// Rules for single hosts on one port each, as an operator writes them; none matches [`tcp`].
fn rules(count: u32) -> Rules {
    let rule = |n| {
        let host = Prefix::new(Ipv4Addr::from_bits(0xc633_6400 + n).into(), 32);
        Rule { address: host, protocol: Some(6), ports: vec![8000..=8099], ..Rule::all(Class::File) }
    };
    Rules::new((0..count).map(rule).collect())
}

fn judge(c: &mut Criterion) {
    let frame = tcp(40000, 443);
    let packet = Packet::parse(&frame);
    c.bench_function("classify/control", |b| b.iter(|| is_control(black_box(&packet), black_box(&frame))));
    let mut group = c.benchmark_group("classify/rules");
    for count in [0, 10, 100, 1000] {
        let classifier = Classifier::new(rules(count), Apps::builtin());
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| classifier.judge(black_box(&packet), black_box(&frame), Side::Inside));
        });
    }
    group.finish();
}

/// Ports at random, so that the tables don't stay in the first-level cache.
fn ports(c: &mut Criterion) {
    let classifier = Classifier::new(Rules::default(), Apps::builtin());
    let frames: Vec<_> = (0..4096_u32).map(|n| tcp((n * 40503) as u16, (n * 30011) as u16)).collect();
    let packets: Vec<_> = frames.iter().map(|frame| (Packet::parse(frame), frame)).collect();
    let mut at = packets.iter().cycle();
    c.bench_function("classify/ports", |b| {
        b.iter(|| at.next().map(|(packet, frame)| classifier.judge(packet, frame, Side::Inside)));
    });
}

criterion_group!(benches, judge, ports);
