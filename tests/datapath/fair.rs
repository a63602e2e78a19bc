//! Flows that share a class: what is sparse goes first, and no queue stands for long.

use std::collections::VecDeque;

use tidegate::classify::Class;
use tidegate::datapath::DropReason;
use tidegate::frame::Side;
use tidegate::telemetry::{Snapshot, prometheus};
use tidegate::units::{Nanos, Rate};

use crate::bridge::{Bridge, Size, free_line, policy};
use crate::traffic::{Offer, Talk, WEB, id, together};

const RATE: Rate = Rate(20_000_000);
const FULL: usize = 1_514;
const CE: u8 = 0b11;
const ECT_0: u8 = 0b10;

/// Where the DS field is: these frames have no tag.
const DS_FIELD: usize = 15;

fn wire(queue: &str) -> Bridge {
    Bridge::new(policy(&format!("download = \"{RATE}\"\nqueue = \"{queue}\"")), &Size::default(), free_line)
}

/// A client of its own in the class of the web.
fn client(client: u16) -> Talk {
    Talk { client, ..Talk::to(WEB) }
}

fn counted(bridge: &Bridge, reason: DropReason) -> u64 {
    bridge.egress.counts().dropped.read(Side::Outside, Class::Web.slot().into(), reason)
}

#[test]
fn a_sparse_flow_does_not_wait_for_the_flood_beside_it() {
    let span = Nanos::from_millis(5_000);
    let mut bridge = wire("50ms");
    let flood = Box::new(client(1).stream(Side::Outside, FULL, Rate(2 * RATE.0)));
    // A frame of 200 bytes every 20 ms.
    let sparse = (0..)
        .map(|n| Offer { at: Nanos::from_millis(20 * n) + Nanos(7), bytes: client(2).frame(Side::Outside, 200, n) });
    let (mut longest, mut sent, mut longest_flood) = (Nanos::ZERO, 0, Nanos::ZERO);
    let mut offers = together(vec![flood, Box::new(sparse)], span);
    bridge.run([&mut std::iter::empty(), &mut offers], Nanos::MAX, |_, frame| {
        let stay = frame.at.since(frame.origin.expect("it went through the bridge").arrived);
        if frame.bytes.len() == 200 {
            (longest, sent) = (longest.max(stay), sent + 1);
        } else {
            longest_flood = longest_flood.max(stay);
        }
    });
    let frame_time = RATE.time_for(FULL as u64 + 24);
    println!(
        "{sent} sparse frames waited {longest} at most, the flood {longest_flood}, a full frame takes {frame_time}"
    );
    assert_eq!(sent, 250, "the sparse flow loses nothing");
    assert!(longest <= Nanos(2 * frame_time.0), "a sparse frame waited {longest}");
    assert!(longest_flood > Nanos::from_millis(30), "the queue was never full");
    assert!(counted(&bridge, DropReason::LeafFull) > 1_000 && counted(&bridge, DropReason::Aqm) > 50);
    bridge.settled();
}

/// A sender that adds a frame to its window every round trip and halves it for a frame that is missing or marked, as Reno does.
struct Sender {
    window: f64,
    in_flight: u64,
    next: u64,
    /// The number that the receiver waits for, and when the window may be halved again.
    expected: u64,
    halved: Nanos,
}

const ROUND_TRIP: Nanos = Nanos::from_millis(20);

impl Sender {
    /// The receiver has told of frame `number`.
    fn told(&mut self, number: u64, marked: bool, now: Nanos) {
        let missing = number - self.expected;
        self.in_flight -= missing + 1;
        self.expected = number + 1;
        self.window += 1.0 / self.window;
        if (missing > 0 || marked) && now >= self.halved {
            self.window = (self.window / 2.0).max(2.0);
            self.halved = now + ROUND_TRIP;
        }
    }

    fn send(&mut self, now: Nanos, ecn: u8) -> Vec<Offer> {
        let count = (self.window as u64).saturating_sub(self.in_flight);
        let offers = (self.next..self.next + count).map(|number| {
            let mut bytes = client(1).frame(Side::Outside, FULL, number);
            bytes[DS_FIELD] |= ecn;
            Offer { at: now, bytes }
        });
        let offers = offers.collect();
        (self.in_flight, self.next) = (self.in_flight + count, self.next + count);
        offers
    }
}

/// What one responsive sender gets in thirty seconds: the median time that a frame stays and the bytes that leave in the last
/// twenty, the frames that are marked on the way, and the bridge.
fn respond(ecn: u8) -> (Nanos, u64, u64, Bridge) {
    let step = Nanos(500_000);
    let (warm, span) = (Nanos::from_millis(10_000), Nanos::from_millis(30_000));
    let mut bridge = wire("300ms");
    let mut sender = Sender { window: 10.0, in_flight: 0, next: 0, expected: 0, halved: Nanos::ZERO };
    // What the receiver tells, and when the sender hears it.
    let mut told: VecDeque<(Nanos, u64, bool)> = VecDeque::new();
    let (mut stays, mut bytes, mut marked, mut now) = (Vec::new(), 0, 0, Nanos(1));
    while now < span {
        while let Some((at, number, mark)) = told.front().copied()
            && at <= now
        {
            told.pop_front();
            sender.told(number, mark, now);
        }
        bridge.now = now;
        let mut offers = sender.send(now, ecn).into_iter();
        now += step;
        bridge.run([&mut std::iter::empty(), &mut offers], now, |_, frame| {
            let mark = frame.bytes[DS_FIELD] & CE == CE;
            marked += u64::from(mark);
            told.push_back((frame.at + ROUND_TRIP, id(&frame.bytes), mark));
            if frame.at >= warm {
                stays.push(frame.at.since(frame.origin.expect("it went through the bridge").arrived));
                bytes += frame.bytes.len() as u64 + 24;
            }
        });
    }
    bridge.run([&mut std::iter::empty(), &mut std::iter::empty()], Nanos::MAX, |_, frame| {
        marked += u64::from(frame.bytes[DS_FIELD] & CE == CE);
    });
    stays.sort_unstable();
    (stays[stays.len() / 2], bytes, marked, bridge)
}

/// CoDel's target, and what the link carries in the twenty seconds that are measured.
const TARGET: Nanos = Nanos::from_millis(5);
const CARRIED: u64 = RATE.bytes_in(Nanos::from_millis(20_000));

#[test]
fn the_queue_of_a_flow_that_responds_goes_to_about_the_target() {
    let (median, bytes, marked, bridge) = respond(0);
    let dropped = counted(&bridge, DropReason::Aqm);
    println!("half of the frames stayed less than {median}, {bytes} of {CARRIED} bytes left, {dropped} frames dropped");
    assert!(median <= Nanos(2 * TARGET.0), "{median}");
    assert!(bytes >= CARRIED * 9 / 10, "{bytes} of {CARRIED}");
    assert_eq!((marked, counted(&bridge, DropReason::LeafFull)), (0, 0));
    let account = bridge.settled();
    assert!(dropped > 0 && account.balance.dropped == dropped, "{account}");
}

#[test]
fn a_flow_that_understands_marks_loses_nothing() {
    let (median, bytes, marked, bridge) = respond(ECT_0);
    println!("half of the frames stayed less than {median}, {bytes} of {CARRIED} bytes left, {marked} frames marked");
    assert!(median <= Nanos(2 * TARGET.0), "{median}");
    assert!(bytes >= CARRIED * 9 / 10, "{bytes} of {CARRIED}");
    let account = bridge.settled();
    assert_eq!(account.balance.dropped, 0, "{account}");
    let web = account.classes.iter().find(|class| class.class == "web" && class.direction == "down").unwrap();
    assert!(marked > 0 && web.marked_frames == marked, "{account}");
    // Whoever looks is told the same.
    let shown = account.to_string();
    let row = shown.lines().find(|line| line.starts_with("web ") && line.contains("down")).unwrap();
    assert!(row.ends_with(&format!(" {marked}  -")), "{shown}");
    let json = serde_json::to_string(&account).unwrap();
    assert!(json.contains(&format!("\"marked_frames\":{marked}")), "{json}");
    let text = prometheus::text(&Snapshot { seq: 1, seconds: 0.0, wires: vec![account] });
    let series = format!("tidegate_class_marked_frames_total{{wire=\"\",direction=\"down\",class=\"web\"}} {marked}\n");
    assert!(text.contains(&series), "{text}");
}

#[test]
fn the_same_load_is_marked_and_dropped_the_same_again() {
    let tell = || {
        let mut bridge = wire("50ms");
        let streams =
            (0..40).map(|n| Box::new(client(n).stream(Side::Outside, 300 + 30 * usize::from(n), Rate(1_000_000))) as _);
        let mut left = Vec::new();
        let mut offers = together(streams.collect(), Nanos::from_millis(2_000));
        bridge.run([&mut std::iter::empty(), &mut offers], Nanos::MAX, |_, frame| left.push((frame.at, frame.bytes)));
        (left, bridge.settled().to_string())
    };
    let first = tell();
    assert!(first.1.contains("aqm"), "{}", first.1);
    assert!(first == tell());
}
