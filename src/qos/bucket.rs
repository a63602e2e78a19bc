//! Token buckets in exact integers: nothing is rounded, so nothing drifts.
//!
//! The level is counted in *credits* of one bit per second for one nanosecond; a byte costs 8·10⁹ of them. A rate times a
//! span is then a whole number of credits and no remainder has to be carried from one refill to the next.
//!
//! A frame may pass while the level is not negative, and may take it below zero by its own cost. The debt is paid before
//! the next frame passes, so over any span `t` at most `rate·t + burst + one frame` leaves, and a backlog leaves at
//! exactly `rate`.

use crate::units::{Nanos, Rate};

/// Credits per byte.
pub(super) const BYTE: i64 = 8_000_000_000;

/// The largest burst in bytes that the level can hold with room for debt.
pub const MAX_BURST: u32 = 256 << 20;

/// The highest rate: with it, what a bucket earns until it is full still fits.
pub const MAX_RATE: Rate = Rate(100_000_000_000_000);

/// A token bucket; full when made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    rate: Rate,
    /// The level never rises above this.
    burst: i64,
    level: i64,
    updated: Nanos,
    /// After this long without a charge, whatever the level was above its lowest, the bucket is full.
    refill_time: Nanos,
}

impl Bucket {
    /// A full bucket that earns at `rate` and holds `burst` bytes.
    ///
    /// # Panics
    ///
    /// If the rate is zero or above [`MAX_RATE`], or `burst` is above [`MAX_BURST`].
    pub fn new(rate: Rate, burst: u32, now: Nanos) -> Bucket {
        assert!(rate > Rate(0) && rate <= MAX_RATE, "rate {rate} out of range");
        assert!(burst <= MAX_BURST, "burst of {burst} bytes out of range");
        let burst = i64::from(burst) * BYTE;
        // Debt is bounded by one burst's worth plus one frame's worth; see `charge`.
        let refill_time = Nanos((burst - Bucket::FLOOR) as u64 / rate.0 + 1);
        Bucket { rate, burst, level: burst, updated: now, refill_time }
    }

    /// The deepest debt: far above any frame, and small enough that no sum overflows.
    const FLOOR: i64 = -(MAX_BURST as i64) * BYTE;

    /// The rate at which the bucket earns.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Fills the bucket, whatever it held or owed.
    pub fn fill(&mut self, now: Nanos) {
        (self.level, self.updated) = (self.burst, now);
    }

    /// Earns what is due since the last refill. Time that stands still or goes back earns nothing.
    #[inline]
    pub fn refill(&mut self, now: Nanos) {
        if now <= self.updated {
            return;
        }
        let span = now.since(self.updated);
        self.updated = now;
        self.level = if span >= self.refill_time {
            self.burst
        } else {
            // Below `refill_time` the product is at most burst − FLOOR + rate, which fits.
            (self.level + (self.rate.0 * span.0) as i64).min(self.burst)
        };
        self.check();
    }

    /// Whether a frame may pass as of the last refill.
    #[inline]
    pub fn allows(&self) -> bool {
        self.level >= 0
    }

    /// Pays for `bytes` that pass.
    #[inline]
    pub fn charge(&mut self, bytes: u32) {
        self.level = (self.level - i64::from(bytes) * BYTE).max(Bucket::FLOOR);
        self.check();
    }

    /// Pays for `bytes` that pass whatever the level is, but goes no deeper into debt than `debt` bytes: the rest is forgiven.
    #[inline]
    pub fn charge_down_to(&mut self, bytes: u32, debt: u32) {
        let floor = (-i64::from(debt) * BYTE).max(Bucket::FLOOR).min(self.level);
        self.level = (self.level - i64::from(bytes) * BYTE).max(floor);
        self.check();
    }

    /// The first instant at which [`Bucket::allows`] holds, if nothing is charged before.
    #[inline]
    pub fn allows_at(&self) -> Nanos {
        if self.level >= 0 {
            return self.updated;
        }
        self.updated + Nanos((-self.level as u64).div_ceil(self.rate.0))
    }

    /// What always holds.
    #[inline]
    fn check(&self) {
        debug_assert!(self.level <= self.burst && self.level >= Bucket::FLOOR, "{self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_backlog_leaves_at_exactly_the_rate() {
        let mut bucket = Bucket::new(Rate(100_000_000), 3_000, Nanos(17));
        let (mut now, mut bytes) = (Nanos(17), 0u64);
        let mut sizes = [84u32, 1538, 341, 1000].iter().cycle();
        while now < Nanos(30_000_000_017) {
            bucket.refill(now);
            while bucket.allows() {
                let size = *sizes.next().unwrap();
                bucket.charge(size);
                bytes += u64::from(size);
            }
            now = bucket.allows_at();
        }
        let earned = Rate(100_000_000).bytes_in(now.since(Nanos(17))) + 3_000;
        assert!(bytes >= earned && bytes <= earned + 1538, "{bytes} of {earned}");
    }

    #[test]
    fn idle_time_earns_one_burst_and_no_more() {
        let mut bucket = Bucket::new(Rate(1_000), 100, Nanos::ZERO);
        bucket.charge(5_000);
        bucket.refill(Nanos::MAX);
        let mut passed = 0;
        while bucket.allows() {
            bucket.charge(1);
            passed += 1;
        }
        assert_eq!(passed, 101, "the burst and the one frame that takes it below zero");
    }

    #[test]
    fn time_that_goes_back_earns_nothing() {
        let mut bucket = Bucket::new(Rate(8_000_000_000), 0, Nanos(1_000));
        bucket.charge(100);
        bucket.refill(Nanos(500));
        assert!(!bucket.allows());
        assert_eq!(bucket.allows_at(), Nanos(1_100));
        bucket.refill(Nanos(1_099));
        assert!(!bucket.allows());
        bucket.refill(Nanos(1_100));
        assert!(bucket.allows());
    }

    #[test]
    fn what_would_go_deeper_than_the_debt_is_forgiven() {
        let mut bucket = Bucket::new(Rate(8_000_000_000), 100, Nanos::ZERO);
        bucket.charge_down_to(150, 100);
        assert_eq!(bucket.allows_at(), Nanos(50));
        bucket.charge_down_to(51, 100);
        assert_eq!(bucket.allows_at(), Nanos(100));
        // A debt that is deeper already stays as it is.
        bucket.charge(20);
        bucket.charge_down_to(1, 100);
        assert_eq!(bucket.allows_at(), Nanos(120));
        bucket.charge_down_to(MAX_BURST, MAX_BURST);
        bucket.refill(Nanos::MAX);
        assert!(bucket.allows());
    }

    proptest! {
        /// Never more than rate·t + burst + one frame, whatever the steps; and `allows_at` is the first instant that allows.
        #[test]
        fn never_above_the_envelope(
            rate in 1u64..200_000_000_000, burst in 0u32..1_000_000, start in 0u64..u64::MAX / 4,
            steps in prop::collection::vec((0u64..10_000_000, 1u32..10_000), 1..200),
        ) {
            let mut bucket = Bucket::new(Rate(rate), burst, Nanos(start));
            let (mut now, mut passed, mut largest) = (Nanos(start), 0u64, 0u64);
            for (span, size) in steps {
                now += Nanos(span);
                bucket.refill(now);
                if bucket.allows() {
                    bucket.charge(size);
                    passed += u64::from(size);
                    largest = largest.max(u64::from(size));
                }
                let due = bucket.allows_at();
                let mut at = bucket;
                at.refill(due);
                prop_assert!(at.allows());
                if due > now {
                    let mut before = bucket;
                    before.refill(due - Nanos(1));
                    prop_assert!(!before.allows());
                }
                prop_assert!(passed <= Rate(rate).bytes_in(now.since(Nanos(start))) + u64::from(burst) + largest + 1);
            }
        }
    }
}
