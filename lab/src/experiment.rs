//! Measurements that take a whole bed: a system is put in the box, traffic crosses it, and the account is checked.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::drops::Drops;
use crate::netns::{Direction, Lab};
use crate::system::Running;
use crate::table::mbit;
use crate::traffic::iperf::{Iperf, Transfer};
use crate::traffic::meter::{Meter, Window};
use crate::traffic::udp::{Flow, Outcome, Stream};
use crate::traffic::{UDP_HEADERS, wire_bytes};

/// Expedited forwarding, RFC 3246: the mark of voice.
pub const EF: u8 = 46;
/// How long queues may take to fill and bursts to be spent before a rate is metered.
const SETTLE: Duration = Duration::from_millis(1000);
/// What an overload offers of the rate that it is to overload, in percent.
const OVERLOAD_PERCENT: u64 = 130;
/// Payload of the frames of an overload.
const OVERLOAD_PAYLOAD: usize = 1400;

/// The least overload that tests a shaper, as a part of its rate.
const OFFERED_LEAST: f64 = 1.1;
/// The part of a run that a box may be kept from its core: by then it can no longer hold its rate to a percent.
const WAITING_MOST: f64 = 0.005;

/// What came through of an overload.
#[derive(Clone, Debug)]
pub struct Shaped {
    /// What was offered, in bits per second on the wire.
    pub offered: f64,
    /// The frames of the metered window at the far port.
    pub window: Window,
    /// The stream from its first to its last datagram.
    pub outcome: Outcome,
    /// The kernel's drops meanwhile.
    pub drops: Drops,
    /// How long other programs kept the box's worker from its core meanwhile.
    pub kept_waiting: Duration,
}

impl Shaped {
    /// Why the run says nothing about the box, if so: the hosts offered less than 1.1 times `rate`, or lost frames of their own.
    pub fn hosts_failed(&self, rate: u64) -> Option<String> {
        let lost_outside = self.drops.total("client") + self.drops.total("server");
        if self.offered < OFFERED_LEAST * rate as f64 {
            return Some(format!("only {} were offered", mbit(self.offered)));
        }
        (lost_outside > 0).then(|| format!("the hosts lost frames (received/sent/queued): {}", self.drops))
    }

    /// Whether other programs kept the box from its core for more than 0.5 % of the time, in words: it may then have missed its
    /// rate for no fault of its own.
    pub fn was_starved(&self) -> Option<String> {
        let part = self.kept_waiting.as_secs_f64() * 1e9 / self.outcome.sent.nanos as f64;
        (part > WAITING_MOST).then(|| format!("other programs kept the box from its core for {:?}", self.kept_waiting))
    }

    /// How far the rate at the far port is from `rate`, as a part of it.
    pub fn error(&self, rate: u64) -> f64 {
        self.window.wire_rate() / rate as f64 - 1.0
    }
}

/// Offers 1.3 times `rate` in `direction` and meters the wire at the far host over `window`.
pub fn overload(lab: &Lab, running: &Running, direction: Direction, rate: u64, window: Duration) -> Result<Shaped> {
    let (from, to) = (lab.sender(direction), lab.receiver(direction));
    let (before, waited) = (lab.drops()?, running.kept_waiting()?);
    let stream = Stream::of_rate(6000, OVERLOAD_PAYLOAD, rate * OVERLOAD_PERCENT / 100);
    let flow = Flow::start(from, to, &stream)?;
    let window = Meter::start(to, SETTLE, window)?.finish()?;
    let outcome = flow.finish()?;
    let (drops, kept_waiting) = (lab.drops()?.since(&before), running.kept_waiting()?.saturating_sub(waited));
    let bits = wire_bytes(OVERLOAD_PAYLOAD as u64 + UDP_HEADERS) * 8;
    let offered = outcome.sent.sent as f64 * bits as f64 * 1e9 / outcome.sent.nanos as f64;
    Ok(Shaped { offered, window, outcome, drops, kept_waiting })
}

/// Probes through an idle and a loaded box, in the same run.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// With nothing else on the wire.
    pub idle: Outcome,
    /// Beside a saturating download.
    pub loaded: Outcome,
    /// What the download achieved, in payload bits per second.
    pub bulk: f64,
    /// The kernel's drops meanwhile.
    pub drops: Drops,
    /// How long other programs kept the box's worker from its core meanwhile.
    pub kept_waiting: Duration,
}

impl Latencies {
    /// How much the 99th percentile grew under load, in nanoseconds; negative if it shrank.
    pub fn p99_increase(&self) -> i64 {
        self.loaded.received.latency.p99 as i64 - self.idle.received.latency.p99 as i64
    }
}

/// Sends `count` probes marked `dscp` at 1 kHz from server to client, first alone, then beside four bulk TCP connections
/// in the same direction.
pub fn latency(lab: &Lab, running: &Running, dscp: u8, count: u64) -> Result<Latencies> {
    let (before, waited) = (lab.drops()?, running.kept_waiting()?);
    let probes = Stream::probes(6001, dscp, count);
    let limit = Duration::from_millis(count) * 2 + SETTLE;
    let send = || Flow::start(&lab.server, &lab.client, &probes)?.complete(limit);
    let idle = send().context("idle probes")?;

    let seconds = (count / 1000 + 3) as u32;
    let bulk = Iperf::start(lab, &Transfer::new(Direction::Download, 4, seconds))?;
    // The download must stand before it is probed: the link is full once a second has passed.
    let standing = Meter::start(&lab.client, SETTLE, Duration::from_millis(300))?.finish()?;
    if standing.frames == 0 {
        bail!("no bulk traffic arrives at the client");
    }
    let loaded = send().context("loaded probes")?;
    let bulk = bulk.finish()?.bits_per_second;
    let (drops, kept_waiting) = (lab.drops()?.since(&before), running.kept_waiting()?.saturating_sub(waited));
    Ok(Latencies { idle, loaded, bulk, drops, kept_waiting })
}
