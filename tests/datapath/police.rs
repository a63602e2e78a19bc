//! Policing: rates and colours by rule, subscriber and class, in both directions, and what becomes of the rest.

use std::sync::Arc;

use tidegate::classify::Class;
use tidegate::datapath::DropReason;
use tidegate::datapath::counters::Drops;
use tidegate::frame::Side;
use tidegate::port::memory::{MemoryRx, MemoryTx};
use tidegate::port::sim::Delivery;
use tidegate::telemetry::Account;
use tidegate::units::{Nanos, Rate};

use crate::bridge::{Bridge, Size, free_line, halves, policy};
use crate::traffic::{BACKGROUND, FILE, Offer, Talk, VIDEO, VOICE, WEB, id, together};

const SPAN: Nanos = Nanos(5_000_000_000);

/// What a frame of `len` bytes costs on Ethernet.
fn cost(len: usize) -> u64 {
    len.max(60) as u64 + 24
}

/// Frames dropped as policed, of what came in at `side`.
fn policed(drops: &Drops, side: Side) -> u64 {
    (0..7).map(|class| drops.read(side, class, DropReason::Policed)).sum()
}

/// Runs `streams`, by the side at which they come, up to `SPAN`; returns what left by each side, the frames policed by the
/// side at which they came, and the account.
fn run(text: &str, streams: [Vec<Box<dyn Iterator<Item = Offer>>>; 2]) -> ([Vec<Delivery>; 2], [u64; 2], Account) {
    let mut bridge = Bridge::new(policy(text), &Size::default(), free_line);
    let [mut inside, mut outside] = streams.map(|streams| together(streams, SPAN));
    let mut left = [Vec::new(), Vec::new()];
    bridge.run([&mut inside, &mut outside], Nanos::MAX, |side, frame| left[side as usize].push(frame));
    let policed = Side::BOTH.map(|side| policed(&bridge.ingress.counts().dropped, side));
    let account = bridge.settled();
    assert_eq!(policed.iter().sum::<u64>(), account.balance.dropped, "{account}");
    (left, policed, account)
}

fn stream(talk: Talk, side: Side, len: usize, rate: Rate) -> Box<dyn Iterator<Item = Offer>> {
    Box::new(talk.stream(side, len, rate))
}

fn mbit(megabits: u64) -> Rate {
    Rate(megabits * 1_000_000)
}

/// What left of `talk` after it had come in at `side`.
fn of(talk: Talk, side: Side, left: &[Vec<Delivery>; 2]) -> Vec<&Delivery> {
    let sample = talk.frame(side, 60, 0);
    let ends = |bytes: &[u8]| bytes[26..38].to_vec();
    left[side.opposite() as usize].iter().filter(|frame| ends(&frame.bytes) == ends(&sample)).collect()
}

/// Whether `left` is at every departure at most `rate` × time + `burst`, in the end at least that less one frame, and
/// nothing of it waited.
fn assert_exact(left: &[&Delivery], rate: Rate, burst: u64, len: usize) {
    let mut sent = 0;
    for frame in left {
        assert_eq!(frame.at, frame.origin.unwrap().arrived, "nothing waits for a policer");
        sent += cost(frame.bytes.len());
        let due = rate.bytes_in(frame.at) + burst;
        assert!(sent <= due, "{sent} bytes have left by {} at {rate}, {due} were due", frame.at);
    }
    let due = rate.bytes_in(SPAN) + burst;
    assert!(sent + 2 * cost(len) >= due, "{sent} bytes in all at {rate}, {due} were due");
}

/// A policer called `contract` that drops what is beyond `rate`.
fn contract(rate: &str) -> String {
    format!("[[policer]]\nname = \"contract\"\nkind = \"srtcm\"\ncir = \"{rate}\"\ncbs = 20000\nebs = 0\n")
}

#[test]
fn a_policed_rule_gets_exactly_its_rate_in_each_direction_and_nobody_else_is_touched() {
    let rule = "[[rule]]\nmatch = { port = 443 }\nclass = \"web\"\npolicer = \"contract\"\n";
    let streams = Side::BOTH.map(|side| {
        // Two flows under the same rule have one meter together.
        let one = stream(Talk::to(WEB), side, 1_514, mbit(20));
        let two = stream(Talk { client: 9, ..Talk::to(WEB) }, side, 400, mbit(10));
        vec![one, two, stream(Talk::to(FILE), side, 1_000, mbit(30))]
    });
    let (left, policed, account) = run(&(contract("10mbit") + rule), streams);
    for side in Side::BOTH {
        let left_web: Vec<_> =
            left[side.opposite() as usize].iter().filter(|frame| frame.origin.unwrap().leaf == 4).collect();
        assert_exact(&left_web, mbit(10), 20_000, 1_514);
        let file = of(Talk::to(FILE), side, &left);
        let numbers: Vec<_> = file.iter().map(|frame| id(&frame.bytes)).collect();
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "all of it, in order");
        assert!(numbers.len() > 15_000 && policed[side as usize] > 5_000, "{account}");
    }
    let web = account.classes.iter().filter(|class| class.class == "web");
    let told = web.flat_map(|class| &class.dropped).filter(|(reason, _)| *reason == "policed").map(|(_, count)| count);
    assert_eq!(told.sum::<u64>(), account.balance.dropped, "the account names class and reason");
}

#[test]
fn what_is_demoted_goes_to_background_and_what_is_red_is_dropped() {
    let text = "[[policer]]\nname = \"two\"\nkind = \"trtcm\"\ncir = \"4mbit\"\ncbs = 4000\npir = \"8mbit\"\npbs = 8000\n\
                yellow = \"demote\"\n[[class]]\nname = \"voice\"\npolicer = \"two\"\n";
    let talk = Talk::to(VOICE);
    let streams = Side::BOTH.map(|side| vec![stream(talk, side, 200, mbit(16))]);
    let (left, policed, account) = run(text, streams);
    let mut demoted = 0;
    for side in Side::BOTH {
        let left = of(talk, side, &left);
        let in_leaf = |leaf: Class| {
            let leaf = u16::from(leaf.slot());
            left.iter().copied().filter(|frame| frame.origin.unwrap().leaf == leaf).collect::<Vec<_>>()
        };
        let (green, yellow) = (in_leaf(Class::Voice), in_leaf(Class::Background));
        assert_exact(&green, mbit(4), 4_000, 200);
        assert_exact(&left, mbit(8), 8_000, 200);
        assert_eq!(green.len() + yellow.len(), left.len());
        // The class is what the frame is; only its way is another.
        assert!(left.iter().all(|frame| frame.origin.unwrap().class == Class::Voice.slot()));
        assert!(policed[side as usize] > 0, "{account}");
        demoted += yellow.len() as u64;
    }
    assert_eq!(account.demoted, demoted, "{account}");
}

/// Nine flows of background want a full link. Demoted frames share it with them and are lost there; green ones go before all
/// of it, and none is.
#[test]
fn demotion_counts_on_a_full_link_and_the_green_part_does_not_notice() {
    let text = "download = \"20mbit\"\nupload = \"20mbit\"\nqueue = \"20ms\"\n\
                [[policer]]\nname = \"calls\"\nkind = \"srtcm\"\ncir = \"1mbit\"\ncbs = 4000\nebs = 0\nred = \"demote\"\n\
                [[rule]]\nmatch = { port = 5060 }\nclass = \"voice\"\npolicer = \"calls\"\n";
    let mut bridge = Bridge::new(policy(text), &Size::default(), free_line);
    let talk = Talk::to(VOICE);
    let [mut inside, mut outside] = Side::BOTH.map(|side| {
        let others = (0..9).map(|client| Talk { client, ..Talk::to(BACKGROUND) });
        let others = others.map(|talk| stream(talk, side, 1_514, mbit(5)));
        together(others.chain([stream(talk, side, 200, mbit(6))]).collect(), SPAN)
    });
    let mut left = [Vec::new(), Vec::new()];
    bridge.run([&mut inside, &mut outside], Nanos::MAX, |side, frame| left[side as usize].push(frame));
    for side in Side::BOTH {
        let voice = of(talk, side, &left);
        let (demoted, green): (Vec<_>, Vec<_>) =
            voice.iter().partition(|frame| frame.origin.unwrap().leaf == u16::from(Class::Background.slot()));
        let sent = green.len() as u64 * cost(200);
        let due = mbit(1).bytes_in(SPAN) + 4_000;
        assert!(sent <= due && sent + 2 * cost(200) >= due, "{sent} bytes were green, {due} were due");
        let waited = |frame: &&Delivery| frame.at.since(frame.origin.unwrap().arrived);
        let slowest = green.iter().map(waited).max().unwrap();
        // One frame that has begun to leave, and one that its bucket lets go after it.
        assert!(slowest <= mbit(20).time_for(2 * 1_538), "a green frame stayed for {slowest}");
        // Five megabits demoted, of which a tenth of what is left of the link has room.
        let demoted_bytes = demoted.len() as u64 * cost(200);
        assert!(demoted_bytes < mbit(4).bytes_in(SPAN) && demoted_bytes > mbit(1).bytes_in(SPAN), "{demoted_bytes}");
    }
    assert_eq!(Side::BOTH.map(|side| policed(&bridge.ingress.counts().dropped, side)), [0, 0]);
    bridge.settled();
}

#[test]
fn a_rule_goes_before_a_subscriber_and_a_subscriber_before_a_class() {
    let text = contract("1mbit").replace("contract", "one")
        + &contract("2mbit").replace("contract", "two")
        + &contract("4mbit").replace("contract", "four")
        + "[[class]]\nname = \"web\"\npolicer = \"four\"\n\
           [[rule]]\nmatch = { port = 6881 }\nclass = \"file\"\npolicer = \"one\"\n\
           [[rule]]\nmatch = { port = 554 }\nclass = \"web\"\n\
           [[subscriber]]\nname = \"alice\"\naddresses = [\"10.0.1.0/24\"]\npolicer = \"two\"\n\
           [[subscriber]]\nname = \"bob\"\naddresses = [\"10.0.2.0/24\"]\npolicer = \"two\"\n\
           [[subscriber]]\nname = \"carol\"\naddresses = [\"10.0.3.0/24\"]\nmode = \"observe\"\npolicer = \"one\"\n";
    let talk = |client, server_port| Talk { client, ..Talk::to(server_port) };
    // Of each: who, and what it may have. Whoever stands alone with a rate has a meter alone.
    let expected = [
        (talk(0x0101, WEB), Some(mbit(2))),   // Alice's, though her class has more.
        (talk(0x0102, FILE), Some(mbit(1))),  // The rule's, though alice has more.
        (talk(0x0201, VIDEO), Some(mbit(2))), // Bob's, not alice's: the rule has none.
        (talk(0x0501, WEB), Some(mbit(4))),   // Nobody's: the class's.
        (talk(0x0301, FILE), None),           // Observed.
        (talk(0x0302, WEB), None),
        (talk(0x0502, VOICE), None),
        (talk(0x0103, 520), None), // Control, though alice's.
    ];
    let streams =
        Side::BOTH.map(|side| expected.iter().map(|(talk, _)| stream(*talk, side, 500, mbit(6))).collect::<Vec<_>>());
    let (left, policed, account) = run(&text, streams);
    for side in Side::BOTH {
        let mut lost = 0;
        for (talk, rate) in expected {
            let left = of(talk, side, &left);
            let offered = talk.stream(side, 500, mbit(6)).take_while(|offer| offer.at <= SPAN).count();
            lost += offered - left.len();
            match rate {
                Some(rate) => assert_exact(&left, rate, 20_000, 500),
                None => assert_eq!(left.len(), offered, "{talk:?} is held to nothing"),
            }
        }
        assert_eq!(lost as u64, policed[side as usize], "{account}");
    }
}

#[test]
fn an_observing_wire_polices_nothing() {
    let text =
        "mode = \"observe\"\n".to_owned() + &contract("1mbit") + "[[class]]\nname = \"web\"\npolicer = \"contract\"\n";
    let streams = Side::BOTH.map(|side| vec![stream(Talk::to(WEB), side, 500, mbit(10))]);
    let (left, policed, account) = run(&text, streams);
    assert_eq!((policed, account.balance.dropped), ([0, 0], 0));
    assert!(left.iter().flatten().all(|frame| frame.at == frame.origin.unwrap().arrived));
}

#[test]
fn an_aware_policer_believes_the_drop_precedence_and_a_blind_one_does_not() {
    for (colour, passed) in [("aware", [10, 0, 0, 10]), ("blind", [10; 4])] {
        let text = contract("1gbit")
            .replace("ebs = 0", &format!("ebs = 20000\ncolour = \"{colour}\"\nyellow = \"drop\""))
            + "[[rule]]\nmatch = { port = 443 }\nclass = \"web\"\npolicer = \"contract\"\n";
        let mut bridge = Bridge::new(policy(&text), &Size::default(), free_line);
        // AF11, AF12, AF13 and EF, all in one flow.
        let mut offers = (0..40).map(|n| Offer {
            at: Nanos(1 + n * 1_000_000),
            bytes: Talk { dscp: [10, 12, 14, 46][n as usize % 4], ..Talk::to(WEB) }.frame(Side::Inside, 500, n),
        });
        let mut left = [0; 4];
        bridge.run([&mut offers, &mut std::iter::empty()], Nanos::MAX, |_, frame| {
            left[id(&frame.bytes) as usize % 4] += 1;
        });
        assert_eq!(left, passed, "{colour}");
        bridge.settled();
    }
}

#[test]
fn what_is_remarked_leaves_with_its_colour_on_top_of_what_its_class_means() {
    // Two frames of each burst, and what comes then is red.
    let policer = "[[policer]]\nname = \"contract\"\nkind = \"srtcm\"\ncir = \"1kbit\"\ncbs = 1048\nebs = 1048\n\
                   yellow = \"remark\"\nred = \"remark\"\n[[class]]\nname = \"web\"\npolicer = \"contract\"\n";
    for (class, came, expected) in [
        ("", 10, [10, 10, 12, 12, 14, 14]),
        // Whatever the frame came with is not looked at, and comes out better where it is.
        ("", 22, [22, 22, 20, 20, 22, 22]),
        ("", 46, [46; 6]),
        ("dscp = \"AF41\"\n", 46, [34, 34, 36, 36, 38, 38]),
        // The class takes the mark away, the policer has none to colour.
        ("dscp = \"wash\"\n", 14, [0; 6]),
    ] {
        let mut bridge = Bridge::new(policy(&format!("{policer}{class}")), &Size::default(), free_line);
        let offers = |side| {
            let talk = Talk { dscp: came, ..Talk::to(WEB) };
            (0..6).map(move |n| Offer { at: Nanos(1 + n * 1_000), bytes: talk.frame(side, 500, n) })
        };
        let mut left = [Vec::new(), Vec::new()];
        bridge.run([&mut offers(Side::Inside), &mut offers(Side::Outside)], Nanos::MAX, |side, frame| {
            left[side as usize].push(frame.bytes[15] >> 2);
        });
        assert_eq!(left, [expected, expected], "{came} {class}");
        assert_eq!(bridge.settled().balance.dropped, 0);
    }
}

#[test]
fn a_new_policy_keeps_the_level_of_an_unchanged_policer_and_fills_a_changed_one() {
    let rule = "[[rule]]\nmatch = { port = 443 }\nclass = \"web\"\npolicer = \"contract\"\n";
    let mut bridge = Bridge::new(policy(&(contract("1kbit") + rule)), &Size::default(), free_line);
    let send = |bridge: &mut Bridge| {
        let start = bridge.now;
        let mut offers =
            (1..=50).map(|n| Offer { at: start + Nanos(n), bytes: Talk::to(WEB).frame(Side::Inside, 976, n) });
        let mut left = 0;
        bridge.run([&mut offers, &mut std::iter::empty()], Nanos::MAX, |_, _| left += 1);
        left
    };
    assert_eq!(send(&mut bridge), 20, "a burst of 20,000 bytes");
    let adopt = |bridge: &mut Bridge, epoch, text: &str| {
        let mut policy = policy(text);
        policy.epoch = epoch;
        bridge.ingress.judge().adopt(Arc::new(policy));
    };
    adopt(&mut bridge, 2, &(contract("1kbit") + rule));
    assert_eq!(send(&mut bridge), 0);
    adopt(&mut bridge, 3, &(contract("2kbit") + rule));
    assert_eq!(send(&mut bridge), 20);
    adopt(&mut bridge, 4, "");
    assert_eq!(send(&mut bridge), 50, "nobody is policed any more");
    adopt(&mut bridge, 5, &(contract("2kbit") + rule));
    assert_eq!(send(&mut bridge), 20);
    bridge.settled();
}

#[test]
fn policing_costs_no_allocation() {
    let frames = |side| [WEB, VOICE].map(|port| Talk::to(port).frame(side, 700, 0)).into_iter().collect::<Vec<_>>();
    let rx = Side::BOTH.map(|side| MemoryRx::new(frames(side), 128).with_limit(2_000));
    let text = contract("10mbit")
        + "[[class]]\nname = \"web\"\npolicer = \"contract\"\n[[policer]]\nname = \"down\"\nkind = \"srtcm\"\ncir = \"1mbit\"\n\
           cbs = 2000\nebs = 0\nred = \"demote\"\n[[class]]\nname = \"voice\"\npolicer = \"down\"\n";
    let tx = [MemoryTx::new(64), MemoryTx::new(64)];
    let (_, mut ingress, mut egress) = halves(policy(&text), &Size::default(), rx, tx);
    let mut now = Nanos::ZERO;
    for _ in 0..500 {
        now += Nanos(50_000);
        let allocations = allocation_counter::measure(|| {
            ingress.turn(now, &now);
            egress.turn(now, &now);
        });
        assert_eq!(allocations.count_total, 0);
        assert!(ingress.counts().balanced());
    }
    for side in Side::BOTH {
        let policed = policed(&ingress.counts().dropped, side);
        assert!((500..1_000).contains(&policed), "{policed} of 1,000");
    }
}
