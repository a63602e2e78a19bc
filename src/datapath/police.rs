//! Policing: what becomes of a frame that is beyond the profile of its rule, subscriber or class.

use std::num::NonZeroU16;

use super::counters::CLASSES;
use crate::classify::{Reason, Verdict};
use crate::frame::Side;
use crate::qos::{Colour, Meter, MeterSpec};
use crate::units::Nanos;

/// The most meters of a wire: two, one for each direction, for each rule, subscriber and class that has a policer.
pub const METERS_MAX: usize = 1 << 16;

/// A profile, and what becomes of that which is beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policer {
    /// How frames get their colours.
    pub meter: MeterSpec,
    /// What becomes of yellow frames.
    pub yellow: Action,
    /// What becomes of red frames.
    pub red: Action,
}

/// What becomes of a frame of some colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on as if there were no policer.
    Pass,
    /// It goes on with its colour in its mark, if that has room for one.
    Remark,
    /// It goes on with the background class.
    Demote,
    /// It is dropped.
    Drop,
}

/// A pair of meters, one for each direction, by a number from 1, so that a flow remembers it in two bytes.
pub type Pair = NonZeroU16;

/// Who is policed, and how. Nobody by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policing {
    policers: Vec<Policer>,
    /// The policer of each pair, the first pair's first.
    pairs: Vec<u16>,
    /// The pair of each rule.
    rules: Vec<Option<Pair>>,
    /// The pair of each class slot.
    classes: [Option<Pair>; CLASSES],
    /// The pair of each subscriber; empty if none has one.
    subscribers: Vec<Option<Pair>>,
}

impl Policing {
    /// Gives a pair of meters to whoever has a policer: `rules`, `classes` by slot, and `subscribers` each name one of
    /// `policers` by its place, or none.
    ///
    /// # Panics
    ///
    /// If that makes more than [`METERS_MAX`] meters, or a place isn't there.
    pub fn new(
        policers: Vec<Policer>,
        rules: impl Iterator<Item = Option<u16>>,
        classes: [Option<u16>; CLASSES],
        subscribers: impl Iterator<Item = Option<u16>>,
    ) -> Policing {
        let mut pairs = Vec::new();
        let mut pair = |policer: Option<u16>| {
            let policer = policer?;
            assert!(usize::from(policer) < policers.len(), "no policer {policer}");
            pairs.push(policer);
            assert!(2 * pairs.len() <= METERS_MAX, "more than {METERS_MAX} meters");
            Pair::new(pairs.len() as u16)
        };
        let rules = rules.map(&mut pair).collect();
        let classes = classes.map(&mut pair);
        let mut subscribers: Vec<_> = subscribers.map(&mut pair).collect();
        if subscribers.iter().all(Option::is_none) {
            subscribers.clear();
        }
        Policing { policers, pairs, rules, classes, subscribers }
    }

    /// Whether nobody is policed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether it matters whose a packet is.
    pub fn asks_for_subscribers(&self) -> bool {
        !self.subscribers.is_empty()
    }

    /// The one pair that meters what got `verdict` and belongs to `subscriber`: the rule's, or else the subscriber's, or
    /// else the class's. What is observed has none.
    pub fn pair(&self, verdict: Verdict, subscriber: Option<u16>) -> Option<Pair> {
        if verdict.observed || verdict.reason == Reason::Control {
            return None;
        }
        let by_rule = match verdict.reason {
            Reason::Rule(index) => self.rules.get(usize::from(index.number())).copied().flatten(),
            _ => None,
        };
        let by_subscriber = || self.subscribers.get(usize::from(subscriber?)).copied().flatten();
        by_rule.or_else(by_subscriber).or(self.classes[usize::from(verdict.class.slot())])
    }
}

/// The meters of one wire.
#[derive(Debug)]
pub struct Meters {
    /// Two for each pair, in the order of the sides at which frames come in.
    meters: Vec<Metered>,
}

/// A meter, and which policer it belongs to.
#[derive(Clone, Copy, Debug)]
struct Metered {
    meter: Meter,
    policer: u16,
}

impl Meters {
    /// The meters that `policing` wants, all full, with room for as many as any other may want.
    pub fn new(policing: &Policing) -> Meters {
        let mut meters = Meters { meters: Vec::with_capacity(METERS_MAX) };
        meters.adopt(&Policing::default(), policing);
        meters
    }

    /// Goes over from `old` to `new` without allocating. A meter whose policer is the same keeps its level, so that a new
    /// policy is no gift; all others begin full.
    pub fn adopt(&mut self, old: &Policing, new: &Policing) {
        self.meters.truncate(2 * new.pairs.len());
        for (place, policer) in new.pairs.iter().flat_map(|policer| [*policer; 2]).enumerate() {
            let spec = &new.policers[usize::from(policer)];
            match self.meters.get_mut(place) {
                Some(metered) if old.policers[usize::from(metered.policer)] == *spec => metered.policer = policer,
                Some(metered) => *metered = Metered { meter: Meter::full(&spec.meter), policer },
                None => self.meters.push(Metered { meter: Meter::full(&spec.meter), policer }),
            }
        }
    }

    /// The colour of a frame that came in at `side`, costs `bytes` on the link and is marked `dscp`, by the meter that `pair`
    /// has for that direction; and what becomes of it.
    #[inline]
    pub fn meter(
        &mut self,
        policing: &Policing,
        pair: Pair,
        side: Side,
        bytes: u32,
        dscp: u8,
        now: Nanos,
    ) -> (Colour, Action) {
        let metered = &mut self.meters[2 * (usize::from(pair.get()) - 1) + side as usize];
        let policer = &policing.policers[usize::from(metered.policer)];
        let colour = metered.meter.colour(&policer.meter, Colour::of_dscp(dscp), bytes, now);
        let action = match colour {
            Colour::Green => Action::Pass,
            Colour::Yellow => policer.yellow,
            Colour::Red => policer.red,
        };
        (colour, action)
    }
}
