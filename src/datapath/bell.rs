//! How a sleeper and those who bring it work don't miss each other.
//!
//! The sleeper announces itself, looks once more for work, and only then sleeps; whoever brings work makes it visible, then
//! looks for a sleeper. With a full fence between the two steps on either side, one of them sees the other.
//!
//! Every change of the mark is a read and a write in one. Plain stores would do for the sleeper, but the order of stores
//! around those of a ringer is more than the model checker knows (`tests/loom_bell.rs`), and a sleeper can afford it.

use std::sync::Arc;

use super::sync::{AtomicBool, Ordering, fence};

/// What ends a sleep, also one that begins only after it.
pub trait Wake {
    /// Ends the sleep.
    fn wake(&self);
}

/// Wakes one worker if it sleeps; costs one fence and one load if it doesn't. A clone rings the same bell.
#[derive(Debug)]
pub struct Bell<W>(Arc<Bed<W>>);

#[derive(Debug)]
struct Bed<W> {
    sleeping: AtomicBool,
    waker: W,
}

impl<W> Clone for Bell<W> {
    fn clone(&self) -> Bell<W> {
        Bell(Arc::clone(&self.0))
    }
}

impl<W: Wake> Bell<W> {
    /// A bell that rings `waker`, for a worker that is awake.
    pub fn new(waker: W) -> Bell<W> {
        Bell(Arc::new(Bed { sleeping: AtomicBool::new(false), waker }))
    }

    /// Wakes the worker if it sleeps. Whatever it is to find must have been made visible before.
    #[inline]
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.0.sleeping.load(Ordering::Relaxed) && self.0.sleeping.swap(false, Ordering::AcqRel) {
            self.0.waker.wake();
        }
    }

    /// Says that the worker is about to sleep; after this it must look for work once more. For the sleeper alone.
    pub fn announce(&self) {
        self.0.sleeping.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// Says that the worker is awake: it found work after all, or has slept. For the sleeper alone.
    pub fn retract(&self) {
        self.0.sleeping.swap(false, Ordering::AcqRel);
    }
}
