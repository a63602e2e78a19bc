//! Is the rate on the wire the rate that was configured? Overloads by 30 % at 10, 100 and 500 Mbit/s, both ways.

mod bed;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tidegate_lab::experiment::{Shaped, overload};
use tidegate_lab::netns::Direction;
use tidegate_lab::system::{Rates, Running, tidegate_policy};
use tidegate_lab::table::mbit;
use tidegate_lab::{Lab, Layout, System};

/// How far the rate may be off, as a part of it.
const TOLERANCE: f64 = 0.02;
/// How often a void run is repeated.
const TRIES: u32 = 3;

#[test]
fn the_kernels_own_shaper_shows_that_the_meter_is_right() {
    check(&[100], |rates| Some(System::BridgeLink(rates)));
}

#[test]
fn tidegate_sends_at_its_rate() {
    check(&[10, 100, 500], |rates| bed::tidegate(tidegate_policy(Some(rates), "")));
}

fn check(rates: &[u64], system: impl Fn(Rates) -> Option<System>) {
    for &mbit in rates {
        let Some(system) = system(Rates::mbit(mbit)) else { return };
        let Some(mut lab) = bed::lab(Layout::Box) else { return };
        both_ways(&mut lab, &system, mbit * 1_000_000).unwrap_or_else(|error| panic!("{system}: {error:#}"));
    }
}

fn both_ways(lab: &mut Lab, system: &System, rate: u64) -> Result<()> {
    lab.keep_awake()?;
    let running = system.start(lab)?;
    for direction in [Direction::Download, Direction::Upload] {
        let shaped = valid_run(lab, &running, direction, rate).map_err(|error| running.explain(error))?;
        let (offered, metered, error) = (mbit(shaped.offered), mbit(shaped.window.wire_rate()), shaped.error(rate));
        let line = format!("{system} {direction} at {}: offered {offered}, on the wire {metered}", mbit(rate as f64));
        bed::say(format_args!("  {line}, {:+.2} %", error * 100.0));
        ensure!(error.abs() <= TOLERANCE, "{line}: off by {:+.2} %: {shaped:?}", error * 100.0);
    }
    running.stop()?;
    Ok(())
}

/// A run that says something about the box, of the first few: the hosts did their part, and if the rate was missed, it
/// was not for want of a core.
fn valid_run(lab: &Lab, running: &Running, direction: Direction, rate: u64) -> Result<Shaped> {
    let window = Duration::from_secs(if bed::long() { 30 } else { 3 });
    for _ in 0..TRIES {
        let shaped = overload(lab, running, direction, rate, window)?;
        let missed = shaped.error(rate).abs() > TOLERANCE;
        let Some(reason) = shaped.hosts_failed(rate).or(shaped.was_starved().filter(|_| missed)) else {
            return Ok(shaped);
        };
        bed::say(format_args!("  void, {direction} at {}: {reason}", mbit(rate as f64)));
    }
    bail!("{TRIES} void runs: is the machine busy with something else?")
}
