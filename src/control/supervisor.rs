//! Opens the wires, sends the workers out, looks after both until told to stop, and gives the last account.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::cores::Placement;
use super::crew::{Crew, Pair};
use super::wire::Wire;
use crate::config::{Config, Idle};
use crate::datapath::drain::drain;
use crate::port::xdp;
use crate::telemetry::{Published, Snapshot, WireState};
use crate::time::{Clock, MonotonicClock};
use crate::units::Nanos;

/// How often control looks at ports, answers and orders.
const TICK: Duration = Duration::from_millis(20);

/// How often a snapshot is taken.
const SNAPSHOT: Nanos = Nanos::from_millis(1_000);

/// How long a worker may take to answer: longer than any sleep or turn.
const ANSWER: Nanos = Nanos::from_millis(500);

/// How often a wire whose ports are gone is tried again.
const RETRY: Nanos = Nanos::from_millis(500);

/// How long queues may run empty after the order to stop.
const DRAIN: Nanos = Nanos::from_millis(100);

/// Why the bridge could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A wire could not be opened.
    #[error(transparent)]
    Port(#[from] xdp::Error),
    /// A worker's event descriptors could not be made.
    #[error("can't make a worker's event descriptors: {0}")]
    Idle(#[source] std::io::Error),
    /// A worker's thread could not be started.
    #[error("can't start a worker's thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The policy names a core that this machine doesn't have.
    #[error("core {wanted} is not there, or this process may not run on it; it runs on {}", list(.available))]
    NoSuchCore {
        /// The core that the policy names.
        wanted: usize,
        /// The cores on which this process runs.
        available: Vec<usize>,
    },
}

fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// What can be asked of the running bridge from outside its threads.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// Stop: leave the wires to the kernel's bridge, let the queues run empty, end.
    pub stop: Arc<AtomicBool>,
    /// Let a worker panic, in a build that checks itself; nothing in any other.
    pub fault: Arc<AtomicBool>,
}

/// Runs the bridge that `config` describes until told to stop; returns the last account. Each second's is published.
///
/// # Errors
///
/// If a port, a core or a thread is not to be had. Nothing is forwarded by us then.
pub fn run(config: &Config, orders: &Orders, published: &Published) -> Result<Snapshot, Error> {
    let cores = Placement::of(&config.cores)?;
    let clock = MonotonicClock::start();
    let mut wires: Vec<Wire> = config.wires.iter().map(|wire| Wire::new(config, wire)).collect();
    let mut pairs = Vec::new();
    for (number, wire) in wires.iter_mut().enumerate() {
        pairs.push((number, wire.open(clock.now())?));
    }
    if !core_affinity::set_for_current(cores.control) {
        tracing::warn!("could not pin control to core {}", cores.control.id);
    }
    let spin = config.cores.idle == Idle::Spin;
    let mut crew = Crew::new(cores.workers, wires.len(), spin, clock, orders.clone());
    crew.dispatch(pairs)?;
    for wire in &wires {
        tracing::info!("wire {}: forwarding", wire.name());
    }
    let mut control =
        Control { clock, wires, crew, published, seq: 0, asked: None, due: Nanos::ZERO, retry: Nanos::ZERO };
    while !orders.stop.load(Ordering::Relaxed) {
        control.tick()?;
        thread::sleep(TICK);
    }
    Ok(control.stop())
}

/// Everything that control looks after.
struct Control<'p> {
    clock: MonotonicClock,
    wires: Vec<Wire>,
    crew: Crew,
    published: &'p Published,
    /// The number of the last snapshot.
    seq: u64,
    /// When the workers were asked, until all have answered or had the time to.
    asked: Option<Nanos>,
    /// When they are to be asked next.
    due: Nanos,
    /// When wires whose ports are gone are to be tried next.
    retry: Nanos,
}

impl Control<'_> {
    fn tick(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        let gone: Vec<usize> = (0..self.wires.len()).filter(|wire| !self.wires[*wire].look_after(now)).collect();
        if !gone.is_empty() {
            self.close(&gone)?;
        }
        if now >= self.retry {
            self.retry = now + RETRY;
            self.reopen()?;
        }
        self.take_snapshot(now);
        Ok(())
    }

    /// Closes wires whose ports have disappeared; the others go on.
    fn close(&mut self, gone: &[usize]) -> Result<(), Error> {
        let (closed, kept): (Vec<_>, Vec<_>) =
            self.crew.recall().into_iter().partition(|(wire, _)| gone.contains(wire));
        for (number, pair) in closed {
            let wire = &mut self.wires[number];
            wire.close(pair, self.clock.now(), &self.clock);
            wire.is_now(WireState::Waiting);
            tracing::warn!("wire {}: a port has disappeared; waiting for it to come back", wire.name());
        }
        self.crew.dispatch(kept)
    }

    /// Opens the wires whose ports have come back.
    fn reopen(&mut self) -> Result<(), Error> {
        let mut opened = Vec::new();
        for (number, wire) in self.wires.iter_mut().enumerate().filter(|(_, wire)| !wire.is_open()) {
            match wire.open(self.clock.now()) {
                Ok(pair) => {
                    tracing::info!("wire {}: forwarding again", wire.name());
                    opened.push((number, pair));
                }
                Err(error) => wire.still_closed(&error),
            }
        }
        if opened.is_empty() {
            return Ok(());
        }
        opened.extend(self.crew.recall());
        self.crew.dispatch(opened)
    }

    /// Asks when it is time to, and publishes when the answers are there or overdue.
    fn take_snapshot(&mut self, now: Nanos) {
        let Some(asked) = self.asked else {
            if now >= self.due {
                self.wires.iter_mut().for_each(Wire::ask);
                (self.asked, self.due) = (Some(now), now + SNAPSHOT);
            }
            return;
        };
        // Every wire is looked at, whatever the one before it has said.
        let silent: Vec<usize> = (0..self.wires.len()).filter(|wire| !self.wires[*wire].has_answered(now)).collect();
        if silent.is_empty() || now.since(asked) > ANSWER {
            self.asked = None;
            silent.into_iter().for_each(|wire| self.wires[wire].is_now(WireState::Stalled));
            self.publish(now);
        }
    }

    fn publish(&mut self, now: Nanos) -> Arc<Snapshot> {
        self.seq += 1;
        let wires = self.wires.iter().map(|wire| wire.account().clone()).collect();
        let snapshot = Arc::new(Snapshot { seq: self.seq, seconds: now.as_secs_f64(), wires });
        self.published.store(Arc::clone(&snapshot));
        snapshot
    }

    /// Leaves the wires to the kernel's bridge, lets the queues run empty for a moment, and takes the last account.
    fn stop(mut self) -> Snapshot {
        self.wires.iter().for_each(Wire::mute);
        self.wires.iter_mut().for_each(Wire::mend);
        let clock = self.clock;
        let mut pairs = self.crew.recall();
        let span = clock.now();
        // All at once: the time is for each of them.
        thread::scope(|scope| {
            for (_, Pair { ingress, egress }) in &mut pairs {
                scope.spawn(move || drain(ingress, egress, &clock, DRAIN));
            }
        });
        for (wire, mut pair) in pairs {
            self.wires[wire].last_account(&mut pair, clock.now(), span);
        }
        self.wires.iter_mut().for_each(|wire| wire.is_now(WireState::Stopped));
        Arc::unwrap_or_clone(self.publish(span))
    }
}
