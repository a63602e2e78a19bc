//! No frame is lost from the arena, whatever is dropped.

use tidegate::frame::Side;
use tidegate::port::Line;
use tidegate::port::sim::SimTx;
use tidegate::telemetry::Account;
use tidegate::units::{Nanos, Rate};

use crate::bridge::{Bridge, Size, policy};
use crate::traffic::{BACKGROUND, FILE, GAMING, Offer, Random, Talk, VIDEO, VOICE, WEB};

/// Frames that come in clumps of random length at random times, at random of 96 flows, until `count` have come.
fn clumps(side: Side, seed: u64, count: u64, quiet: impl Fn(Nanos) -> bool) -> impl Iterator<Item = Offer> {
    let (mut random, mut at, mut left) = (Random(seed), Nanos::ZERO, 0);
    (0..count).map(move |n| {
        if left == 0 {
            at += Nanos(random.below(4_000_000));
            while quiet(at) {
                at += Nanos::from_millis(10);
            }
            left = 1 + random.below(80);
        }
        left -= 1;
        let server_port = random.of(&[VOICE, GAMING, VIDEO, WEB, FILE, BACKGROUND]);
        let talk = Talk { client: random.below(16) as u16, server_port, dscp: 0, vlan: None };
        Offer { at, bytes: talk.frame(side, random.of(&[64, 120, 600, 1_514, 1_900]), n) }
    })
}

/// Too much for everything: an arena, rings, queues and lines that are all too small, and a line that loses.
fn soak(seed: u64, count: u64) -> Account {
    // Two of the sixteen clients are only observed.
    let observed = "[[subscriber]]\nname = \"o\"\naddresses = [\"10.0.0.2/31\"]\nmode = \"observe\"";
    let mut policy = policy(&format!("download = \"80mbit\"\nupload = \"40mbit\"\n{observed}"));
    for tree in &mut policy.trees {
        tree.max_frames = 120;
        for leaf in &mut tree.leaves {
            leaf.limit = 15_000;
        }
    }
    let size = Size { frames: 240, ring: 8, fill: 48, ..Size::default() };
    // The line inside is slower than the policy and accepts little; what leaves outside is done late and partly lost.
    let mut bridge = Bridge::new(policy, &size, |side, cable| match side {
        Side::Inside => SimTx::new(Line::limited(Rate(60_000_000), 24, 5), cable),
        Side::Outside => SimTx::new(Line::limited(Rate(45_000_000), 24, 64), cable)
            .with_delay(Nanos::from_millis(20))
            .with_loss(0.05, seed),
    });
    // In turn one second from both sides, one only from outside, one only from inside.
    let phase = |at: Nanos| at.0 / 1_000_000_000 % 3;
    let mut inside = clumps(Side::Inside, seed, count / 2, move |at| phase(at) == 1);
    let mut outside = clumps(Side::Outside, seed + 1, count - count / 2, move |at| phase(at) == 2);
    let mut left = [0u64; 2];
    bridge.run([&mut inside, &mut outside], Nanos::MAX, |side, _| left[side as usize] += 1);
    let lost = Side::BOTH.map(|side| bridge.egress.port(side).lost());
    let account = bridge.settled();
    assert_eq!((lost[0], lost[1] > 0), (0, true));
    assert_eq!(left[0] + left[1] + lost[1], account.balance.completed, "{account}");
    let before_us: u64 = account.ports.iter().map(|port| port.lost_fill_empty).sum();
    assert_eq!(account.balance.received + before_us, count, "every frame that was offered: {account}");
    account
}

#[test]
fn every_frame_comes_home_after_a_soak_with_drops_on_purpose() {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let long = std::env::var("TIDEGATE_LONG").as_deref() == Ok("1");
    let (rounds, count) = if long { (100, 1_000_000) } else { (4, 250_000) };
    for (round, seed) in (seed..).enumerate().take(rounds) {
        println!("TIDEGATE_SEED={seed}, {count} frames");
        let account = soak(seed, count);
        if round == 0 {
            println!("{account}");
        }
        let reasons: Vec<&str> = account
            .classes
            .iter()
            .flat_map(|class| &class.dropped)
            .filter(|(_, count)| *count > 0)
            .map(|(why, _)| *why)
            .collect();
        for reason in ["ring_full", "leaf_full", "over_budget", "too_long"] {
            assert!(reasons.contains(&reason), "nothing was dropped as {reason}: the soak is too easy");
        }
        assert!(account.ports.iter().all(|port| port.lost_fill_empty > 0), "the arena was never empty");
    }
}

/// An order to stop with frames everywhere: what waits is dropped and counted, what is in the ports is done in its time.
#[test]
fn every_frame_comes_home_after_a_stop_in_the_middle() {
    for seed in 1..=20 {
        let policy = policy("download = \"5mbit\"\nupload = \"5mbit\"");
        let mut bridge =
            Bridge::new(policy, &Size::default(), |_, cable| SimTx::new(Line::limited(Rate(4_000_000), 24, 16), cable));
        let [mut inside, mut outside] = Side::BOTH.map(|side| clumps(side, seed, 100_000, |_| false));
        bridge.run([&mut inside, &mut outside], Nanos::from_millis(100 + seed), |_, _| ());
        // What has arrived by then is pushed, and nobody pops it.
        let now = bridge.now + Nanos::from_millis(1);
        bridge.ingress.turn(now, &now);
        assert!(bridge.egress.queued() > 0 && bridge.egress.in_transmit() > 0);
        bridge.egress.stop(now);
        let agenda = bridge.egress.turn(Nanos::MAX, &Nanos::MAX);
        assert_eq!((agenda.departure, agenda.in_transmit), (None, false));
        let account = bridge.settled();
        let stopped = account.classes.iter().flat_map(|class| &class.dropped).filter(|(why, _)| *why == "stopped");
        assert!(stopped.map(|(_, count)| count).sum::<u64>() > 0, "{account}");
    }
}
