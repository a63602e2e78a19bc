//! Meters: how well a stream keeps to its profile, as a colour for each frame.
//!
//! Three algorithms of two token buckets each. As in [`Bucket`](super::Bucket) a level is counted in credits of one bit per
//! second for one nanosecond, so what is earned is a whole number and nothing is rounded. Unlike there, a level never goes
//! below zero: a frame either fits into what is there or takes nothing.

use super::bucket::BYTE;
use crate::units::{Nanos, Rate};

/// How well a frame keeps to the profile; the better, the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Colour {
    /// Within what was committed.
    Green,
    /// Beyond that, but within what is let in beside it.
    Yellow,
    /// Beyond both.
    Red,
}

impl Colour {
    /// The colour that a meter before us gave: the drop precedence of assured forwarding (RFC 2597, section 6). Whatever else
    /// stands in the DSCP says nothing about a profile and is green.
    #[inline]
    pub const fn of_dscp(dscp: u8) -> Colour {
        match dscp {
            12 | 20 | 28 | 36 => Colour::Yellow,
            14 | 22 | 30 | 38 => Colour::Red,
            _ => Colour::Green,
        }
    }

    /// `dscp` with this colour as its drop precedence, where it has one: AF11 becomes AF12 for yellow, and EF stays EF.
    #[inline]
    pub const fn in_dscp(self, dscp: u8) -> u8 {
        let (class, precedence) = (dscp >> 3, dscp & 7);
        match (class, precedence) {
            (1..=4, 2 | 4 | 6) => class << 3 | (self as u8 + 1) << 1,
            _ => dscp,
        }
    }
}

/// The profile that a stream is held to. Bursts are bytes, at most [`MAX_BURST`](super::bucket::MAX_BURST) each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// RFC 2697, srTCM: what the rate earns while the committed burst is full fills the excess burst.
    SingleRate {
        /// The committed rate.
        cir: Rate,
        /// The committed burst.
        cbs: u32,
        /// The excess burst.
        ebs: u32,
    },
    /// RFC 2698, trTCM: the peak rate bounds everything, the committed rate what of it is green.
    TwoRate {
        /// The committed rate.
        cir: Rate,
        /// The committed burst.
        cbs: u32,
        /// The peak rate.
        pir: Rate,
        /// The peak burst.
        pbs: u32,
    },
    /// RFC 4115: the excess rate bounds what is yellow, for itself, so that excess takes nothing from what is committed.
    Excess {
        /// The committed rate.
        cir: Rate,
        /// The committed burst.
        cbs: u32,
        /// The excess rate.
        eir: Rate,
        /// The excess burst.
        ebs: u32,
    },
}

/// What a meter is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterSpec {
    /// The profile.
    pub profile: Profile,
    /// Whether a frame keeps the colour with which it came if that is worse; otherwise all are taken for green.
    pub aware: bool,
}

/// The state of one meter, to be used with the one [`MeterSpec`] that it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    /// What is left of the committed burst.
    committed: u64,
    /// What is left of the other burst: excess or peak.
    other: u64,
    updated: Nanos,
}

impl Meter {
    /// A meter with both bursts full. It needs no time: what is full earns nothing.
    pub fn full(spec: &MeterSpec) -> Meter {
        let (committed, other) = match spec.profile {
            Profile::SingleRate { cbs, ebs, .. } | Profile::Excess { cbs, ebs, .. } => (cbs, ebs),
            Profile::TwoRate { cbs, pbs, .. } => (cbs, pbs),
        };
        Meter { committed: credits(committed), other: credits(other), updated: Nanos::ZERO }
    }

    /// The colour of a frame of `bytes` that comes at `now` and came with colour `came`; what it uses up is paid.
    ///
    /// Time that stands still or goes back earns nothing.
    #[inline]
    pub fn colour(&mut self, spec: &MeterSpec, came: Colour, bytes: u32, now: Nanos) -> Colour {
        let span = now.since(self.updated);
        self.updated = self.updated.max(now);
        let came = if spec.aware { came } else { Colour::Green };
        let cost = credits(bytes);
        match spec.profile {
            Profile::SingleRate { cir, cbs, ebs } => {
                let due = earned(cir, span);
                let room = credits(cbs) - self.committed;
                self.committed += due.min(room);
                self.other = fill(self.other, due.saturating_sub(room), ebs);
                self.committed_or_excess(came, cost)
            }
            Profile::Excess { cir, cbs, eir, ebs } => {
                self.committed = fill(self.committed, earned(cir, span), cbs);
                self.other = fill(self.other, earned(eir, span), ebs);
                self.committed_or_excess(came, cost)
            }
            Profile::TwoRate { cir, cbs, pir, pbs } => {
                self.committed = fill(self.committed, earned(cir, span), cbs);
                self.other = fill(self.other, earned(pir, span), pbs);
                self.peak(came, cost)
            }
        }
    }

    /// Pays from one of the two bursts (RFC 2697, section 3, and RFC 4115, section 2).
    #[inline]
    fn committed_or_excess(&mut self, came: Colour, cost: u64) -> Colour {
        if came == Colour::Green && cost <= self.committed {
            self.committed -= cost;
            Colour::Green
        } else if came <= Colour::Yellow && cost <= self.other {
            self.other -= cost;
            Colour::Yellow
        } else {
            Colour::Red
        }
    }

    /// Pays from the peak burst, and what is green from the committed one as well (RFC 2698, section 3).
    #[inline]
    fn peak(&mut self, came: Colour, cost: u64) -> Colour {
        if came == Colour::Red || cost > self.other {
            return Colour::Red;
        }
        self.other -= cost;
        if came == Colour::Yellow || cost > self.committed {
            return Colour::Yellow;
        }
        self.committed -= cost;
        Colour::Green
    }
}

/// What `bytes` cost. A frame beyond the end of the number, of 2 GiB, is beyond every burst, too.
#[inline]
const fn credits(bytes: u32) -> u64 {
    (bytes as u64).saturating_mul(BYTE as u64)
}

/// What `rate` earns in `span`; whatever is beyond the end of the number is beyond every burst, too.
#[inline]
const fn earned(rate: Rate, span: Nanos) -> u64 {
    rate.0.saturating_mul(span.0)
}

/// `level` with `due` added, up to `burst` bytes.
#[inline]
fn fill(level: u64, due: u64, burst: u32) -> u64 {
    level.saturating_add(due).min(credits(burst))
}
