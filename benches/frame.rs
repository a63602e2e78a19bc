//! What it costs to queue a frame, and to send one home: per frame, in bursts as the datapath handles them.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use tidegate::frame::{BURST, Burst, Fifo, Frame, Owner, Table, homes};

/// As many frames as a wire has in use at a time.
const FRAMES: u32 = 1024;

/// A table of frames with 60 bytes in each.
fn table() -> (Table, Vec<Frame>) {
    let (table, mut frames) = Table::heap(FRAMES, 64);
    for frame in &mut frames {
        table.write(frame, &[0; 60], 60);
    }
    (table, frames)
}

/// A burst goes into a queue in which another one waits, and the older burst comes out.
fn fifo(c: &mut Criterion) {
    let (table, mut frames) = table();
    let mut fifo = Fifo::new();
    frames.drain(..BURST).for_each(|frame| fifo.push(&table, frame));
    let mut burst: Burst = frames.drain(..BURST).collect();
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("fifo", |b| {
        b.iter(|| {
            burst.drain(..).for_each(|frame| fifo.push(&table, frame));
            burst.extend((0..BURST).filter_map(|_| black_box(&mut fifo).pop(&table)));
        });
    });
    group.finish();
}

/// A burst is taken from home, and comes back: on the ring from the other half, or given by the half that owns the home.
fn home(c: &mut Criterion) {
    let (table, frames) = table();
    let (mut homes, mut returns) = homes(frames, 1, 1);
    let (home, way_back) = (&mut homes[0], &mut returns[0]);
    let mut burst = Burst::new();
    let mut group = c.benchmark_group("frame/home");
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("ring", |b| {
        b.iter(|| {
            burst.extend((0..BURST).filter_map(|_| home.take()));
            burst.iter().for_each(|frame| table.pass(frame, Owner::Home, Owner::Transmit));
            way_back.send_burst(&table, black_box(&mut burst), Owner::Transmit);
            home.collect();
        });
    });
    group.bench_function("give", |b| {
        b.iter(|| {
            burst.extend((0..BURST).filter_map(|_| home.take()));
            burst.iter().for_each(|frame| table.pass(frame, Owner::Home, Owner::Ingress));
            black_box(&mut burst).drain(..).for_each(|frame| home.give(&table, frame));
        });
    });
    group.finish();
}

criterion_group!(benches, fifo, home);
