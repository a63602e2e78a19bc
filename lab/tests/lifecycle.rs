//! Is anything left behind? Many starts and ends under traffic, by SIGTERM and SIGKILL in turn, then `detach`.

mod bed;

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tidegate_lab::gate::{Gate, api};
use tidegate_lab::netns::Direction;
use tidegate_lab::system::tidegate_policy;
use tidegate_lab::traces::{PortSettings, Traces};
use tidegate_lab::traffic::udp::{Flow, Stream};
use tidegate_lab::{Lab, Layout, System};

/// Starts and ends, in short and at length.
const CYCLES: [u32; 2] = [26, 1_000];
/// Datagrams each way.
const PER_SECOND: u64 = 1_000;
/// The longest gap of a start or an end: the contract of 50 ms with a margin of two.
const GAP_MOST_MS: u64 = 100;
/// The box's ports.
const PORTS: [&str; 2] = ["in0", "out0"];

#[test]
fn starts_and_ends_under_traffic_leave_nothing_behind() {
    let Some(System::Tidegate { binary, policy }) = bed::tidegate(tidegate_policy(None, "") + &api()) else { return };
    let Some(lab) = bed::lab(Layout::Box) else { return };
    let mut gate = Gate::new(&lab, &binary, &policy).unwrap_or_else(|error| panic!("{error:#}"));
    let judged = whole_life(&lab, &mut gate);
    judged.unwrap_or_else(|error| panic!("{error:#}\nTidegate printed:\n{}", gate.log()));
}

fn whole_life(lab: &Lab, gate: &mut Gate) -> Result<()> {
    own_ways(lab)?;
    let settings = |lab| PORTS.into_iter().map(|port| PortSettings::read(lab, port)).collect::<Result<Vec<_>>>();
    let (untouched, before) = (Traces::read(lab)?, settings(lab)?);

    let standing = {
        start(lab, gate)?;
        account(&gate.stop(Signal::TERM)?)?;
        // The kernel's bridge and our programs stay: that is what fails open.
        Traces::read(lab)?
    };
    ensure!(standing.sockets == 0, "sockets outlive their process: {standing:?}");
    under_traffic(lab, gate)?;
    standing.await_return(lab).context("after all starts and ends")?;

    gate.command("detach").run()?;
    untouched.await_return(lab).context("after detach")?;
    for ((port, now), before) in PORTS.into_iter().zip(settings(lab)?).zip(&before) {
        let changes = now.changes(before);
        ensure!(changes.is_empty(), "{port} is not as it was found:\n{changes}");
    }
    let left: Vec<_> = fs::read_dir(gate.state())?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    let files: Vec<_> = left.iter().filter(|name| name.to_string_lossy().ends_with(".json")).collect();
    ensure!(files.is_empty(), "detach leaves {files:?} in the folder of states");
    gate.command("detach").run().context("a second detach")?;
    Ok(())
}

/// Sets the ports as they are on a machine that nobody has prepared, offloads and a link-local address included, so that
/// putting them back shows.
fn own_ways(lab: &Lab) -> Result<()> {
    for port in PORTS {
        lab.in_box("ethtool").words(format!("-K {port} gro on gso on txvlan on rxvlan on")).run()?;
        lab.in_box("sysctl").words(format!("-qw net.ipv6.conf.{port}.disable_ipv6=0")).run()?;
    }
    Ok(())
}

fn start(lab: &Lab, gate: &mut Gate) -> Result<()> {
    gate.start()?;
    gate.await_forwarding(|| lab.client.ping(lab.server.ipv4, 1))
}

/// All starts and ends, while datagrams go both ways.
fn under_traffic(lab: &Lab, gate: &mut Gate) -> Result<()> {
    let cycles = CYCLES[usize::from(bed::long())];
    let flow = |direction, port| {
        Flow::start(lab.sender(direction), lab.receiver(direction), &Stream::steady(port, PER_SECOND))
    };
    let flows = [flow(Direction::Download, 6003)?, flow(Direction::Upload, 6004)?];
    for cycle in 0..cycles {
        gate.start().with_context(|| format!("start {cycle}"))?;
        // The datagrams are the traffic.
        let wait = || {
            thread::sleep(Duration::from_millis(20));
            Ok(())
        };
        gate.await_forwarding(wait).with_context(|| format!("start {cycle}"))?;
        if cycle % 2 == 0 {
            account(&gate.stop(Signal::TERM)?).with_context(|| format!("stop {cycle}"))?;
        } else {
            gate.kill()?;
        }
    }
    for outcome in Flow::finish_all(flows)? {
        let (sent, lost, received) = (outcome.sent.sent, outcome.lost(), outcome.received);
        let silence = outcome.silence() / 1_000_000;
        bed::say(format_args!("  {cycles} starts and ends: {lost} of {sent} lost, longest silence {silence} ms"));
        // A start and an end are two take-overs.
        let most = u64::from(cycles) * 2 * GAP_MOST_MS * PER_SECOND / 1_000;
        ensure!(lost <= most, "{lost} of {sent} lost, more than {most}, in {cycles} starts and ends");
        ensure!((received.duplicates, received.stale) == (0, 0), "copies or stale frames: {received:?}");
    }
    Ok(())
}

/// The last account knows of every frame, and all of them are home.
fn account(text: &str) -> Result<()> {
    ensure!(text.contains("unexplained 0"), "frames that no counter explains:\n{text}");
    let memory = text.lines().find_map(|line| line.split_once("memory: ")).context("no line on memory")?.1;
    let numbers: Vec<u64> = memory.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    ensure!(numbers.len() == 2 && numbers[0] == numbers[1], "frames that never came home:\n{text}");
    Ok(())
}
