//! Is the rate on the wire the rate that was configured? Overloads by 30 % at 10, 100 and 500 Mbit/s, both ways.

mod bed;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tidegate_lab::experiment::{Shaped, overload};
use tidegate_lab::netns::Direction;
use tidegate_lab::system::{Rates, tidegate_policy};
use tidegate_lab::table::mbit;
use tidegate_lab::{Lab, Layout, System};

/// How far the rate may be off, as a part of it.
const TOLERANCE: f64 = 0.02;
/// The least overload that tests a shaper, as a part of its rate.
const OFFERED_LEAST: f64 = 1.1;
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
        let shaped = valid_run(lab, direction, rate).map_err(|error| running.explain(error))?;
        let error = shaped.error(rate);
        bed::say(format_args!(
            "  {system} {direction} at {}: offered {}, on the wire {}, {:+.2} %",
            mbit(rate as f64),
            mbit(shaped.offered),
            mbit(shaped.window.wire_rate()),
            error * 100.0
        ));
        ensure!(error.abs() <= TOLERANCE, "{direction} at {rate} bit/s is off by {:+.2} %: {shaped:?}", error * 100.0);
    }
    running.stop()?;
    Ok(())
}

/// A run in which the hosts did their part: a busy machine may offer too little, or lose frames outside the box.
fn valid_run(lab: &Lab, direction: Direction, rate: u64) -> Result<Shaped> {
    let window = Duration::from_secs(if bed::long() { 30 } else { 3 });
    let mut void = String::new();
    for _ in 0..TRIES {
        let shaped = overload(lab, direction, rate, window)?;
        let lost_outside = shaped.drops.total("client") + shaped.drops.total("server");
        if shaped.offered >= OFFERED_LEAST * rate as f64 && lost_outside == 0 {
            return Ok(shaped);
        }
        void = format!("offered {}, kernel drops {}", mbit(shaped.offered), shaped.drops);
        bed::say(format_args!("  void, again: {void}"));
    }
    bail!("{TRIES} void runs, the last: {void}")
}
