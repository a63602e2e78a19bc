//! How long frames stayed, in bounded histograms, one per class.

use hdrhistogram::Histogram;

use super::counters::CLASSES;
use crate::units::Nanos;

/// The longest time that is told apart; longer ones count as this.
const LONGEST: Nanos = Nanos(60_000_000_000);

/// Histograms from receipt to transmission with two significant digits; memory is fixed when made.
#[derive(Clone, Debug)]
pub struct Sojourn {
    classes: [Histogram<u64>; CLASSES],
}

impl Sojourn {
    /// Counts one frame of `class` that stayed for `span`.
    #[inline]
    pub fn record(&mut self, class: u8, span: Nanos) {
        self.classes[usize::from(class)].saturating_record(span.0.max(1));
    }

    /// Adds what `other` has counted.
    pub fn merge(&mut self, other: &Sojourn) {
        for (mine, other) in self.classes.iter_mut().zip(&other.classes) {
            mine.add(other).expect("all have the same bounds");
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.classes.iter_mut().for_each(Histogram::reset);
    }

    /// The histogram of a class slot, in nanoseconds.
    pub fn class(&self, class: usize) -> &Histogram<u64> {
        &self.classes[class]
    }
}

impl Default for Sojourn {
    fn default() -> Sojourn {
        let empty = || Histogram::new_with_bounds(1, LONGEST.0, 2).expect("the bounds are valid");
        Sojourn { classes: std::array::from_fn(|_| empty()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_are_counted_at_the_bounds() {
        let mut sojourn = Sojourn::default();
        sojourn.record(1, Nanos::ZERO);
        sojourn.record(1, Nanos::MAX);
        assert_eq!(sojourn.class(1).len(), 2);
        assert!(sojourn.class(1).max() >= LONGEST.0);
    }
}
