//! What a box costs while nothing happens, and how fast it wakes: processor time without traffic, and probes after pauses.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::Lab;
use crate::system::Running;
use crate::table::{Table, percent};
use crate::traffic::udp::{Flow, Latency, Stream};

/// Probes a second that each find the box asleep.
const SELDOM: u64 = 20;
/// Probes a second of an ordinary call or game.
const OFTEN: u64 = 1_000;
/// How long a box that has just started may still be busy with that.
const SETTLE: Duration = Duration::from_millis(1_000);

/// What was measured of one system.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rest {
    /// The time that its threads ran while there was no traffic, as a part of one core.
    pub busy: f64,
    /// One-way latency of probes after pauses of 50 ms, in nanoseconds.
    pub seldom: Latency,
    /// One-way latency of probes at 1 kHz, in nanoseconds.
    pub often: Latency,
}

/// Watches `running` for `span` without traffic, then sends probes through it for `span` at 20 Hz and for `span` at 1 kHz.
pub fn rest(lab: &Lab, running: &Running, span: Duration) -> Result<Rest> {
    thread::sleep(SETTLE);
    let before = running.cpu_time()?;
    thread::sleep(span);
    let busy = (running.cpu_time()? - before).as_secs_f64() / span.as_secs_f64();
    let (seldom, often) = (probes(lab, SELDOM, span)?, probes(lab, OFTEN, span)?);
    Ok(Rest { busy, seldom, often })
}

fn probes(lab: &Lab, per_second: u64, span: Duration) -> Result<Latency> {
    let count = (per_second as f64 * span.as_secs_f64()) as u64;
    let stream = Stream { count: Some(count), ..Stream::steady(6005, per_second) };
    let outcome = Flow::start(&lab.server, &lab.client, &stream)?.complete(2 * span + SETTLE)?;
    ensure!(outcome.lost() == 0, "{} of {count} probes at {per_second} Hz were lost", outcome.lost());
    Ok(outcome.received.latency)
}

/// The figures of several systems as a table.
pub fn table<'a>(systems: impl IntoIterator<Item = (&'a str, Rest)>) -> Table {
    let mut table = Table::new(["", "core busy", "20 Hz p50", "p99", "1 kHz p50", "p99"]);
    let micros = |nanos: u64| format!("{:.0} us", nanos as f64 / 1e3);
    for (system, rest) in systems {
        let times = [rest.seldom.p50, rest.seldom.p99, rest.often.p50, rest.often.p99].map(micros);
        table.row([system.to_owned(), percent(rest.busy)].into_iter().chain(times));
    }
    table
}

/// Puts each of `systems` into a bed of its own, as `build` makes it, and measures it for `span`.
pub fn compare(
    systems: &[crate::System],
    build: impl Fn() -> Result<Lab>,
    span: Duration,
) -> Result<Vec<(String, Rest)>> {
    let mut rests = Vec::new();
    for system in systems {
        let mut lab = build()?;
        lab.keep_awake()?;
        let running = system.start(&lab)?;
        let measured = rest(&lab, &running, span).map_err(|error| running.explain(error));
        rests.push((system.to_string(), measured.with_context(|| system.to_string())?));
        running.stop()?;
    }
    Ok(rests)
}
