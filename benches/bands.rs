//! What the rings between the halves cost per frame: one thread at both ends, bursts of one band and of all.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use tidegate::datapath::bands::{BANDS, bands};
use tidegate::frame::{BURST, Burst, Table};

/// The frames that wait in each ring at most, as in the bridge.
const RING: usize = 2_048;

/// A burst is pushed, divided evenly among some bands, and drained again.
fn push_and_drain(c: &mut Criterion) {
    let (_table, frames) = Table::heap(BURST as u32, 64);
    let mut group = c.benchmark_group("bands");
    group.throughput(Throughput::Elements(BURST as u64));
    let (mut sender, mut receiver) = bands(RING);
    let mut frames = frames;
    for used in [1, BANDS] {
        group.bench_function(BenchmarkId::from_parameter(used), |b| {
            b.iter(|| {
                for band in 0..used {
                    let mut burst: Burst = frames.drain(..BURST / used).collect();
                    assert_eq!(sender.room(band, burst.len()), burst.len());
                    sender.push(band, black_box(&mut burst));
                }
                for band in 0..BANDS {
                    receiver.drain(band, BURST, |frame| frames.push(frame));
                }
            });
        });
        assert_eq!(frames.len(), BURST, "what was pushed is drained");
    }
    group.finish();
}

criterion_group!(benches, push_and_drain);
