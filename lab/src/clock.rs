//! `CLOCK_MONOTONIC`, which all network namespaces of a machine share: a frame's way can be timed one way.

use std::num::NonZeroU64;

use rustix::thread::{clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::{ClockId, Timespec, clock_gettime};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * NANOS_PER_SECOND + time.tv_nsec as u64
}

/// Sleeps until `CLOCK_MONOTONIC` shows `deadline` nanoseconds; returns at once if it already does.
pub fn sleep_until(deadline: u64) {
    let request =
        Timespec { tv_sec: (deadline / NANOS_PER_SECOND) as i64, tv_nsec: (deadline % NANOS_PER_SECOND) as i64 };
    // Interrupted by a signal: the deadline is absolute, so sleep again.
    while clock_nanosleep_absolute(ClockId::Monotonic, &request).is_err() {}
}

/// Lets the calling thread's timers fire on time: the kernel else adds up to 50 us of slack to each sleep.
pub fn sharpen() {
    let _ = set_current_timer_slack(NonZeroU64::new(1));
}
