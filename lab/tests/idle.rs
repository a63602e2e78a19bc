//! Does a bridge with nothing to do leave the core alone, and wake in time for the first frame after a pause? Beside the
//! kernel's bridge in the same run.

mod bed;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tidegate_lab::idle::{Rest, compare, table};
use tidegate_lab::system::tidegate_policy;
use tidegate_lab::{Layout, System};

/// What the bridge may take of a core without traffic: the contract of 2 % with a margin of two.
const BUSY_MOST: f64 = 0.04;
/// What it may add to the kernel bridge's median for a frame after a pause: the contract of 100 us with a margin of two.
const ADDED_MOST: u64 = 200_000;
/// How often a run is repeated whose bound was missed: other programs on the machine may have been at fault.
const TRIES: u32 = 3;

#[test]
fn a_bridge_without_traffic_sleeps_and_wakes_in_time() {
    let Some(tidegate) = bed::tidegate(tidegate_policy(None, "")) else { return };
    if bed::lab(Layout::Box).is_none() {
        return;
    }
    judged(&[System::Bridge, tidegate]).unwrap_or_else(|error| panic!("{error:#}"));
}

fn judged(systems: &[System]) -> Result<()> {
    let span = Duration::from_secs(if bed::long() { 10 } else { 4 });
    let mut last = String::new();
    for _ in 0..TRIES {
        let build = || Ok(bed::lab(Layout::Box).expect("it could be made before"));
        let rests = compare(systems, build, span)?;
        let table = table(rests.iter().map(|(name, rest)| (name.as_str(), *rest)));
        bed::say(&table);
        match keeps_the_contract(&rests[0].1, &rests[1].1) {
            Ok(()) => return Ok(()),
            Err(error) => last = format!("{error:#}\n{table}"),
        }
        bed::say(format_args!("  again: {last}"));
    }
    bail!("{TRIES} times: {last}")
}

fn keeps_the_contract(kernel: &Rest, tidegate: &Rest) -> Result<()> {
    ensure!(tidegate.busy > 0.0, "a process that never runs is none");
    ensure!(tidegate.busy < BUSY_MOST, "{:.1} % of a core without traffic", tidegate.busy * 100.0);
    let added = tidegate.seldom.p50.saturating_sub(kernel.seldom.p50);
    ensure!(added < ADDED_MOST, "{added} ns more than the kernel's bridge after a pause, at the median");
    Ok(())
}
