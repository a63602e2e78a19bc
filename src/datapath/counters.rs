//! What each half has seen, and the equations that must hold.
//!
//! Each counter has one writer, the half that owns it, so an increment is a plain load, add and store; anyone may read. A
//! reader in another thread sees every counter somewhere between two turns, so differences between counters are exact only
//! while nothing moves, and otherwise bounded by what the rings hold.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

use super::drop::DropReason;
use crate::classify::Class;
use crate::frame::Side;

/// The number of class slots.
pub const CLASSES: usize = Class::ALL.len();

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

/// A copy has a writer of its own: whoever keeps it.
impl Clone for Count {
    fn clone(&self) -> Count {
        Count(AtomicU64::new(self.read()))
    }
}

impl Count {
    /// Adds `n`; only the owning half may call it.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value now.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Frames and their bytes on the wire, without overhead.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    frames: Count,
    bytes: Count,
}

impl Traffic {
    /// Counts `frames` that have `bytes` together.
    #[inline]
    pub fn add(&self, frames: u64, bytes: u64) {
        self.frames.add(frames);
        self.bytes.add(bytes);
    }

    /// The values now.
    pub fn read(&self) -> Volume {
        Volume { frames: self.frames.read(), bytes: self.bytes.read() }
    }
}

/// What a [`Traffic`] counter showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Frames.
    pub frames: u64,
    /// Bytes on the wire, without overhead.
    pub bytes: u64,
}

impl AddAssign for Volume {
    fn add_assign(&mut self, other: Volume) {
        self.frames += other.frames;
        self.bytes += other.bytes;
    }
}

impl std::iter::Sum for Volume {
    fn sum<I: Iterator<Item = Volume>>(iter: I) -> Volume {
        iter.fold(Volume::default(), |mut sum, volume| {
            sum += volume;
            sum
        })
    }
}

/// One value for each class and side.
pub type PerClass<T> = [[T; CLASSES]; 2];

/// Frames dropped, by class slot, side at which they came in, and reason.
#[derive(Clone, Debug, Default)]
pub struct Drops(PerClass<[Traffic; DropReason::ALL.len()]>);

impl Drops {
    /// Counts one frame of `bytes`.
    #[inline]
    pub fn add(&self, side: Side, class: u8, reason: DropReason, bytes: u32) {
        self.0[side as usize][usize::from(class)][reason as usize].add(1, u64::from(bytes));
    }

    /// What came in at `side` and was dropped with this class and reason.
    pub fn volume(&self, side: Side, class: usize, reason: DropReason) -> Volume {
        self.0[side as usize][class][reason as usize].read()
    }

    /// The frames that came in at `side` and were dropped with this class and reason.
    pub fn read(&self, side: Side, class: usize, reason: DropReason) -> u64 {
        self.volume(side, class, reason).frames
    }

    /// What came in at `side` and was dropped with this class, for whatever reason.
    pub fn of_class(&self, side: Side, class: usize) -> Volume {
        self.0[side as usize][class].iter().map(Traffic::read).sum()
    }

    /// All frames dropped.
    pub fn total(&self) -> u64 {
        self.0.iter().flatten().flatten().map(|traffic| traffic.read().frames).sum()
    }
}

/// What an ingress half has seen. Sides are those at which frames came in.
#[derive(Clone, Debug, Default)]
#[repr(align(128))]
pub struct IngressCounts {
    /// Frames taken from each port.
    pub received: [Traffic; 2],
    /// Frames pushed into the priority rings.
    pub pushed: PerClass<Traffic>,
    /// Frames dropped here.
    pub dropped: Drops,
    /// Frames that a policer sent with the background class.
    pub demoted: Count,
    /// Look-ups that found their flow with a verdict that still holds.
    pub flow_hits: Count,
    /// Look-ups that had to judge.
    pub flow_misses: Count,
    /// Records of flows that nobody took in time.
    pub records_lost: Count,
    /// Times that this half had not turned for so long that it dropped everything it held.
    pub stalls: Count,
}

impl IngressCounts {
    /// All frames received.
    pub fn frames_received(&self) -> u64 {
        self.received.iter().map(|traffic| traffic.read().frames).sum()
    }

    /// All frames pushed.
    pub fn frames_pushed(&self) -> u64 {
        self.pushed.iter().flatten().map(|traffic| traffic.read().frames).sum()
    }

    /// At a turn's end: received = pushed + dropped.
    pub fn balanced(&self) -> bool {
        self.frames_received() == self.frames_pushed() + self.dropped.total()
    }
}

/// What an egress half has seen. Sides are those at which frames came *in*; a frame leaves by the opposite one.
#[derive(Clone, Debug, Default)]
#[repr(align(128))]
pub struct EgressCounts {
    /// Frames taken from the priority rings.
    pub popped: PerClass<Traffic>,
    /// Frames handed to the ports.
    pub submitted: PerClass<Traffic>,
    /// Of the frames popped, those that were told of congestion by a mark.
    pub marked: PerClass<Count>,
    /// Frames that the ports are done with.
    pub completed: Count,
    /// Frames handed to a port that never began to be sent: taken back after a stall, or gone with the port.
    pub abandoned: Count,
    /// Frames dropped here.
    pub dropped: Drops,
    /// Turns made; whoever feeds this half looks here whether it lives.
    pub turns: Count,
    /// Times that this half had not turned for so long that it dropped everything it held.
    pub stalls: Count,
}

impl EgressCounts {
    /// All frames popped.
    pub fn frames_popped(&self) -> u64 {
        self.popped.iter().flatten().map(|traffic| traffic.read().frames).sum()
    }

    /// What is in the queues, of a class that came in at `side`; exact at a turn's end.
    pub fn queued(&self, side: Side, class: usize) -> Volume {
        let popped = self.popped[side as usize][class].read();
        let mut gone = self.submitted[side as usize][class].read();
        gone += self.dropped.of_class(side, class);
        Volume { frames: popped.frames - gone.frames, bytes: popped.bytes - gone.bytes }
    }

    /// All frames submitted.
    pub fn frames_submitted(&self) -> u64 {
        self.submitted.iter().flatten().map(|traffic| traffic.read().frames).sum()
    }

    /// At a turn's end: popped = submitted + dropped + queued, and submitted − completed − abandoned = in transmit.
    pub fn balanced(&self, queued: u64, in_transmit: u64) -> bool {
        let submitted = self.frames_submitted();
        self.frames_popped() == submitted + self.dropped.total() + queued
            && submitted - self.completed.read() - self.abandoned.read() == in_transmit
    }
}
