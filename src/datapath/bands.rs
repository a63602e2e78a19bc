//! The lock-free priority rings between the halves: one ring per band, the first band first.

use crate::frame::{Burst, Frame};

/// The number of priority bands: control; voice and gaming; video and web; file and background.
pub const BANDS: usize = crate::classify::BANDS;

/// The ingress half's ends of the rings.
#[derive(Debug)]
pub struct BandSender {
    rings: [rtrb::Producer<Frame>; BANDS],
}

/// The egress half's ends of the rings.
#[derive(Debug)]
pub struct BandReceiver {
    rings: [rtrb::Consumer<Frame>; BANDS],
}

/// Makes the rings from one ingress half to one egress half, each of `capacity` frames.
pub fn bands(capacity: usize) -> (BandSender, BandReceiver) {
    let rings: [_; BANDS] = std::array::from_fn(|_| Some(rtrb::RingBuffer::new(capacity)));
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for (sender, receiver) in rings.into_iter().flatten() {
        senders.push(sender);
        receivers.push(receiver);
    }
    (
        BandSender { rings: senders.try_into().expect("one ring per band") },
        BandReceiver { rings: receivers.try_into().expect("one ring per band") },
    )
}

impl BandSender {
    /// How many of `count` frames `band` has room for.
    #[inline]
    pub fn room(&mut self, band: usize, count: usize) -> usize {
        match self.rings[band].write_chunk_uninit(count) {
            Ok(_) => count,
            Err(rtrb::chunks::ChunkError::TooFewSlots(room)) => room,
        }
    }

    /// Pushes all of `burst` into `band` in one go.
    ///
    /// # Panics
    ///
    /// If there is no [`BandSender::room`].
    #[inline]
    pub fn push(&mut self, band: usize, burst: &mut Burst) {
        let Ok(room) = self.rings[band].write_chunk_uninit(burst.len()) else {
            panic!("{} frames for a ring without room for them", burst.len())
        };
        room.fill_from_iter(burst.drain(..));
    }
}

impl BandReceiver {
    /// The frames waiting in `band`.
    #[inline]
    pub fn waiting(&self, band: usize) -> usize {
        self.rings[band].slots()
    }

    /// Whether nothing waits in any band.
    pub fn is_empty(&self) -> bool {
        self.rings.iter().all(rtrb::Consumer::is_empty)
    }

    /// Takes up to `count` frames from `band`, oldest first; returns how many there were.
    #[inline]
    pub fn drain(&mut self, band: usize, count: usize, mut each: impl FnMut(Frame)) -> usize {
        let count = count.min(self.waiting(band));
        if count == 0 {
            return 0;
        }
        let Ok(chunk) = self.rings[band].read_chunk(count) else { return 0 };
        for frame in chunk {
            each(frame);
        }
        count
    }
}
