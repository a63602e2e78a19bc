//! The flow queues of a leaf against a straightforward reference, written from the texts of RFC 8289 and RFC 8290.
//!
//! The reference has its own data structures, from the standard library, and counts times in floating point. Both are given
//! the same random arrivals and departures, and must drop, mark and send the same frames at the same times. What differs from the
//! RFCs by intent (`docs/decisions/flow-queues.md`) is in the reference as a sentence there says it.

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;
use tidegate::frame::{Frame, Table};
use tidegate::qos::{Codel, Congested, LeafSpec, Overhead, Refusal, Tree, TreeSpec};
use tidegate::units::{Nanos, Rate};

/// What happened to a frame, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Sent(u32),
    Marked(u32),
    Aqm(u32),
    Full(u32),
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    number: u32,
    len: u64,
    arrived: f64,
    ecn: bool,
}

/// RFC 8289, section 5.1: the data of a queue.
#[derive(Debug, Default)]
struct CodelVars {
    first_above_time: f64,
    drop_next: f64,
    count: f64,
    lastcount: f64,
    dropping: bool,
}

#[derive(Debug, Default)]
struct FlowQueue {
    packets: VecDeque<Packet>,
    codel: CodelVars,
    deficit: i64,
}

impl FlowQueue {
    fn bytes(&self) -> u64 {
        self.packets.iter().map(|packet| packet.len).sum()
    }
}

const MAXPACKET: u64 = 1_514;
const QUANTUM: i64 = 1_514;

/// RFC 8290, section 4, by flow hash; times in nanoseconds.
struct Reference {
    target: f64,
    interval: f64,
    limit: u64,
    queues: HashMap<u32, FlowQueue>,
    new: VecDeque<u32>,
    old: VecDeque<u32>,
    /// The queue that was the fattest when a packet last came or went for want of room.
    fattest: Option<u32>,
    fates: Vec<Fate>,
}

impl Reference {
    fn new(codel: Codel, limit: u64) -> Reference {
        Reference {
            target: codel.target().0 as f64,
            interval: codel.interval().0 as f64,
            limit,
            queues: HashMap::new(),
            new: VecDeque::new(),
            old: VecDeque::new(),
            fattest: None,
            fates: Vec::new(),
        }
    }

    fn bytes(&self) -> u64 {
        self.queues.values().map(FlowQueue::bytes).sum()
    }

    fn packets(&self) -> usize {
        self.queues.values().map(|queue| queue.packets.len()).sum()
    }

    /// Section 4.1.
    fn enqueue(&mut self, flow: u32, packet: Packet) {
        if !self.new.contains(&flow) && !self.old.contains(&flow) {
            self.queues.insert(flow, FlowQueue { deficit: QUANTUM, ..FlowQueue::default() });
            self.new.push_back(flow);
        }
        self.queues.get_mut(&flow).unwrap().packets.push_back(packet);
        if self.fattest.is_none_or(|fattest| self.queues[&flow].bytes() > self.queues[&fattest].bytes()) {
            self.fattest = Some(flow);
        }
        while self.bytes() > self.limit && self.packets() > 1 {
            self.drop_from_fattest();
        }
    }

    /// The fattest of the remembered queue and the first sixteen of those in turn; the oldest packet of it goes.
    fn drop_from_fattest(&mut self) {
        let in_turn = self.old.iter().chain(&self.new).take(16);
        let mut fattest = self.fattest;
        for flow in in_turn {
            let queue = &self.queues[flow];
            if !queue.packets.is_empty() && fattest.is_none_or(|fattest| queue.bytes() > self.queues[&fattest].bytes())
            {
                fattest = Some(*flow);
            }
        }
        let fattest = fattest.expect("few enough flows to find one");
        self.fattest = Some(fattest);
        let packet = self.pop(fattest).unwrap();
        self.fates.push(Fate::Full(packet.number));
        self.forget_if_idle();
    }

    fn pop(&mut self, flow: u32) -> Option<Packet> {
        let queue = self.queues.get_mut(&flow).unwrap();
        let packet = queue.packets.pop_front();
        if queue.packets.is_empty() && self.fattest == Some(flow) {
            self.fattest = None;
        }
        packet
    }

    /// A leaf that holds nothing has no flows.
    fn forget_if_idle(&mut self) {
        if self.packets() == 0 {
            self.queues.clear();
            self.new.clear();
            self.old.clear();
        }
    }

    /// Section 4.2.
    fn dequeue(&mut self, now: f64) -> Option<u32> {
        loop {
            let (flow, is_new) = match (self.new.front(), self.old.front()) {
                (Some(flow), _) => (*flow, true),
                (None, Some(flow)) => (*flow, false),
                (None, None) => return None,
            };
            let list = if is_new { &mut self.new } else { &mut self.old };
            let queue = self.queues.get_mut(&flow).unwrap();
            if queue.deficit <= 0 {
                queue.deficit += QUANTUM;
                list.pop_front();
                self.old.push_back(flow);
                continue;
            }
            let Some(packet) = self.codel_dequeue(flow, now) else {
                let list = if is_new { &mut self.new } else { &mut self.old };
                list.pop_front();
                if is_new {
                    self.old.push_back(flow);
                } else {
                    self.queues.remove(&flow);
                }
                continue;
            };
            self.queues.get_mut(&flow).unwrap().deficit -= packet.len as i64;
            self.fates.push(Fate::Sent(packet.number));
            self.forget_if_idle();
            return Some(packet.number);
        }
    }

    /// RFC 8289, section 5.6; `control_law` gives whole nanoseconds.
    fn control_law(&self, t: f64, count: f64) -> f64 {
        t + (self.interval / count.sqrt()).floor()
    }

    /// RFC 8289, section 5.5: the packet, and whether it is ok to drop it.
    fn dodequeue(&mut self, flow: u32, now: f64) -> (Option<Packet>, bool) {
        let packet = self.pop(flow);
        let (target, interval) = (self.target, self.interval);
        let queue = self.queues.get_mut(&flow).unwrap();
        let bytes = queue.bytes();
        let vars = &mut queue.codel;
        let Some(packet) = packet else {
            vars.first_above_time = 0.0;
            return (None, false);
        };
        let mut ok_to_drop = false;
        if now - packet.arrived < target || bytes <= MAXPACKET {
            vars.first_above_time = 0.0;
        } else if vars.first_above_time == 0.0 {
            vars.first_above_time = now + interval;
        } else if now >= vars.first_above_time {
            ok_to_drop = true;
        }
        (Some(packet), ok_to_drop)
    }

    /// RFC 8289, section 5.4; a packet that can be marked is marked in place of its drop, and leaves.
    fn codel_dequeue(&mut self, flow: u32, now: f64) -> Option<Packet> {
        let (mut r, mut ok_to_drop) = self.dodequeue(flow, now);
        if self.queues[&flow].codel.dropping {
            if !ok_to_drop {
                self.queues.get_mut(&flow).unwrap().codel.dropping = false;
            }
            while now >= self.queues[&flow].codel.drop_next && self.queues[&flow].codel.dropping {
                let packet = r.unwrap();
                let vars = &mut self.queues.get_mut(&flow).unwrap().codel;
                vars.count += 1.0;
                let (next, count) = (vars.drop_next, vars.count);
                if packet.ecn {
                    self.fates.push(Fate::Marked(packet.number));
                    self.queues.get_mut(&flow).unwrap().codel.drop_next = self.control_law(next, count);
                    return r;
                }
                self.fates.push(Fate::Aqm(packet.number));
                (r, ok_to_drop) = self.dodequeue(flow, now);
                let next = self.control_law(next, count);
                let vars = &mut self.queues.get_mut(&flow).unwrap().codel;
                if !ok_to_drop {
                    vars.dropping = false;
                } else {
                    vars.drop_next = next;
                }
            }
        } else if ok_to_drop {
            let packet = r.unwrap();
            if packet.ecn {
                self.fates.push(Fate::Marked(packet.number));
            } else {
                self.fates.push(Fate::Aqm(packet.number));
                (r, _) = self.dodequeue(flow, now);
            }
            let interval = self.interval;
            let vars = &mut self.queues.get_mut(&flow).unwrap().codel;
            vars.dropping = true;
            let delta = vars.count - vars.lastcount;
            vars.count = if delta > 1.0 && now - vars.drop_next < 16.0 * interval { delta } else { 1.0 };
            vars.lastcount = vars.count;
            let count = vars.count;
            self.queues.get_mut(&flow).unwrap().codel.drop_next = self.control_law(now, count);
        }
        r
    }
}

/// A tree of one leaf without a rate, its memory, and what happened so far.
struct Built {
    tree: Tree,
    table: Table,
    free: Vec<Frame>,
    /// The number of the packet that is in each frame, and whether it can be marked.
    inside: Vec<(u32, bool)>,
    fates: Vec<Fate>,
}

struct Signals<'a> {
    inside: &'a [(u32, bool)],
    fates: &'a mut Vec<Fate>,
    free: &'a mut Vec<Frame>,
}

impl Congested for Signals<'_> {
    fn mark(&mut self, frame: &mut Frame) -> bool {
        let (number, ecn) = self.inside[frame.index() as usize];
        if ecn {
            self.fates.push(Fate::Marked(number));
        }
        ecn
    }

    fn drop(&mut self, frame: Frame) {
        self.fates.push(Fate::Aqm(self.inside[frame.index() as usize].0));
        self.free.push(frame);
    }
}

const FRAMES: u32 = 2_000;

impl Built {
    fn new(codel: Codel, limit: u64, max_frames: u32) -> Built {
        let leaf = LeafSpec {
            guarantee: None,
            ceiling: None,
            burst: 0,
            priority: 0,
            quantum: 1_538,
            limit,
            band: 0,
            codel: Some(codel),
        };
        let spec = TreeSpec {
            link: None,
            burst: 0,
            overhead: Overhead::NONE,
            leaves: vec![leaf],
            max_frames,
            max_bytes: u64::MAX,
        };
        let (table, free) = Table::heap(FRAMES, 2_048);
        let inside = vec![(0, false); FRAMES as usize];
        Built { tree: Tree::new(&spec, Nanos::ZERO), table, free, inside, fates: Vec::new() }
    }

    fn enqueue(&mut self, flow: u32, number: u32, len: u32, ecn: bool, now: Nanos) {
        let Built { tree, table, free, inside, fates } = self;
        let mut frame = free.pop().expect("enough frames");
        inside[frame.index() as usize] = (number, ecn);
        table.write(&mut frame, &[], len);
        let slot = table.slot_mut(&mut frame);
        (slot.flow_hash, slot.arrived) = (flow, now);
        tree.enqueue(table, frame, |frame, why| {
            assert_eq!(why, Refusal::LeafFull);
            fates.push(Fate::Full(inside[frame.index() as usize].0));
            free.push(frame);
        });
    }

    fn dequeue(&mut self, now: Nanos) -> Option<u32> {
        let Built { tree, table, free, inside, fates } = self;
        let frame = tree.dequeue(table, now, &mut Signals { inside, fates, free })?;
        let number = inside[frame.index() as usize].0;
        fates.push(Fate::Sent(number));
        free.push(frame);
        Some(number)
    }
}

/// What is offered: at a time after the last, by a flow, of a length, ECN-capable or not.
#[derive(Clone, Debug)]
struct Arrival {
    after: u64,
    flow: usize,
    len: u32,
}

/// Flows 0 and 3 are ECN-capable; flow 0 has no hash, like frames that belong to no flow.
const FLOWS: [u32; 9] = [0, 1, 2, 0x8000_0000, 77, 0xffff_ffff, 12_345, 99, 4_000_000_007];

fn is_ecn(flow: usize) -> bool {
    flow.is_multiple_of(3)
}

/// Gives both the same, with departures at `rate` while there is something; compares after every event.
fn compare(arrivals: &[Arrival], rate: Rate, limit: u64) -> Vec<Fate> {
    let codel = Codel::for_rate(rate);
    let (mut built, mut reference) = (Built::new(codel, limit, 1_000), Reference::new(codel, limit));
    let (mut now, mut next_out, mut seen) = (1_u64, 1_u64, 0);
    let mut lens: HashMap<u32, u32> = HashMap::new();
    let mut depart = |until: u64, built: &mut Built, reference: &mut Reference, lens: &HashMap<u32, u32>| {
        while next_out <= until {
            let (sent, expected) = (built.dequeue(Nanos(next_out)), reference.dequeue(next_out as f64));
            assert_eq!(built.fates[seen..], reference.fates[seen..], "at {next_out}");
            assert_eq!(sent, expected, "at {next_out}");
            seen = built.fates.len();
            match sent {
                Some(number) => next_out += rate.time_for(u64::from(lens[&number]) + 24).0,
                None if until == u64::MAX => return,
                None => next_out = until + 1,
            }
        }
    };
    for (number, arrival) in (0..).zip(arrivals) {
        now += arrival.after;
        depart(now, &mut built, &mut reference, &lens);
        let (ecn, flow) = (is_ecn(arrival.flow), FLOWS[arrival.flow]);
        lens.insert(number, arrival.len);
        built.enqueue(flow, number, arrival.len, ecn, Nanos(now));
        reference.enqueue(flow, Packet { number, len: arrival.len.into(), arrived: now as f64, ecn });
        assert_eq!(built.tree.bytes(), reference.bytes());
        assert_eq!(built.tree.frames() as usize, reference.packets());
    }
    depart(u64::MAX, &mut built, &mut reference, &lens);
    assert_eq!(built.tree.frames(), 0);
    assert_eq!(built.free.len(), FRAMES as usize, "every frame came back");
    let gone = |fate: &&Fate| !matches!(fate, Fate::Marked(_));
    assert_eq!(built.fates.iter().filter(gone).count(), arrivals.len(), "each packet has one end");
    built.fates
}

fn arrivals(gap: u64, count: usize) -> impl Strategy<Value = Vec<Arrival>> {
    let len = prop_oneof![Just(1_514u32), 60u32..1_514, Just(60)];
    // Some flows speak far more than others.
    let flow = prop_oneof![4 => 0usize..2, 2 => 2usize..4, 1 => 0usize..FLOWS.len()];
    let after = prop_oneof![8 => 0..gap, 1 => Just(0), 1 => 0..20 * gap];
    prop::collection::vec(
        (after, flow, len).prop_map(|(after, flow, len)| Arrival { after, flow, len }),
        count / 2..count,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// At 10 Mbit/s, offered about one and a half times that, in a leaf that seldom is full.
    #[test]
    fn the_same_is_sent_marked_and_dropped(arrivals in arrivals(320_000, 2_000)) {
        compare(&arrivals, Rate(10_000_000), 400_000);
    }

    /// In a leaf that is full most of the time.
    #[test]
    fn the_same_goes_where_there_is_no_room(arrivals in arrivals(160_000, 1_500)) {
        compare(&arrivals, Rate(10_000_000), 60_000);
    }

    /// So slow that a full frame takes longer than 5 ms.
    #[test]
    fn the_same_is_dropped_on_a_slow_link(arrivals in arrivals(6_000_000, 1_000)) {
        compare(&arrivals, Rate(600_000), 200_000);
    }
}

/// The comparison is of something: in one long run of each kind all fates occur, and many of them.
#[test]
fn overload_is_marked_and_dropped() {
    let flood = |n: u64| Arrival { after: 700_000 + n * 7_919 % 100_000, flow: (n % 4) as usize, len: 1_514 };
    let arrivals: Vec<_> = (0..10_000).map(flood).collect();
    let fates = compare(&arrivals, Rate(10_000_000), 250_000);
    let count = |of: fn(&Fate) -> bool| fates.iter().filter(|fate| of(fate)).count();
    let counts = [
        count(|fate| matches!(fate, Fate::Sent(_))),
        count(|fate| matches!(fate, Fate::Marked(_))),
        count(|fate| matches!(fate, Fate::Aqm(_))),
        count(|fate| matches!(fate, Fate::Full(_))),
    ];
    println!("sent, marked, dropped by CoDel, dropped for room: {counts:?}");
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}

/// More flows than the pool has queues, each of one frame, while the old queues never have their turn: queues that are only
/// remembered are forgotten early, and no frame is lost or left behind.
#[test]
fn a_pool_that_runs_out_forgets_empty_queues() {
    let mut built = Built::new(Codel::default(), u64::MAX, 50);
    let mut number = 0;
    for flow in [1, 2, 3, 1, 2, 3] {
        built.enqueue(flow, number, 1_514, false, Nanos(1));
        number += 1;
    }
    for _ in 0..6 {
        built.enqueue(u32::MAX, number, 60, false, Nanos(1));
        number += 1;
    }
    for flow in 100..5_000 {
        built.enqueue(flow, number, 60, false, Nanos(1));
        number += 1;
        assert!(built.dequeue(Nanos(1)).is_some());
    }
    while built.dequeue(Nanos(1)).is_some() {}
    assert_eq!((built.tree.frames(), built.fates.len() as u32), (0, number));
    assert_eq!(built.free.len(), FRAMES as usize);
}
