//! What passes, and what is counted when it doesn't.

use std::collections::HashSet;

use tidegate::frame::Side;
use tidegate::port::xdp::{Counts, Error, Mode, Options, Wire, detach};
use tidegate::port::{Rx, Tx};
use tidegate::units::Nanos;

use crate::forwarder::{Forwarder, small};
use crate::lab::{Peer, Tcpdump, in_lab, run, wait_until};

/// Frame number `n` from a side: one of every length from 14 to 1514 bytes, which depend on all three.
fn frame(side: Side, n: u32) -> Vec<u8> {
    let len = 14 + (n as usize * 7) % 1501;
    let mut bytes: Vec<u8> = (0..len).map(|i| (i as u32).wrapping_mul(31).wrapping_add(n) as u8).collect();
    bytes[0] = 2;
    bytes[1] = side as u8;
    bytes[2..6].copy_from_slice(&n.to_be_bytes());
    // An EtherType for experiments, so that nothing in the kernel takes an interest.
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

/// Sends `count` frames from both peers, at a time no more than fit a veth's ring, and checks that each arrives as it was
/// sent, in its turn.
fn pass_both_ways(forwarder: &mut Forwarder, count: u32) {
    let peers = [Peer::new("peer0"), Peer::new("peer1")];
    for first in (0..count).step_by(100) {
        let batch = first..count.min(first + 100);
        for n in batch.clone() {
            for side in Side::BOTH {
                peers[side as usize].send(&frame(side, n));
                // On a busy machine sending may take longer than a beat lasts.
                forwarder.beat();
            }
        }
        for side in Side::BOTH {
            for n in batch.clone() {
                let mut arrived = None;
                forwarder.turn_until("frame", |_| {
                    arrived = peers[side.opposite() as usize].receive();
                    arrived.is_some()
                });
                assert!(arrived == Some(frame(side, n)), "frame {n} from {side:?} was changed, lost or overtaken");
            }
        }
    }
    forwarder.check_accounts();
    assert!(peers.iter().all(|peer| peer.receive().is_none()), "more arrived than was sent");
}

#[test]
fn frames_of_every_length_pass_both_ways_in_native_mode() {
    in_lab(1, || {
        let mut forwarder = Forwarder::open(&small());
        assert_eq!(forwarder.mode, Mode::NativeCopy);
        pass_both_ways(&mut forwarder, 20_000);
        for side in Side::BOTH {
            let counts = forwarder.programs[side as usize].counts().unwrap();
            assert_eq!(counts, Counts { redirected: 20_000, ..Counts::default() });
            assert_eq!(forwarder.losses(side), Default::default());
        }
    });
}

#[test]
fn frames_of_every_length_pass_both_ways_in_generic_mode() {
    in_lab(1, || {
        let mut forwarder = Forwarder::open(&Options { mode: Some(Mode::Generic), ..small() });
        assert_eq!(forwarder.mode, Mode::Generic);
        assert!(run("ip", "-d link show port0").contains("xdpgeneric"));
        pass_both_ways(&mut forwarder, 2_000);
    });
}

#[test]
fn generic_mode_is_taken_where_native_is_refused() {
    in_lab(1, || {
        // A veth takes a native program only while its peer's frames fit a page; the stack itself doesn't mind.
        run("ip", "link set peer1 mtu 9000");
        let mut forwarder = Forwarder::open(&small());
        assert_eq!(forwarder.mode, Mode::Generic);
        pass_both_ways(&mut forwarder, 500);
    });
}

#[test]
fn a_wire_says_why_no_better_mode_was_obtained_and_what_that_costs() {
    in_lab(1, || {
        let slow = || Wire::open("port0", "port1", &small()).unwrap().slow.expect("a veth has no zero-copy");
        let native = slow();
        assert!(native.starts_with("every frame is copied twice"), "{native}");
        assert!(native.contains("zero-copy mode on port0: ") && native.contains("the driver of port0"), "{native}");
        detach(&[]).unwrap();
        run("ip", "link set peer1 mtu 9000");
        let generic = slow();
        assert!(generic.contains("socket buffer") && generic.contains("zero-copy mode on port0: "), "{generic}");
        assert!(generic.contains("native copy mode on port1: ") && generic.contains("smaller MTU"), "{generic}");
        let asked = Wire::open("port0", "port1", &Options { mode: Some(Mode::Generic), ..small() }).unwrap();
        assert!(asked.slow.unwrap().ends_with("generic mode is what the options ask for"));
    });
}

#[test]
fn zero_copy_or_nothing_is_refused_where_there_is_none() {
    in_lab(1, || {
        let error = Wire::open("port0", "port1", &Options { mode: Some(Mode::ZeroCopy), ..small() }).unwrap_err();
        assert!(matches!(error, Error::Mode { mode: Mode::ZeroCopy, .. }), "{error}");
        // The queue is free again, and nothing was attached.
        assert!(!run("ip", "-d link show port0").contains("prog/xdp"));
        drop(Wire::open("port0", "port1", &small()).unwrap());
    });
}

#[test]
fn chunks_of_half_a_page_do() {
    in_lab(1, || pass_both_ways(&mut Forwarder::open(&Options { chunk: 2048, ..small() }), 3_000));
}

#[test]
fn every_queue_is_bound_and_received_from() {
    in_lab(4, || {
        let mut forwarder = Forwarder::open(&small());
        assert_eq!(forwarder.rx.each_ref().map(Vec::len), [4, 4]);
        let peers = [Peer::new("peer0"), Peer::new("peer1")];
        // The kernel spreads flows over the queues, so these need ports and addresses.
        let mut sent: HashSet<Vec<u8>> = (0..200u16).map(udp).collect();
        for frame in &sent {
            peers[0].send(frame);
            forwarder.beat();
        }
        while !sent.is_empty() {
            forwarder.turn_until("frame", |_| peers[1].receive().is_some_and(|frame| sent.remove(&frame)));
        }
        forwarder.check_accounts();
        assert_eq!(forwarder.received[0].iter().sum::<u64>(), 200);
        let used = forwarder.received[0].iter().filter(|frames| **frames > 0).count();
        assert!(used > 1, "{:?}", forwarder.received);
    });
}

/// A UDP packet of the flow with this source port.
fn udp(port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([192, 0, 2, 1], [198, 51, 100, 1], 64)
        .udp(port, 5000);
    builder.write(&mut frame, &[0; 32]).unwrap();
    frame
}

/// Tagged frames as they should be on a wire: one tag and two, priority bits, the longest, and the smallest of which a
/// Linux at the far end makes sense.
fn tagged() -> Vec<Vec<u8>> {
    let tags: [&[u16]; 5] =
        [&[0x8100, 100], &[0x8100, 0xf000], &[0x88a8, 0x2fff, 0x8100, 0x6001], &[0x88a8, 7], &[0x8100, 1]];
    let longest = [1518, 200, 1514, 64, 20];
    let frame = |(tags, len): (&&[u16], usize)| {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        bytes.extend(tags.iter().chain(&[0x88b5]).flat_map(|word| word.to_be_bytes()));
        bytes.extend((bytes.len()..len).map(|i| i as u8));
        bytes
    };
    tags.iter().zip(longest).map(frame).collect()
}

#[test]
fn vlan_tags_pass_in_the_bytes() {
    for mode in [Mode::NativeCopy, Mode::Generic] {
        in_lab(1, || {
            let mut forwarder = Forwarder::open(&Options { mode: Some(mode), ..small() });
            let mut tcpdump = Tcpdump::start("peer1", tagged().len());
            let peer = Peer::new("peer0");
            tagged().iter().for_each(|frame| peer.send(frame));
            forwarder.turn_until("capture", |_| tcpdump.is_done());
            assert!(tcpdump.frames() == tagged(), "{mode} mode changed a tag");
        });
    }
}

#[test]
fn what_a_port_loses_is_counted() {
    in_lab(1, || {
        let options = Options { rx_ring: 64, fill_ring: 64, ..small() };
        let mut forwarder = Forwarder::open(&options);
        let peer = Peer::new("peer0");
        // Nobody takes a turn meanwhile, so the fill ring runs dry.
        for n in 0..200 {
            peer.send(&frame(Side::Inside, n));
            forwarder.beat();
        }
        wait_until("program run", || forwarder.programs[0].counts().unwrap().redirected == 200);
        // The program counts before it redirects.
        wait_until("loss", || forwarder.losses(Side::Inside).fill_empty == 200 - 64);
        forwarder.turn_until("frames", |forwarder| forwarder.received[0][0] == 64);
        forwarder.check_accounts();
        let losses = forwarder.losses(Side::Inside);
        assert_eq!((losses.ring_full, losses.fill_empty, losses.other), (0, 136, 0));
    });
}

#[test]
fn transmission_waits_for_a_link_that_is_down() {
    in_lab(1, || {
        let mut forwarder = Forwarder::open(&small());
        let peers = [Peer::new("peer0"), Peer::new("peer1")];
        run("ip", "link set port1 down");
        for n in 0..100 {
            peers[0].send(&frame(Side::Inside, n));
            forwarder.beat();
        }
        // The cap on what is in flight holds, and nothing comes back.
        forwarder.turn_until("frames", |forwarder| forwarder.received[0][0] == 100);
        assert_eq!((forwarder.tx[1].in_flight(), forwarder.tx[1].room()), (64, 0));
        run("ip", "link set port1 up");
        for n in 0..100 {
            let mut arrived = None;
            forwarder.turn_until("frame", |_| {
                arrived = peers[1].receive();
                arrived.is_some()
            });
            assert_eq!(arrived, Some(frame(Side::Inside, n)));
        }
        forwarder.check_accounts();
    });
}

#[test]
fn what_is_not_sent_in_time_stays_and_is_given_back() {
    in_lab(1, || {
        let mut forwarder = Forwarder::open(&small());
        let peers = [Peer::new("peer0"), Peer::new("peer1")];
        forwarder.latest = Nanos::ZERO;
        for n in 0..50 {
            peers[0].send(&frame(Side::Inside, n));
            forwarder.beat();
        }
        forwarder.turn_until("frames", |forwarder| forwarder.tx[1].in_flight() == 50);
        forwarder.turn();
        let recalled: HashSet<u32> = forwarder.recall(Side::Outside).into_iter().collect();
        assert_eq!((recalled.len(), forwarder.tx[1].in_flight(), forwarder.tx[1].room()), (50, 0, 64));
        forwarder.latest = Nanos::MAX;
        forwarder.check_accounts();
        // The next is the first to arrive.
        peers[0].send(&frame(Side::Inside, 50));
        let mut arrived = None;
        forwarder.turn_until("frame", |_| {
            arrived = peers[1].receive();
            arrived.is_some()
        });
        assert_eq!(arrived, Some(frame(Side::Inside, 50)));
    });
}

#[test]
fn what_a_busy_device_left_in_the_ring_still_goes_and_the_rest_is_given_back() {
    in_lab(1, || {
        let mut forwarder = Forwarder::open(&Options { max_in_flight: 128, ..small() });
        let peers = [Peer::new("peer0"), Peer::new("peer1")];
        run("ip", "link set port1 down");
        for n in 0..128 {
            peers[0].send(&frame(Side::Inside, n));
            forwarder.beat();
        }
        forwarder.turn_until("frames", |forwarder| forwarder.tx[1].in_flight() == 128);
        // As many as the kernel sends per call, which depends on its version.
        let kept = 128 - forwarder.recall(Side::Outside).len() as u32;
        assert_eq!(forwarder.tx[1].in_flight(), kept);
        assert!(kept == 32 || kept == 128, "{kept}");
        run("ip", "link set port1 up");
        for n in 0..kept {
            let mut arrived = None;
            forwarder.turn_until("frame", |_| {
                arrived = peers[1].receive();
                arrived.is_some()
            });
            assert_eq!(arrived, Some(frame(Side::Inside, n)));
        }
        forwarder.check_accounts();
        assert!(peers[1].receive().is_none());
    });
}

#[test]
fn a_sleeper_is_woken_by_a_frame() {
    in_lab(1, || {
        let mut forwarder = Forwarder::open(&small());
        let mut poll = mio::Poll::new().unwrap();
        let fd = forwarder.rx[0][0].fd().unwrap();
        poll.registry().register(&mut mio::unix::SourceFd(&fd), mio::Token(0), mio::Interest::READABLE).unwrap();
        let mut events = mio::Events::with_capacity(4);
        forwarder.rx[0][0].before_sleep();
        poll.poll(&mut events, Some(std::time::Duration::ZERO)).unwrap();
        assert!(events.iter().all(|event| !event.is_readable()), "readable before a frame came");
        Peer::new("peer0").send(&frame(Side::Inside, 1));
        poll.poll(&mut events, Some(crate::lab::PATIENCE)).unwrap();
        assert!(events.iter().any(|event| event.is_readable()), "not woken");
        forwarder.turn();
        assert_eq!(forwarder.received[0][0], 1);
    });
}

#[test]
fn without_its_sockets_the_program_passes_frames_to_the_kernel() {
    in_lab(1, || {
        let Wire { mut rx, tx, table, programs, .. } = Wire::open("port0", "port1", &small()).unwrap();
        rx[0][0].beat();
        drop((rx, tx, table));
        let (peer, port) = (Peer::new("peer0"), Peer::new("port0"));
        wait_until("frame at the kernel", || {
            peer.send(&frame(Side::Inside, 1));
            port.receive().is_some()
        });
        let counts = programs[0].counts().unwrap();
        assert!(counts.no_socket + counts.stale > 0, "{counts:?}");
    });
}

#[test]
fn a_wire_opens_again_after_it_was_dropped() {
    in_lab(1, || {
        for _ in 0..3 {
            pass_both_ways(&mut Forwarder::open(&small()), 300);
        }
    });
}
