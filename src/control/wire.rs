//! One wire as control sees it: opened, watched, asked for its figures, and opened again when its ports come back.

use std::sync::Arc;

use super::carry::{Carry, Order};
use super::crew::Pair;
use crate::config::{self, Config, LinkLoss, OnFailure, compile};
use crate::datapath::bands::{BANDS, bands};
use crate::datapath::counters::{EgressCounts, IngressCounts};
use crate::datapath::drain::drain;
use crate::datapath::egress::transmit_depth;
use crate::datapath::report::{Asker, EgressReport, IngressReport, desk};
use crate::datapath::{Egress, Ingress, Judge, Policy};
use crate::flow::FlowTable;
use crate::frame::{Side, homes};
use crate::port::RxLosses;
use crate::port::xdp::{self, Condition, Options, Program, Watch, XdpRx};
use crate::telemetry::account::ProgramAccount;
use crate::telemetry::{Account, Times, WireState};
use crate::time::Clock;
use crate::units::Nanos;

/// The frames that wait in each ring between the halves: what a busy ingress brings while egress is away for a millisecond.
const RING: usize = 2_048;

/// Flows that are known at the same time.
const FLOWS: usize = 1 << 17;

/// What a frame may have beyond the MTU: an Ethernet header and one VLAN tag (`is_skb_forwardable` in the kernel's net/core/dev.c).
const LINK_HEADER: u32 = 18;

/// A wire, and what is known of it.
#[derive(Debug)]
pub(super) struct Wire {
    config: config::Wire,
    policy: Arc<Policy>,
    /// While its ports are there.
    open: Option<Open>,
    /// The counters go on when the wire is opened again.
    counts: (Arc<IngressCounts>, Arc<EgressCounts>),
    times: Times,
    /// What the kernel had counted when the wire was last closed.
    before: [Before; 2],
    carry: Carry,
    /// Why it could not be opened again when that was last tried.
    closed_because: String,
    account: Account,
}

/// What there is of a wire while it is open.
#[derive(Debug)]
struct Open {
    mode: &'static str,
    programs: [Program; 2],
    watch: Watch,
    ingress: Asker<IngressReport>,
    egress: Asker<EgressReport>,
    answers: (Option<Box<IngressReport>>, Option<Box<EgressReport>>),
    /// A question has not been answered yet.
    asked: bool,
}

/// A port's counts of the kernel's.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    losses: RxLosses,
    program: ProgramAccount,
}

impl Wire {
    /// The wire that `wire` describes, closed.
    pub(super) fn new(config: &Config, wire: &config::Wire) -> Wire {
        Wire {
            config: wire.clone(),
            policy: Arc::new(compile::policy(config, wire, 1)),
            open: None,
            counts: Default::default(),
            times: Times::default(),
            before: Default::default(),
            carry: Carry::default(),
            closed_because: String::new(),
            account: Account { wire: wire.name(), ..Account::default() },
        }
    }

    /// Whether its ports are there and bound.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The wire's name.
    pub(super) fn name(&self) -> &str {
        &self.account.wire
    }

    /// What was last known of it.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// Opens the ports and builds the two halves over them.
    ///
    /// # Errors
    ///
    /// If a port is not to be had.
    pub(super) fn open(&mut self, now: Nanos) -> Result<Pair, xdp::Error> {
        let queued: u32 = self.policy.trees.iter().map(|tree| tree.max_frames).sum();
        let default = Options::default();
        let depths = self.policy.trees.iter().filter_map(|tree| tree.link).map(|rate| transmit_depth(rate) as u32);
        let options = Options {
            egress_frames: queued + (BANDS * RING) as u32,
            max_in_flight: depths.fold(default.max_in_flight, u32::max).min(default.tx_ring),
            closed: self.config.on_failure == OnFailure::Closed,
            ..default
        };
        let opened = xdp::Wire::open(&self.config.inside, &self.config.outside, &options)?;
        let watch = Watch::new(&self.config.inside, &self.config.outside)?;

        let (mut homes, mut returns) = homes(opened.frames, 1, 1);
        let (home, returns) = (homes.remove(0), returns.remove(0));
        let (sender, receiver) = bands(RING);
        let rx: Vec<(Side, XdpRx)> = Side::BOTH
            .into_iter()
            .zip(opened.rx)
            .flat_map(|(side, queues)| queues.into_iter().map(move |queue| (side, queue)))
            .collect();
        let judge = Judge::new(FlowTable::new(FLOWS), Arc::clone(&self.policy));
        let (into, out) = &self.counts;
        let (ingress_asker, ingress_desk) = desk();
        let (egress_asker, egress_desk) = desk();
        let ingress = Ingress::new(Arc::clone(&opened.table), rx, home, sender, judge)
            .with_counts(Arc::clone(into))
            .feeding(Arc::clone(out))
            .answering(ingress_desk);
        let max_frame = opened.mtu.map(|mtu| mtu + LINK_HEADER);
        let egress = Egress::new(opened.table, receiver, returns, opened.tx, max_frame, &self.policy, now)
            .with_counts(Arc::clone(out))
            .answering(egress_desk);
        self.account.mode = Some(opened.mode.name());
        self.account.state = WireState::Forwarding;
        self.open = Some(Open {
            mode: opened.mode.name(),
            programs: opened.programs,
            watch,
            ingress: ingress_asker,
            egress: egress_asker,
            answers: (None, None),
            asked: false,
        });
        Ok(Pair { ingress, egress })
    }

    /// Says why the wire could not be opened again, once for every reason.
    pub(super) fn still_closed(&mut self, error: &xdp::Error) {
        let reason = error.to_string();
        if reason != self.closed_because {
            tracing::warn!("wire {}: {reason}", self.name());
            self.closed_because = reason;
        }
    }

    /// Looks after the ports; false if one of them is gone.
    pub(super) fn look_after(&mut self, now: Nanos) -> bool {
        let Some(open) = &mut self.open else { return true };
        let conditions = Side::BOTH.map(|side| open.watch.look(side));
        if conditions.contains(&Condition::Gone) {
            return false;
        }
        if self.config.link_loss == LinkLoss::Carry
            && let Some(order) = self.carry.decide(conditions, now)
        {
            let (done, why, side) = match order {
                Order::Cut(side) => (open.watch.cut(side), "has lost its link: taking down", side),
                Order::Mend(side) => (open.watch.mend(side), "has its link again: bringing up", side),
            };
            tracing::warn!("wire {}: {} {why} {}", self.name(), side.opposite().name(), side.name());
            if let Err(error) = done {
                tracing::error!("wire {}: {error}", self.name());
            }
        }
        true
    }

    /// From now on, frames go past us.
    pub(super) fn mute(&self) {
        for program in self.open.iter().flat_map(|open| &open.programs) {
            program.mute();
        }
    }

    /// Asks both halves for their figures.
    pub(super) fn ask(&mut self) {
        if let Some(open) = &mut self.open {
            open.ingress.ask();
            open.egress.ask();
            open.asked = true;
        }
    }

    /// Takes the answers that are there; true when there is nothing left to wait for, and the account is of now.
    pub(super) fn has_answered(&mut self, span: Nanos) -> bool {
        let Some(open) = self.open.as_mut().filter(|open| open.asked) else { return true };
        let (ingress, egress) = &mut open.answers;
        *ingress = ingress.take().or_else(|| open.ingress.answer());
        *egress = egress.take().or_else(|| open.egress.answer());
        let (Some(into), Some(out)) = (&ingress, &egress) else { return false };
        self.times.add_ingress(into);
        self.times.add_egress(out);
        let account = Account::of(into, out, &self.times, span);
        ingress.take().into_iter().for_each(|report| open.ingress.give_back(report));
        egress.take().into_iter().for_each(|report| open.egress.give_back(report));
        open.asked = false;
        let bypassed = open.is_bypassed();
        self.account = self.completed(account);
        self.is_now(if bypassed { WireState::Bypassed } else { WireState::Forwarding });
        true
    }

    /// Notes what the wire does now, and says so if it did something else before.
    pub(super) fn is_now(&mut self, state: WireState) {
        if self.account.state != state {
            let (name, was, is) = (self.name(), self.account.state.name(), state.name());
            match state {
                WireState::Stalled => tracing::warn!("wire {name}: {is} (was {was})"),
                _ => tracing::info!("wire {name}: {is} (was {was})"),
            }
            self.account.state = state;
        }
    }

    /// Closes the wire, whose halves have come back: what they still hold is dropped and counted.
    pub(super) fn close(&mut self, mut pair: Pair, now: Nanos, clock: &impl Clock) {
        drain(&mut pair.ingress, &mut pair.egress, clock, Nanos::ZERO);
        pair.egress.abandon();
        self.last_account(&mut pair, now, now);
        self.remember();
        self.open = None;
        self.closed_because.clear();
        self.account.mode = None;
    }

    /// Takes the account of halves that stand still.
    pub(super) fn last_account(&mut self, pair: &mut Pair, now: Nanos, span: Nanos) {
        let account = Account::take(&mut pair.ingress, &mut pair.egress, &mut self.times, now, span);
        self.account = self.completed(account);
    }

    /// Brings up a port that was taken down because of the other.
    pub(super) fn mend(&mut self) {
        if let (Some(open), Some(side)) = (&mut self.open, self.carry.cut())
            && let Err(error) = open.watch.mend(side)
        {
            tracing::error!("wire {}: {error}", self.name());
        }
    }

    /// Adds what the halves don't know.
    fn completed(&self, mut account: Account) -> Account {
        account.wire.clone_from(&self.account.wire);
        account.state = self.account.state;
        account.mode = self.open.as_ref().map(|open| open.mode);
        for (port, before) in account.ports.iter_mut().zip(self.before) {
            port.lost_ring_full += before.losses.ring_full;
            port.lost_fill_empty += before.losses.fill_empty;
            port.lost_other += before.losses.other;
        }
        let programs = self.open.iter().flat_map(|open| &open.programs);
        for ((port, program), before) in account.ports.iter_mut().zip(programs).zip(self.before) {
            // The kernel always answers; if it didn't, the counts before would still be right.
            let counts = program.counts().unwrap_or_default();
            port.program = Some(before.program + counts.into());
        }
        account
    }

    /// Keeps the kernel's counts, which end with the sockets and the programs.
    fn remember(&mut self) {
        for (before, port) in self.before.iter_mut().zip(&self.account.ports) {
            let (ring_full, fill_empty, other) = (port.lost_ring_full, port.lost_fill_empty, port.lost_other);
            *before = Before {
                losses: RxLosses { ring_full, fill_empty, other },
                program: port.program.unwrap_or(before.program),
            };
        }
    }
}

impl Open {
    fn is_bypassed(&self) -> bool {
        self.programs.iter().any(|program| program.bypassed().unwrap_or(false))
    }
}
