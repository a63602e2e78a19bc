//! The beats by which a kernel program knows that its queues are served, in memory that it shares with this process.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::units::Nanos;

/// The most receive queues of a port; program.bpf.c has the same number.
pub const QUEUES_MAX: u32 = 64;

/// How long a beat is fresh after a frame first met it; frames then pass to the kernel until the next.
pub const STALE: Nanos = Nanos::from_millis(100);

/// The most programs that one process can have loaded: those of sixteen wires.
const PROGRAMS_MAX: usize = 32;

/// The programs that [`mute_all`] reaches.
static LOADED: Registry = Registry::new();

/// Makes every program that this process has loaded take all frames past it, as [`Program::mute`](super::Program::mute)
/// does for one. Nothing is allocated and nothing waited for, so that a panic hook may call it.
pub fn mute_all() {
    LOADED.mute();
}

/// `pulse` of program.bpf.c.
#[repr(C)]
struct Shared {
    queues: [Queue; QUEUES_MAX as usize],
    muted: AtomicU32,
}

#[repr(C, align(64))]
struct Queue {
    beat: AtomicU64,
    /// The program's own: the beat that it has seen, and when.
    _seen: [AtomicU64; 2],
}

/// The memory shared with one program, mapped.
#[derive(Debug)]
pub(super) struct Pulse {
    shared: NonNull<Shared>,
}

// SAFETY: what is behind the pointer is atomics.
#[allow(unsafe_code)]
unsafe impl Send for Pulse {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Pulse {}

#[allow(unsafe_code)]
impl Pulse {
    /// The size of the program's variables.
    pub(super) const BYTES: usize = size_of::<Shared>();

    /// Maps the variables of a program, which `map` must hold.
    pub(super) fn map(map: BorrowedFd<'_>) -> io::Result<Arc<Pulse>> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let shared = unsafe { mmap(ptr::null_mut(), Pulse::BYTES, access, flags, map, 0) }?;
        let shared = NonNull::new(shared.cast()).expect("the kernel maps nothing at zero");
        let pulse = Arc::new(Pulse { shared });
        if LOADED.enter(shared) {
            return Ok(pulse);
        }
        Err(io::Error::other(format!(
            "this process has {PROGRAMS_MAX} ports already, and could not silence more when it fails; open the next wire in \
             another process"
        )))
    }

    /// Makes all beats count for nothing, or again.
    pub(super) fn mute(&self, muted: bool) {
        self.shared().muted.store(u32::from(muted), Ordering::Relaxed);
    }

    fn shared(&self) -> &Shared {
        // SAFETY: the mapping lasts as long as `self`, and every field is an atomic.
        unsafe { self.shared.as_ref() }
    }
}

#[allow(unsafe_code)]
impl Drop for Pulse {
    fn drop(&mut self) {
        LOADED.leave(self.shared);
        // SAFETY: the mapping is ours, and nothing can reach it any more.
        if let Err(error) = unsafe { munmap(self.shared.as_ptr().cast(), Pulse::BYTES) } {
            tracing::warn!("could not unmap a program's variables: {error}");
        }
    }
}

/// The beat of one queue.
#[derive(Debug)]
pub(super) struct Beat {
    pulse: Arc<Pulse>,
    queue: usize,
    count: u64,
}

impl Beat {
    /// # Panics
    ///
    /// If there can't be such a queue.
    pub(super) fn new(pulse: Arc<Pulse>, queue: u32) -> Beat {
        assert!(queue < QUEUES_MAX, "queue {queue} of {QUEUES_MAX}");
        Beat { pulse, queue: queue as usize, count: 0 }
    }

    /// Tells the program that the queue is served now.
    #[inline]
    pub(super) fn advance(&mut self) {
        // In 64 bits it never comes round to zero.
        self.count += 1;
        self.pulse.shared().queues[self.queue].beat.store(self.count, Ordering::Relaxed);
    }
}

/// The mapped variables of all programs.
struct Registry {
    programs: [AtomicPtr<Shared>; PROGRAMS_MAX],
    /// Calls of `mute` that are under way.
    muting: AtomicU32,
}

impl Registry {
    const fn new() -> Registry {
        Registry { programs: [const { AtomicPtr::new(ptr::null_mut()) }; PROGRAMS_MAX], muting: AtomicU32::new(0) }
    }

    /// Takes a program in; false if there is no place for it.
    fn enter(&self, shared: NonNull<Shared>) -> bool {
        let free = |place: &AtomicPtr<Shared>| {
            place.compare_exchange(ptr::null_mut(), shared.as_ptr(), Ordering::SeqCst, Ordering::SeqCst).is_ok()
        };
        self.programs.iter().any(free)
    }

    /// Gives a program up: after this nobody reaches its variables.
    fn leave(&self, shared: NonNull<Shared>) {
        for place in &self.programs {
            let _ = place.compare_exchange(shared.as_ptr(), ptr::null_mut(), Ordering::SeqCst, Ordering::SeqCst);
        }
        // Who began before may still hold the pointer, for as long as a few dozen stores take.
        while self.muting.load(Ordering::SeqCst) > 0 {
            std::hint::spin_loop();
        }
    }

    #[allow(unsafe_code)]
    fn mute(&self) {
        self.muting.fetch_add(1, Ordering::SeqCst);
        for place in &self.programs {
            // SAFETY: whoever takes a pointer out of its place waits for us before the variables go.
            if let Some(shared) = unsafe { place.load(Ordering::SeqCst).as_ref() } {
                shared.muted.store(1, Ordering::Relaxed);
            }
        }
        self.muting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;

    /// Variables as the kernel hands them out: all zero.
    fn variables() -> Box<Shared> {
        // SAFETY: a structure of integers.
        unsafe { Box::new(std::mem::zeroed()) }
    }

    #[test]
    fn all_programs_are_muted_but_those_that_have_gone() {
        let registry = Registry::new();
        let mut programs: Vec<Box<Shared>> = (0..PROGRAMS_MAX).map(|_| variables()).collect();
        let pointers: Vec<NonNull<Shared>> = programs.iter_mut().map(|shared| NonNull::from(&mut **shared)).collect();
        assert!(pointers.iter().all(|shared| registry.enter(*shared)));
        assert!(!registry.enter(NonNull::from(&mut *variables())), "there is a most");
        registry.leave(pointers[3]);
        registry.mute();
        // SAFETY: the boxes are still there.
        let muted = |shared: &NonNull<Shared>| unsafe { shared.as_ref() }.muted.load(Ordering::Relaxed) == 1;
        assert_eq!(pointers.iter().position(|shared| !muted(shared)), Some(3));
        assert_eq!(pointers.iter().filter(|shared| muted(shared)).count(), PROGRAMS_MAX - 1);
        assert!(registry.enter(pointers[3]), "a place that was given up is free");
    }

    #[test]
    fn every_beat_has_a_cache_line() {
        assert_eq!((size_of::<Queue>(), std::mem::offset_of!(Shared, muted)), (64, 4096));
    }
}
