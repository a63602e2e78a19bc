//! What does it cost the wire when Tidegate is killed, hangs, panics, stops, restarts or is bypassed? And does the
//! instrument that says so see a gap?

mod bed;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tidegate_lab::failover::{BothWays, Row, Trials, failover, table};
use tidegate_lab::system::{find_debug_tidegate, tidegate_policy};
use tidegate_lab::{Lab, Layout, System, command};

/// How often each event is tried, in short and at length.
const REPEATS: [u32; 2] = [4, 20];
/// The contract is kept with this much room.
const MARGIN: f64 = 2.0;
/// How often a void run of the control is repeated.
const TRIES: u32 = 4;

#[test]
fn the_wire_stays_a_wire_whatever_happens() {
    let Some(System::Tidegate { binary, .. }) = bed::tidegate(tidegate_policy(None, "")) else { return };
    let Some(debug) = bed::found("a debug build", find_debug_tidegate()) else { return };
    let Some(lab) = bed::lab(Layout::Box) else { return };
    let rows = Trials::new(&lab, binary, debug)
        .and_then(|mut trials| failover(&mut trials, REPEATS[usize::from(bed::long())], |line| bed::say(line)))
        .unwrap_or_else(|error| panic!("{error:#}"));
    let table = table(&rows);
    bed::say(&table);
    for row in &rows {
        keeps_the_contract(row).unwrap_or_else(|error| panic!("{error}\n{table}"));
    }
}

fn keeps_the_contract(row: &Row) -> Result<()> {
    let Row { event, gap_worst_ms, gap_contract_ms, .. } = row;
    ensure!(*gap_worst_ms <= MARGIN * gap_contract_ms, "{event}: a gap of {gap_worst_ms:.1} ms");
    ensure!(row.duplicated == 0, "{event}: {} frames came twice", row.duplicated);
    ensure!(row.stale == 0, "{event}: {} frames came that were older than 100 ms", row.stale);
    Ok(())
}

#[test]
fn the_instrument_sees_a_gap_as_long_as_it_is_and_none_where_there_is_none() {
    let Some(lab) = bed::lab(Layout::Box) else { return };
    control(&lab).unwrap_or_else(|error| panic!("{error:#}"));
}

/// The kernel's bridge, left alone, then cut for 120 ms: the cut costs that, and nothing is old, since nothing waits.
fn control(lab: &Lab) -> Result<()> {
    const CUT: Duration = Duration::from_millis(120);
    let _running = System::Bridge.start(lab)?;
    let quiet = valid(lab, |_| Ok(()))?;
    let link = |lab: &Lab, state| command::run(format!("ip -n {} link set br0 {state}", lab.middle));
    let cut = valid(lab, |lab| {
        link(lab, "down")?;
        std::thread::sleep(CUT);
        link(lab, "up").map(|_| ())
    })?;
    let millis = |gap: u64| gap as f64 / 1e6;
    for (quiet, cut) in quiet.iter().zip(&cut) {
        bed::say(format_args!(
            "  control: {:.1} ms left alone, {:.1} ms cut",
            millis(quiet.gap_nanos),
            millis(cut.gap_nanos)
        ));
        ensure!(millis(quiet.gap_nanos) < 50.0 && quiet.lost == 0, "the bridge left alone: {quiet:?}");
        ensure!(millis(cut.gap_nanos) >= 110.0, "a cut of {CUT:?} was not seen: {cut:?}");
        ensure!(cut.lost >= 200, "2,000 datagrams a second, and a cut of {CUT:?} lost {}", cut.lost);
        ensure!((cut.duplicated, cut.stale) == (0, 0), "a cut makes nothing old and no copies: {cut:?}");
    }
    Ok(())
}

fn valid(lab: &Lab, event: impl Fn(&Lab) -> Result<()>) -> Result<[tidegate_lab::failover::Cost; 2]> {
    for _ in 0..TRIES {
        let traffic = BothWays::start(lab)?;
        event(lab)?;
        match traffic.finish()? {
            Ok(costs) => return Ok(costs),
            Err(reason) => bed::say(format_args!("  void: {reason}")),
        }
    }
    bail!("{TRIES} void runs: is the machine busy with something else?")
}
