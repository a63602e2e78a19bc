//! Frames lent to a port that has no kernel ring: what the fill ring is to a network card.

use super::RxLosses;
use crate::frame::{Burst, Frame, Home, Owner, Table};

/// At most `size` lent frames, and what was lost for want of one.
#[derive(Debug)]
pub(super) struct Fill {
    frames: Vec<Frame>,
    size: usize,
    losses: RxLosses,
}

impl Fill {
    /// An empty ring for `size` frames.
    pub(super) fn new(size: usize) -> Fill {
        Fill { frames: Vec::with_capacity(size), size, losses: RxLosses::default() }
    }

    /// Takes frames from `home` until the ring is full or `home` is empty.
    #[inline]
    pub(super) fn refill(&mut self, table: &Table, home: &mut Home) {
        while self.frames.len() < self.size {
            let Some(frame) = home.take() else { break };
            table.pass(&frame, Owner::Home, Owner::Fill);
            self.frames.push(frame);
        }
    }

    /// Copies `bytes` into a lent frame and appends it to `burst`, which must have room; counts the loss if that can't be.
    #[inline]
    pub(super) fn deliver(&mut self, table: &Table, bytes: &[u8], wire_len: u32, burst: &mut Burst) {
        if bytes.len() > table.chunk() as usize {
            self.losses.other += 1;
            return;
        }
        let Some(mut frame) = self.frames.pop() else {
            self.losses.fill_empty += 1;
            return;
        };
        table.write(&mut frame, bytes, wire_len);
        table.pass(&frame, Owner::Fill, Owner::Ingress);
        burst.push(frame);
    }

    /// The frames lent now.
    pub(super) fn lent(&self) -> u32 {
        self.frames.len() as u32
    }

    /// What was lost here: `fill_empty` without a lent frame, `other` for frames longer than a chunk.
    pub(super) fn losses(&self) -> RxLosses {
        self.losses
    }
}
