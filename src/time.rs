//! Clocks; only the outermost loops read one, everything below gets `now` as an argument.

use std::time::Instant;

use crate::units::Nanos;

/// A source of the current time.
pub trait Clock {
    /// The time since the clock's origin; never goes back.
    fn now(&self) -> Nanos;
}

/// A clock that stands: what virtual time looks like within one turn.
impl Clock for Nanos {
    fn now(&self) -> Nanos {
        *self
    }
}

/// The machine's monotonic clock, counted from when it was made.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    /// A clock whose origin is now. Threads that compare times share one by copying it.
    pub fn start() -> MonotonicClock {
        MonotonicClock { origin: Instant::now() }
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
