//! Does everything get through? Ping, ARP, neighbour discovery, TCP, UDP, and all of it with a VLAN tag.

mod bed;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_lab::netns::Direction;
use tidegate_lab::system::tidegate_policy;
use tidegate_lab::traffic::frames::Tap;
use tidegate_lab::traffic::iperf::{Iperf, Transfer};
use tidegate_lab::traffic::udp::{Flow, Stream};
use tidegate_lab::{Lab, Layout, System, vlan};

const VLAN: u16 = 100;
const BOTH: [Direction; 2] = [Direction::Download, Direction::Upload];

#[test]
fn through_the_kernel_bridge() {
    let Some(lab) = bed::lab(Layout::Box) else { return };
    everything_passes(&lab, &System::Bridge).unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn through_tidegate_in_native_mode() {
    let Some(system) = bed::tidegate(tidegate_policy(None, "")) else { return };
    let Some(lab) = bed::lab(Layout::Box) else { return };
    let said = everything_passes(&lab, &system).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(said.to_lowercase().contains("native"), "tidegate does not say that it ran in native mode:\n{said}");
}

/// Gives what the system printed.
fn everything_passes(lab: &Lab, system: &System) -> Result<String> {
    let running = system.start(lab)?;
    let passes = || {
        neighbours_resolve(lab)?;
        pings_pass(lab)?;
        streams_pass(lab)?;
        datagrams_pass(lab)?;
        vlan::tag_hosts(lab, VLAN)?;
        tagged(lab).context("tagged")
    };
    passes().map_err(|error| running.explain(error))?;
    running.stop()
}

/// ARP and neighbour discovery, from nothing, in both directions.
fn neighbours_resolve(lab: &Lab) -> Result<()> {
    for (here, there) in [(&lab.client, &lab.server), (&lab.server, &lab.client)] {
        for address in [there.ipv4, there.ipv6] {
            let neighbour = |verb: &str| here.program("ip").words(format!("neigh {verb} {address} dev eth0")).run();
            // Nothing to flush is no error.
            neighbour("flush")?;
            ensure!(neighbour("show")?.trim().is_empty(), "{address} is known before it was asked for");
            here.ping(address, 1)?;
            let entry = neighbour("show")?;
            ensure!(entry.contains(there.mac), "{address} resolved to {entry:?}, want {}", there.mac);
        }
    }
    Ok(())
}

/// Small, odd and full-sized.
fn pings_pass(lab: &Lab) -> Result<()> {
    for (address, full) in [(lab.server.ipv4, 1472), (lab.server.ipv6, 1452)] {
        lab.client.ping(address, 20)?;
        for size in [0, 1, 17, 18, 19, 999, full] {
            lab.client.program("ping").words(format!("-n -q -c 2 -i 0.01 -W 2 -M do -s {size} {address}")).run()?;
        }
    }
    Ok(())
}

fn streams_pass(lab: &Lab) -> Result<()> {
    let seconds = if bed::long() { 10 } else { 1 };
    for direction in BOTH {
        for streams in [1, 4] {
            let achieved = Iperf::start(lab, &Transfer::new(direction, streams, seconds))?.finish()?;
            ensure!(achieved.bits_per_second > 0.0, "nothing arrived of {streams} TCP streams ({direction})");
            bed::say(format_args!(
                "  TCP {direction}, {streams} streams: {:.0} Mbit/s",
                achieved.bits_per_second / 1e6
            ));
        }
    }
    Ok(())
}

/// Not one lost, copied or out of order; and no wire dropped any.
fn datagrams_pass(lab: &Lab) -> Result<()> {
    let before = lab.drops()?;
    for direction in BOTH {
        let stream = Stream { instrument: false, ..Stream::probes(6000, 0, 500) };
        let flow = Flow::start(lab.sender(direction), lab.receiver(direction), &stream)?;
        let outcome = flow.complete(Duration::from_secs(10))?;
        let (copies, disorder) = (outcome.received.duplicates, outcome.received.reordered);
        ensure!((outcome.lost(), copies, disorder) == (0, 0, 0), "UDP {direction}: {outcome:?}");
    }
    let drops = lab.drops()?.since(&before);
    ensure!(drops.total("") == 0, "the kernel dropped frames (received/sent/queued): {drops}");
    Ok(())
}

/// Ping and TCP, and the proof that what arrived had the tag on the wire.
fn tagged(lab: &Lab) -> Result<()> {
    let tap = Tap::start(&lab.server)?;
    for host in [&lab.client, &lab.server] {
        host.program("ip").words("neigh flush all").run()?;
    }
    lab.client.ping(lab.server.ipv4, 10)?;
    lab.client.ping(lab.server.ipv6, 10)?;
    let frames = tap.finish()?;
    let tag = [[0x81, 0x00], VLAN.to_be_bytes()].concat();
    ensure!(frames.len() >= 20, "only {} frames were seen of 20 pings", frames.len());
    for frame in &frames {
        ensure!(frame.get(12..16) == Some(&tag), "a frame arrived without its tag: {frame:02x?}");
    }
    streams_pass(lab)
}
