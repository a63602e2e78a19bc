//! Is every frame accounted for, and does every one come home? Overloads each direction alone and both in turn, with one
//! worker and with the halves on two cores; with the debug build where there is one, which checks itself at every turn.

mod bed;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_lab::experiment::overload;
use tidegate_lab::netns::Direction;
use tidegate_lab::system::{Rates, tidegate_policy};
use tidegate_lab::{Layout, System};

/// What each direction is shaped to; the overload is a third more, so that frames are dropped on purpose.
const MBIT: u64 = 50;

#[test]
fn one_worker_loses_no_frame_from_its_memory() {
    soak("workers = [1]");
}

#[test]
fn ingress_and_egress_on_two_cores_lose_no_frame_from_their_memory() {
    soak("workers = [0, 1]");
}

fn soak(workers: &str) {
    let policy = tidegate_policy(Some(Rates::mbit(MBIT)), "").replace("workers = [1]", workers);
    assert!(policy.contains(workers), "the policy has the workers that are wanted:\n{policy}");
    let Some(system) = bed::tidegate(policy).map(with_checks) else { return };
    let Some(mut lab) = bed::lab(Layout::Box) else { return };
    let account = run(&mut lab, &system).unwrap_or_else(|error| panic!("{workers}: {error:#}"));
    bed::say(format_args!("  {workers}:\n{account}"));
}

/// The debug build, if it is there.
fn with_checks(system: System) -> System {
    let debug = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/tidegate");
    match system {
        System::Tidegate { policy, .. } if debug.is_file() => System::Tidegate { binary: debug, policy },
        other => other,
    }
}

fn run(lab: &mut tidegate_lab::Lab, system: &System) -> Result<String> {
    let window = Duration::from_secs(if bed::long() { 60 } else { 2 });
    let running = system.start(lab)?;
    for direction in [Direction::Download, Direction::Upload, Direction::Download] {
        overload(lab, &running, direction, MBIT * 1_000_000, window).with_context(|| running.log())?;
    }
    let account = running.stop()?;
    ensure!(account.contains("unexplained 0"), "frames that no counter explains:\n{account}");
    ensure!(account.contains("leaf_full"), "nothing was dropped, so the drops were not tested:\n{account}");
    let memory = account.lines().find_map(|line| line.strip_prefix("memory: ")).context("no line on memory")?;
    let numbers: Vec<u64> = memory.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    ensure!(numbers.len() == 2 && numbers[0] == numbers[1], "frames that never came home:\n{account}");
    Ok(account)
}
