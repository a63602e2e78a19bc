//! Do the protocols of the next hop, tags within tags, and a host that changes sides pass? Through the kernel's bridge (the
//! control), through Tidegate, through the bridge that a killed Tidegate leaves, through the bypass, and across each take-over.

mod bed;

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tidegate_lab::gate::{Gate, api};
use tidegate_lab::netns::Direction;
use tidegate_lab::system::tidegate_policy;
use tidegate_lab::traffic::beacon::{Arrived, Beacon, INTERVAL, Kind, Roamer, arrivals};
use tidegate_lab::traffic::frames::Tap;
use tidegate_lab::{Lab, Layout, System};

/// How long frames flow before and after what happens in the middle.
const HALF: Duration = Duration::from_millis(400);
/// The longest gap of a take-over: the contract of 50 ms with a margin of two.
const GAP_MOST: u64 = 100_000_000;
/// A beacon that was itself silent for longer says nothing about the box.
const PAUSE_MOST: u64 = 20_000_000;
/// How often a void run is repeated.
const TRIES: u32 = 4;

#[test]
fn every_protocol_passes_the_kernels_bridge() {
    let Some(lab) = bed::lab(Layout::Box) else { return };
    let judged = System::Bridge.start(&lab).and_then(|_running| steady(&lab, "kernel bridge"));
    judged.unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn every_protocol_passes_tidegate_in_every_state_and_across_each_take_over() {
    let Some(System::Tidegate { binary, policy }) = bed::tidegate(tidegate_policy(None, "") + &api()) else { return };
    let Some(lab) = bed::lab(Layout::Box) else { return };
    let mut gate = Gate::new(&lab, &binary, &policy).unwrap_or_else(|error| panic!("{error:#}"));
    let judged = every_state(&lab, &mut gate);
    judged.unwrap_or_else(|error| panic!("{error:#}\nTidegate printed:\n{}", gate.log()));
}

fn every_state(lab: &Lab, gate: &mut Gate) -> Result<()> {
    let up = |gate: &mut Gate| {
        if !gate.is_running()? {
            gate.start()?;
        }
        gate.await_forwarding(|| lab.client.ping(lab.server.ipv4, 1))
    };
    let down = |gate: &mut Gate| if gate.is_running()? { gate.kill() } else { Ok(()) };
    let restart = |gate: &mut Gate| {
        gate.stop(Signal::TERM)?;
        gate.start()
    };
    up(gate)?;
    steady(lab, "tidegate")?;
    gate.command("bypass on").run()?;
    gate.confirm_bypass(|| lab.client.ping(lab.server.ipv4, 5))?;
    steady(lab, "bypass")?;
    gate.command("bypass off").run()?;
    take_over(lab, "restart", gate, up, restart)?;
    take_over(lab, "kill", gate, up, Gate::kill)?;
    steady(lab, "failed open")?;
    take_over(lab, "start", gate, down, Gate::start)?;
    up(gate)?;
    gate.stop(Signal::TERM)?;
    steady(lab, "stopped")
}

/// Both sides' frames while nothing happens to the box: all pass, once and in order.
fn steady(lab: &Lab, state: &str) -> Result<()> {
    let judge = |kind, arrived: &Arrived| {
        let Arrived { sent, lost, copies, disorder, .. } = *arrived;
        ensure!(sent > 0, "{kind} was not sent, so nothing was tested");
        ensure!((lost, copies, disorder) == (0, 0, 0), "{kind}: {arrived:?}");
        Ok(())
    };
    cross(lab, state, &mut (), |()| Ok(()), |()| Ok(()), judge)
}

/// Both sides' frames while `event` befalls the box, which is as `before` leaves it: losses only within the gap, and no
/// copies.
fn take_over(
    lab: &Lab,
    name: &str,
    gate: &mut Gate,
    before: impl Fn(&mut Gate) -> Result<()>,
    event: impl Fn(&mut Gate) -> Result<()>,
) -> Result<()> {
    let judge = |kind, arrived: &Arrived| {
        let Arrived { lost, gap, copies, .. } = *arrived;
        ensure!(gap * INTERVAL <= GAP_MOST, "{kind}: a gap of {} ms: {arrived:?}", gap * INTERVAL / 1_000_000);
        ensure!(lost * INTERVAL <= 2 * GAP_MOST, "{kind}: lost more than two gaps: {arrived:?}");
        ensure!(copies == 0, "{kind}: {arrived:?}");
        Ok(())
    };
    cross(lab, name, gate, before, event, judge)
}

/// Sends from both sides, lets `event` happen to `what` in the middle, moves the roamer after it, and judges each kind.
fn cross<T>(
    lab: &Lab,
    state: &str,
    what: &mut T,
    before: impl Fn(&mut T) -> Result<()>,
    event: impl Fn(&mut T) -> Result<()>,
    judge: impl Fn(Kind, &Arrived) -> Result<()>,
) -> Result<()> {
    for _ in 0..TRIES {
        before(what)?;
        match run(lab, || event(what)).with_context(|| state.to_owned())? {
            Run::Void(reason) => bed::say(format_args!("  void, {state}: {reason}")),
            Run::Valid(arrived) => {
                let lost: u64 = arrived.iter().map(|(.., arrived)| arrived.lost).sum();
                let sent: u64 = arrived.iter().map(|(.., arrived)| arrived.sent).sum();
                let disorder: u64 = arrived.iter().map(|(.., arrived)| arrived.disorder).sum();
                bed::say(format_args!("  {state}: {sent} frames, {lost} lost, {disorder} out of order"));
                for (direction, kind, arrived) in &arrived {
                    judge(*kind, arrived).with_context(|| format!("{state}, {direction}"))?;
                }
                return Ok(());
            }
        }
    }
    bail!("{state}: {TRIES} void runs: is the machine busy with something else?")
}

enum Run {
    Void(String),
    Valid(Vec<(Direction, Kind, Arrived)>),
}

fn run(lab: &Lab, event: impl FnOnce() -> Result<()>) -> Result<Run> {
    // The number that is sent when a steady run is half over.
    let move_at = 2 * HALF.as_nanos() as u64 / INTERVAL * 3 / 4;
    let sides = [(Direction::Upload, Roamer::Here), (Direction::Download, Roamer::There)];
    let taps = sides.map(|(direction, _)| Tap::start(lab.receiver(direction)));
    let beacons =
        sides.map(|(direction, roamer)| Beacon::start(lab.sender(direction), lab.receiver(direction), roamer, move_at));
    thread::sleep(HALF);
    let happened = event();
    thread::sleep(HALF);
    let mut sent = Vec::new();
    for beacon in beacons {
        sent.push(beacon?.finish()?);
    }
    let mut arrived = Vec::new();
    for (((direction, roamer), tap), sent) in sides.into_iter().zip(taps).zip(&sent) {
        let captured = tap?.finish()?;
        arrived.extend(arrivals(sent, roamer, &captured).into_iter().map(|(kind, it)| (direction, kind, it)));
    }
    happened?;
    let pause = sent.iter().map(|sent| sent.pause).max().unwrap_or(0);
    if pause > PAUSE_MOST {
        return Ok(Run::Void(format!("a sender was kept from its core for {} ms", pause / 1_000_000)));
    }
    Ok(Run::Valid(arrived))
}
