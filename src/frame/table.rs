//! The side table: one slot per frame, and the way from a frame to its bytes.

use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::{Frame, Side};
use crate::units::Nanos;

/// Marks the end of a list through the table.
pub(super) const NONE: u32 = u32::MAX;

/// What the datapath knows about a frame; one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub struct Slot {
    data: NonNull<u8>,
    len: u32,
    pub(super) next: u32,
    /// When the frame was received.
    pub arrived: Nanos,
    /// The bytes that the frame has on the wire without overhead; more than are here only for a capture cut short.
    pub wire_len: u32,
    /// A hash that is equal for frames of one flow in one direction.
    pub flow_hash: u32,
    /// The leaf in the tree of the side by which the frame leaves.
    pub leaf: u16,
    /// The class slot that the verdict named.
    pub class: u8,
    /// The priority band of the verdict.
    pub band: u8,
    /// The side at which the frame came in.
    pub side: Side,
}

impl Slot {
    const EMPTY: Slot = Slot {
        data: NonNull::dangling(),
        len: 0,
        next: NONE,
        arrived: Nanos::ZERO,
        wire_len: 0,
        flow_hash: 0,
        leaf: 0,
        class: 0,
        band: 0,
        side: Side::Inside,
    };
}

/// Where a frame is; checked at every hand-over in debug builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Owner {
    /// Free, in its home range or on the ring back to it.
    Home = 0,
    /// Lent to a port to receive into.
    Fill,
    /// Held by an ingress half.
    Ingress,
    /// In a priority ring between the halves.
    Ring,
    /// Held by an egress half, mostly in a leaf queue.
    Egress,
    /// Lent to a port to transmit.
    Transmit,
}

/// One slot per frame of an arena, shared by all threads that pass its frames.
///
/// A [`Frame`] must be used with the table that it came with.
pub struct Table {
    slots: Box<[UnsafeCell<Slot>]>,
    memory: Memory,
    #[cfg(debug_assertions)]
    owners: Box<[AtomicU8]>,
}

// SAFETY: a slot is reached only through its `Frame`, of which there is one; `&Frame` gives shared and `&mut Frame` gives
// exclusive access. Frames pass between threads through rings that order the accesses.
#[allow(unsafe_code)]
unsafe impl Sync for Table {}
// SAFETY: as above; the memory is owned by the table, and what a port lends is `Send` itself.
#[allow(unsafe_code)]
unsafe impl Send for Table {}

impl Table {
    /// A table of `frames` slots whose bytes are in `memory`, which the table keeps from being freed before itself.
    pub fn external(frames: u32, memory: Box<dyn Send + Sync>) -> (Table, Vec<Frame>) {
        Table::build(frames, Memory::External { _keep: memory })
    }

    /// A table of `frames` slots with `chunk` bytes of ordinary memory each, for ports without memory of their own.
    pub fn heap(frames: u32, chunk: u32) -> (Table, Vec<Frame>) {
        Table::build(frames, Memory::Heap(Heap::new(frames, chunk)))
    }

    fn build(frames: u32, memory: Memory) -> (Table, Vec<Frame>) {
        assert!(frames < NONE, "a table holds fewer than {NONE} frames");
        let table = Table {
            slots: (0..frames).map(|_| UnsafeCell::new(Slot::EMPTY)).collect(),
            memory,
            #[cfg(debug_assertions)]
            owners: (0..frames).map(|_| AtomicU8::new(Owner::Home as u8)).collect(),
        };
        (table, (0..frames).map(Frame).collect())
    }

    /// The number of frames.
    pub fn frames(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The bytes that a frame can hold; zero if a port owns the memory.
    pub fn chunk(&self) -> u32 {
        match &self.memory {
            Memory::Heap(heap) => heap.chunk,
            Memory::External { .. } => 0,
        }
    }

    /// The slot of `frame`, to read.
    #[inline]
    #[allow(unsafe_code)]
    pub fn slot<'a>(&'a self, frame: &'a Frame) -> &'a Slot {
        // SAFETY: `frame` is the one right to this slot and is borrowed for as long as the reference lives.
        unsafe { &*self.slots[frame.0 as usize].get() }
    }

    /// The slot of `frame`, to write.
    #[inline]
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub fn slot_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut Slot {
        // SAFETY: `frame` is the one right to this slot and is borrowed mutably for as long as the reference lives.
        unsafe { &mut *self.slots[frame.0 as usize].get() }
    }

    /// The bytes of `frame`.
    #[inline]
    #[allow(unsafe_code)]
    pub fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        let slot = self.slot(frame);
        // SAFETY: `data` and `len` were set by `write` or under the contract of `place`, and `frame` owns the bytes.
        unsafe { std::slice::from_raw_parts(slot.data.as_ptr(), slot.len as usize) }
    }

    /// The bytes of `frame`, to change in place.
    #[inline]
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        let slot = self.slot_mut(frame);
        // SAFETY: as in `bytes`, and `frame` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(slot.data.as_ptr(), slot.len as usize) }
    }

    /// Points `frame` at `len` bytes that a port has received.
    ///
    /// # Safety
    ///
    /// The bytes must be valid for reads and writes, belong to `frame` alone until it is given back to the port, and
    /// lie in the memory that [`Table::external`] was given.
    #[inline]
    #[allow(unsafe_code)]
    pub unsafe fn place(&self, frame: &mut Frame, data: NonNull<u8>, len: u32) {
        let slot = self.slot_mut(frame);
        slot.data = data;
        slot.len = len;
        slot.wire_len = len;
    }

    /// Copies `bytes` into the memory of `frame`, as received from a wire where it had `wire_len` bytes.
    ///
    /// # Panics
    ///
    /// If the table has no memory of its own or `bytes` are more than [`Table::chunk`].
    #[inline]
    #[allow(unsafe_code)]
    pub fn write(&self, frame: &mut Frame, bytes: &[u8], wire_len: u32) {
        let Memory::Heap(heap) = &self.memory else { panic!("the table has no memory of its own") };
        let data = heap.chunk_of(frame.0, bytes.len());
        let slot = self.slot_mut(frame);
        slot.data = data;
        slot.len = bytes.len() as u32;
        slot.wire_len = wire_len;
        self.bytes_mut(frame).copy_from_slice(bytes);
    }

    /// Records that `frame` went from one owner to another; free in release builds.
    ///
    /// # Panics
    ///
    /// In debug builds, if the frame was elsewhere.
    #[inline]
    pub fn pass(&self, frame: &Frame, from: Owner, to: Owner) {
        #[cfg(debug_assertions)]
        {
            let was = self.owners[frame.0 as usize].swap(to as u8, Ordering::AcqRel);
            assert!(was == from as u8, "frame {} passed from {from:?} to {to:?} but was with owner {was}", frame.0);
        }
        #[cfg(not(debug_assertions))]
        let _ = (frame, from, to);
    }

    /// The frames that each owner has, indexed by [`Owner`]; a count over all frames, for tests. `None` in release builds.
    pub fn census(&self) -> Option<[u32; 6]> {
        #[cfg(debug_assertions)]
        {
            let mut count = [0; 6];
            for owner in &self.owners {
                count[usize::from(owner.load(Ordering::Acquire))] += 1;
            }
            Some(count)
        }
        #[cfg(not(debug_assertions))]
        None
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("frames", &self.frames()).field("chunk", &self.chunk()).finish_non_exhaustive()
    }
}

/// Where the bytes of the frames are.
enum Memory {
    Heap(Heap),
    External { _keep: Box<dyn Send + Sync> },
}

/// Ordinary memory cut into chunks; untouched chunks cost no pages.
///
/// Mapped here and not by the allocator, which may touch all of it to zero it, or refuse what is more than the machine has.
struct Heap {
    base: NonNull<u8>,
    bytes: usize,
    chunk: u32,
}

impl Heap {
    #[allow(unsafe_code)]
    fn new(frames: u32, chunk: u32) -> Heap {
        let bytes = (frames as usize * chunk as usize).max(1);
        let (access, kind) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: the kernel chooses a place where nothing else is.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, kind) };
        let base = base.unwrap_or_else(|error| panic!("can't map {bytes} bytes for {frames} frames: {error}"));
        Heap { base: NonNull::new(base.cast()).expect("no mapping is at zero"), bytes, chunk }
    }

    /// The start of the chunk of frame `index`, after checking that `len` bytes fit.
    #[allow(unsafe_code)]
    fn chunk_of(&self, index: u32, len: usize) -> NonNull<u8> {
        assert!(len <= self.chunk as usize, "{len} bytes in a chunk of {}", self.chunk);
        let start = index as usize * self.chunk as usize;
        assert!(start + len <= self.bytes);
        // SAFETY: `start` is within the allocation, by the line above.
        unsafe { self.base.add(start) }
    }
}

impl Drop for Heap {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the mapping is that of `new`, and no frame reaches it any more: bytes are borrowed from the table.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_written_are_bytes_read() {
        let (table, mut frames) = Table::heap(2, 128);
        table.write(&mut frames[0], b"first", 5);
        table.write(&mut frames[1], &[7; 128], 1500);
        table.bytes_mut(&mut frames[0])[0] = b'F';
        assert_eq!(table.bytes(&frames[0]), b"First");
        assert_eq!(table.bytes(&frames[1]), [7; 128]);
        assert_eq!(table.slot(&frames[1]).wire_len, 1500);
    }

    #[test]
    fn memory_that_no_frame_has_touched_is_not_taken() {
        let (table, mut frames) = Table::heap(64, 1 << 30);
        for frame in &mut frames {
            table.write(frame, b"one page each", 13);
        }
        assert_eq!(table.bytes(&frames[63]), b"one page each");
    }

    #[test]
    #[should_panic(expected = "bytes in a chunk of")]
    fn a_frame_longer_than_its_chunk_is_refused() {
        let (table, mut frames) = Table::heap(2, 128);
        table.write(&mut frames[0], &[0; 129], 129);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "but was with owner")]
    fn a_frame_in_two_places_is_caught() {
        let (table, frames) = Table::heap(1, 64);
        table.pass(&frames[0], Owner::Home, Owner::Fill);
        table.pass(&frames[0], Owner::Home, Owner::Fill);
    }

    #[test]
    fn a_slot_is_one_cache_line() {
        assert_eq!(size_of::<Slot>(), 64);
    }
}
