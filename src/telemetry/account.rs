//! One look at all counters of a wire, and how it is shown.

use std::fmt;

use serde::{Serialize, Serializer};

use super::times::Times;
use crate::classify::Class;
use crate::datapath::counters::Volume;
use crate::datapath::drop::DropReason;
use crate::datapath::report::{EgressReport, IngressReport};
use crate::datapath::{Egress, Ingress};
use crate::frame::Side;
use crate::port::xdp::Counts;
use crate::port::{Rx, Tx};
use crate::units::Nanos;

/// What a wire does at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WireState {
    /// It isn't open yet, or its ports are gone.
    #[default]
    Waiting,
    /// Its frames go through us.
    Forwarding,
    /// Its frames go past us, because that was ordered.
    Bypassed,
    /// Its workers don't answer, so its frames go past us.
    Stalled,
    /// It has been closed.
    Stopped,
}

impl WireState {
    /// All states.
    pub const ALL: [WireState; 5] =
        [WireState::Waiting, WireState::Forwarding, WireState::Bypassed, WireState::Stalled, WireState::Stopped];

    /// The state's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            WireState::Waiting => "waiting",
            WireState::Forwarding => "forwarding",
            WireState::Bypassed => "bypassed",
            WireState::Stalled => "stalled",
            WireState::Stopped => "stopped",
        }
    }
}

/// All counters of a wire at one time. Each half's own are exact at the turn at which it was asked; those of both together
/// are exact once the halves stand still.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Account {
    /// The wire's name: its two interfaces.
    pub wire: String,
    /// What it does.
    pub state: WireState,
    /// How the kernel moves its frames; none in a replay.
    pub mode: Option<&'static str>,
    /// The seconds that the counters cover.
    pub seconds: f64,
    /// By the side at which frames came in.
    pub ports: [PortAccount; 2],
    /// Every class, by the side at which frames came in; classes that saw no frame are left out of what is shown.
    #[serde(serialize_with = "those_seen")]
    pub classes: Vec<ClassAccount>,
    /// Frames by where they are; what came in is the sum of the rest.
    pub balance: Balance,
    /// The frames of the memory, and how many of them are free or lent to a port to receive into.
    pub memory: Memory,
    /// Look-ups in the flow table that found a verdict that held.
    pub flow_hits: u64,
    /// Look-ups that had to judge.
    pub flow_misses: u64,
    /// Flows in the table.
    pub flows: u64,
    /// Records of flows that nobody took in time.
    pub flow_records_lost: u64,
    /// Frames that a policer sent with the background class.
    pub demoted: u64,
    /// How often a half found that it had stood still for too long.
    pub stalls: u64,
    /// How long frames stayed and stages took.
    #[serde(skip)]
    pub times: Times,
}

/// What came in at one port.
#[derive(Clone, Debug, Default, Serialize)]
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
    /// Frames that the kernel's program saw, by what it did with them; none in a replay.
    pub program: Option<ProgramAccount>,
}

/// Frames that a port's kernel program saw, by what it did with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProgramAccount {
    /// Handed to us.
    pub redirected: u64,
    /// Left to the kernel's bridge, because that was ordered.
    pub bypassed: u64,
    /// Left to the kernel's bridge, because nobody served their queue.
    pub stale: u64,
    /// Left to the kernel's bridge, because there was no socket for their queue.
    pub no_socket: u64,
    /// Dropped, because nobody served their queue and the wire fails closed.
    pub closed: u64,
}

impl From<Counts> for ProgramAccount {
    fn from(counts: Counts) -> ProgramAccount {
        let Counts { redirected, bypassed, stale, no_socket, closed } = counts;
        ProgramAccount { redirected, bypassed, stale, no_socket, closed }
    }
}

impl std::ops::Add for ProgramAccount {
    type Output = ProgramAccount;

    fn add(self, other: ProgramAccount) -> ProgramAccount {
        ProgramAccount {
            redirected: self.redirected + other.redirected,
            bypassed: self.bypassed + other.bypassed,
            stale: self.stale + other.stale,
            no_socket: self.no_socket + other.no_socket,
            closed: self.closed + other.closed,
        }
    }
}

impl ProgramAccount {
    /// Every count with its name in reports.
    pub fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("redirected", self.redirected),
            ("bypassed", self.bypassed),
            ("stale", self.stale),
            ("no_socket", self.no_socket),
            ("closed", self.closed),
        ]
    }
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
    /// Frames that wait in the class's queue now.
    pub queued_frames: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Frames dropped, by reason; reasons that did not occur are left out of what is shown.
    #[serde(serialize_with = "those_that_occurred")]
    pub dropped: Vec<(&'static str, u64)>,
    /// Frames told of congestion by a mark (ECN).
    pub marked_frames: u64,
    /// Half of the class's frames (both directions) left within this many microseconds; `null` if none was measured.
    pub sojourn_p50_us: Option<f64>,
    /// 99 % of the class's frames (both directions) left within this many microseconds.
    pub sojourn_p99_us: Option<f64>,
}

impl ClassAccount {
    fn was_seen(&self) -> bool {
        self.sent_frames > 0 || self.queued_frames > 0 || self.dropped.iter().any(|(_, count)| *count > 0)
    }

    fn occurred(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.dropped.iter().copied().filter(|(_, count)| *count > 0)
    }
}

fn those_seen<S: Serializer>(classes: &[ClassAccount], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(classes.iter().filter(|class| class.was_seen()))
}

fn those_that_occurred<S: Serializer>(dropped: &[(&'static str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(dropped.iter().filter(|(_, count)| *count > 0))
}

/// Where every frame that came in is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Frames received.
    pub received: u64,
    /// Frames pushed into the rings between the halves.
    pub pushed: u64,
    /// Frames popped from them.
    pub popped: u64,
    /// Frames handed to the ports.
    pub submitted: u64,
    /// Frames that left: the ports are done with them.
    pub completed: u64,
    /// Frames that a port never began to send: taken back after a stall, or gone with the port.
    pub abandoned: u64,
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
        let elsewhere = self.completed + self.abandoned + self.dropped + self.in_rings + self.queued + self.in_transmit;
        self.received as i64 - elsewhere as i64
    }
}

impl Account {
    /// The account of halves that stand still at `now`, which have counted for `span`; adds what they have measured to `times`.
    pub fn take<R: Rx, T: Tx>(
        ingress: &mut Ingress<R>,
        egress: &mut Egress<T>,
        times: &mut Times,
        now: Nanos,
        span: Nanos,
    ) -> Account {
        let (mut into, mut out) = (IngressReport::default(), EgressReport::default());
        ingress.report(&mut into, now);
        egress.report(&mut out, now);
        times.add_ingress(&into);
        times.add_egress(&out);
        Account::of(&into, &out, times, span)
    }

    /// The account of both halves, which have counted for `span`, with the `times` of all their reports. Who and how the
    /// wire is are for the caller to add.
    pub fn of(ingress: &IngressReport, egress: &EgressReport, times: &Times, span: Nanos) -> Account {
        let classes = Side::BOTH
            .into_iter()
            .flat_map(|side| Class::ALL.map(|class| class_account(ingress, egress, times, side, class)))
            .collect();
        let (into, out) = (&ingress.counts, &egress.counts);
        let popped = out.frames_popped();
        Account {
            seconds: span.as_secs_f64(),
            ports: Side::BOTH.map(|side| port_account(ingress, side)),
            classes,
            balance: Balance {
                received: into.frames_received(),
                pushed: into.frames_pushed(),
                popped,
                submitted: out.frames_submitted(),
                completed: out.completed.read(),
                abandoned: out.abandoned.read(),
                dropped: into.dropped.total() + out.dropped.total(),
                in_rings: into.frames_pushed().saturating_sub(popped),
                queued: egress.queued.iter().flatten().map(|volume| volume.frames).sum(),
                in_transmit: egress.in_transmit.iter().sum(),
            },
            memory: Memory { frames: ingress.frames, home: ingress.idle_frames },
            flow_hits: into.flow_hits.read(),
            flow_misses: into.flow_misses.read(),
            flows: ingress.flows,
            flow_records_lost: into.records_lost.read(),
            demoted: into.demoted.read(),
            stalls: into.stalls.read() + out.stalls.read(),
            times: times.clone(),
            ..Account::default()
        }
    }
}

fn port_account(ingress: &IngressReport, side: Side) -> PortAccount {
    let Volume { frames, bytes } = ingress.counts.received[side as usize].read();
    let losses = ingress.losses[side as usize];
    PortAccount {
        port: side.name(),
        received_frames: frames,
        received_bytes: bytes,
        lost_ring_full: losses.ring_full,
        lost_fill_empty: losses.fill_empty,
        lost_other: losses.other,
        program: None,
    }
}

fn class_account(
    ingress: &IngressReport,
    egress: &EgressReport,
    times: &Times,
    side: Side,
    class: Class,
) -> ClassAccount {
    let slot = usize::from(class.slot());
    let Volume { frames, bytes } = egress.counts.submitted[side as usize][slot].read();
    let queued = egress.queued[side as usize][slot];
    let dropped = DropReason::ALL.into_iter().map(|reason| {
        let dropped = [&ingress.counts.dropped, &egress.counts.dropped];
        (reason.name(), dropped.into_iter().map(|drops| drops.read(side, slot, reason)).sum())
    });
    let histogram = times.sojourn.class(slot);
    let quantile = |q| (!histogram.is_empty()).then(|| histogram.value_at_quantile(q) as f64 / 1_000.0);
    ClassAccount {
        class: class.name(),
        direction: if side == Side::Inside { "up" } else { "down" },
        sent_frames: frames,
        sent_bytes: bytes,
        queued_frames: queued.frames,
        queued_bytes: queued.bytes,
        dropped: dropped.collect(),
        marked_frames: egress.counts.marked[side as usize][slot].read(),
        sojourn_p50_us: quantile(0.5),
        sojourn_p99_us: quantile(0.99),
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let balance = &self.balance;
        writeln!(
            f,
            "{:<11}{:>6}{:>14}{:>16}{:>11}{:>11}{:>11}{:>9}  dropped",
            "class", "", "frames", "bytes", "Mbit/s", "p50 us", "p99 us", "marked"
        )?;
        for class in self.classes.iter().filter(|class| class.was_seen()) {
            let micros = |us: Option<f64>| us.map_or("-".to_owned(), |us| format!("{us:.1}"));
            // Of a single instant there is no rate.
            let rate = class.sent_bytes as f64 * 8.0 / 1e6 / self.seconds;
            let drops: Vec<String> = class.occurred().map(|(reason, count)| format!("{reason} {count}")).collect();
            writeln!(
                f,
                "{:<11}{:>6}{:>14}{:>16}{:>11}{:>11}{:>11}{:>9}  {}",
                class.class,
                class.direction,
                class.sent_frames,
                class.sent_bytes,
                if self.seconds > 0.0 { format!("{rate:.3}") } else { "-".to_owned() },
                micros(class.sojourn_p50_us),
                micros(class.sojourn_p99_us),
                class.marked_frames,
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
            if let Some(program) = &port.program {
                let past: Vec<String> =
                    program.named().iter().skip(1).map(|(what, count)| format!("{what} {count}")).collect();
                writeln!(f, "{} port: past us: {}", port.port, past.join(", "))?;
            }
        }
        writeln!(f, "flows: {} look-ups found a verdict, {} had to judge", self.flow_hits, self.flow_misses)?;
        if self.demoted > 0 {
            writeln!(f, "policers: {} frames demoted", self.demoted)?;
        }
        if self.stalls > 0 {
            writeln!(f, "stalls: {}", self.stalls)?;
        }
        writeln!(f, "memory: {} of {} frames are home", self.memory.home, self.memory.frames)?;
        write!(
            f,
            "accounts: received {} = sent {} + abandoned {} + dropped {} + in rings {} + queued {} + in transmit {}; unexplained {}",
            balance.received,
            balance.completed,
            balance.abandoned,
            balance.dropped,
            balance.in_rings,
            balance.queued,
            balance.in_transmit,
            balance.unexplained()
        )
    }
}
