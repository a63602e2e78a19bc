//! How a worker waits for work without missing any and without adding latency.
//!
//! A worker that found nothing spins for `SPIN`, then sleeps until a port has a frame, the other half rings its [`Bell`],
//! the shaper's next departure comes, or `LONGEST_SLEEP` has passed. Departures closer than `TOO_CLOSE` are waited for by
//! spinning, since a sleep and a wake-up take longer than that. Whoever is woken for nothing goes back to sleep at once.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use super::bell::{self, Wake};
use crate::units::Nanos;

/// How long a worker looks for work before it sleeps.
const SPIN: Nanos = Nanos::from_micros(50);

/// A departure that is closer than this is waited for awake.
const TOO_CLOSE: Nanos = Nanos::from_micros(100);

/// How long a sleep lasts at most: two of them, one in each of two workers, must end well within the 80 ms after which a
/// worker has stalled and the 100 ms for which the ports believe that they are served.
const LONGEST_SLEEP: Nanos = Nanos::from_millis(25);

const BELL: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// Wakes a worker that sleeps in its bed.
pub type Bell = bell::Bell<Waker>;

impl Wake for Waker {
    fn wake(&self) {
        // A waker fails only if its event descriptor is gone, which means that the sleeper is, too.
        let _ = Waker::wake(self);
    }
}

/// A worker's bed: everything that can wake it.
#[derive(Debug)]
pub struct Idle {
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    bell: Bell,
    /// Never sleep: the lowest latency for a whole core.
    spin: bool,
    /// When the first turn was that moved nothing, if the last one didn't.
    idle_since: Option<Nanos>,
}

impl Idle {
    /// A bed that wakes for frames on the descriptors `fds`; with `spin`, one that is never slept in.
    ///
    /// # Errors
    ///
    /// If the kernel refuses an event descriptor.
    pub fn new(fds: impl IntoIterator<Item = RawFd>, spin: bool) -> io::Result<Idle> {
        let poll = Poll::new()?;
        for (i, fd) in fds.into_iter().enumerate() {
            poll.registry().register(&mut SourceFd(&fd), Token(i), Interest::READABLE)?;
        }
        // mio's own timeout is in whole milliseconds: departures need a finer clock.
        let timer =
            rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let bell = Bell::new(Waker::new(poll.registry(), BELL)?);
        Ok(Idle { poll, events: Events::with_capacity(16), timer, bell, spin, idle_since: None })
    }

    /// What others ring to wake this worker.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Notes that there was work.
    #[inline]
    pub fn worked(&mut self) {
        self.idle_since = None;
    }

    /// Whether a turn at `now` that found nothing should be followed by a sleep, given the next departure.
    #[inline]
    pub fn should_sleep(&mut self, now: Nanos, departure: Option<Nanos>) -> bool {
        let since = *self.idle_since.get_or_insert(now);
        let near = departure.is_some_and(|at| at.since(now) < TOO_CLOSE);
        !self.spin && !near && now.since(since) >= SPIN
    }

    /// How long there has been no work.
    pub fn idle_for(&self, now: Nanos) -> Nanos {
        self.idle_since.map_or(Nanos::ZERO, |since| now.since(since))
    }

    /// Says that the worker is about to sleep; after this it must look for work once more.
    pub fn announce(&self) {
        self.bell.announce();
    }

    /// Takes the announcement back, because there was work after all.
    pub fn retract(&self) {
        self.bell.retract();
    }

    /// Sleeps until something happens, `until` at the latest.
    pub fn sleep(&mut self, now: Nanos, until: Option<Nanos>) {
        let span = until.map_or(LONGEST_SLEEP, |at| at.since(now).min(LONGEST_SLEEP));
        // Wake early by about what a wake-up takes: the rest is spun.
        let span = span.since(TOO_CLOSE).0.max(1);
        self.arm(span);
        // The millisecond more is a net under the timer, never the normal way out.
        let net = Duration::from_nanos(span) + Duration::from_millis(2);
        // An interrupted wait is a wake-up like any other.
        let _ = self.poll.poll(&mut self.events, Some(net));
        self.retract();
    }

    fn arm(&self, span: u64) {
        let value = Timespec { tv_sec: (span / 1_000_000_000) as i64, tv_nsec: (span % 1_000_000_000) as i64 };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // Setting a valid time on our own descriptor can't fail; if it did, the net of `sleep` holds.
        let _ = rustix::time::timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::empty(), &once);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Clock, MonotonicClock};

    #[test]
    fn a_bell_rung_before_or_during_the_sleep_ends_it() {
        let mut idle = Idle::new([], false).unwrap();
        let (clock, bell) = (MonotonicClock::start(), idle.bell());
        idle.announce();
        bell.ring();
        idle.sleep(clock.now(), None);
        idle.announce();
        let ringer = std::thread::spawn(move || bell.ring());
        idle.sleep(clock.now(), None);
        ringer.join().unwrap();
    }

    #[test]
    fn a_departure_ends_the_sleep_and_is_not_overslept_by_the_millisecond_of_epoll() {
        let mut idle = Idle::new([], false).unwrap();
        let clock = MonotonicClock::start();
        let mut shortest = Nanos::MAX;
        for _ in 0..20 {
            let start = clock.now();
            idle.announce();
            idle.sleep(start, Some(start + Nanos::from_micros(300)));
            shortest = shortest.min(clock.now().since(start));
        }
        assert!(shortest < Nanos::from_micros(1_000), "300 us took {shortest} at best");
    }

    #[test]
    fn a_worker_spins_first_and_for_close_departures() {
        let mut idle = Idle::new([], false).unwrap();
        assert!(!idle.should_sleep(Nanos(0), None));
        assert!(!idle.should_sleep(Nanos(49_999), None));
        assert!(idle.should_sleep(Nanos(50_000), None));
        assert!(!idle.should_sleep(Nanos(60_000), Some(Nanos(100_000))));
        assert!(idle.should_sleep(Nanos(60_000), Some(Nanos(200_000))));
        idle.worked();
        assert!(!idle.should_sleep(Nanos(70_000), None));
    }
}
