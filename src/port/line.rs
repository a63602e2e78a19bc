//! A transmit ring before a line that carries one frame at a time, exact in virtual time.

use std::collections::VecDeque;

use crate::frame::{Burst, Frame, Owner, Table};
use crate::units::{Nanos, Rate};

/// The transmit ring of a port that is not a network card, and the line behind it.
///
/// A frame leaves at `max(now, line free) + (wire_len + overhead) / rate`, rounded up to the nanosecond; without a rate at once.
#[derive(Debug)]
pub struct Line {
    rate: Option<Rate>,
    overhead: u32,
    size: usize,
    free_at: Nanos,
    leaving: VecDeque<(Nanos, Frame)>,
}

impl Line {
    /// A line without a limit, behind a ring of `size` frames.
    pub fn unlimited(size: usize) -> Line {
        Line { rate: None, overhead: 0, size, free_at: Nanos::ZERO, leaving: VecDeque::with_capacity(size) }
    }

    /// A line that carries `rate`, counting `overhead` bytes on top of each frame, behind a ring of `size` frames.
    pub fn limited(rate: Rate, overhead: u32, size: usize) -> Line {
        Line { rate: Some(rate), overhead, ..Line::unlimited(size) }
    }

    /// How many frames the ring would take now.
    pub fn room(&self) -> usize {
        self.size - self.leaving.len()
    }

    /// When the last bit of a frame of `wire_len` bytes would leave that is submitted now.
    #[inline]
    pub fn departure(&self, now: Nanos, wire_len: u32) -> Nanos {
        let bytes = u64::from(wire_len) + u64::from(self.overhead);
        now.max(self.free_at) + self.rate.map_or(Nanos::ZERO, |rate| rate.time_for(bytes))
    }

    /// Takes `frame` (`Egress` to `Transmit`) and returns its departure.
    ///
    /// # Panics
    ///
    /// If there is no [`Line::room`].
    #[inline]
    pub fn submit(&mut self, table: &Table, now: Nanos, frame: Frame) -> Nanos {
        assert!(self.leaving.len() < self.size, "a transmit ring of {} frames is full", self.size);
        table.pass(&frame, Owner::Egress, Owner::Transmit);
        self.free_at = self.departure(now, table.slot(&frame).wire_len);
        self.leaving.push_back((self.free_at, frame));
        self.free_at
    }

    /// Appends the frames that have left by `now` until `burst` is full.
    #[inline]
    pub fn complete(&mut self, now: Nanos, burst: &mut Burst) {
        while !burst.is_full()
            && self.leaving.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, frame)) = self.leaving.pop_front()
        {
            burst.push(frame);
        }
    }

    /// The frames submitted and not yet completed.
    pub fn in_flight(&self) -> u32 {
        self.leaving.len() as u32
    }

    /// When the oldest frame in the ring has left.
    pub fn next_completion(&self) -> Option<Nanos> {
        self.leaving.front().map(|(at, _)| *at)
    }
}
