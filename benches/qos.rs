//! What it costs to decide when a frame leaves: one token bucket, and a tree of seven leaves.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use tidegate::frame::{BURST, Frame, Table};
use tidegate::qos::{Bucket, Codel, Congested, LeafSpec, Overhead, Tree, TreeSpec};
use tidegate::units::{Nanos, Rate};

const LEAVES: u16 = 7;
const LINK: Rate = Rate(10_000_000_000);

/// A frame's time on the link: 60 bytes and 24 of overhead at 10 Gbit/s.
const FRAME_TIME: Nanos = Nanos(68);

fn bucket(c: &mut Criterion) {
    let mut bucket = Bucket::new(LINK, 3_000, Nanos::ZERO);
    let mut now = Nanos::ZERO;
    c.bench_function("qos/bucket", |b| {
        b.iter(|| {
            now += FRAME_TIME;
            bucket.refill(black_box(now));
            if bucket.allows() {
                bucket.charge(84);
            }
        });
    });
}

/// Seven leaves of four priorities; with a link, each has a guarantee of a tenth and may take all of it.
fn tree(link: Option<Rate>) -> Tree {
    let leaf = |n: u16| LeafSpec {
        guarantee: link.map(|rate| Rate(rate.0 / 10)),
        ceiling: link,
        burst: 10_000,
        priority: (n / 2) as u8,
        quantum: 1_538,
        limit: 1 << 20,
        band: (n / 2) as u8,
        codel: Some(Codel::default()),
    };
    let spec = TreeSpec {
        link,
        burst: 10_000,
        overhead: Overhead::ETHERNET,
        leaves: (0..LEAVES).map(leaf).collect(),
        max_frames: 10_000,
        max_bytes: 1 << 24,
    };
    Tree::new(&spec, Nanos::ZERO)
}

/// Takes what CoDel drops, to be queued again.
struct Dropped<'a>(&'a mut Vec<Frame>);

impl Congested for Dropped<'_> {
    fn mark(&mut self, _: &mut Frame) -> bool {
        false
    }

    fn drop(&mut self, frame: Frame) {
        self.0.push(frame);
    }
}

/// Frames of 60 bytes, the leaves in turn; every frame has a flow of its own.
fn frames(count: u32) -> (Table, Vec<Frame>) {
    let (table, mut frames) = Table::heap(count, 64);
    for frame in &mut frames {
        table.write(frame, &[0; 60], 60);
        let index = frame.index();
        let slot = table.slot_mut(frame);
        (slot.leaf, slot.flow_hash) = (index as u16 % LEAVES, index + 1);
    }
    (table, frames)
}

/// Puts all `frames` into the tree, which came at `now`; nothing is refused.
fn enqueue(tree: &mut Tree, table: &Table, frames: &mut Vec<Frame>, now: Nanos) {
    for mut frame in frames.drain(..) {
        table.slot_mut(&mut frame).arrived = now;
        tree.enqueue(table, frame, |_, why| panic!("{why:?}"));
    }
}

/// Takes into `frames` all that the tree lets go at `now`.
fn dequeue(tree: &mut Tree, table: &Table, frames: &mut Vec<Frame>, now: Nanos) {
    while let Some(frame) = tree.dequeue(table, black_box(now), &mut Dropped(frames)) {
        frames.push(frame);
    }
}

/// A burst goes in and comes out again: through a link without a rate, and through one that never holds it.
fn passing(c: &mut Criterion) {
    let mut group = c.benchmark_group("qos/tree");
    group.throughput(Throughput::Elements(BURST as u64));
    for (name, link) in [("unlimited", None), ("shaped", Some(LINK))] {
        let (table, mut burst) = frames(BURST as u32);
        let (mut tree, mut now) = (tree(link), Nanos::ZERO);
        group.bench_function(name, |b| {
            b.iter(|| {
                now += Nanos(4 * FRAME_TIME.0 * BURST as u64);
                enqueue(&mut tree, &table, &mut burst, now);
                dequeue(&mut tree, &table, &mut burst, now);
            });
        });
        assert_eq!(burst.len(), BURST, "nothing is held");
    }
    group.finish();
}

/// All leaves always hold frames; what leaves in the time of a burst is queued again.
fn backlogged(c: &mut Criterion) {
    let (table, mut waiting) = frames(LEAVES as u32 * 256);
    let (mut tree, mut now) = (tree(Some(LINK)), Nanos::ZERO);
    enqueue(&mut tree, &table, &mut waiting, now);
    let mut group = c.benchmark_group("qos/tree");
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("backlogged", |b| {
        b.iter(|| {
            now += Nanos(FRAME_TIME.0 * BURST as u64);
            dequeue(&mut tree, &table, &mut waiting, now);
            assert!(!waiting.is_empty(), "the link is never idle");
            enqueue(&mut tree, &table, &mut waiting, now);
        });
    });
    group.finish();
}

criterion_group!(benches, bucket, passing, backlogged);
