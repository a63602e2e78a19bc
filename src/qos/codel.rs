//! When a queue that stands must lose a frame: CoDel's control law (RFC 8289), in integers.
//!
//! A queue is judged by how long the frame at its head has waited. A wait above the target is no harm while it comes and
//! goes; once it has lasted an interval without a break, one frame goes, and the next ones at times that come closer together
//! as the square root of their count, until a frame has waited for less than the target again.
//!
//! Times are rounded down to the nanosecond and never drift: the root is the exact integer one, found only when a frame goes.

use crate::units::{Nanos, Rate};

/// The wait that a queue may always have.
const TARGET: Nanos = Nanos::from_millis(5);

/// How long a wait above the target may last: about the longest round trip of a flow that is to use the link fully.
const INTERVAL: Nanos = Nanos::from_millis(100);

/// The bytes of a full frame on Ethernet.
const FULL_FRAME: u64 = 1_538;

/// A queue that holds no more bytes than this behind the frame that leaves is not too long, however slow it is.
const SHORT: u64 = 1_514;

/// The longest target: an interval's square must fit.
const TARGET_MAX: Nanos = Nanos::from_millis(4_000);

/// What one control law aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codel {
    target: Nanos,
    interval: Nanos,
}

impl Default for Codel {
    /// 5 ms in 100 ms, which RFC 8289 recommends for the internet (section 4.3 and 4.4).
    fn default() -> Codel {
        Codel { target: TARGET, interval: INTERVAL }
    }
}

impl Codel {
    /// The law for a queue that gets `rate` at most.
    ///
    /// On a slow link one full frame takes longer than 5 ms. Every frame behind it would be late, and the link would idle for
    /// the frames that are dropped for it: so the target is never less than one and a half full frames take (RFC 8289, section
    /// 4.4), and the interval has as much more.
    pub fn for_rate(rate: Rate) -> Codel {
        let target = rate.time_for(FULL_FRAME * 3 / 2).clamp(TARGET, TARGET_MAX);
        Codel { target, interval: INTERVAL + target.since(TARGET) }
    }

    /// The wait that a queue may always have.
    pub fn target(&self) -> Nanos {
        self.target
    }

    /// How long a wait above the target may last.
    pub fn interval(&self) -> Nanos {
        self.interval
    }

    /// interval / √`count`, rounded down.
    #[inline]
    fn spacing(&self, count: u32) -> Nanos {
        // ⌊√⌊x⌋⌋ = ⌊√x⌋, so nothing is lost below the root. The square fits: an interval is below 4.3 s.
        Nanos((self.interval.0 * self.interval.0 / u64::from(count)).isqrt())
    }
}

/// What becomes of the frame at the head of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It leaves.
    Pass,
    /// It is told of congestion, or goes for good; [`State::marked`] or [`State::dropped`] says which.
    Signal,
}

/// Where one queue stands with the law.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// When the wait has been above the target for an interval, if it stays there; zero while it is below.
    first_above: Nanos,
    /// When the next frame goes, or when the next one would have.
    drop_next: Nanos,
    /// Frames that went since frames began to go.
    count: u32,
    /// What `count` was when they began.
    last_count: u32,
    dropping: bool,
    /// A frame went, and the next one decides how it goes on.
    pending: Pending,
}

/// What a drop leaves open until the next frame has been looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pending {
    #[default]
    Nothing,
    /// The first of a row went.
    Entered,
    /// One more of a row went.
    Went,
}

impl State {
    /// What becomes of the head of a queue that has waited for `sojourn`, with `behind` bytes behind it.
    ///
    /// To be called for every frame that is to leave, and again for the next one after [`State::dropped`].
    #[inline]
    pub(super) fn judge(&mut self, codel: &Codel, now: Nanos, sojourn: Nanos, behind: u64) -> Verdict {
        let late = self.is_late(codel, now, sojourn, behind);
        match std::mem::take(&mut self.pending) {
            Pending::Nothing if !self.dropping => return if late { Verdict::Signal } else { Verdict::Pass },
            // The first of a row never takes another with it.
            Pending::Entered => return Verdict::Pass,
            Pending::Went if late => self.drop_next += codel.spacing(self.count),
            _ => {}
        }
        self.dropping = late;
        if late && now >= self.drop_next { Verdict::Signal } else { Verdict::Pass }
    }

    /// Whether the wait has been above the target for an interval.
    #[inline]
    fn is_late(&mut self, codel: &Codel, now: Nanos, sojourn: Nanos, behind: u64) -> bool {
        if sojourn < codel.target || behind <= SHORT {
            self.first_above = Nanos::ZERO;
            return false;
        }
        if self.first_above == Nanos::ZERO {
            self.first_above = now + codel.interval;
            return false;
        }
        now >= self.first_above
    }

    /// The frame was dropped; the one behind it is judged next.
    #[cold]
    pub(super) fn dropped(&mut self, codel: &Codel, now: Nanos) {
        self.pending = if self.dropping { Pending::Went } else { Pending::Entered };
        self.signalled(codel, now);
    }

    /// The frame was marked, and leaves.
    #[cold]
    pub(super) fn marked(&mut self, codel: &Codel, now: Nanos) {
        let in_a_row = self.dropping;
        self.signalled(codel, now);
        if in_a_row {
            self.drop_next += codel.spacing(self.count);
        }
    }

    /// One more went, or the first of a row. A row that begins soon after the last one ended goes on at about its pace.
    fn signalled(&mut self, codel: &Codel, now: Nanos) {
        if self.dropping {
            self.count = self.count.saturating_add(1);
            return;
        }
        let delta = self.count.saturating_sub(self.last_count);
        let soon = now.since(self.drop_next) < Nanos(16 * codel.interval.0);
        self.count = if delta > 1 && soon { delta } else { 1 };
        self.last_count = self.count;
        self.drop_next = now + codel.spacing(self.count);
        self.dropping = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn spacing_is_the_interval_over_the_exact_root() {
        let codel = Codel::default();
        for (count, nanos) in [(1, 100 * MS), (2, 70_710_678), (3, 57_735_026), (4, 50 * MS), (10_000, MS)] {
            assert_eq!(codel.spacing(count), Nanos(nanos));
        }
        for count in 1..100_000u32 {
            let spacing = codel.spacing(count).0;
            let square = 10_000_000_000_000_000 / u64::from(count);
            assert!(spacing * spacing <= square && (spacing + 1) * (spacing + 1) > square, "{count}");
        }
    }

    #[test]
    fn the_target_is_one_and_a_half_full_frames_where_that_is_longer() {
        assert_eq!(Codel::for_rate(Rate(1_000_000_000)), Codel::default());
        let slow = Codel::for_rate(Rate(1_000_000));
        assert_eq!((slow.target(), slow.interval()), (Nanos(18_456_000), Nanos(113_456_000)));
        let slowest = Codel::for_rate(Rate(1));
        assert_eq!(slowest.target(), TARGET_MAX);
        assert!(slowest.interval().0 <= u64::from(u32::MAX) && slowest.spacing(1) == slowest.interval());
    }

    /// Judges one frame per `step`, each as late as can be, for `span`; returns when frames were dropped.
    fn drops(state: &mut State, from: Nanos, span: Nanos, step: Nanos) -> Vec<Nanos> {
        let (codel, mut now, mut drops) = (Codel::default(), from, Vec::new());
        while now < from + span {
            while state.judge(&codel, now, Nanos(50 * MS), 100_000) == Verdict::Signal {
                state.dropped(&codel, now);
                drops.push(now);
            }
            now += step;
        }
        drops
    }

    #[test]
    fn drops_come_closer_together_and_resume_at_their_pace() {
        let mut state = State::default();
        let first = drops(&mut state, Nanos(MS), Nanos(500 * MS), Nanos(1_000));
        let after: Vec<u64> = first.iter().map(|at| (at.0 - MS) / MS).collect();
        assert_eq!(after, [100, 200, 270, 328, 378, 423, 463]);
        // One frame in time ends the row; an interval later the next begins with the count that the last one had gained.
        let codel = Codel::default();
        assert_eq!(state.judge(&codel, Nanos(502 * MS), Nanos(MS), 100_000), Verdict::Pass);
        let again = drops(&mut state, Nanos(503 * MS), Nanos(150 * MS), Nanos(1_000));
        assert_eq!(again[0], Nanos(603 * MS));
        assert_eq!(again[1].since(again[0]).0 / 1_000, codel.spacing(6).0.div_ceil(1_000));
    }

    #[test]
    fn a_queue_of_one_frame_more_is_never_too_long() {
        let (codel, mut state) = (Codel::default(), State::default());
        for ms in 1..1_000 {
            let verdict = state.judge(&codel, Nanos(ms * MS), Nanos(900 * MS), SHORT);
            assert_eq!(verdict, Verdict::Pass);
        }
    }

    #[test]
    fn marks_come_when_drops_would() {
        let (codel, mut marked) = (Codel::default(), State::default());
        let mut marks = Vec::new();
        for us in 0..500_000 {
            let now = Nanos(MS + us * 1_000);
            if marked.judge(&codel, now, Nanos(50 * MS), 100_000) == Verdict::Signal {
                marked.marked(&codel, now);
                marks.push(now);
            }
        }
        assert_eq!(marks, drops(&mut State::default(), Nanos(MS), Nanos(500 * MS), Nanos(1_000)));
    }
}
