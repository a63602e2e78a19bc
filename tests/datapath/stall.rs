//! A worker that was stopped for a while: what it held is dropped and counted, and only then are its ports told that it lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate::datapath::DropReason;
use tidegate::datapath::counters::{CLASSES, Drops};
use tidegate::datapath::idle::Idle;
use tidegate::datapath::worker::{STALL, Worker};
use tidegate::frame::Side;
use tidegate::port::Line;
use tidegate::port::sim::{Cable, Delivery, SimTx};
use tidegate::units::{Nanos, Rate};

use crate::bridge::{Bridge, Size, assert_all_home, halves, policy};
use crate::ports::{FlushedTx, Looks, ServedRx};
use crate::traffic::{BACKGROUND, Offer, Random, Talk, VIDEO, VOICE};

/// The frames dropped for a reason.
fn dropped(drops: &Drops, reason: DropReason) -> u64 {
    let classes = (0..CLASSES).flat_map(|class| Side::BOTH.map(|side| drops.read(side, class, reason)));
    classes.sum()
}

#[test]
fn a_stall_drops_everything_that_is_held_and_the_account_is_exact() {
    let cables = Side::BOTH.map(|_| Cable::new(1 << 10));
    let size = Size { frames: 2_000, ring: 512, fill: 800, ..Size::default() };
    let rx = [0, 1].map(|side| ServedRx::new(&cables[side], size.fill));
    let tx = [FlushedTx::default(), FlushedTx::default()];
    let slow = policy("download = \"50mbit\"\nupload = \"50mbit\"");
    let (table, mut ingress, mut egress) = halves(slow, &size, rx, tx);
    for (side, cable) in Side::BOTH.into_iter().zip(&cables) {
        for n in 0..400 {
            let talk = Talk::to([VOICE, VIDEO, BACKGROUND][n as usize % 3]);
            assert!(cable.push(Nanos(n), &talk.frame(side, 1_000, n)));
        }
    }
    let start = Nanos(1_000);
    // Some in the queues and ports, some in the rings, the rest still in the ports by which they came.
    (0..4).for_each(|_| assert_eq!(ingress.turn(start, &start), 64));
    egress.turn(start, &start);
    (0..4).for_each(|_| assert_eq!(ingress.turn(start, &start), 64));
    let (queued, in_transmit) = (egress.queued(), egress.in_transmit());
    assert!(queued > 100 && in_transmit > 4 && !egress.rings_empty(), "{queued} queued, {in_transmit} in transmit");

    let late = start + STALL;
    ingress.recover(late);
    egress.recover(late);
    assert_eq!((ingress.counts().stalls.read(), egress.counts().stalls.read()), (0, 0), "not yet");
    let late = late + Nanos(1);
    ingress.recover(late);
    egress.recover(late);
    assert_eq!((ingress.counts().stalls.read(), egress.counts().stalls.read()), (1, 1));
    let (seen, sent) = (ingress.counts(), egress.counts());
    assert_eq!((seen.frames_received(), seen.frames_pushed()), (800, 512));
    assert_eq!(dropped(&seen.dropped, DropReason::StaleAfterStall), 288);
    assert_eq!((sent.frames_popped(), sent.frames_submitted()), (512, in_transmit));
    assert_eq!(dropped(&sent.dropped, DropReason::StaleAfterStall), 512 - in_transmit);
    // Each port had begun to send one frame.
    assert_eq!((sent.completed.read(), sent.abandoned.read()), (2, in_transmit - 2));
    assert!(egress.is_empty());
    assert_all_home(&table, &mut ingress);
    assert_eq!(egress.turn(late, &late).moved + ingress.turn(late, &late), 0);
}

/// What leaves of `offers`, with the time since `bridge` began to carry them.
fn carry(bridge: &mut Bridge, offers: &[(Nanos, Side, Talk, usize)]) -> Vec<(Side, Nanos, Vec<u8>)> {
    let start = bridge.now;
    let of = |at: Side| {
        let numbered = (0u64..).zip(offers).filter(move |(_, (_, side, ..))| *side == at);
        numbered
            .map(move |(n, (after, side, talk, len))| Offer { at: start + *after, bytes: talk.frame(*side, *len, n) })
    };
    let mut left = Vec::new();
    bridge.run([&mut of(Side::Inside), &mut of(Side::Outside)], Nanos::MAX, |side, Delivery { at, bytes, .. }| {
        left.push((side, at.since(start), bytes));
    });
    left
}

#[test]
fn after_a_stall_the_shaper_is_as_if_new() {
    for seed in 1..=20 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut after = Nanos(1);
        let offers: Vec<_> = (0..200)
            .map(|_| {
                after += Nanos(random.below(20_000_000));
                let talk = Talk::to(random.of(&[VOICE, VIDEO, BACKGROUND]));
                (after, random.of(&Side::BOTH), talk, random.of(&[64, 500, 1_514]))
            })
            .collect();
        let build = || {
            let limits = policy("download = \"300kbit\"\nupload = \"200kbit\"");
            Bridge::new(limits, &Size::default(), |_, cable| SimTx::new(Line::limited(Rate(30_000_000), 24, 16), cable))
        };
        let fresh = carry(&mut build(), &offers);
        let mut stalled = build();
        // So slow that no bucket is full again after the pause.
        let backlog = (0..200).map(|n| Offer { at: Nanos(n), bytes: Talk::to(VIDEO).frame(Side::Inside, 1_514, n) });
        stalled.run([&mut { backlog }, &mut std::iter::empty()], Nanos::from_millis(20), |_, _| ());
        stalled.now = stalled.now + STALL + Nanos(1);
        assert!(stalled.egress.queued() > 0);
        stalled.ingress.recover(stalled.now);
        stalled.egress.recover(stalled.now);
        assert!(stalled.egress.is_empty());
        assert_eq!(carry(&mut stalled, &offers), fresh);
    }
}

#[test]
fn a_frame_in_the_hands_of_an_ingress_half_that_stalls_is_stale_when_it_is_pushed() {
    let mut bridge = Bridge::new(policy(""), &Size::default(), crate::bridge::free_line);
    let push = |bridge: &Bridge, n| {
        assert!(bridge.cables_in[1].push(Nanos(n), &Talk::to(VOICE).frame(Side::Outside, 100, n)));
    };
    push(&bridge, 1);
    // Its turn began before the pause and pushes after it; the egress half has turned all the time.
    bridge.ingress.turn(Nanos(1), &Nanos(1));
    let (in_time, late) = (Nanos(1) + STALL, Nanos(2) + STALL);
    bridge.egress.turn(late, &late);
    assert_eq!(dropped(&bridge.egress.counts().dropped, DropReason::StaleAfterStall), 1);
    push(&bridge, 2);
    bridge.ingress.turn(in_time, &in_time);
    bridge.egress.turn(late + Nanos(1), &late);
    bridge.egress.turn(late + Nanos(2), &late);
    assert_eq!(bridge.egress.counts().completed.read(), 1);
    bridge.settled();
}

#[test]
fn a_turn_that_is_stopped_in_its_middle_sends_nothing_afterwards() {
    let cables = Side::BOTH.map(|_| Cable::new(1 << 10));
    let rx = [0, 1].map(|side| ServedRx::new(&cables[side], 64));
    let size = Size::default();
    let (table, mut ingress, mut egress) = halves(policy(""), &size, rx, [FlushedTx::default(), FlushedTx::default()]);
    for n in 0..10 {
        assert!(cables[0].push(Nanos(n), &Talk::to(VOICE).frame(Side::Inside, 100, n)));
    }
    let (before, after) = (Nanos(10), Nanos(11) + STALL);
    ingress.turn(before, &before);
    // The clock has gone on since the turn's `now` was read.
    egress.turn(before, &after);
    assert_eq!(egress.in_transmit(), 10);
    egress.recover(after);
    assert_eq!((egress.counts().abandoned.read(), egress.counts().completed.read()), (10, 0));
    assert_all_home(&table, &mut ingress);
}

#[test]
fn the_beat_is_withheld_while_the_egress_half_does_not_turn() {
    let cables = Side::BOTH.map(|_| Cable::new(1));
    let rx = [0, 1].map(|side| ServedRx::new(&cables[side], 64));
    let beats = rx.each_ref().map(|port| Arc::clone(&port.beats));
    let beaten = || beats.each_ref().map(|beats| beats.load(Ordering::Relaxed));
    let tx = [FlushedTx::default(), FlushedTx::default()];
    let (_table, mut ingress, mut egress) = halves(policy(""), &Size::default(), rx, tx);
    let mut turn = |now: Nanos, egress_turns: bool| {
        ingress.beat(now);
        ingress.turn(now, &now);
        if egress_turns {
            egress.turn(now, &now);
        }
        beaten()
    };
    let millis = Nanos::from_millis;
    assert_eq!(turn(millis(1), false), [0, 0], "the egress half has never turned");
    assert_eq!(turn(millis(2), true), [0, 0]);
    assert_eq!(turn(millis(3), true), [1, 1]);
    assert_eq!(turn(millis(3) + Nanos(999_999), true), [1, 1], "at most one in a millisecond");
    assert_eq!(turn(millis(4), false), [2, 2]);
    for ms in 5..200 {
        assert_eq!(turn(millis(ms), false), [2, 2], "at {ms} ms");
    }
    assert_eq!(turn(millis(200), true), [2, 2]);
    assert_eq!(turn(millis(201), false), [3, 3]);
}

#[test]
fn a_worker_that_comes_back_drops_before_it_beats() {
    let cables = Side::BOTH.map(|_| Cable::new(1 << 10));
    let rx = [0, 1].map(|side| ServedRx::new(&cables[side], 128));
    let (beats, times) = (Arc::clone(&rx[0].beats), rx.each_ref().map(|port| Arc::clone(&port.now)));
    let tx = [FlushedTx::default(), FlushedTx::default()];
    let (table, ingress, egress) = halves(policy("upload = \"1mbit\""), &Size::default(), rx, tx);
    let stop = Arc::new(AtomicBool::new(false));
    let beats_before = AtomicBool::new(false);
    // A hundred microseconds between two looks. Somewhere along the way nothing is looked at for 100 ms, while frames arrive.
    let clock = Looks::new(|look| {
        let now = Nanos(look * 100_000);
        match look {
            20..30 => assert!(cables[0].push(now, &Talk::to(VOICE).frame(Side::Inside, 1_000, look))),
            40 => {
                beats_before.store(beats.load(Ordering::Relaxed) > 0, Ordering::Relaxed);
                for n in 0..50 {
                    assert!(cables[1].push(now, &Talk::to(VOICE).frame(Side::Outside, 1_000, n)));
                }
            }
            100 => stop.store(true, Ordering::Relaxed),
            _ => {}
        }
        let now = if look < 40 { now } else { now + Nanos::from_millis(100) };
        times.iter().for_each(|time| time.store(now.0, Ordering::Relaxed));
        now
    });
    let worker = Worker::new(vec![(ingress, None)], vec![egress], Idle::new([], true).unwrap());
    let Worker { mut ingresses, mut egresses, .. } = worker.run(&clock, &stop);
    let (mut ingress, mut egress) = (ingresses.remove(0).0, egresses.remove(0));
    assert!(beats_before.into_inner() && beats.load(Ordering::Relaxed) > 5, "{beats:?} beats");
    assert_eq!((ingress.counts().stalls.read(), egress.counts().stalls.read()), (1, 1));
    assert_eq!(dropped(&ingress.counts().dropped, DropReason::StaleAfterStall), 50);
    let now = Nanos::from_millis(200);
    egress.stop(now);
    egress.turn(now, &now);
    let sent = egress.counts();
    let gone = sent.completed.read() + sent.abandoned.read() + sent.dropped.total();
    assert_eq!((ingress.counts().frames_received(), gone), (60, 10));
    assert!(dropped(&sent.dropped, DropReason::StaleAfterStall) > 0);
    assert_all_home(&table, &mut ingress);
}
