//! The whole path of a frame, as `tidegate bench pipeline` measures it: by frame length, by number of flows, with and without a rate.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use tidegate::control::bench::Pipeline;
use tidegate::units::Rate;

/// Frames per iteration: sixteen turns of a burst from either side.
const FRAMES: u64 = 1024;

/// Far above what a core can forward, so that the buckets are paid but never empty.
const RATE: Rate = Rate(1_000_000_000_000);

fn pipeline(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(FRAMES));
    let cases = [64, 341, 1_518]
        .map(|size| (10_000, size))
        .into_iter()
        .chain([(1_000, 64), (100_000, 64)])
        .flat_map(|(flows, size)| [(flows, size, None), (flows, size, Some(RATE))]);
    for (flows, size, rate) in cases {
        let shaped = if rate.is_some() { "shaped" } else { "unlimited" };
        let mut pipeline = Pipeline::new(flows, size, rate);
        pipeline.forward(2 * u64::from(flows));
        group.bench_function(BenchmarkId::new(shaped, format!("{flows}x{size}")), |b| {
            b.iter(|| pipeline.forward(FRAMES));
        });
        assert_eq!(pipeline.lost(), 0, "frames that are dropped cost less");
    }
    group.finish();
}

criterion_group!(benches, pipeline);
