//! Meters against the texts of RFC 2697, 2698 and 4115: vectors worked out by hand, what may pass in any span, and a
//! straightforward reference that counts tokens as fractions.

use std::cmp::Ordering;

use proptest::prelude::*;
use tidegate::qos::bucket::{MAX_BURST, MAX_RATE};
use tidegate::qos::{Colour, Meter, MeterSpec, Profile};
use tidegate::units::{Nanos, Rate};

use Colour::{Green, Red, Yellow};

/// One byte per millisecond.
const BYTE_PER_MS: Rate = Rate(8_000);
const TWO_BYTES_PER_MS: Rate = Rate(16_000);

const SINGLE: Profile = Profile::SingleRate { cir: BYTE_PER_MS, cbs: 2_000, ebs: 1_000 };
const TWO: Profile = Profile::TwoRate { cir: BYTE_PER_MS, cbs: 1_000, pir: TWO_BYTES_PER_MS, pbs: 2_000 };
const EXCESS: Profile = Profile::Excess { cir: BYTE_PER_MS, cbs: 1_000, eir: TWO_BYTES_PER_MS, ebs: 2_000 };

/// Runs frames given as (microsecond, colour with which it comes, bytes, colour that it must get).
fn assert_colours(profile: Profile, aware: bool, frames: &[(u64, Colour, u32, Colour)]) {
    let spec = MeterSpec { profile, aware };
    let mut meter = Meter::full(&spec);
    for (index, (at, came, bytes, expected)) in frames.iter().enumerate() {
        let got = meter.colour(&spec, *came, *bytes, Nanos::from_micros(*at));
        assert_eq!(got, *expected, "frame {index} of {bytes} bytes at {at} us: {meter:?}");
    }
}

#[test]
fn rfc_2697_blind() {
    assert_colours(
        SINGLE,
        false,
        &[
            // Colours are not looked at.         Tc, Te = 2000, 1000
            (0, Red, 1_500, Green),            // 500, 1000
            (0, Green, 800, Yellow),           // 500, 200
            (0, Yellow, 300, Green),           // 200, 200
            (0, Green, 300, Red),              // 200, 200
            (100_000, Green, 300, Green),      // 300, 200 → 0, 200
            (100_000, Green, 200, Yellow),     // 0, 0
            (2_600_000, Green, 2_001, Red),    // 2500 earned: 2000 fill Tc, 500 are left for Te
            (2_600_000, Green, 2_000, Green),  // 0, 500
            (2_600_000, Green, 501, Red),      // 0, 500
            (2_600_000, Green, 500, Yellow),   // 0, 0
            (2_600_999, Green, 1, Red),        // 0.999, 0
            (2_601_000, Green, 1, Green),      // 1, 0 → 0, 0
            (2_600_000, Green, 1, Red),        // Time that goes back earns nothing,
            (2_601_500, Green, 1, Red),        // and nothing twice: 0.5, 0
            (2_602_000, Green, 1, Green),      // 1, 0 → 0, 0
            (9_000_000, Green, 2_001, Red),    // 2000, 1000
            (9_000_000, Green, 1_000, Green),  // 1000, 1000
            (9_000_000, Green, 1_000, Green),  // 0, 1000
            (9_000_000, Green, 1_000, Yellow), // 0, 0
        ],
    );
}

#[test]
fn rfc_2697_aware() {
    assert_colours(
        SINGLE,
        true,
        &[
            //                                    Tc, Te = 2000, 1000
            (0, Red, 1, Red),               // 2000, 1000
            (0, Yellow, 600, Yellow),       // 2000, 400
            (0, Yellow, 401, Red),          // 2000, 400, whatever Tc is
            (0, Green, 1_900, Green),       // 100, 400
            (0, Green, 400, Yellow),        // 100, 0
            (0, Green, 100, Green),         // 0, 0
            (50_000, Yellow, 1, Red),       // 50, 0
            (50_000, Green, 50, Green),     // 0, 0
            (2_051_000, Yellow, 1, Yellow), // 2001 earned: 2000, 1 → 2000, 0
        ],
    );
}

#[test]
fn rfc_2698_blind() {
    assert_colours(
        TWO,
        false,
        &[
            //                                       Tp, Tc = 2000, 1000
            (0, Red, 600, Green),              // 1400, 400
            (0, Yellow, 600, Yellow),          // 800, 400
            (0, Green, 900, Red),              // 800, 400
            (0, Green, 400, Green),            // 400, 0
            (0, Green, 400, Yellow),           // 0, 0
            (0, Green, 1, Red),                // 0, 0
            (100_000, Green, 100, Green),      // 200, 100 → 100, 0
            (100_000, Green, 101, Red),        // 100, 0
            (100_000, Green, 100, Yellow),     // 0, 0
            (100_499, Green, 1, Red),          // 0.998, 0.499
            (100_500, Green, 1, Yellow),       // 1, 0.5 → 0, 0.5
            (101_000, Green, 1, Green),        // 1, 1 → 0, 0
            (9_000_000, Green, 1_001, Yellow), // 2000, 1000 → 999, 1000
            (9_000_000, Green, 1_000, Red),    // 999, 1000: what is committed waits for the peak
        ],
    );
}

#[test]
fn rfc_2698_aware() {
    assert_colours(
        TWO,
        true,
        &[
            //                                    Tp, Tc = 2000, 1000
            (0, Yellow, 500, Yellow),      // 1500, 1000
            (0, Red, 1, Red),              // 1500, 1000
            (0, Green, 1_000, Green),      // 500, 0
            (0, Green, 400, Yellow),       // 100, 0
            (0, Yellow, 101, Red),         // 100, 0
            (10_000, Yellow, 120, Yellow), // 120, 10 → 0, 10
            (10_000, Green, 10, Red),      // 0, 10
        ],
    );
}

#[test]
fn rfc_4115_blind() {
    assert_colours(
        EXCESS,
        false,
        &[
            //                                   Tc, Te = 1000, 2000
            (0, Red, 1_001, Yellow),        // 1000, 999
            (0, Yellow, 1_000, Green),      // 0, 999: the case in which RFC 2698 says red
            (0, Green, 1_000, Red),         // 0, 999
            (0, Green, 999, Yellow),        // 0, 0
            (100_000, Green, 200, Yellow),  // 100, 200 → 100, 0
            (100_000, Green, 100, Green),   // 0, 0
            (100_000, Green, 1, Red),       // 0, 0
            (100_500, Green, 1, Yellow),    // 0.5, 1 → 0.5, 0
            (101_000, Green, 1, Green),     // 1, 1 → 0, 1
            (9_000_000, Green, 2_001, Red), // 1000, 2000
        ],
    );
}

#[test]
fn rfc_4115_aware() {
    assert_colours(
        EXCESS,
        true,
        &[
            //                                  Tc, Te = 1000, 2000
            (0, Yellow, 1_000, Yellow),   // 1000, 1000
            (0, Yellow, 1_001, Red),      // 1000, 1000
            (0, Red, 1, Red),             // 1000, 1000
            (0, Green, 1_001, Red),       // 1000, 1000
            (0, Green, 1_000, Green),     // 0, 1000
            (0, Green, 1_000, Yellow),    // 0, 0
            (400_000, Yellow, 801, Red),  // 400, 800
            (400_000, Green, 400, Green), // 0, 800
        ],
    );
}

#[test]
fn only_the_drop_precedence_of_assured_forwarding_is_a_colour() {
    for dscp in 0..=63u8 {
        let (class, precedence) = (dscp >> 3, dscp & 7);
        let expected = match precedence {
            4 if (1..=4).contains(&class) => Yellow,
            6 if (1..=4).contains(&class) => Red,
            _ => Green,
        };
        assert_eq!(Colour::of_dscp(dscp), expected, "{dscp}");
        let assured = (1..=4).contains(&class) && [2, 4, 6].contains(&precedence);
        for (colour, precedence) in [(Green, 2), (Yellow, 4), (Red, 6)] {
            let remarked = if assured { class << 3 | precedence } else { dscp };
            assert_eq!(colour.in_dscp(dscp), remarked, "{dscp}");
        }
    }
}

#[test]
fn the_extremes_neither_overflow_nor_close() {
    for (cir, burst) in [(Rate(1), 1), (Rate(1), MAX_BURST), (MAX_RATE, 1), (MAX_RATE, MAX_BURST)] {
        for profile in [
            Profile::SingleRate { cir, cbs: burst, ebs: burst },
            Profile::TwoRate { cir, cbs: burst, pir: cir, pbs: burst },
            Profile::Excess { cir, cbs: burst, eir: cir, ebs: burst },
        ] {
            let spec = MeterSpec { profile, aware: false };
            let mut meter = Meter::full(&spec);
            assert_eq!(meter.colour(&spec, Green, u32::MAX, Nanos::ZERO), Red);
            assert_eq!(meter.colour(&spec, Green, burst, Nanos(1)), Green);
            assert_eq!(meter.colour(&spec, Green, burst, Nanos::MAX), Green);
        }
    }
}

/// A number of bytes that need not be whole.
#[derive(Clone, Copy, Debug)]
struct Ratio {
    over: u128,
    under: u128,
}

impl Ratio {
    fn new(over: u128, under: u128) -> Ratio {
        let (mut a, mut b) = (over, under);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        Ratio { over: over / a, under: under / a }
    }

    fn bytes(bytes: u32) -> Ratio {
        Ratio::new(bytes.into(), 1)
    }

    /// What `rate` brings in `span`.
    fn earned(rate: Rate, span: Nanos) -> Ratio {
        Ratio::new(u128::from(rate.0) * u128::from(span.0), 8 * 1_000_000_000)
    }

    fn plus(self, other: Ratio) -> Ratio {
        Ratio::new(self.over * other.under + other.over * self.under, self.under * other.under)
    }

    /// The difference; zero where it would be less.
    fn less(self, other: Ratio) -> Ratio {
        let (a, b) = (self.over * other.under, other.over * self.under);
        Ratio::new(a.saturating_sub(b), self.under * other.under)
    }

    fn holds(self, other: Ratio) -> bool {
        (self.over * other.under).cmp(&(other.over * self.under)) != Ordering::Less
    }

    fn at_most(self, limit: Ratio) -> Ratio {
        if self.holds(limit) { limit } else { self }
    }
}

/// The tokens of a meter by the words of the RFC, and nothing clever.
struct Reference {
    spec: MeterSpec,
    committed: Ratio,
    other: Ratio,
    at: Nanos,
}

impl Reference {
    fn new(spec: MeterSpec) -> Reference {
        let (committed, other) = match spec.profile {
            Profile::SingleRate { cbs, ebs, .. } => (cbs, ebs),
            Profile::TwoRate { cbs, pbs, .. } => (cbs, pbs),
            Profile::Excess { cbs, ebs, .. } => (cbs, ebs),
        };
        let [committed, other] = [committed, other].map(Ratio::bytes);
        Reference { spec, committed, other, at: Nanos::ZERO }
    }

    fn colour(&mut self, came: Colour, bytes: u32, now: Nanos) -> Colour {
        let span = now.since(self.at);
        self.at = now;
        let size = Ratio::bytes(bytes);
        let (is_red, is_yellow) = (self.spec.aware && came == Red, self.spec.aware && came == Yellow);
        match self.spec.profile {
            Profile::SingleRate { cir, cbs, ebs } => {
                let sum = self.committed.plus(Ratio::earned(cir, span));
                self.committed = sum.at_most(Ratio::bytes(cbs));
                self.other = self.other.plus(sum.less(self.committed)).at_most(Ratio::bytes(ebs));
            }
            Profile::TwoRate { cir, cbs, pir, pbs } => {
                self.committed = self.committed.plus(Ratio::earned(cir, span)).at_most(Ratio::bytes(cbs));
                self.other = self.other.plus(Ratio::earned(pir, span)).at_most(Ratio::bytes(pbs));
                if is_red || !self.other.holds(size) {
                    return Red;
                }
                self.other = self.other.less(size);
                if is_yellow || !self.committed.holds(size) {
                    return Yellow;
                }
                self.committed = self.committed.less(size);
                return Green;
            }
            Profile::Excess { cir, cbs, eir, ebs } => {
                self.committed = self.committed.plus(Ratio::earned(cir, span)).at_most(Ratio::bytes(cbs));
                self.other = self.other.plus(Ratio::earned(eir, span)).at_most(Ratio::bytes(ebs));
            }
        }
        if !is_red && !is_yellow && self.committed.holds(size) {
            self.committed = self.committed.less(size);
            return Green;
        }
        if !is_red && self.other.holds(size) {
            self.other = self.other.less(size);
            return Yellow;
        }
        Red
    }
}

fn profiles() -> impl Strategy<Value = Profile> {
    let rate = || prop_oneof![1u64..100_000, 1_000_000u64..1_000_000_000_000].prop_map(Rate);
    let burst = || 0u32..20_000;
    prop_oneof![
        (rate(), burst(), burst()).prop_map(|(cir, cbs, ebs)| Profile::SingleRate { cir, cbs, ebs }),
        (rate(), burst(), rate(), burst()).prop_map(|(cir, cbs, pir, pbs)| Profile::TwoRate { cir, cbs, pir, pbs }),
        (rate(), burst(), rate(), burst()).prop_map(|(cir, cbs, eir, ebs)| Profile::Excess { cir, cbs, eir, ebs }),
    ]
}

/// Frames as (time since the last, colour with which it comes, bytes).
fn frames() -> impl Strategy<Value = Vec<(u64, Colour, u32)>> {
    let span = prop_oneof![Just(0u64), 1u64..100_000, 1u64..10_000_000, 1u64..10_000_000_000];
    let colour = prop_oneof![3 => Just(Green), 2 => Just(Yellow), 1 => Just(Red)];
    prop::collection::vec((span, colour, 1u32..4_000), 1..100)
}

/// The most that frames of some colours may have in `span`: rates, and bursts.
fn may_pass(rates: &[Rate], bursts: &[u32], span: Nanos) -> u128 {
    let earned: u128 = rates.iter().map(|rate| u128::from(rate.0) * u128::from(span.0)).sum();
    earned + bursts.iter().map(|burst| u128::from(*burst) * 8_000_000_000).sum::<u128>()
}

proptest! {
    #[test]
    fn every_colour_is_that_of_the_reference(profile in profiles(), aware in any::<bool>(), frames in frames()) {
        let spec = MeterSpec { profile, aware };
        let (mut meter, mut reference) = (Meter::full(&spec), Reference::new(spec));
        let mut now = Nanos::ZERO;
        for (span, came, bytes) in frames {
            now += Nanos(span);
            let expected = reference.colour(came, bytes, now);
            prop_assert_eq!(meter.colour(&spec, came, bytes, now), expected, "at {}: {:?}", now, meter);
        }
    }

    /// From any frame to any later one.
    #[test]
    fn no_span_has_more_of_a_colour_than_its_rate_and_burst(
        profile in profiles(), aware in any::<bool>(), frames in frames(),
    ) {
        let spec = MeterSpec { profile, aware };
        let mut meter = Meter::full(&spec);
        let mut now = Nanos::ZERO;
        let mut seen: Vec<(Nanos, Colour, u32)> = Vec::new();
        for (span, came, bytes) in frames {
            now += Nanos(span);
            let colour = meter.colour(&spec, came, bytes, now);
            prop_assert!(!aware || colour >= came, "a colour got better");
            seen.push((now, colour, bytes));
            let (mut green, mut yellow) = (0u128, 0u128);
            for (at, colour, bytes) in seen.iter().rev() {
                match colour {
                    Green => green += u128::from(*bytes) * 8_000_000_000,
                    Yellow => yellow += u128::from(*bytes) * 8_000_000_000,
                    Red => {}
                }
                let span = now.since(*at);
                match profile {
                    Profile::SingleRate { cir, cbs, ebs } => {
                        prop_assert!(green <= may_pass(&[cir], &[cbs], span));
                        prop_assert!(green + yellow <= may_pass(&[cir], &[cbs, ebs], span));
                    }
                    Profile::TwoRate { cir, cbs, pir, pbs } => {
                        prop_assert!(green <= may_pass(&[cir], &[cbs], span));
                        prop_assert!(green + yellow <= may_pass(&[pir], &[pbs], span));
                    }
                    Profile::Excess { cir, cbs, eir, ebs } => {
                        prop_assert!(green <= may_pass(&[cir], &[cbs], span));
                        prop_assert!(yellow <= may_pass(&[eir], &[ebs], span));
                    }
                }
            }
        }
    }
}
