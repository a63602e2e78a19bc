//! What is only observed: never delayed, never dropped, and counted like everything else.

use std::collections::HashMap;

use tidegate::classify::Class;
use tidegate::frame::Side;
use tidegate::port::Line;
use tidegate::port::sim::SimTx;
use tidegate::telemetry::Account;
use tidegate::units::{Nanos, Rate};

use crate::bridge::{Bridge, Size, free_line, policy};
use crate::traffic::{BACKGROUND, FILE, GAMING, Offer, Talk, VIDEO, VOICE, WEB, together};

const SPAN: Nanos = Nanos(5_000_000_000);

/// A routing protocol's port.
const RIP: u16 = 520;

/// A frame that left: when, when it had come, and its bytes.
type Left = (Nanos, Nanos, Vec<u8>);

/// What a frame costs on Ethernet.
fn cost(bytes: &[u8]) -> u64 {
    bytes.len().max(60) as u64 + 24
}

/// Runs all of `offers`, by the side at which they come, and what is left of them in the queues; returns what left by each
/// side, and the account.
fn run(mut bridge: Bridge, offers: &[Vec<Offer>; 2]) -> ([Vec<Left>; 2], Account) {
    let again =
        |side: Side| offers[side as usize].iter().map(|offer| Offer { at: offer.at, bytes: offer.bytes.clone() });
    let (mut inside, mut outside) = (again(Side::Inside), again(Side::Outside));
    let mut left = [Vec::new(), Vec::new()];
    bridge.run([&mut inside, &mut outside], Nanos::MAX, |side, frame| {
        let arrived = frame.origin.expect("it went through the bridge").arrived;
        left[side as usize].push((frame.at, arrived, frame.bytes));
    });
    (left, bridge.settled())
}

/// Frames of every class, of clients that begin with `client`, together at `rate` and up to `SPAN`.
fn every_class(side: Side, client: u16, rate: Rate) -> Box<dyn Iterator<Item = Offer>> {
    let ports = [(VOICE, 200), (GAMING, 120), (VIDEO, 1_200), (WEB, 1_514), (FILE, 1_514), (BACKGROUND, 90), (RIP, 80)];
    let streams = ports.into_iter().zip(client..).map(|((server_port, len), client)| {
        let talk = Talk { client, ..Talk::to(server_port) };
        Box::new(talk.stream(side, len, Rate(rate.0 / ports.len() as u64))) as Box<_>
    });
    Box::new(together(streams.collect(), SPAN))
}

/// Whether every frame of `offers` left at the instant at which it came, unchanged and in the same order.
fn assert_untouched<'a>(left: impl Iterator<Item = &'a Left>, offers: impl Iterator<Item = &'a Offer>) {
    let (mut count, mut left) = (0, left);
    for offer in offers {
        let (at, arrived, bytes) = left.next().expect("every frame leaves");
        assert_eq!((at, arrived, bytes), (&offer.at, &offer.at, &offer.bytes), "frame {count}");
        count += 1;
    }
    assert!(count > 1_000 && left.next().is_none(), "{count} frames");
}

/// Frames sent and dropped of each class that came in at `side`.
fn sent_and_dropped(account: &Account, side: Side) -> HashMap<&'static str, (u64, u64)> {
    let direction = if side == Side::Inside { "up" } else { "down" };
    let of_side = account.classes.iter().filter(|class| class.direction == direction);
    of_side
        .map(|class| (class.class, (class.sent_frames, class.dropped.iter().map(|(_, count)| count).sum())))
        .filter(|(_, counts)| *counts != (0, 0))
        .collect()
}

/// Frames of each class among `offers`, by the port of the server.
fn by_class<'a>(offers: impl Iterator<Item = &'a Vec<u8>>, side: Side) -> HashMap<&'static str, u64> {
    let mut counts = HashMap::new();
    for bytes in offers {
        let at = if side == Side::Inside { 36 } else { 34 };
        let class = match u16::from_be_bytes([bytes[at], bytes[at + 1]]) {
            VOICE => Class::Voice,
            GAMING => Class::Gaming,
            VIDEO => Class::Video,
            WEB => Class::Web,
            FILE => Class::File,
            BACKGROUND => Class::Background,
            RIP => Class::Control,
            port => panic!("port {port}"),
        };
        *counts.entry(class.name()).or_default() += 1;
    }
    counts
}

/// The same load, five times what the policy lets through: a wire that enforces delays and drops, one that observes doesn't.
#[test]
fn an_observing_wire_leaves_everything_as_it_comes_under_a_load_that_an_enforcing_one_does_not() {
    let offers = Side::BOTH.map(|side| every_class(side, 0x0100, Rate(50_000_000)).collect::<Vec<_>>());
    let rates = "download = \"10mbit\"\nupload = \"10mbit\"\nqueue = \"100us\"\n";
    let bridge = |mode: &str| {
        Bridge::new(
            policy(&format!("{rates}mode = \"{mode}\"\n[[class]]\nname = \"voice\"\nceiling = \"10%\"")),
            &Size::default(),
            free_line,
        )
    };
    let (left, account) = run(bridge("observe"), &offers);
    for side in Side::BOTH {
        let offers = &offers[side as usize];
        assert_untouched(left[side.opposite() as usize].iter(), offers.iter());
        let offered = by_class(offers.iter().map(|offer| &offer.bytes), side);
        let counted = sent_and_dropped(&account, side);
        assert_eq!(counted, offered.into_iter().map(|(class, count)| (class, (count, 0))).collect(), "{account}");
    }
    assert_eq!(account.balance.dropped, 0);

    let (left, account) = run(bridge("enforce"), &offers);
    assert!(account.balance.dropped > account.balance.completed, "{account}");
    assert!(left.iter().flatten().any(|(at, arrived, _)| at.since(*arrived) > Nanos::from_millis(10)));
}

/// A burst as large as the memory that a direction has, through a line that takes a second for it: no limit of the policy
/// counts, neither frames nor bytes of a class.
#[test]
fn an_observing_wire_loses_nothing_to_a_slow_line_as_long_as_there_is_memory() {
    let offers = (1..=8_190).map(|n| Offer {
        at: Nanos(n),
        bytes: Talk { vlan: Some(7), ..Talk::to(VOICE) }.frame(Side::Outside, 1_518, n),
    });
    let offers = [Vec::new(), offers.collect()];
    let dropped = |mode: &str| {
        let policy = policy(&format!("download = \"100mbit\"\nmode = \"{mode}\""));
        let slow = |_, cable| SimTx::new(Line::limited(Rate(100_000_000), 24, 64), cable);
        let (left, account) = run(Bridge::new(policy, &Size::default(), slow), &offers);
        let sent = left[Side::Inside as usize].iter().map(|(_, _, bytes)| bytes);
        assert!(mode == "enforce" || sent.eq(offers[1].iter().map(|offer| &offer.bytes)), "in order and unchanged");
        account.balance.dropped
    };
    assert_eq!(dropped("observe"), 0);
    assert!(dropped("enforce") > 8_000);
}

/// The clients of the subscriber who is observed, 10.0.1.0/24, and of the one who isn't.
const OBSERVED: u16 = 0x0100;
const ENFORCED: u16 = 0x0200;

/// Whether a frame that came in at `side` is of an observed client.
fn is_observed(bytes: &[u8], side: Side) -> bool {
    bytes[if side == Side::Inside { 28 } else { 32 }] == (OBSERVED >> 8) as u8
}

/// Frames that come in clumps of 20 at once.
fn clumps(side: Side, client: u16, every: Nanos) -> Box<dyn Iterator<Item = Offer>> {
    let talk = Talk { client, ..Talk::to(WEB) };
    let at = move |n: u64| Nanos(n / 20 * every.0);
    Box::new((0..).map(move |n| Offer { at: at(n), bytes: talk.frame(side, 1_200, n) }))
}

/// One subscriber observed and one enforced behind a link that both together want three times over.
///
/// What is observed leaves as it comes. The other gets what is left of the link: at every departure the total is at least
/// rate × time, and at most that, a burst, what the others may owe and a frame.
fn share_a_link(rate: Rate) {
    let subscribers = "[[subscriber]]\nname = \"alice\"\naddresses = [\"10.0.1.0/24\"]\nmode = \"observe\"\n\
                       [[subscriber]]\nname = \"bob\"\naddresses = [\"10.0.0.0/16\"]\n";
    let policy = policy(&format!("download = \"{rate}\"\nupload = \"{rate}\"\n{subscribers}"));
    let burst = u64::from(policy.trees[0].burst);
    let offers = Side::BOTH.map(|side| {
        let streams = vec![
            every_class(side, OBSERVED, Rate(rate.0 * 2 / 5)),
            // A fifth of the link.
            clumps(side, OBSERVED | 0xff, Rate(rate.0 / 5).time_for(20 * 1_224)),
            every_class(side, ENFORCED, Rate(rate.0 * 5 / 2)),
        ];
        together(streams, SPAN).collect::<Vec<_>>()
    });
    let (left, account) = run(Bridge::new(policy, &Size::default(), free_line), &offers);
    for side in Side::BOTH {
        let (left, offers) = (&left[side.opposite() as usize], &offers[side as usize]);
        let observed = |bytes: &Vec<u8>| is_observed(bytes, side);
        assert_untouched(
            left.iter().filter(|(_, _, bytes)| observed(bytes)),
            offers.iter().filter(|offer| observed(&offer.bytes)),
        );
        let owed = rate.bytes_in(Nanos::from_millis(50));
        let mut sent = [0, 0];
        for (at, _, bytes) in left.iter().take_while(|(at, ..)| *at <= SPAN) {
            let due = rate.bytes_in(*at);
            let total: u64 = sent.iter().sum();
            assert!(total >= due, "{total} bytes had left by {at} at {rate}, {due} were due");
            sent[usize::from(observed(bytes))] += cost(bytes);
            let total: u64 = sent.iter().sum();
            assert!(total <= due + burst + owed + 1_538, "{total} bytes have left by {at} at {rate}, {due} were due");
        }
        let share = sent.map(|sent| sent as f64 / rate.bytes_in(SPAN) as f64);
        println!("{rate}, from {}: enforced {:.4}, observed {:.4} of the link", side.name(), share[0], share[1]);
        assert!((0.59..0.61).contains(&share[1]), "{share:?}");
        assert!((share[0] + share[1] - 1.0).abs() < 0.01, "{share:?}");

        let offered = by_class(offers.iter().map(|offer| &offer.bytes), side);
        let seen = by_class(left.iter().map(|(_, _, bytes)| bytes), side);
        let counted = sent_and_dropped(&account, side);
        let expected = offered.iter().map(|(class, offered)| (*class, (seen[class], offered - seen[class])));
        assert_eq!(counted, expected.collect(), "{account}");
    }
    // The rest of what was offered is enforced traffic, and lost by count.
    assert!(account.balance.dropped > account.balance.received / 3, "{account}");
}

#[test]
fn what_is_enforced_gives_way_to_what_is_observed_on_ten_megabits() {
    share_a_link(Rate(10_000_000));
}

#[test]
fn what_is_enforced_gives_way_to_what_is_observed_on_a_hundred_megabits() {
    share_a_link(Rate(100_000_000));
}
