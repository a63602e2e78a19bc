//! First-in first-out lists of frames, linked through the side table.

use super::table::NONE;
use super::{Frame, Slot, Table};

/// A queue of frames that allocates nothing: the links are in the frames' own slots.
///
/// A queue must be used with one table only.
#[derive(Debug)]
pub struct Fifo {
    head: u32,
    tail: u32,
    frames: u32,
    bytes: u64,
}

impl Fifo {
    /// An empty queue.
    pub const fn new() -> Fifo {
        Fifo { head: NONE, tail: NONE, frames: 0, bytes: 0 }
    }

    /// The frames in the queue.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// The bytes on the wire of all frames in the queue, without overhead.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// Appends `frame`.
    #[inline]
    #[allow(unsafe_code)]
    pub fn push(&mut self, table: &Table, mut frame: Frame) {
        let slot = table.slot_mut(&mut frame);
        slot.next = NONE;
        self.bytes += u64::from(slot.wire_len);
        self.frames += 1;
        let index = frame.into_index();
        if self.tail == NONE {
            self.head = index;
        } else {
            // SAFETY: `tail` was given up to this queue by `push` and is forgotten again at once.
            let mut tail = unsafe { Frame::from_index(self.tail) };
            table.slot_mut(&mut tail).next = index;
            let _ = tail.into_index();
        }
        self.tail = index;
    }

    /// Takes the oldest frame.
    #[inline]
    #[allow(unsafe_code)]
    pub fn pop(&mut self, table: &Table) -> Option<Frame> {
        if self.head == NONE {
            return None;
        }
        // SAFETY: `head` was given up to this queue by `push`, and the queue forgets it below.
        let frame = unsafe { Frame::from_index(self.head) };
        let slot = table.slot(&frame);
        self.head = slot.next;
        self.bytes -= u64::from(slot.wire_len);
        self.frames -= 1;
        if self.head == NONE {
            self.tail = NONE;
        }
        Some(frame)
    }

    /// Lets `look` see the slot of the oldest frame, which stays in the queue.
    #[inline]
    #[allow(unsafe_code)]
    pub fn peek<T>(&self, table: &Table, look: impl FnOnce(&Slot) -> T) -> Option<T> {
        if self.head == NONE {
            return None;
        }
        // SAFETY: `head` was given up to this queue by `push`; the queue can't change while it is borrowed.
        let frame = unsafe { Frame::from_index(self.head) };
        let seen = look(table.slot(&frame));
        let _ = frame.into_index();
        Some(seen)
    }
}

impl Default for Fifo {
    fn default() -> Fifo {
        Fifo::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_in_the_order_they_went_in() {
        let (table, mut frames) = Table::heap(8, 64);
        let mut fifo = Fifo::new();
        for round in 0..3 {
            for (i, mut frame) in frames.drain(..).enumerate() {
                table.write(&mut frame, &[0; 10], 10 + i as u32 + round);
                fifo.push(&table, frame);
            }
            assert_eq!(fifo.frames(), 8);
            assert_eq!(fifo.bytes(), (0..8).map(|i| u64::from(10 + i + round)).sum::<u64>());
            assert_eq!(fifo.peek(&table, |slot| slot.wire_len), Some(10 + round));
            while let Some(frame) = fifo.pop(&table) {
                frames.push(frame);
            }
            assert_eq!(frames.iter().map(Frame::index).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
            assert!(fifo.is_empty());
            assert_eq!(fifo.bytes(), 0);
        }
    }
}
