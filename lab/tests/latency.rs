//! Does voice keep its time beside a saturating download? In the same run as an idle link, and beside the kernel's HTB.

mod bed;

use anyhow::{Result, ensure};
use tidegate_lab::experiment::{EF, Latencies, latency};
use tidegate_lab::system::{Rates, VOICE_RULE, tidegate_policy};
use tidegate_lab::table::{Table, mbit, ms};
use tidegate_lab::{Lab, Layout, System};

const RATE: Rates = Rates::mbit(100);
/// What the 99th percentile of voice may grow by under load, in nanoseconds: some full frames of the wire in front of a
/// probe (0.12 ms each), and what a busy machine adds.
const INCREASE_MAX: i64 = 5_000_000;
/// The part of the link that bulk TCP must fill for the link to count as saturated.
const SATURATED: f64 = 0.8;

#[test]
fn voice_keeps_its_time_under_load() {
    let mut table = Table::new(["p99 of voice", "idle", "loaded", "increase", "p99.9 loaded", "lost", "bulk TCP"]);
    for system in [Some(System::BridgeHtb(RATE)), bed::tidegate(tidegate_policy(Some(RATE), VOICE_RULE))] {
        let Some(system) = system else { continue };
        let Some(lab) = bed::lab(Layout::Box) else { return };
        let measured = measure(lab, &system).unwrap_or_else(|error| panic!("{system}: {error:#}"));
        let (idle, loaded) = (measured.idle.received.latency, measured.loaded.received.latency);
        table.row([
            system.to_string(),
            ms(idle.p99),
            ms(loaded.p99),
            format!("{:+.2} ms", measured.p99_increase() as f64 / 1e6),
            ms(loaded.p999),
            measured.loaded.lost().to_string(),
            mbit(measured.bulk),
        ]);
        keeps_its_time(&measured).unwrap_or_else(|error| panic!("{system}: {error:#}\n{table}"));
    }
    bed::say(table);
}

fn measure(mut lab: Lab, system: &System) -> Result<Latencies> {
    lab.keep_awake()?;
    let running = system.start(&lab)?;
    let count = if bed::long() { 10_000 } else { 3_000 };
    let measured = latency(&lab, &running, EF, count).map_err(|error| running.explain(error))?;
    running.stop()?;
    Ok(measured)
}

fn keeps_its_time(measured: &Latencies) -> Result<()> {
    for (state, outcome) in [("idle", measured.idle), ("loaded", measured.loaded)] {
        let (copies, disorder) = (outcome.received.duplicates, outcome.received.reordered);
        ensure!((outcome.lost(), copies, disorder) == (0, 0, 0), "{state}: {outcome:?}");
    }
    ensure!(measured.bulk >= SATURATED * RATE.download as f64, "the link was not saturated: {}", mbit(measured.bulk));
    let increase = measured.p99_increase();
    ensure!(increase < INCREASE_MAX, "the p99 of voice grew by {increase} ns; {:?}", measured);
    Ok(())
}
