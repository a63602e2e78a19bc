//! A frame is a number: its index in the arena, with one slot of the side table beside it.
//!
//! Bytes never move. What moves is the [`Frame`], which can't be copied: whoever holds it owns the frame's bytes and its
//! [`Slot`], and that is the whole argument for the few `unsafe` blocks here. Debug builds keep an [`Owner`] per frame and
//! stop at the first frame that is in two places.

// The side table, with the bytes beside it.
mod table;
// First-in first-out lists that run through the table and cost nothing while empty.
mod fifo;
// Where free frames live, and the rings on which they come home.
mod home;

pub use fifo::Fifo;
pub use home::{Home, Returns, homes};
pub use table::{Owner, Slot, Table};

/// The most frames that one stage takes in one go.
///
/// 32 is what the kernel sends per call in copy mode, and small enough for a burst's headers to stay in the first-level cache.
pub const BURST: usize = 32;

/// A handful of frames between two stages; never grows past [`BURST`].
pub type Burst = arrayvec::ArrayVec<Frame, BURST>;

/// The one right to a frame's bytes and slot; neither `Copy` nor `Clone`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a frame that is dropped never comes home"]
pub struct Frame(u32);

impl Frame {
    /// The frame's index in its table.
    pub fn index(&self) -> u32 {
        self.0
    }

    /// Gives the frame up to someone who keeps bare indices: the kernel's rings or a list through the table.
    pub fn into_index(self) -> u32 {
        self.0
    }

    /// Takes back a frame that [`Frame::into_index`] gave up.
    ///
    /// # Safety
    ///
    /// The caller must be the one to whom the index was given, and must forget it.
    #[allow(unsafe_code)]
    pub unsafe fn from_index(index: u32) -> Frame {
        Frame(index)
    }
}

/// One of the two ports of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Side {
    /// Towards the subscribers.
    Inside = 0,
    /// Towards the internet.
    Outside = 1,
}

impl Side {
    /// Both sides, in index order.
    pub const BOTH: [Side; 2] = [Side::Inside, Side::Outside];

    /// The side by which a frame leaves that came in here.
    pub const fn opposite(self) -> Side {
        match self {
            Side::Inside => Side::Outside,
            Side::Outside => Side::Inside,
        }
    }

    /// `inside` or `outside`.
    pub const fn name(self) -> &'static str {
        match self {
            Side::Inside => "inside",
            Side::Outside => "outside",
        }
    }
}
