//! The cache: fixed memory, eight ways, the least recently seen flow gives way.

use super::{Direction, Flow, Key, Record};
use crate::units::Nanos;

/// Flows per bucket: as many tags as two vector comparisons cover.
const WAYS: usize = 8;

/// A cache of flows that is allocated once and never grows.
///
/// A flow may stand in any of the eight places of the bucket that its hash names. A look-up reads one cache line of tags
/// and, for a hit, the two lines of the flow; it never searches further. When a ninth flow comes to a bucket, the one that
/// has been silent longest leaves and its [`Record`] is handed out. There is no idle limit: a flow that speaks again after
/// any silence continues if it is still here.
#[derive(Debug)]
pub struct FlowTable<V> {
    buckets: Box<[Bucket]>,
    flows: Box<[Flow<V>]>,
    live: usize,
    sequence: u64,
    blank: V,
}

/// Where a flow stands, as long as no new flow comes.
#[derive(Clone, Copy, Debug)]
pub struct Place(u32);

/// Who stands in the eight places: the upper half of each flow's hash with the lowest bit set; zero if the place is free.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Bucket([u32; WAYS]);

impl Bucket {
    const EMPTY: Bucket = Bucket([0; WAYS]);

    /// The places that hold `tag`, one bit each; the first place has bit 1, so that all eight are shifted alike and become
    /// two vector comparisons.
    #[inline]
    fn places_of(&self, tag: u32) -> u32 {
        (0..WAYS).fold(0, |places, way| places | u32::from(self.0[way] == tag) << (way + 1))
    }
}

impl<V: Copy + Default> FlowTable<V> {
    /// A table for at least `flows` flows: rounded up to a power of two, 132 bytes each, all touched here.
    ///
    /// Flows spread over buckets by chance, so that a table filled to the brim evicts early; give it twice the flows expected.
    pub fn new(flows: usize) -> FlowTable<V> {
        let buckets = flows.div_ceil(WAYS).next_power_of_two();
        let blank = V::default();
        FlowTable {
            buckets: vec![Bucket::EMPTY; buckets].into(),
            flows: vec![Flow::new(Key::NONE, Direction::Rising, 0, Nanos::ZERO, blank); buckets * WAYS].into(),
            live: 0,
            sequence: 0,
            blank,
        }
    }

    /// Where the flow whose hash is `hash` stands, if it is here: reads nothing but the one line of tags.
    ///
    /// For a burst, ask for all places first, then [`FlowTable::holds`] for all, then look up one by one: each loop's reads
    /// are independent of each other, so the processor waits for many lines at once and not for one after the other.
    #[inline]
    pub fn place_of(&self, hash: u64) -> Option<Place> {
        let index = self.bucket_of(hash);
        let places = self.buckets[index].places_of(tag(hash));
        (places != 0).then(|| Place((index * WAYS + first(places)) as u32))
    }

    /// Whether the flow of `key` does stand in `place`: reads the flow's own line.
    #[inline]
    pub fn holds(&self, place: Place, key: &Key) -> bool {
        self.flows[place.0 as usize].key() == key
    }

    /// The flow that stands in `place`, of which a packet has come: [`FlowTable::lookup`] without the search, right as long
    /// as [`FlowTable::flows_seen`] is what it was when `place` was found.
    #[inline]
    pub fn at(&mut self, place: Place, now: Nanos) -> &mut Flow<V> {
        let flow = &mut self.flows[place.0 as usize];
        flow.seen(now);
        flow
    }

    /// The flow of `key`, whose hash is `hash`; a new one without verdict if it wasn't here.
    ///
    /// A packet that goes in `direction` asks. To make room for a new flow an old one may leave: `evicted` gets its record.
    #[inline]
    pub fn lookup(
        &mut self,
        key: &Key,
        direction: Direction,
        hash: u64,
        now: Nanos,
        evicted: impl FnMut(Record<V>),
    ) -> &mut Flow<V> {
        let index = self.bucket_of(hash);
        let mut places = self.buckets[index].places_of(tag(hash));
        while places != 0 {
            let place = index * WAYS + first(places);
            if self.flows[place].key() == key {
                return self.at(Place(place as u32), now);
            }
            places &= places - 1;
        }
        self.insert(key, direction, hash, now, evicted)
    }

    #[inline(never)]
    fn insert(
        &mut self,
        key: &Key,
        direction: Direction,
        hash: u64,
        now: Nanos,
        mut evicted: impl FnMut(Record<V>),
    ) -> &mut Flow<V> {
        let index = self.bucket_of(hash);
        let (bucket, flows) = (&mut self.buckets[index], &mut self.flows[index * WAYS..][..WAYS]);
        let way = match bucket.places_of(0) {
            0 => (0..WAYS).min_by_key(|&way| flows[way].last_seen()).unwrap_or(0),
            free => first(free),
        };
        let flow = &mut flows[way];
        if bucket.0[way] == 0 {
            self.live += 1;
        } else {
            evicted(flow.record());
        }
        bucket.0[way] = tag(hash);
        *flow = Flow::new(*key, direction, self.sequence, now, self.blank);
        self.sequence += 1;
        flow
    }

    #[inline]
    fn bucket_of(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    /// Takes all flows out, in the order of their first packets. Allocates: for the end, not for the frame path.
    pub fn drain(&mut self) -> impl Iterator<Item = Record<V>> {
        let mut places = Vec::with_capacity(self.live);
        for (index, bucket) in self.buckets.iter_mut().enumerate() {
            let taken = (0..WAYS).filter(|&way| bucket.0[way] != 0);
            places.extend(taken.map(|way| index * WAYS + way));
            *bucket = Bucket::EMPTY;
        }
        self.live = 0;
        places.sort_unstable_by_key(|&place| self.flows[place].sequence());
        places.into_iter().map(|place| self.flows[place].record())
    }

    /// The flows that are in the table.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether no flow is in the table.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The flows that fit.
    pub fn capacity(&self) -> usize {
        self.flows.len()
    }

    /// The flows that were ever in the table.
    pub fn flows_seen(&self) -> u64 {
        self.sequence
    }
}

/// What tells flows of one bucket apart before their keys are read; independent of the bits that name the bucket.
#[inline]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

/// The first of the places that [`Bucket::places_of`] found; there is one.
#[inline]
fn first(places: u32) -> usize {
    places.trailing_zeros() as usize - 1
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    type Table = FlowTable<u64>;

    const MS: u64 = 1 << 20;

    fn lookup(table: &mut Table, n: u32, hash: u64, now: u64) -> (&mut Flow<u64>, Option<Record<u64>>) {
        let mut out = None;
        let flow = table.lookup(&Key::numbered(n), Direction::Rising, hash, Nanos(now), |record| out = Some(record));
        (flow, out)
    }

    #[test]
    fn two_buckets_are_one_cache_line() {
        assert_eq!(size_of::<Bucket>(), 32);
    }

    #[test]
    fn capacity_is_rounded_up() {
        for (asked, given) in [(0, 8), (1, 8), (8, 8), (9, 16), (1000, 1024), (1025, 2048)] {
            assert_eq!(Table::new(asked).capacity(), given);
        }
    }

    #[test]
    fn a_ninth_flow_of_a_bucket_pushes_out_the_one_silent_longest() {
        let mut table = Table::new(8);
        for n in 0..8 {
            assert_eq!(lookup(&mut table, n, 0, u64::from(n) * MS).1, None);
        }
        assert!(lookup(&mut table, 0, 0, 8 * MS).1.is_none(), "0 speaks again, 1 is now the oldest");
        let (flow, evicted) = lookup(&mut table, 8, 0, 9 * MS);
        assert_eq!((flow.total_packets(), flow.verdict(1, 0)), (0, None));
        assert_eq!(evicted.map(|record| record.source), Some(Key::numbered(1).source(Direction::Rising).0));
        assert_eq!((table.len(), table.flows_seen()), (8, 9));
    }

    #[test]
    fn verdicts_hold_for_their_epoch_and_dscp() {
        let mut table = Table::new(8);
        let (flow, _) = lookup(&mut table, 1, 0, 0);
        flow.judged(77, 3, 46);
        assert_eq!(flow.verdict(3, 46), Some(77));
        assert_eq!((flow.verdict(4, 46), flow.verdict(3, 0)), (None, None));
    }

    #[test]
    fn a_record_tells_the_flow_from_its_first_sender() {
        let mut table = Table::new(8);
        let key = Key::numbered(1);
        let mut packet = |direction, verdict, bytes, now| {
            let flow = table.lookup(&key, direction, 0, Nanos(now), |_| ());
            flow.judged(verdict, 1, 0);
            flow.count(direction, bytes);
        };
        packet(Direction::Falling, 10, 100, 5);
        packet(Direction::Rising, 20, 1000, 6);
        packet(Direction::Falling, 30, 200, 7);
        packet(Direction::Falling, 40, 300, 9);
        let record = table.drain().next().unwrap();
        assert_eq!((record.source, record.source_port), key.source(Direction::Falling));
        assert_eq!((record.destination, record.destination_port), key.source(Direction::Rising));
        assert_eq!((record.packets, record.bytes), ([3, 1], [600, 1000]));
        assert_eq!((record.after, record.verdict), ([10, 30], 40));
        assert_eq!((record.first_seen, record.last_seen), (Nanos(5), Nanos(9)));
    }

    #[test]
    fn short_flows_end_with_the_verdict_they_have() {
        let mut table = Table::new(8);
        let (flow, _) = lookup(&mut table, 1, 0, 0);
        for verdict in [1, 2] {
            flow.judged(verdict, 1, 0);
            flow.count(Direction::Rising, 60);
        }
        assert_eq!(table.drain().next().unwrap().after, [1, 2]);
        assert!(table.is_empty() && table.drain().next().is_none());
    }

    /// The table as one would write it without a thought for speed: per bucket the flows, the longest silent first.
    #[derive(Default)]
    struct Model {
        buckets: HashMap<u64, VecDeque<(u32, u64)>>,
    }

    impl Model {
        /// The bytes that `n` has now, and the number and bytes of the flow that had to go.
        fn packet(&mut self, bucket: u64, n: u32, bytes: u64) -> (u64, Option<(u32, u64)>) {
            let flows = self.buckets.entry(bucket).or_default();
            let known = flows.iter().position(|&(known, _)| known == n).and_then(|at| flows.remove(at));
            let evicted = if known.is_none() && flows.len() == WAYS { flows.pop_front() } else { None };
            let sum = known.map_or(0, |(_, bytes)| bytes) + bytes;
            flows.push_back((n, sum));
            (sum, evicted)
        }
    }

    proptest! {
        /// Few tags and many flows, so that tags collide and every way of every bucket changes hands.
        #[test]
        fn behaves_like_the_model(ops in proptest::collection::vec((0..60_u32, 1..1500_u32), 1..600)) {
            let (mut table, mut model) = (Table::new(32), Model::default());
            let (mut fed, mut told) = ((0, 0), (0, 0));
            let number = |record: &Record<u64>| u32::from(record.source_port);
            for (step, (n, bytes)) in ops.into_iter().enumerate() {
                let (bucket, now) = (u64::from(n % 4), step as u64 * MS);
                let (flow, evicted) = lookup(&mut table, n, bucket | u64::from(n % 3) << 34, now);
                flow.count(Direction::Rising, bytes);
                fed = (fed.0 + 1, fed.1 + u64::from(bytes));
                let (sum, gone) = model.packet(bucket, n, bytes.into());
                prop_assert_eq!(flow.record().bytes[0], sum);
                prop_assert_eq!(evicted.as_ref().map(|record| (number(record), record.bytes[0])), gone);
                told = evicted.map_or(told, |record| (told.0 + record.packets[0], told.1 + record.bytes[0]));
                prop_assert!(table.len() <= table.capacity());
            }
            let left: usize = model.buckets.values().map(VecDeque::len).sum();
            prop_assert_eq!(table.len(), left);
            let mut before = None;
            for record in table.drain() {
                told = (told.0 + record.packets[0], told.1 + record.bytes[0]);
                prop_assert!(before < Some(record.first_seen), "records come in the order of their first packets");
                before = Some(record.first_seen);
            }
            prop_assert_eq!(told, fed, "what was fed is what is told");
        }
    }
}
