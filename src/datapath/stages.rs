//! What the stages of a turn cost, measured now and then.

use hdrhistogram::Histogram;

use crate::time::Clock;
use crate::units::Nanos;

/// The stages that each half tells apart.
pub const STAGES: usize = 3;

/// One in so many of the turns that move frames is measured.
const EVERY: u32 = 64;

/// The longest time that is told apart; longer ones count as this.
const LONGEST: Nanos = Nanos(1_000_000_000);

/// The nanoseconds that a turn spent in each stage, in histograms with two significant digits; memory is fixed when made.
#[derive(Clone, Debug)]
pub struct Stages {
    names: [&'static str; STAGES],
    spans: [Histogram<u64>; STAGES],
}

impl Stages {
    /// Empty histograms of stages with these names.
    pub fn new(names: [&'static str; STAGES]) -> Stages {
        let empty = || Histogram::new_with_bounds(1, LONGEST.0, 2).expect("the bounds are valid");
        Stages { names, spans: std::array::from_fn(|_| empty()) }
    }

    /// Each stage by its name, in the order in which a frame meets them.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Histogram<u64>)> {
        self.names.into_iter().zip(&self.spans)
    }

    /// Adds what `other`, of the same half, has counted.
    pub fn merge(&mut self, other: &Stages) {
        for (mine, other) in self.spans.iter_mut().zip(&other.spans) {
            mine.add(other).expect("all have the same bounds");
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.spans.iter_mut().for_each(Histogram::reset);
    }
}

/// Times the stages of those turns that are measured; to the others it costs one look per lap.
#[derive(Debug)]
pub(super) struct Stopwatch {
    pub(super) stages: Stages,
    /// Turns that moved frames since the last one that was measured.
    turns: u32,
    /// When the current stage began, while a turn is measured.
    since: Option<Nanos>,
    spent: [Nanos; STAGES],
}

impl Stopwatch {
    pub(super) fn new(names: [&'static str; STAGES]) -> Stopwatch {
        Stopwatch { stages: Stages::new(names), turns: 0, since: None, spent: [Nanos::ZERO; STAGES] }
    }

    /// A turn begins; reads the clock only if it is to be measured.
    #[inline]
    pub(super) fn start(&mut self, clock: &impl Clock) {
        if self.turns == 0 {
            (self.since, self.spent) = (Some(clock.now()), [Nanos::ZERO; STAGES]);
        }
    }

    /// What was done since the last lap belongs to `stage`.
    #[inline]
    pub(super) fn lap(&mut self, stage: usize, clock: &impl Clock) {
        if let Some(since) = &mut self.since {
            let now = clock.now();
            self.spent[stage] += now.since(*since);
            *since = now;
        }
    }

    /// The turn ends; one that moved nothing isn't counted, and the next is measured in its stead.
    #[inline]
    pub(super) fn stop(&mut self, moved: bool) {
        let measured = self.since.take().is_some();
        if !moved {
            return;
        }
        self.turns = if self.turns + 1 == EVERY { 0 } else { self.turns + 1 };
        if measured {
            for (spans, spent) in self.stages.spans.iter_mut().zip(self.spent) {
                spans.saturating_record(spent.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A clock that shows one microsecond more at each look.
    struct Ticks(Cell<u64>);

    impl Clock for Ticks {
        fn now(&self) -> Nanos {
            self.0.set(self.0.get() + 1);
            Nanos(self.0.get() * 1_000)
        }
    }

    #[test]
    fn one_in_so_many_turns_that_move_frames_is_measured_and_only_that_reads_the_clock() {
        let (mut watch, clock) = (Stopwatch::new(["a", "b", "c"]), Ticks(Cell::new(0)));
        let mut turn = |moved| {
            let before = clock.0.get();
            watch.start(&clock);
            for stage in [0, 1, 1, 2] {
                watch.lap(stage, &clock);
            }
            watch.stop(moved);
            clock.0.get() - before
        };
        assert_eq!((turn(false), turn(false), turn(true)), (5, 5, 5), "until one has moved a frame");
        for _ in 1..EVERY {
            assert_eq!((turn(false), turn(true)), (0, 0));
        }
        assert_eq!(turn(true), 5);
        let spans: Vec<_> = watch.stages.iter().map(|(name, spans)| (name, spans.len(), spans.max() / 990)).collect();
        assert_eq!(spans, [("a", 2, 1), ("b", 2, 2), ("c", 2, 1)]);
    }

    #[test]
    fn measurements_are_merged_and_forgotten() {
        let mut watch = Stopwatch::new(["a", "b", "c"]);
        watch.start(&Nanos::ZERO);
        watch.stop(true);
        let mut sum = Stages::new(["a", "b", "c"]);
        sum.merge(&watch.stages);
        sum.merge(&watch.stages);
        watch.stages.clear();
        let counts = |stages: &Stages| stages.iter().map(|(_, spans)| spans.len()).collect::<Vec<_>>();
        assert_eq!((counts(&sum), counts(&watch.stages)), (vec![2; 3], vec![0; 3]));
    }
}
