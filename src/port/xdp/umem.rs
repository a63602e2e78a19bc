//! The memory that both ports share, and the descriptor of every frame in it.

use std::cell::UnsafeCell;
use std::io;
use std::num::NonZeroU32;
use std::ptr::NonNull;

use rustix::mm::{Advice, madvise};
use xsk_rs::config::{FrameSize, QueueSize, UmemConfigBuilder, XDP_UMEM_MIN_CHUNK_SIZE};
use xsk_rs::{FrameDesc, Umem};

use super::diagnosis::{Error, os_error};
use super::socket::patiently;
use super::wire::Mode;
use crate::frame::{BURST, Frame, Table};

/// The bytes at the front of every chunk that the kernel keeps for its program (`XDP_PACKET_HEADROOM` of linux/bpf.h).
pub(super) const HEADROOM: u32 = 256;

/// The largest chunk that an aligned UMEM can have: one page.
const CHUNK_MAX: u32 = 4096;

/// The sizes of a wire's rings and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Descriptors in the receive ring of every queue; a power of two.
    pub rx_ring: u32,
    /// Descriptors in the fill ring of every queue; a power of two.
    pub fill_ring: u32,
    /// Descriptors in the transmit ring; a power of two.
    pub tx_ring: u32,
    /// Descriptors in the completion ring; a power of two.
    pub completion_ring: u32,
    /// The most frames that one port has submitted and not yet completed: what the kernel holds, no queue of ours can reorder.
    pub max_in_flight: u32,
    /// Frames that the rings between the halves and the leaf queues of both directions may hold.
    pub egress_frames: u32,
    /// Bytes of memory per frame, 256 of which are the kernel's: 2048 or 4096.
    pub chunk: u32,
    /// Take this mode or fail; without it, the best that both interfaces allow.
    pub mode: Option<Mode>,
    /// Drop the frames that nobody serves, for as long as nobody does; otherwise they are left to the kernel.
    pub closed: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            rx_ring: 2048,
            fill_ring: 2048,
            tx_ring: 2048,
            completion_ring: 2048,
            max_in_flight: 2 * BURST as u32,
            egress_frames: 8192,
            chunk: CHUNK_MAX,
            mode: None,
            closed: false,
        }
    }
}

/// An option that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A ring whose size the kernel would refuse.
    #[error("{option}: got {got}, want a power of two from {min} to 32768", min = BURST)]
    Ring {
        /// The option's name.
        option: &'static str,
        /// Its value.
        got: u32,
    },
    /// A chunk that AF_XDP doesn't have.
    #[error("chunk: got {0}, want {XDP_UMEM_MIN_CHUNK_SIZE} or {CHUNK_MAX}")]
    Chunk(u32),
    /// A cap that would stop the port or overflow a ring.
    #[error("max_in_flight: got {got}, want {min} to {max} (the smaller of tx_ring and completion_ring)", min = BURST)]
    InFlight {
        /// Its value.
        got: u32,
        /// The largest that fits.
        max: u32,
    },
    /// More memory than a frame's index can number or a process should lock.
    #[error("{frames} frames of {chunk} bytes are more than the 16 GiB allowed: lower egress_frames or the ring sizes")]
    Memory {
        /// The frames that the formula gives.
        frames: u64,
        /// Bytes for each.
        chunk: u32,
    },
}

impl Options {
    /// The frames in the UMEM of a wire with this many receive queues on both ports together.
    ///
    /// Every place where frames can wait has its own, so that none starves another:
    ///
    /// ```text
    /// queues × (fill_ring + rx_ring)    lent to the kernel to receive into, or received and not yet seen
    /// + 2 × max_in_flight               being transmitted
    /// + (queues + 2 × 2) × 32           one burst in the hands of every ingress, two in those of either egress
    /// + egress_frames                   between the halves and in leaf queues
    /// ```
    ///
    /// # Errors
    ///
    /// If an option is out of its range or the sum is more than 16 GiB.
    pub fn frames(&self, queues: u32) -> Result<u32, OptionsError> {
        self.check()?;
        let [queues, burst] = [queues, BURST as u32].map(u64::from);
        let lent = queues * (u64::from(self.fill_ring) + u64::from(self.rx_ring));
        let frames = lent + 2 * u64::from(self.max_in_flight) + (queues + 4) * burst + u64::from(self.egress_frames);
        match u32::try_from(frames) {
            Ok(fits) if frames * u64::from(self.chunk) <= 16 << 30 => Ok(fits),
            _ => Err(OptionsError::Memory { frames, chunk: self.chunk }),
        }
    }

    fn check(&self) -> Result<(), OptionsError> {
        let rings = [
            ("rx_ring", self.rx_ring),
            ("fill_ring", self.fill_ring),
            ("tx_ring", self.tx_ring),
            ("completion_ring", self.completion_ring),
        ];
        for (option, got) in rings {
            if !got.is_power_of_two() || !(BURST as u32..=32768).contains(&got) {
                return Err(OptionsError::Ring { option, got });
            }
        }
        if self.chunk != XDP_UMEM_MIN_CHUNK_SIZE && self.chunk != CHUNK_MAX {
            return Err(OptionsError::Chunk(self.chunk));
        }
        let max = self.tx_ring.min(self.completion_ring);
        if !(BURST as u32..=max).contains(&self.max_in_flight) {
            return Err(OptionsError::InFlight { got: self.max_in_flight, max });
        }
        Ok(())
    }

    /// The longest frame that a chunk holds.
    pub(super) fn room(&self) -> u32 {
        self.chunk - HEADROOM
    }
}

/// A ring's size in the crate's type.
pub(super) fn ring(size: u32) -> QueueSize {
    QueueSize::new(size).expect("checked with the options")
}

/// The UMEM, with the kernel's descriptor of every frame.
pub(super) struct Arena {
    umem: Umem,
    descriptors: Box<[UnsafeCell<FrameDesc>]>,
    /// Bytes per frame, as a power of two.
    chunk_bits: u32,
}

// SAFETY: a descriptor is reached only through its `Frame`, of which there is one; `umem` is itself `Sync`.
#[allow(unsafe_code)]
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps and registers the memory of `frames` frames.
    pub(super) fn new(options: &Options, frames: u32) -> Result<Arena, Error> {
        let config = UmemConfigBuilder::new()
            .frame_size(FrameSize::new(options.chunk).expect("checked with the options"))
            .fill_queue_size(ring(options.fill_ring))
            .comp_queue_size(ring(options.completion_ring))
            .build()
            .expect("checked with the options");
        let count = NonZeroU32::new(frames).expect("the formula gives more than none");
        let register = || Umem::new(config, count, false).map_err(|error| os_error(&error));
        let (umem, descriptors) = patiently(libc::ENOBUFS, register)
            .map_err(|error| Error::refused("registering the UMEM", "the wire", error))?;
        let bytes = frames as usize * options.chunk as usize;
        keep_out_of_dumps(&umem, &descriptors[0], bytes)
            .map_err(|error| Error::refused("keeping the UMEM out of core dumps", "the wire", error))?;
        let descriptors = descriptors.into_iter().map(UnsafeCell::new).collect();
        Ok(Arena { umem, descriptors, chunk_bits: options.chunk.trailing_zeros() })
    }

    /// The UMEM to bind sockets to.
    pub(super) fn umem(&self) -> &Umem {
        &self.umem
    }

    /// The index of the frame that the kernel means by `address`, if there is one.
    #[inline]
    pub(super) fn index(&self, address: usize) -> Option<u32> {
        let index = address >> self.chunk_bits;
        (index < self.descriptors.len()).then_some(index as u32)
    }

    /// The descriptor of `frame`.
    #[inline]
    #[allow(unsafe_code)]
    pub(super) fn descriptor(&self, frame: &Frame) -> FrameDesc {
        // SAFETY: `frame` is the one right to this descriptor and is borrowed while it is copied.
        unsafe { *self.descriptors[frame.index() as usize].get() }
    }

    /// Takes the frame that the kernel received with `descriptor`; `None` if it lies outside the UMEM or leaves its chunk.
    ///
    /// # Safety
    ///
    /// The kernel must just have given up `descriptor` on a receive ring of this UMEM, and it must be used once.
    #[inline]
    #[allow(unsafe_code)]
    pub(super) unsafe fn receive(&self, table: &Table, descriptor: &mut FrameDesc) -> Option<Frame> {
        let index = self.index(descriptor.addr())?;
        let chunk = 1 << self.chunk_bits;
        let (offset, len) = (descriptor.addr() & (chunk - 1), descriptor.lengths().data());
        if offset + len > chunk || descriptor.has_more_frames() {
            return None;
        }
        descriptor.set_options(0);
        // SAFETY: the kernel gave the frame up, by the contract of this function.
        let mut frame = unsafe { Frame::from_index(index) };
        // SAFETY: `frame` is the one right to this descriptor.
        unsafe { *self.descriptors[index as usize].get() = *descriptor };
        // SAFETY: the descriptor lies within one chunk of this UMEM, by the checks above, and the chunk is `frame`'s.
        let mut data = unsafe { self.umem.data_mut(descriptor) };
        let bytes = NonNull::from(data.contents_mut()).cast();
        // SAFETY: the bytes are `frame`'s, and the table was given this arena to keep.
        unsafe { table.place(&mut frame, bytes, len as u32) };
        Some(frame)
    }
}

/// Spares a core dump the frames: they are other people's traffic, and writing them would hold up a restart.
#[allow(unsafe_code)]
fn keep_out_of_dumps(umem: &Umem, first: &FrameDesc, bytes: usize) -> io::Result<()> {
    // SAFETY: the descriptor is of this UMEM's first frame, which nobody has yet.
    let data = unsafe { umem.data(first) };
    let start = data.contents().as_ptr().wrapping_sub(first.addr()).cast_mut();
    // SAFETY: the advice changes no byte; the range is the mapping that begins where offset zero is.
    Ok(unsafe { madvise(start.cast(), bytes, Advice::LinuxDontDump) }?)
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A UMEM of this many frames and bytes per frame, with a table for it; only root can have one.
    fn arena(frames: u32, chunk: u32) -> Option<(Arc<Arena>, Table, Vec<Frame>)> {
        if !rustix::process::geteuid().is_root() {
            assert!(
                std::env::var_os("TIDEGATE_REQUIRE").is_none(),
                "TIDEGATE_REQUIRE is set, but this test needs root"
            );
            eprintln!("SKIPPED: needs root");
            return None;
        }
        let arena = Arc::new(Arena::new(&Options { chunk, ..Options::default() }, frames).unwrap());
        let (table, frames) = Table::external(frames, Box::new(Arc::clone(&arena)));
        Some((arena, table, frames))
    }

    /// The descriptor of a frame with `len` bytes in it.
    fn filled(arena: &Arena, frame: &Frame, len: usize) -> FrameDesc {
        let mut descriptor = arena.descriptor(frame);
        // SAFETY: the descriptor is `frame`'s own, and no kernel has it.
        unsafe { arena.umem.data_mut(&mut descriptor) }.cursor().set_pos(len);
        descriptor
    }

    #[test]
    fn a_descriptor_outside_the_umem_or_its_chunk_is_no_frame() {
        let (Some((small, table, frames)), Some((large, _, more))) = (arena(8, 2048), arena(8, 4096)) else { return };
        // SAFETY: stands for the kernel, which gives up each descriptor once.
        let receive = |mut descriptor| unsafe { small.receive(&table, &mut descriptor) };
        assert_eq!(receive(filled(&small, &frames[7], 100)).map(|frame| frame.index()), Some(7));
        assert_eq!(receive(filled(&small, &frames[0], 1792)).map(|frame| frame.index()), Some(0));
        // Frame 3 of the large one begins where the small one has its sixth; frame 4 begins where it has ended.
        assert_eq!(receive(filled(&large, &more[3], 1792)).map(|frame| frame.index()), Some(6));
        assert_eq!(receive(filled(&large, &more[3], 1793)), None);
        assert_eq!(receive(filled(&large, &more[4], 100)), None);
        assert_eq!([small.index(8 * 2048 - 1), small.index(8 * 2048), small.index(usize::MAX)], [Some(7), None, None]);
    }

    #[test]
    fn what_was_received_is_in_the_table() {
        let Some((arena, table, mut frames)) = arena(4, 4096) else { return };
        let mut descriptor = filled(&arena, &frames[2], 5);
        // SAFETY: the descriptor is the frame's own, and no kernel has it.
        unsafe { arena.umem.data_mut(&mut descriptor) }.contents_mut().copy_from_slice(b"tides");
        let _ = frames.remove(2).into_index();
        // SAFETY: the frame was given up by the line above.
        let frame = unsafe { arena.receive(&table, &mut descriptor) }.unwrap();
        assert_eq!((table.bytes(&frame), table.slot(&frame).wire_len), (&b"tides"[..], 5));
    }

    #[test]
    fn no_frame_gets_into_a_core_dump() {
        let Some((arena, _, frames)) = arena(7, 2048) else { return };
        let address = |frame: &Frame| {
            // SAFETY: the descriptor is `frame`'s own, and no kernel has it.
            unsafe { arena.umem.data(&arena.descriptor(frame)) }.contents().as_ptr() as usize
        };
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        for address in [address(&frames[0]) - HEADROOM as usize, address(&frames[6])] {
            assert!(flags(&maps, address).expect("it is mapped").split(' ').any(|flag| flag == "dd"), "{address:x}");
        }
        let local = 0u8;
        assert!(!flags(&maps, (&raw const local) as usize).expect("it is mapped").contains("dd"), "others still do");
    }

    /// The flags of the mapping at an address, as /proc/self/smaps shows them.
    fn flags(maps: &str, address: usize) -> Option<&str> {
        let holds = |line: &str| {
            let (start, end) = line.split_once(' ')?.0.split_once('-')?;
            let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16));
            Some((start.ok()?..end.ok()?).contains(&address))
        };
        let mut lines = maps.lines().skip_while(|line| !holds(line).unwrap_or(false));
        lines.find_map(|line| line.strip_prefix("VmFlags: "))
    }

    #[test]
    fn the_formula_counts_every_place_where_a_frame_can_be() {
        let options =
            Options { rx_ring: 64, fill_ring: 128, max_in_flight: 32, egress_frames: 1000, ..Options::default() };
        assert_eq!(options.frames(3), Ok(3 * (64 + 128) + 2 * 32 + (3 + 4) * 32 + 1000));
    }
}
