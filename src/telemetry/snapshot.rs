//! One look at all counters of a wire, and how it is shown.

use std::fmt;

use serde::Serialize;

use crate::classify::Class;
use crate::datapath::counters::{IngressCounts, Volume};
use crate::datapath::drop::DropReason;
use crate::datapath::{Egress, Ingress};
use crate::frame::Side;
use crate::port::{Rx, Tx};
use crate::units::Nanos;

/// All counters of a wire at one time. Exact once the halves stand still.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// The seconds that the counters cover.
    pub seconds: f64,
    /// By the side at which frames came in.
    pub ports: [PortAccount; 2],
    /// Classes that saw a frame, by the side at which frames came in.
    pub classes: Vec<ClassAccount>,
    /// Frames by where they are; what came in is the sum of the rest.
    pub balance: Balance,
    /// The frames of the memory, and how many of them are free or lent to a port to receive into.
    pub memory: Memory,
    /// Look-ups in the flow table that found a verdict that held.
    pub flow_hits: u64,
    /// Look-ups that had to judge.
    pub flow_misses: u64,
}

/// What came in at one port.
#[derive(Clone, Debug, Serialize)]
pub struct PortAccount {
    /// `inside` or `outside`.
    pub port: &'static str,
    /// Frames received.
    pub received_frames: u64,
    /// Their bytes on the wire, without overhead.
    pub received_bytes: u64,
    /// Frames that the kernel dropped because the ring to us was full.
    pub lost_ring_full: u64,
    /// Frames that the kernel dropped because there was no free frame to receive into.
    pub lost_fill_empty: u64,
    /// Frames that the kernel or the device dropped otherwise.
    pub lost_other: u64,
}

/// What became of the frames of one class that came in at one side.
#[derive(Clone, Debug, Serialize)]
pub struct ClassAccount {
    /// The class.
    pub class: &'static str,
    /// `up` for what came in inside, `down` for what came in outside.
    pub direction: &'static str,
    /// Frames handed to the port by which they leave.
    pub sent_frames: u64,
    /// Their bytes on the wire, without overhead.
    pub sent_bytes: u64,
    /// Frames dropped, by reason; reasons that did not occur are left out.
    pub dropped: Vec<(&'static str, u64)>,
    /// Half of the class's frames (both directions) left within this many microseconds; `null` if none was measured.
    pub sojourn_p50_us: Option<f64>,
    /// 99 % of the class's frames (both directions) left within this many microseconds.
    pub sojourn_p99_us: Option<f64>,
}

/// Where every frame that came in is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Frames received.
    pub received: u64,
    /// Frames that left: the ports are done with them.
    pub completed: u64,
    /// Frames dropped, for whatever reason.
    pub dropped: u64,
    /// Frames in the rings between the halves.
    pub in_rings: u64,
    /// Frames in the queues.
    pub queued: u64,
    /// Frames in the ports, on their way out.
    pub in_transmit: u64,
}

/// Where the memory's own frames are: those that are not home hold what is queued, in a ring, or in transmit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All frames.
    pub frames: u64,
    /// Frames that are free or lent to a port to receive into.
    pub home: u64,
}

impl Balance {
    /// The frames that no term explains; zero, once the halves stand still.
    pub fn unexplained(&self) -> i64 {
        self.received as i64 - (self.completed + self.dropped + self.in_rings + self.queued + self.in_transmit) as i64
    }
}

impl Snapshot {
    /// Reads every counter of both halves once; they cover `span`.
    pub fn take<R: Rx, T: Tx>(ingress: &Ingress<R>, egress: &Egress<T>, span: Nanos) -> Snapshot {
        let port = |side: Side| {
            let Volume { frames, bytes } = ingress.counts().received[side as usize].read();
            let losses = ingress.losses(side);
            PortAccount {
                port: side.name(),
                received_frames: frames,
                received_bytes: bytes,
                lost_ring_full: losses.ring_full,
                lost_fill_empty: losses.fill_empty,
                lost_other: losses.other,
            }
        };
        let classes = Side::BOTH
            .into_iter()
            .flat_map(|side| Class::ALL.map(|class| (side, class)))
            .map(|(side, class)| class_account(ingress.counts(), egress, side, class))
            .filter(|account| account.sent_frames > 0 || !account.dropped.is_empty())
            .collect();
        let popped = egress.counts().frames_popped();
        Snapshot {
            seconds: span.as_secs_f64(),
            ports: Side::BOTH.map(port),
            classes,
            balance: Balance {
                received: ingress.counts().frames_received(),
                completed: egress.counts().completed.read(),
                dropped: ingress.counts().dropped.total() + egress.counts().dropped.total(),
                in_rings: ingress.counts().frames_pushed().saturating_sub(popped),
                queued: egress.queued(),
                in_transmit: egress.in_transmit(),
            },
            memory: Memory { frames: ingress.frames(), home: ingress.idle_frames() },
            flow_hits: ingress.counts().flow_hits.read(),
            flow_misses: ingress.counts().flow_misses.read(),
        }
    }
}

fn class_account<T: Tx>(ingress: &IngressCounts, egress: &Egress<T>, side: Side, class: Class) -> ClassAccount {
    let slot = usize::from(class.slot());
    let Volume { frames, bytes } = egress.counts().submitted[side as usize][slot].read();
    let dropped = DropReason::ALL.into_iter().filter_map(|reason| {
        let count = ingress.dropped.read(side, slot, reason) + egress.counts().dropped.read(side, slot, reason);
        (count > 0).then_some((reason.name(), count))
    });
    let histogram = egress.sojourn().class(slot);
    let quantile = |q| (!histogram.is_empty()).then(|| histogram.value_at_quantile(q) as f64 / 1_000.0);
    ClassAccount {
        class: class.name(),
        direction: if side == Side::Inside { "up" } else { "down" },
        sent_frames: frames,
        sent_bytes: bytes,
        dropped: dropped.collect(),
        sojourn_p50_us: quantile(0.5),
        sojourn_p99_us: quantile(0.99),
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let balance = &self.balance;
        writeln!(
            f,
            "{:<11}{:>6}{:>14}{:>16}{:>11}{:>11}{:>11}  dropped",
            "class", "", "frames", "bytes", "Mbit/s", "p50 us", "p99 us"
        )?;
        for class in &self.classes {
            let micros = |us: Option<f64>| us.map_or("-".to_owned(), |us| format!("{us:.1}"));
            // Of a single instant there is no rate.
            let rate = class.sent_bytes as f64 * 8.0 / 1e6 / self.seconds;
            let drops: Vec<String> = class.dropped.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            writeln!(
                f,
                "{:<11}{:>6}{:>14}{:>16}{:>11}{:>11}{:>11}  {}",
                class.class,
                class.direction,
                class.sent_frames,
                class.sent_bytes,
                if self.seconds > 0.0 { format!("{rate:.3}") } else { "-".to_owned() },
                micros(class.sojourn_p50_us),
                micros(class.sojourn_p99_us),
                if drops.is_empty() { "-".to_owned() } else { drops.join(", ") },
            )?;
        }
        for port in &self.ports {
            writeln!(
                f,
                "{} port: received {} frames, {} bytes; lost before us: ring full {}, no free frame {}, other {}",
                port.port,
                port.received_frames,
                port.received_bytes,
                port.lost_ring_full,
                port.lost_fill_empty,
                port.lost_other
            )?;
        }
        writeln!(f, "flows: {} look-ups found a verdict, {} had to judge", self.flow_hits, self.flow_misses)?;
        writeln!(f, "memory: {} of {} frames are home", self.memory.home, self.memory.frames)?;
        write!(
            f,
            "accounts: received {} = sent {} + dropped {} + in rings {} + queued {} + in transmit {}; unexplained {}",
            balance.received,
            balance.completed,
            balance.dropped,
            balance.in_rings,
            balance.queued,
            balance.in_transmit,
            balance.unexplained()
        )
    }
}
