//! Ports without a wire, for benchmarks: frames out of memory as fast as they are asked for, and into nothing.

use std::collections::VecDeque;

use super::fill::Fill;
use super::{Rx, RxLosses, Tx};
use crate::frame::{BURST, Burst, Frame, Home, Owner, Table};
use crate::time::Clock;
use crate::units::Nanos;

/// A receiving half that delivers the same frames round and round, and allocates nothing.
///
/// Each is copied into a free frame, as a network card would do it; when none is lent it waits, and loses nothing.
#[derive(Debug)]
pub struct MemoryRx {
    /// All templates, one behind the other.
    bytes: Vec<u8>,
    /// Where each template ends.
    ends: Vec<usize>,
    next: usize,
    left: u64,
    burst: usize,
    fill: Fill,
}

impl MemoryRx {
    /// A port that delivers `templates` in turn without end, in full bursts, and borrows at most `ring` frames.
    ///
    /// # Panics
    ///
    /// If there are no templates.
    pub fn new<T: AsRef<[u8]>>(templates: impl IntoIterator<Item = T>, ring: usize) -> MemoryRx {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for template in templates {
            bytes.extend_from_slice(template.as_ref());
            ends.push(bytes.len());
        }
        assert!(!ends.is_empty(), "a port in memory needs a frame to deliver");
        MemoryRx { bytes, ends, next: 0, left: u64::MAX, burst: BURST, fill: Fill::new(ring) }
    }

    /// Ends after `frames`.
    pub fn with_limit(self, frames: u64) -> MemoryRx {
        MemoryRx { left: frames, ..self }
    }

    /// Delivers at most `frames` in one go.
    pub fn with_burst(self, frames: usize) -> MemoryRx {
        MemoryRx { burst: frames, ..self }
    }
}

impl Rx for MemoryRx {
    #[inline]
    fn receive(&mut self, table: &Table, _now: Nanos, burst: &mut Burst) {
        let count = self.burst.min(burst.remaining_capacity()).min(self.fill.lent() as usize);
        let count = self.left.min(count as u64);
        self.left -= count;
        for _ in 0..count {
            let start = if self.next == 0 { 0 } else { self.ends[self.next - 1] };
            let template = &self.bytes[start..self.ends[self.next]];
            self.fill.deliver(table, template, template.len() as u32, burst);
            self.next = if self.next + 1 == self.ends.len() { 0 } else { self.next + 1 };
        }
    }

    #[inline]
    fn refill(&mut self, table: &Table, home: &mut Home) {
        self.fill.refill(table, home);
    }

    fn lent(&self) -> u32 {
        self.fill.lent()
    }

    fn losses(&self) -> RxLosses {
        self.fill.losses()
    }

    /// At once until the limit is reached, then never.
    fn next_arrival(&self) -> Option<Nanos> {
        Some(if self.left > 0 { Nanos::ZERO } else { Nanos::MAX })
    }
}

/// A transmitting half that is done with every frame at the next [`Tx::complete`].
#[derive(Debug)]
pub struct MemoryTx {
    taken: VecDeque<Frame>,
    size: usize,
    completed: u64,
}

impl MemoryTx {
    /// A port that holds at most `ring` frames.
    pub fn new(ring: usize) -> MemoryTx {
        MemoryTx { taken: VecDeque::with_capacity(ring), size: ring, completed: 0 }
    }

    /// The frames completed so far.
    pub fn completed(&self) -> u64 {
        self.completed
    }
}

impl Tx for MemoryTx {
    #[inline]
    fn room(&mut self) -> usize {
        self.size - self.taken.len()
    }

    #[inline]
    fn submit(&mut self, table: &Table, _now: Nanos, burst: &mut Burst) {
        let count = burst.len().min(self.size - self.taken.len());
        for frame in burst.drain(..count) {
            table.pass(&frame, Owner::Egress, Owner::Transmit);
            self.taken.push_back(frame);
        }
    }

    fn flush(&mut self, _latest: Nanos, _clock: &impl Clock) {}

    #[inline]
    fn complete(&mut self, _table: &Table, _now: Nanos, burst: &mut Burst) {
        let count = burst.remaining_capacity().min(self.taken.len());
        burst.extend(self.taken.drain(..count));
        self.completed += count as u64;
    }

    fn in_flight(&self) -> u32 {
        self.taken.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_round_and_come_home() {
        let (table, frames) = Table::heap(8, 64);
        let (mut homes, mut returns) = crate::frame::homes(frames, 1, 1);
        let (home, back) = (&mut homes[0], &mut returns[0]);
        let mut rx = MemoryRx::new([&[1; 60][..], &[2; 64], &[3; 14]], 6).with_limit(100).with_burst(4);
        let mut tx = MemoryTx::new(5);
        let (mut burst, mut seen) = (Burst::new(), Vec::new());
        rx.receive(&table, Nanos::ZERO, &mut burst);
        assert!(burst.is_empty(), "nothing is lent yet");
        while rx.next_arrival() == Some(Nanos::ZERO) {
            home.collect();
            rx.refill(&table, home);
            assert_eq!(rx.lent(), 6);
            rx.receive(&table, Nanos::ZERO, &mut burst);
            assert!(burst.len() <= 4);
            for frame in &burst {
                table.pass(frame, Owner::Ingress, Owner::Egress);
                seen.push((table.bytes(frame)[0], table.slot(frame).wire_len));
            }
            tx.submit(&table, Nanos::ZERO, &mut burst);
            assert!(burst.is_empty());
            tx.complete(&table, Nanos::ZERO, &mut burst);
            for frame in burst.drain(..) {
                back.send(&table, frame, Owner::Transmit);
            }
        }
        let expected: Vec<_> = [(1, 60), (2, 64), (3, 14)].into_iter().cycle().take(100).collect();
        assert_eq!(seen, expected);
        assert_eq!((tx.completed(), tx.in_flight(), rx.losses()), (100, 0, RxLosses::default()));
        assert_eq!(rx.next_arrival(), Some(Nanos::MAX));
    }

    #[test]
    fn a_full_ring_leaves_the_rest_in_the_burst() {
        let (table, frames) = Table::heap(4, 64);
        let mut burst: Burst = frames.into_iter().collect();
        for frame in &burst {
            table.pass(frame, Owner::Home, Owner::Egress);
        }
        let mut tx = MemoryTx::new(3);
        tx.submit(&table, Nanos::ZERO, &mut burst);
        assert_eq!((tx.room(), tx.in_flight(), burst.len(), burst[0].index()), (0, 3, 1, 3));
    }
}
