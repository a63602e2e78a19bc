//! What the flow cache costs per packet: a known flow among many, and a flow that is new and pushes another out.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use tidegate::classify::Verdict;
use tidegate::flow::{Direction, FlowTable, Key};
use tidegate::units::Nanos;
use tidegate::wire::Packet;

const SEED: u64 = 1;
/// Packets per iteration; the next iteration goes on where the last one ended, so that all flows have their turn.
const PACKETS: usize = 1024;

/// A 64-byte UDP frame of flow `n`.
fn frame(n: u32) -> [u8; 64] {
    let mut frame = [0; 64];
    frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
    frame[16..18].copy_from_slice(&50_u16.to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[26..30].copy_from_slice(&(0x0a00_0000 | n >> 4).to_be_bytes());
    frame[30..34].copy_from_slice(&[192, 0, 2, 1]);
    frame[34..36].copy_from_slice(&(1024 + (n & 15) as u16).to_be_bytes());
    frame[36..38].copy_from_slice(&443_u16.to_be_bytes());
    frame[38..40].copy_from_slice(&30_u16.to_be_bytes());
    frame
}

fn key(n: u32) -> (Key, Direction) {
    let frame = frame(n);
    Key::of(&Packet::parse(&frame), &frame).expect("the frame is IPv4")
}

fn packet(table: &mut FlowTable<Verdict>, (key, direction): &(Key, Direction), now: Nanos) {
    let flow = table.lookup(key, *direction, key.hash(SEED), now, |record| {
        black_box(record.packets);
    });
    if flow.verdict(1, 0).is_none() {
        flow.judged(Verdict::default(), 1, 0);
    }
    flow.count(*direction, 64);
}

fn keys(c: &mut Criterion) {
    let frame = frame(7);
    let parsed = Packet::parse(&frame);
    let (key, _) = key(7);
    c.bench_function("flow/key", |b| b.iter(|| Key::of(black_box(&parsed), black_box(&frame))));
    c.bench_function("flow/hash", |b| b.iter(|| black_box(&key).hash(black_box(SEED))));
}

/// Hash, look-up and count of a packet whose flow is known, the flows in no order that a prefetcher could guess.
fn hits(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow/hit");
    group.throughput(Throughput::Elements(PACKETS as u64));
    for flows in [1_000, 10_000, 100_000, 1_000_000] {
        let keys: Vec<_> = (0..flows as u32).map(key).collect();
        let mut table = FlowTable::new(2 * flows);
        keys.iter().for_each(|key| packet(&mut table, key, Nanos::ZERO));
        let mut at = keys.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(flows), |b| {
            b.iter(|| at.by_ref().take(PACKETS).for_each(|key| packet(&mut table, key, Nanos(1))));
        });
    }
    group.finish();
}

/// Every packet begins a flow: into a table with room, and into one that is full.
fn inserts(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow/insert");
    group.throughput(Throughput::Elements(PACKETS as u64));
    let keys: Vec<_> = (0..1_000_000).map(key).collect();
    group.bench_function("room", |b| {
        let fresh = || FlowTable::new(16 * PACKETS);
        let fill = |table: &mut FlowTable<Verdict>| {
            keys[..PACKETS].iter().for_each(|key| packet(table, key, Nanos(1)));
        };
        b.iter_batched_ref(fresh, fill, BatchSize::LargeInput);
    });
    let mut full = FlowTable::new(64 * PACKETS);
    let (mut at, mut now) = (keys.iter().cycle(), 0);
    group.bench_function("full", |b| {
        b.iter(|| {
            now += 1 << 20;
            at.by_ref().take(PACKETS).for_each(|key| packet(&mut full, key, Nanos(now)));
        });
    });
    group.finish();
}

criterion_group!(benches, keys, hits, inserts);
