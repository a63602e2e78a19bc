//! Simulated ports: lines with rate, delay and loss, exact in virtual time, for tests and demonstrations.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fill::Fill;
use super::{Line, Rx, RxLosses, Tx};
use crate::frame::{Burst, Home, Side, Table};
use crate::time::Clock;
use crate::units::Nanos;

/// A frame on a [`Cable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When it is at the far end.
    pub at: Nanos,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its length on the wire.
    pub wire_len: u32,
    /// Where it came from, if a [`SimTx`] sent it.
    pub origin: Option<Origin>,
}

/// What the datapath had noted about a frame that it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// When the datapath received it.
    pub arrived: Nanos,
    /// The side by which it came in.
    pub side: Side,
    /// The leaf in which it was queued.
    pub leaf: u16,
    /// The class slot of its verdict.
    pub class: u8,
}

/// One direction of a cable, with at most so many frames on it: whatever is put in comes out at its time, in order.
///
/// A clone is another handle to the same cable. A test pushes frames for a [`SimRx`], and pops those of a [`SimTx`]; a cable
/// between the two joins two bridges.
#[derive(Clone, Debug)]
pub struct Cable(Arc<Mutex<Frames>>);

#[derive(Debug)]
struct Frames {
    queue: VecDeque<Delivery>,
    capacity: usize,
    last: Nanos,
    lost: u64,
}

impl Cable {
    /// A cable that holds `capacity` frames.
    pub fn new(capacity: usize) -> Cable {
        Cable(Arc::new(Mutex::new(Frames { queue: VecDeque::new(), capacity, last: Nanos::ZERO, lost: 0 })))
    }

    /// Puts in a whole frame that is at the far end at `at`, or right behind the last one if that is later; false, and a loss, if the cable is full.
    pub fn push(&self, at: Nanos, bytes: &[u8]) -> bool {
        self.put(Delivery { at, bytes: bytes.to_vec(), wire_len: bytes.len() as u32, origin: None })
    }

    /// Takes out the next frame if it is at the far end by `now`; with [`Nanos::MAX`] in any case.
    pub fn pop(&self, now: Nanos) -> Option<Delivery> {
        let mut frames = self.lock();
        if frames.queue.front()?.at <= now { frames.queue.pop_front() } else { None }
    }

    /// When the next frame is at the far end, if one is on the way.
    pub fn next_arrival(&self) -> Option<Nanos> {
        self.lock().queue.front().map(|next| next.at)
    }

    /// The frames that found the cable full.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn put(&self, mut delivery: Delivery) -> bool {
        let mut frames = self.lock();
        let fits = frames.queue.len() < frames.capacity;
        if fits {
            delivery.at = delivery.at.max(frames.last);
            frames.last = delivery.at;
            frames.queue.push_back(delivery);
        } else {
            frames.lost += 1;
        }
        fits
    }

    fn lock(&self) -> MutexGuard<'_, Frames> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receiving half of a simulated port, at the far end of a [`Cable`].
///
/// A frame that arrives while no free frame is lent is lost, and counted as `fill_empty`; one that found the cable full as `ring_full`.
#[derive(Debug)]
pub struct SimRx {
    cable: Cable,
    fill: Fill,
}

impl SimRx {
    /// A port that borrows at most `ring` frames.
    pub fn new(cable: Cable, ring: usize) -> SimRx {
        SimRx { cable, fill: Fill::new(ring) }
    }
}

impl Rx for SimRx {
    fn receive(&mut self, table: &Table, now: Nanos, burst: &mut Burst) {
        while !burst.is_full()
            && let Some(delivery) = self.cable.pop(now)
        {
            self.fill.deliver(table, &delivery.bytes, delivery.wire_len, burst);
        }
    }

    fn refill(&mut self, table: &Table, home: &mut Home) {
        self.fill.refill(table, home);
    }

    fn lent(&self) -> u32 {
        self.fill.lent()
    }

    fn losses(&self) -> RxLosses {
        RxLosses { ring_full: self.cable.lost(), ..self.fill.losses() }
    }

    /// Of what is on the cable; more may be pushed.
    fn next_arrival(&self) -> Option<Nanos> {
        self.cable.next_arrival()
    }
}

/// The transmitting half of a simulated port: a [`Line`], then a [`Cable`] with delay and loss.
///
/// Frames are on the cable, with their times, from when they are submitted; a lost one has taken its time on the line all the same.
#[derive(Debug)]
pub struct SimTx {
    line: Line,
    cable: Cable,
    delay: Nanos,
    loss: f64,
    random: u64,
    lost: u64,
}

impl SimTx {
    /// A port without delay and loss.
    pub fn new(line: Line, cable: Cable) -> SimTx {
        SimTx { line, cable, delay: Nanos::ZERO, loss: 0.0, random: 0, lost: 0 }
    }

    /// Every frame takes `delay` from the end of the line to the end of the cable.
    pub fn with_delay(self, delay: Nanos) -> SimTx {
        SimTx { delay, ..self }
    }

    /// Each frame is lost with the given probability, by a sequence that `seed` determines.
    pub fn with_loss(self, probability: f64, seed: u64) -> SimTx {
        SimTx { loss: probability, random: seed, ..self }
    }

    /// The frames lost so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether the next frame is lost: SplitMix64 (Steele, Lea and Flood 2014), the upper 53 bits as a fraction.
    fn loses(&mut self) -> bool {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / ((1u64 << 53) as f64) < self.loss
    }
}

impl Tx for SimTx {
    fn room(&mut self) -> usize {
        self.line.room()
    }

    fn submit(&mut self, table: &Table, now: Nanos, burst: &mut Burst) {
        let count = burst.len().min(self.line.room());
        for frame in burst.drain(..count) {
            let slot = table.slot(&frame);
            let at = self.line.departure(now, slot.wire_len);
            if self.loses() {
                self.lost += 1;
            } else {
                self.cable.put(Delivery {
                    at: at + self.delay,
                    bytes: table.bytes(&frame).to_vec(),
                    wire_len: slot.wire_len,
                    origin: Some(Origin { arrived: slot.arrived, side: slot.side, leaf: slot.leaf, class: slot.class }),
                });
            }
            self.line.submit(table, now, frame);
        }
    }

    fn flush(&mut self, _latest: Nanos, _clock: &impl Clock) {}

    fn complete(&mut self, _table: &Table, now: Nanos, burst: &mut Burst) {
        self.line.complete(now, burst);
    }

    fn in_flight(&self) -> u32 {
        self.line.in_flight()
    }

    fn next_completion(&self) -> Option<Nanos> {
        self.line.next_completion()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Frame, Owner};
    use crate::units::Rate;

    /// Sends frames at the given times and lengths as soon as there is room, and returns when each was submitted.
    fn send(tx: &mut SimTx, table: &Table, frames: &mut Vec<Frame>, load: &[(u64, u32)]) -> Vec<Nanos> {
        let (mut burst, mut now, mut submitted) = (Burst::new(), Nanos::ZERO, Vec::new());
        for &(at, wire_len) in load {
            now = now.max(Nanos(at));
            while tx.room() == 0 {
                now = now.max(tx.next_completion().expect("a full ring will have room"));
                tx.complete(table, now, &mut burst);
                for frame in burst.drain(..) {
                    table.pass(&frame, Owner::Transmit, Owner::Home);
                    frames.push(frame);
                }
            }
            let mut frame = frames.pop().expect("as many frames as the ring");
            table.pass(&frame, Owner::Home, Owner::Egress);
            table.write(&mut frame, &[0; 14], wire_len);
            burst.push(frame);
            tx.submit(table, now, &mut burst);
            assert!(burst.is_empty());
            submitted.push(now);
        }
        submitted
    }

    proptest! {
        #[test]
        fn every_frame_leaves_when_the_line_is_free_and_it_has_been_sent(
            rate in 1_000u64..200_000_000_000,
            overhead in 0u32..64,
            delay in 0u64..1_000_000_000,
            ring in 1usize..40,
            load in prop::collection::vec((0u64..1_000_000, 14u32..10_000), 1..200),
        ) {
            let (table, mut frames) = Table::heap(ring as u32, 64);
            let cable = Cable::new(load.len());
            let line = Line::limited(Rate(rate), overhead, ring);
            let mut tx = SimTx::new(line, cable.clone()).with_delay(Nanos(delay));
            let submitted = send(&mut tx, &table, &mut frames, &load);
            let mut free = 0u128;
            for (now, (_, wire_len)) in submitted.into_iter().zip(&load) {
                let bits = u128::from(wire_len + overhead) * 8;
                free = free.max(u128::from(now.0)) + (bits * 1_000_000_000).div_ceil(u128::from(rate));
                let delivery = cable.pop(Nanos::MAX).expect("nothing is lost");
                prop_assert_eq!(u128::from(delivery.at.0), free + u128::from(delay));
                prop_assert_eq!(delivery.wire_len, *wire_len);
            }
        }
    }

    #[test]
    fn frames_complete_when_they_have_left_and_not_before() {
        let (table, mut frames) = Table::heap(3, 64);
        let mut tx = SimTx::new(Line::limited(Rate(8_000_000_000), 24, 3), Cable::new(3));
        send(&mut tx, &table, &mut frames, &[(5, 76), (5, 1), (500, 76)]);
        let mut done = Burst::new();
        for (now, completed, next) in [(104, 0, Some(105)), (105, 1, Some(130)), (599, 2, Some(600)), (600, 3, None)] {
            tx.complete(&table, Nanos(now), &mut done);
            assert_eq!((done.len(), tx.next_completion()), (completed, next.map(Nanos)), "at {now}");
            assert_eq!(tx.in_flight() as usize, 3 - completed);
        }
        assert_eq!(done.iter().map(Frame::index).collect::<Vec<_>>(), [2, 1, 0], "in the order sent");
    }

    #[test]
    fn loss_is_of_the_size_asked_and_the_same_for_the_same_seed() {
        let run = |probability, seed| {
            let (table, mut frames) = Table::heap(4, 64);
            let cable = Cable::new(20_000);
            let mut tx = SimTx::new(Line::unlimited(4), cable.clone()).with_loss(probability, seed);
            send(&mut tx, &table, &mut frames, &(0..20_000).map(|n| (n, 60)).collect::<Vec<_>>());
            let there: Vec<Nanos> = std::iter::from_fn(|| cable.pop(Nanos::MAX).map(|frame| frame.at)).collect();
            assert_eq!(there.len() as u64 + tx.lost(), 20_000);
            there
        };
        assert_eq!(run(0.0, 1).len(), 20_000);
        assert_eq!(run(1.0, 1).len(), 0);
        let some = run(0.1, 1);
        assert!((17_700..18_300).contains(&some.len()), "{}", some.len());
        assert_eq!(some, run(0.1, 1));
        assert_ne!(some, run(0.1, 2));
    }

    #[test]
    fn a_port_receives_what_has_arrived_and_counts_what_it_could_not_take() {
        let (table, frames) = Table::heap(2, 64);
        let (mut homes, _returns) = crate::frame::homes(frames, 1, 1);
        let cable = Cable::new(4);
        for (at, fits) in [(10, true), (20, true), (5, true), (30, true), (40, false)] {
            assert_eq!(cable.push(Nanos(at), &[at as u8; 60]), fits);
        }
        let mut rx = SimRx::new(cable, 8);
        let mut burst = Burst::new();
        rx.refill(&table, &mut homes[0]);
        assert_eq!((rx.lent(), rx.next_arrival()), (2, Some(Nanos(10))));
        rx.receive(&table, Nanos(9), &mut burst);
        assert_eq!(burst.len(), 0);
        rx.receive(&table, Nanos(10), &mut burst);
        assert_eq!((burst.len(), rx.next_arrival()), (1, Some(Nanos(20))));
        rx.receive(&table, Nanos(20), &mut burst);
        assert_eq!((burst.len(), rx.next_arrival()), (2, Some(Nanos(30))));
        assert_eq!(table.bytes(&burst[1]), [20; 60]);
        assert_eq!(rx.losses(), RxLosses { ring_full: 1, fill_empty: 1, other: 0 });
        for frame in burst.drain(..) {
            homes[0].give(&table, frame);
        }
    }
}
