//! Quantities with their units: rates and instants are never bare numbers.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

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

#[cfg(test)]
mod tests {
    use super::*;

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
