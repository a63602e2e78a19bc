//! Wires that come and go: several on one worker, drained, built anew, and asked how they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate::datapath::DropReason;
use tidegate::datapath::counters::Volume;
use tidegate::datapath::drain::drain;
use tidegate::datapath::idle::Idle;
use tidegate::datapath::report::{EgressReport, IngressReport, desk};
use tidegate::datapath::worker::Worker;
use tidegate::frame::Side;
use tidegate::port::Line;
use tidegate::port::memory::{MemoryRx, MemoryTx};
use tidegate::port::sim::{Cable, SimRx, SimTx};
use tidegate::units::{Nanos, Rate};

use crate::bridge::{Bridge, Size, assert_all_home, free_line, halves, policy, settled};
use crate::ports::{FlushedTx, Looks, ServedRx};
use crate::traffic::{BACKGROUND, FILE, Offer, Talk, VIDEO, VOICE, WEB, id};

#[test]
fn one_worker_carries_several_wires_and_each_frame_stays_on_its_own() {
    const WIRES: usize = 3;
    let cables_in: [[Cable; 2]; WIRES] = [0; WIRES].map(|_| Side::BOTH.map(|_| Cable::new(1 << 10)));
    let cables_out: [[Cable; 2]; WIRES] = [0; WIRES].map(|_| Side::BOTH.map(|_| Cable::new(1 << 10)));
    let (mut ingresses, mut egresses, mut tables, mut beats) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (cables_in, cables_out) in cables_in.iter().zip(&cables_out) {
        let rx = [0, 1].map(|side| ServedRx::new(&cables_in[side], 128));
        beats.extend(rx.iter().map(|port| Arc::clone(&port.beats)));
        let tx = [0, 1].map(|side| SimTx::new(Line::unlimited(64), cables_out[side].clone()));
        let (table, ingress, egress) = halves(policy(""), &Size::default(), rx, tx);
        ingresses.push((ingress, None));
        egresses.push(egress);
        tables.push(table);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let clock = Looks::new(|look| {
        let now = Nanos(look * 100_000);
        let wire = look as usize % WIRES;
        if look < 300 {
            for (side, cable) in Side::BOTH.into_iter().zip(&cables_in[wire]) {
                assert!(cable.push(now, &Talk::to(VOICE).frame(side, 100, look)));
            }
        }
        stop.store(look >= 400, Ordering::Relaxed);
        now
    });
    let worker = Worker::new(ingresses, egresses, Idle::new([], true).unwrap()).run(&clock, &stop);
    for (wire, ((mut ingress, _), mut egress)) in worker.ingresses.into_iter().zip(worker.egresses).enumerate() {
        let account = settled(&tables[wire], &mut ingress, &mut egress, Nanos::from_millis(40));
        assert_eq!((account.balance.completed, account.balance.dropped), (200, 0));
        for cable in &cables_out[wire] {
            let numbers: Vec<u64> =
                std::iter::from_fn(|| cable.pop(Nanos::MAX)).map(|frame| id(&frame.bytes)).collect();
            assert_eq!(numbers, (wire as u64..300).step_by(WIRES).collect::<Vec<_>>());
        }
    }
    assert!(beats.iter().all(|beats| beats.load(Ordering::Relaxed) > 10), "{beats:?}");
}

#[cfg(debug_assertions)]
#[test]
fn a_worker_fails_when_it_is_asked_to() {
    let fault = Arc::new(AtomicBool::new(false));
    let worker: Worker<SimRx, SimTx> = Worker::new(Vec::new(), Vec::new(), Idle::new([], false).unwrap());
    let worker = worker.failing_on(Arc::clone(&fault));
    let thread = std::thread::spawn(move || {
        worker.run(&tidegate::time::MonotonicClock::start(), &Arc::default());
    });
    fault.store(true, Ordering::Relaxed);
    assert!(thread.join().is_err(), "the fault ends the worker");
}

/// A bridge with frames in every place: not received, in the rings, queued and in the ports. They leave within 100 ms, which is
/// too short for CoDel to drop any.
fn loaded() -> Bridge {
    let mut bridge = Bridge::new(policy("download = \"25mbit\"\nupload = \"25mbit\""), &Size::default(), |_, cable| {
        SimTx::new(Line::limited(Rate(25_000_000), 24, 16), cable)
    });
    let offers = |side| {
        (0..200).map(move |n| {
            let talk = Talk::to([FILE, VIDEO, BACKGROUND][n as usize % 3]);
            Offer { at: Nanos::from_millis(9) + Nanos(n * 5_000), bytes: talk.frame(side, 1_000, n) }
        })
    };
    let now = Nanos::from_millis(10);
    bridge.run([&mut offers(Side::Inside), &mut offers(Side::Outside)], now, |_, _| ());
    for (side, cable) in Side::BOTH.into_iter().zip(&bridge.cables_in) {
        for n in 200..300 {
            assert!(cable.push(now, &Talk::to(WEB).frame(side, 1_000, n)));
        }
    }
    bridge.ingress.turn(now, &now);
    bridge.now = now;
    assert!(bridge.egress.queued() > 100 && bridge.egress.in_transmit() > 0 && !bridge.egress.rings_empty());
    bridge
}

#[test]
fn a_drain_with_time_enough_lets_everything_leave() {
    let mut bridge = loaded();
    let start = bridge.now;
    let clock = Looks::new(|look| start + Nanos(look * 50_000));
    drain(&mut bridge.ingress, &mut bridge.egress, &clock, Nanos::from_millis(1_000));
    let account = bridge.settled();
    assert_eq!((account.balance.completed, account.balance.dropped), (600, 0));
}

#[test]
fn a_drain_without_time_drops_what_is_left_and_every_frame_is_counted() {
    for millis in [0, 1, 20, 60] {
        let mut bridge = loaded();
        let start = bridge.now;
        let clock = Looks::new(|look| start + Nanos(look * 50_000));
        drain(&mut bridge.ingress, &mut bridge.egress, &clock, Nanos::from_millis(millis));
        assert_eq!((bridge.egress.queued(), bridge.egress.rings_empty()), (0, true));
        assert!(bridge.cables_in.iter().all(|cable| cable.next_arrival().is_none()), "the ports hold nothing");
        // What the ports had begun to send is done in its time.
        bridge.egress.turn(Nanos::MAX, &Nanos::MAX);
        let stopped: u64 = (0..7)
            .flat_map(|class| Side::BOTH.map(|side| (side, class)))
            .map(|(side, class)| {
                let read = |drops: &tidegate::datapath::counters::Drops| drops.read(side, class, DropReason::Stopped);
                read(&bridge.ingress.counts().dropped) + read(&bridge.egress.counts().dropped)
            })
            .sum();
        let account = bridge.settled();
        assert_eq!((account.balance.received, account.balance.dropped), (600, stopped), "{account}");
        assert!(stopped > 0, "{account}");
    }
}

#[test]
fn what_a_vanished_port_never_sends_is_abandoned() {
    let cables = Side::BOTH.map(|_| Cable::new(1 << 10));
    let rx = [0, 1].map(|side| ServedRx::new(&cables[side], 64));
    let tx = [FlushedTx::default(), FlushedTx::default()];
    let (table, mut ingress, mut egress) = halves(policy("upload = \"1mbit\""), &Size::default(), rx, tx);
    for n in 0..30 {
        assert!(cables[0].push(Nanos(n), &Talk::to(VOICE).frame(Side::Inside, 1_000, n)));
    }
    let now = Nanos(30);
    ingress.turn(now, &now);
    egress.turn(now, &now);
    let in_transmit = egress.in_transmit();
    assert!(in_transmit > 0 && egress.queued() > 0);
    egress.abandon();
    egress.turn(now + Nanos(1), &now);
    assert_eq!((egress.counts().abandoned.read(), egress.in_transmit()), (in_transmit, 0));
    egress.stop(now);
    assert!(egress.is_empty() && egress.counts().balanced(0, 0), "{:?}", egress.counts());
    ingress.collect();
    assert_eq!(ingress.idle_frames(), u64::from(table.frames()) - in_transmit);
}

#[test]
fn counters_survive_a_wire_that_is_built_anew() {
    let send = |bridge: &mut Bridge, count: u64| {
        let offers = |side| {
            let start = bridge.now;
            (1..=count).map(move |n| Offer { at: start + Nanos(n * 1_000), bytes: Talk::to(VIDEO).frame(side, 500, n) })
        };
        let (mut inside, mut outside) = (offers(Side::Inside), offers(Side::Outside));
        bridge.run([&mut inside, &mut outside], Nanos::MAX, |_, _| ());
    };
    let mut first = Bridge::new(policy(""), &Size::default(), free_line);
    send(&mut first, 100);
    drain(&mut first.ingress, &mut first.egress, &first.now, Nanos::from_millis(1));
    let counts = (Arc::clone(first.ingress.counts()), Arc::clone(first.egress.counts()));
    let turns = counts.1.turns.read();
    first.settled();

    let second = Bridge::new(policy(""), &Size::default(), free_line);
    let egress = second.egress.with_counts(counts.1);
    let ingress = second.ingress.with_counts(counts.0).feeding(Arc::clone(egress.counts()));
    let mut second = Bridge { ingress, egress, ..second };
    send(&mut second, 50);
    assert!(second.egress.counts().turns.read() > turns);
    let account = second.settled();
    assert_eq!((account.balance.received, account.balance.completed), (300, 300));
}

#[test]
fn reports_are_exact_at_every_turn_and_cost_no_allocation() {
    let frames = |side| {
        [VOICE, VIDEO, BACKGROUND].map(|port| Talk::to(port).frame(side, 700, 0)).into_iter().collect::<Vec<_>>()
    };
    let rx = Side::BOTH.map(|side| MemoryRx::new(frames(side), 128).with_limit(3_000));
    let tx = [MemoryTx::new(64), MemoryTx::new(64)];
    let limits = policy("download = \"100mbit\"\nupload = \"100mbit\"");
    let (table, ingress, egress) = halves(limits, &Size::default(), rx, tx);
    let ((mut ask_ingress, ingress_desk), (mut ask_egress, egress_desk)) = (desk(), desk());
    let (mut ingress, mut egress) = (ingress.answering(ingress_desk), egress.answering(egress_desk));
    let (mut sums, mut queued_at_most, mut now) = ((IngressReport::default(), EgressReport::default()), 0, Nanos::ZERO);
    for _ in 0..20_000 {
        now += Nanos(50_000);
        assert!(ask_ingress.ask() && ask_egress.ask());
        let allocations = allocation_counter::measure(|| {
            ingress.turn(now, &now);
            egress.turn(now, &now);
        });
        assert_eq!(allocations.count_total, 0);
        let (received, sent) = (ask_ingress.answer().unwrap(), ask_egress.answer().unwrap());
        assert!(received.counts.balanced());
        assert_eq!((received.at, sent.at, received.frames), (now, now, 20_000));
        let queued: Volume = sent.queued.iter().flatten().copied().sum();
        assert!(sent.counts.balanced(queued.frames, sent.in_transmit.iter().sum()));
        assert_eq!((queued.frames, queued.bytes), (egress.queued(), 700 * egress.queued()));
        assert_eq!(received.counts.frames_pushed(), sent.counts.frames_popped(), "one turn empties the rings");
        queued_at_most = queued_at_most.max(queued.frames);
        sums.0.stages.merge(&received.stages);
        sums.1.stages.merge(&sent.stages);
        sums.1.sojourn.merge(&sent.sojourn);
        (sums.0.flows, sums.0.idle_frames) = (received.flows, received.idle_frames);
        ask_ingress.give_back(received);
        ask_egress.give_back(sent);
    }
    assert!(queued_at_most > 1_000, "{queued_at_most} queued: no backlog to tell of");
    assert_eq!((sums.0.flows, sums.0.idle_frames), (3, 20_000));
    let sojourns: u64 = (0..7).map(|class| sums.1.sojourn.class(class).len()).sum();
    assert!(sojourns > 1_000, "{sojourns} sojourns");
    for stages in [&sums.0.stages, &sums.1.stages] {
        for (name, spans) in stages.iter() {
            assert!(spans.len() > 1, "{name} was measured {} times", spans.len());
            assert_eq!(spans.max(), 0, "within a turn, virtual time stands");
        }
    }
    assert_all_home(&table, &mut ingress);
}
