//! Quantities with their units: rates and instants are never bare numbers.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

/// A rate in bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(pub u64);

impl Rate {
    /// The rate as bits per second.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// The time that `bytes` take at this rate, rounded up; zero for the zero rate has no meaning and gives the maximum.
    pub const fn time_for(self, bytes: u64) -> Nanos {
        if self.0 == 0 {
            return Nanos::MAX;
        }
        let ns = (bytes as u128 * 8 * 1_000_000_000).div_ceil(self.0 as u128);
        Nanos(if ns > u64::MAX as u128 { u64::MAX } else { ns as u64 })
    }

    /// The whole bytes that pass at this rate within `time`.
    pub const fn bytes_in(self, time: Nanos) -> u64 {
        let bytes = self.0 as u128 * time.0 as u128 / 8_000_000_000;
        if bytes > u64::MAX as u128 { u64::MAX } else { bytes as u64 }
    }
}

impl fmt::Display for Rate {
    /// Prints the largest unit that keeps the number exact: `100mbit`, `1500kbit`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, scale) in [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000)] {
            if self.0 >= scale && self.0.is_multiple_of(scale) {
                return write!(f, "{}{unit}", self.0 / scale);
            }
        }
        write!(f, "{}bit", self.0)
    }
}

impl FromStr for Rate {
    type Err = Wanted;

    /// Reads `20mbit`, `1.5gbit`, `64kbit` or `800bit`, in any case; the number must come out as whole bits per second.
    fn from_str(text: &str) -> Result<Rate, Wanted> {
        let units = [("bit", 1), ("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];
        quantity(text, &units).map(Rate).ok_or_else(|| {
            if text.to_ascii_lowercase().ends_with("bps") {
                Wanted::new("\"bit\" as in \"20mbit\", because some read \"bps\" as bits and some as bytes")
            } else {
                Wanted::new("a rate like \"20mbit\"")
            }
        })
    }
}

/// A point in time or a span, in nanoseconds; points count from the clock's own origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The origin of every clock, and the empty span.
    pub const ZERO: Nanos = Nanos(0);
    /// Later than every instant: "never" as a deadline.
    pub const MAX: Nanos = Nanos(u64::MAX);

    /// A span of whole microseconds.
    pub const fn from_micros(us: u64) -> Nanos {
        Nanos(us * 1_000)
    }

    /// A span of whole milliseconds.
    pub const fn from_millis(ms: u64) -> Nanos {
        Nanos(ms * 1_000_000)
    }

    /// The span from `earlier` to `self`, or zero if `earlier` is later.
    pub const fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }

    /// The span in seconds, for people and ratios.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add for Nanos {
    type Output = Nanos;
    fn add(self, span: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(span.0))
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, span: Nanos) {
        *self = *self + span;
    }
}

impl Sub for Nanos {
    type Output = Nanos;
    fn sub(self, span: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(span.0))
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n < 10_000 => write!(f, "{n} ns"),
            n if n < 10_000_000 => write!(f, "{:.1} us", n as f64 / 1e3),
            n if n < 10_000_000_000 => write!(f, "{:.1} ms", n as f64 / 1e6),
            n => write!(f, "{:.2} s", n as f64 / 1e9),
        }
    }
}

impl FromStr for Nanos {
    type Err = Wanted;

    /// Reads `5ms`, `100us`, `1.5s` or `50ns`, in any case; the number must come out as whole nanoseconds.
    fn from_str(text: &str) -> Result<Nanos, Wanted> {
        let units = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
        quantity(text, &units).map(Nanos).ok_or_else(|| Wanted::new("a time like \"5ms\""))
    }
}

/// What a text should have been: the error of everything that is read from text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted(Cow<'static, str>);

impl Wanted {
    /// Describes what was wanted, to be read after the word "want": `a rate like "20mbit"`.
    pub fn new(what: impl Into<Cow<'static, str>>) -> Wanted {
        Wanted(what.into())
    }

    /// What was wanted, without the word in front.
    pub fn what(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "want {}", self.0)
    }
}

impl std::error::Error for Wanted {}

/// Reads a decimal number with one of `units` right behind it, in any case, and scales it; `None` unless the result is exact.
pub(crate) fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.')?);
    let scale = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1;
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, u64::from_str(fraction).ok()?.checked_mul(scale)?),
        None => (number, 0),
    };
    let decimals = number.len() - whole.len();
    let divisor = 10u64.checked_pow(decimals.saturating_sub(1) as u32)?;
    let below_one = fraction.is_multiple_of(divisor).then_some(fraction / divisor)?;
    u64::from_str(whole).ok()?.checked_mul(scale)?.checked_add(below_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_read_exactly() {
        for (text, bits) in [("20mbit", 20_000_000), ("1.5gbit", 1_500_000_000), ("64KBit", 64_000), ("800bit", 800)] {
            assert_eq!(text.parse(), Ok(Rate(bits)), "{text}");
        }
        for (text, ns) in [("5ms", 5_000_000), ("100us", 100_000), ("1S", 1_000_000_000), ("0.25ms", 250_000)] {
            assert_eq!(text.parse(), Ok(Nanos(ns)), "{text}");
        }
        assert_eq!("18446744073709551615bit".parse(), Ok(Rate(u64::MAX)));
        assert_eq!("0.000000001gbit".parse(), Ok(Rate(1)));
    }

    #[test]
    fn what_is_not_exactly_a_rate_is_refused() {
        let texts =
            ["", "20", "mbit", "20 mbit", "-1mbit", "+1mbit", ".5mbit", "5.mbit", "1.2.3mbit", "1e3bit", "20mb"];
        let more = ["1.5bit", "0.0000000001gbit", "18446744073709551616bit", "20000000000gbit", "\u{0663}mbit"];
        for text in texts.into_iter().chain(more) {
            assert_eq!(Rate::from_str(text).unwrap_err().to_string(), "want a rate like \"20mbit\"", "{text}");
        }
        assert!("5".parse::<Nanos>().is_err() && "5m".parse::<Nanos>().is_err() && "0.5ns".parse::<Nanos>().is_err());
    }

    #[test]
    fn bps_is_answered_with_bit() {
        for text in ["20mbps", "20MBps", "1.5Gbps"] {
            let wanted = Rate::from_str(text).unwrap_err().to_string();
            assert!(wanted.contains("\"bit\" as in \"20mbit\""), "{wanted}");
        }
    }

    #[test]
    fn every_rate_reads_back_as_printed() {
        for bits in [0, 1, 999, 1_000, 1_001, 1_500_000, 100_000_000, 10_000_000_000, u64::MAX] {
            assert_eq!(Rate(bits).to_string().parse(), Ok(Rate(bits)));
        }
    }

    #[test]
    fn time_for_rounds_up_and_bytes_in_rounds_down() {
        let rate = Rate(100_000_000);
        assert_eq!(rate.time_for(1538), Nanos(123_040));
        assert_eq!(Rate(3).time_for(1), Nanos(2_666_666_667));
        assert_eq!(rate.bytes_in(Nanos(123_039)), 1537);
        assert_eq!(rate.bytes_in(Nanos(123_040)), 1538);
    }

    #[test]
    fn extremes_saturate() {
        assert_eq!(Rate(1).time_for(u64::MAX), Nanos::MAX);
        assert_eq!(Rate(0).time_for(1), Nanos::MAX);
        assert_eq!(Rate(u64::MAX).bytes_in(Nanos::MAX), u64::MAX);
        assert_eq!(Nanos::MAX + Nanos(1), Nanos::MAX);
    }

    #[test]
    fn rates_print_exactly() {
        assert_eq!(Rate(100_000_000).to_string(), "100mbit");
        assert_eq!(Rate(1_500_000).to_string(), "1500kbit");
        assert_eq!(Rate(1_001).to_string(), "1001bit");
    }
}
