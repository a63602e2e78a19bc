//! What an event costs the wire: numbered datagrams both ways while Tidegate is killed, hangs, panics, stops, restarts, or
//! is bypassed; the gap, and what was lost, copied, disordered or stale.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde::Serialize;

use crate::gate::{Gate, api};
use crate::netns::{Direction, Lab};
use crate::system::tidegate_policy;
use crate::table::{Table, ms};
use crate::traffic::spray::spray_from;
use crate::traffic::udp::{Flow, Outcome, Stream};
use crate::{clock, interrupt};

/// Datagrams each way: one every half millisecond tells a gap to the millisecond.
const PER_SECOND: u64 = 2_000;
/// Flows in the table before anything happens.
const FLOWS: u64 = 110_000;
/// How long traffic flows before the event.
const BEFORE: Duration = Duration::from_millis(150);
/// How long traffic flows once the event is over: longer than anything that is allowed to be late.
const AFTER: Duration = Duration::from_millis(600);
/// How long Tidegate hangs.
const HANG: Duration = Duration::from_millis(400);
/// A sender that was itself silent for longer says nothing about the box.
const PAUSE_MOST: u64 = 20_000_000;
/// How often a void trial is repeated.
const TRIES: u32 = 4;

/// What happens to Tidegate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The bypass is switched on.
    BypassOn,
    /// The bypass is switched off.
    BypassOff,
    /// SIGSTOP, and SIGCONT 400 ms later.
    Hang,
    /// SIGTERM, and another `tidegate run` as soon as the first has ended.
    Restart,
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Stop,
    /// SIGUSR2, by which the debug build panics in a worker.
    Panic,
}

impl Event {
    /// All, in an order that starts Tidegate as seldom as possible.
    pub const ALL: [Event; 7] =
        [Event::BypassOn, Event::BypassOff, Event::Hang, Event::Restart, Event::Kill, Event::Stop, Event::Panic];

    /// The longest gap by contract.
    pub const fn gap_contract(self) -> Duration {
        match self {
            Event::Hang => Duration::from_millis(250),
            _ => Duration::from_millis(50),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Event::BypassOn => "bypass on",
            Event::BypassOff => "bypass off",
            Event::Hang => "hang (SIGSTOP, SIGCONT)",
            Event::Restart => "restart",
            Event::Kill => "kill (SIGKILL)",
            Event::Stop => "stop (SIGTERM)",
            Event::Panic => "panic in a worker",
        })
    }
}

/// What one event cost in one direction.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// The longest silence at the receiver, in nanoseconds.
    pub gap_nanos: u64,
    /// Datagrams that never came.
    pub lost: u64,
    /// Datagrams that came again.
    pub duplicated: u64,
    /// Datagrams that came after one sent later.
    pub reordered: u64,
    /// Datagrams that came when they were older than the stale limit of 100 ms.
    pub stale: u64,
}

impl Cost {
    fn of(outcome: &Outcome) -> Cost {
        let received = outcome.received;
        let (duplicated, reordered, stale) = (received.duplicates, received.reordered, received.stale);
        Cost { gap_nanos: outcome.silence(), lost: outcome.lost(), duplicated, reordered, stale }
    }
}

/// Datagrams both ways, [`PER_SECOND`] of them each.
#[derive(Debug)]
pub struct BothWays([Flow; 2]);

impl BothWays {
    /// Starts them, and lets them flow for a moment.
    pub fn start(lab: &Lab) -> Result<BothWays> {
        let start = |direction, port| {
            Flow::start(lab.sender(direction), lab.receiver(direction), &Stream::steady(port, PER_SECOND))
        };
        let flows = [start(Direction::Download, 6003)?, start(Direction::Upload, 6004)?];
        wait(BEFORE);
        Ok(BothWays(flows))
    }

    /// Lets them flow on for a moment, ends them, and gives the costs by direction; or in words why they say nothing.
    pub fn finish(self) -> Result<Result<[Cost; 2], String>> {
        wait(AFTER);
        let outcomes = Flow::finish_all(self.0)?;
        let pause = outcomes.iter().map(|outcome| outcome.sent.pause).max().unwrap_or(0);
        if pause > PAUSE_MOST {
            return Ok(Err(format!("a sender was kept from its core for {}", ms(pause))));
        }
        Ok(Ok([0, 1].map(|index| Cost::of(&outcomes[index]))))
    }
}

/// Tidegate in the box of a lab, with everything to be tried on it.
#[derive(Debug)]
pub struct Trials<'a> {
    lab: &'a Lab,
    gate: Gate,
    normal: PathBuf,
    debug: PathBuf,
    bypassed: bool,
}

impl<'a> Trials<'a> {
    /// `normal` is the build to be tried; `debug` the one that panics when asked to.
    pub fn new(lab: &'a Lab, normal: PathBuf, debug: PathBuf) -> Result<Trials<'a>> {
        let gate = Gate::new(lab, &normal, &(tidegate_policy(None, "") + &api()))?;
        Ok(Trials { lab, gate, normal, debug, bypassed: false })
    }

    /// One trial of `event`, repeated (and said to `void`) while the hosts were at fault, a few times at most.
    pub fn run(&mut self, event: Event, mut void: impl FnMut(&str)) -> Result<[Cost; 2]> {
        for _ in 0..TRIES {
            let trial = self.prepare(event).and_then(|()| self.trial(event));
            match trial.with_context(|| format!("{event}; Tidegate printed:\n{}", self.gate.log()))? {
                Ok(costs) => return Ok(costs),
                Err(reason) => void(&format!("void, {event}: {reason}")),
            }
        }
        bail!("{TRIES} void trials of {event}: is the machine busy with something else?")
    }

    /// Brings about the state in which `event` can happen: Tidegate carries the traffic itself and has its table full, or
    /// is bypassed.
    fn prepare(&mut self, event: Event) -> Result<()> {
        interrupt::check()?;
        let binary = if event == Event::Panic { self.debug.clone() } else { self.normal.clone() };
        if self.gate.is_running()? && self.gate.binary() != binary.as_path() {
            self.bypass(false)?;
            self.account()?;
        }
        if !self.gate.is_running()? {
            self.gate.use_binary(&binary);
            self.gate.start()?;
            self.take_up()?;
        }
        self.bypass(event == Event::BypassOff)
    }

    /// Waits until a Tidegate just started carries the traffic, and fills its table.
    fn take_up(&mut self) -> Result<()> {
        self.await_forwarding()?;
        spray_from(&self.lab.client, &self.lab.server, FLOWS)
    }

    fn await_forwarding(&mut self) -> Result<()> {
        let (client, server) = (&self.lab.client, &self.lab.server);
        self.gate.await_forwarding(|| client.ping(server.ipv4, 1))
    }

    fn bypass(&mut self, on: bool) -> Result<()> {
        if self.bypassed != on {
            self.switch(on)?;
            self.confirm(on)?;
        }
        Ok(())
    }

    fn switch(&mut self, on: bool) -> Result<()> {
        self.gate.command(if on { "bypass on" } else { "bypass off" }).run()?;
        self.bypassed = on;
        Ok(())
    }

    /// An error unless the traffic goes past Tidegate (`on`) or through it.
    fn confirm(&mut self, on: bool) -> Result<()> {
        if !on {
            return self.await_forwarding();
        }
        let (client, server) = (&self.lab.client, &self.lab.server);
        self.gate.confirm_bypass(|| client.ping(server.ipv4, 5))
    }

    fn trial(&mut self, event: Event) -> Result<Result<[Cost; 2], String>> {
        let traffic = BothWays::start(self.lab)?;
        match event {
            Event::BypassOn => self.switch(true)?,
            Event::BypassOff => self.switch(false)?,
            Event::Hang => {
                self.gate.signal(Signal::STOP)?;
                wait(HANG);
                self.gate.signal(Signal::CONT)?;
            }
            Event::Restart => {
                self.account()?;
                self.gate.start()?;
            }
            Event::Kill => self.gate.kill()?,
            Event::Stop => self.account()?,
            Event::Panic => {
                self.gate.signal(Signal::USR2)?;
                let status = self.gate.ended()?;
                ensure!(!status.success(), "a panic ended Tidegate with {status}");
            }
        }
        let costs = traffic.finish()?;
        match event {
            Event::BypassOn | Event::BypassOff => self.confirm(self.bypassed)?,
            Event::Hang => self.await_forwarding()?,
            Event::Restart => self.take_up()?,
            Event::Kill | Event::Stop | Event::Panic => {}
        }
        Ok(costs)
    }

    /// Stops Tidegate, which must know of every frame.
    fn account(&mut self) -> Result<()> {
        let account = self.gate.stop(Signal::TERM)?;
        ensure!(account.contains("unexplained 0"), "frames that no counter explains:\n{account}");
        Ok(())
    }
}

fn wait(span: Duration) {
    clock::sleep_until(clock::now() + span.as_nanos() as u64);
}

/// What all trials of one event cost.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The event.
    pub event: Event,
    /// How often it was tried.
    pub repeats: usize,
    /// Half of the gaps of both directions are no longer, in milliseconds.
    pub gap_median_ms: f64,
    /// The longest gap, in milliseconds.
    pub gap_worst_ms: f64,
    /// The longest gap by contract, in milliseconds.
    pub gap_contract_ms: f64,
    /// Datagrams lost, the mean of a trial.
    pub lost_mean: f64,
    /// Datagrams lost in the worst trial.
    pub lost_worst: u64,
    /// Datagrams that came again, in all trials.
    pub duplicated: u64,
    /// Datagrams that came after one sent later, in all trials.
    pub reordered: u64,
    /// Datagrams that came when they were older than 100 ms, in all trials.
    pub stale: u64,
}

impl Row {
    /// Sums up the trials of `event`, of which there is at least one.
    pub fn of(event: Event, trials: &[[Cost; 2]]) -> Row {
        let mut gaps: Vec<u64> = trials.iter().flatten().map(|cost| cost.gap_nanos).collect();
        gaps.sort_unstable();
        let sum = |count: fn(&Cost) -> u64| trials.iter().flatten().map(count).sum::<u64>();
        let lost = trials.iter().map(|costs| costs[0].lost + costs[1].lost);
        Row {
            event,
            repeats: trials.len(),
            gap_median_ms: gaps.get((gaps.len().max(1) - 1) / 2).map_or(0.0, |&nanos| nanos as f64 / 1e6),
            gap_worst_ms: gaps.last().map_or(0.0, |&nanos| nanos as f64 / 1e6),
            gap_contract_ms: event.gap_contract().as_secs_f64() * 1e3,
            lost_mean: sum(|cost| cost.lost) as f64 / trials.len().max(1) as f64,
            lost_worst: lost.max().unwrap_or(0),
            duplicated: sum(|cost| cost.duplicated),
            reordered: sum(|cost| cost.reordered),
            stale: sum(|cost| cost.stale),
        }
    }
}

/// Tries every event `repeats` times, in turn, so that what else the machine does spreads over all of them.
pub fn failover(trials: &mut Trials<'_>, repeats: u32, mut say: impl FnMut(&str)) -> Result<Vec<Row>> {
    let mut costs = [const { Vec::new() }; Event::ALL.len()];
    for repeat in 1..=repeats {
        for (event, costs) in Event::ALL.into_iter().zip(&mut costs) {
            costs.push(trials.run(event, &mut say)?);
        }
        say(&format!("round {repeat} of {repeats}"));
    }
    Ok(Event::ALL.into_iter().zip(&costs).map(|(event, costs)| Row::of(event, costs)).collect())
}

/// The rows as a table.
pub fn table(rows: &[Row]) -> Table {
    let mut table = Table::new([
        "event",
        "repeats",
        "gap median",
        "gap worst",
        "contract",
        "lost mean",
        "lost worst",
        "duplicated",
        "reordered",
        "stale",
    ]);
    for row in rows {
        let millis = |value: f64| format!("{value:.1} ms");
        table.row([
            row.event.to_string(),
            row.repeats.to_string(),
            millis(row.gap_median_ms),
            millis(row.gap_worst_ms),
            format!("{:.0} ms", row.gap_contract_ms),
            format!("{:.1}", row.lost_mean),
            row.lost_worst.to_string(),
            row.duplicated.to_string(),
            row.reordered.to_string(),
            row.stale.to_string(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_the_worst() {
        let cost = |gap_nanos, lost| Cost { gap_nanos, lost, duplicated: 0, reordered: 1, stale: 0 };
        let trials = [[cost(1_000_000, 1), cost(9_000_000, 2)], [cost(2_000_000, 0), cost(3_000_000, 0)]];
        let row = Row::of(Event::Kill, &trials);
        assert_eq!((row.gap_median_ms, row.gap_worst_ms), (2.0, 9.0));
        assert_eq!((row.lost_mean, row.lost_worst, row.reordered), (1.5, 3, 4));
        assert!(table(&[row]).to_string().contains("9.0 ms"));
    }
}
