//! Home ranges: the free frames of one ingress half, and the rings on which its frames come back.

use super::{Burst, Frame, Owner, Table};

/// The free frames of one ingress half. Only the half that owns a home fills receive rings from it.
#[derive(Debug)]
pub struct Home {
    free: Vec<Frame>,
    frames: u32,
    returns: Vec<rtrb::Consumer<Frame>>,
}

impl Home {
    /// Takes in what came back since the last call, from every egress half.
    #[inline]
    pub fn collect(&mut self) {
        for ring in &mut self.returns {
            let waiting = ring.slots();
            if waiting > 0
                && let Ok(chunk) = ring.read_chunk(waiting)
            {
                self.free.extend(chunk);
            }
        }
    }

    /// A free frame, if there is one.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        self.free.pop()
    }

    /// Puts back a frame that this half received and dropped.
    #[inline]
    pub fn give(&mut self, table: &Table, frame: Frame) {
        table.pass(&frame, Owner::Ingress, Owner::Home);
        self.free.push(frame);
    }

    /// The frames that are free here; more may be on their way back.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// The frames that this home owns, wherever they are.
    pub fn frames(&self) -> u32 {
        self.frames
    }
}

/// An egress half's way back to the home of every frame.
#[derive(Debug)]
pub struct Returns {
    /// For each home, the index after its last frame, and the ring to it.
    homes: Vec<(u32, rtrb::Producer<Frame>)>,
}

impl Returns {
    /// Sends `frame` home. A ring is as large as the range behind it, so this can't fail.
    #[inline]
    pub fn send(&mut self, table: &Table, frame: Frame, from: Owner) {
        table.pass(&frame, from, Owner::Home);
        let home = if self.homes.len() == 1 { 0 } else { self.homes.partition_point(|(end, _)| *end <= frame.index()) };
        let sent = self.homes[home].1.push(frame);
        assert!(sent.is_ok(), "a return ring holds every frame of its home");
    }

    /// Sends all of `burst` home, in one piece if there is one home.
    #[inline]
    pub fn send_burst(&mut self, table: &Table, burst: &mut Burst, from: Owner) {
        if let [(_, ring)] = &mut self.homes[..]
            && let Ok(room) = ring.write_chunk_uninit(burst.len())
        {
            burst.iter().for_each(|frame| table.pass(frame, from, Owner::Home));
            room.fill_from_iter(burst.drain(..));
        } else {
            burst.drain(..).for_each(|frame| self.send(table, frame, from));
        }
    }
}

/// Divides `frames` among `ingresses` homes, each with a return ring from every one of `egresses`.
///
/// # Panics
///
/// If either count is zero.
pub fn homes(frames: Vec<Frame>, ingresses: usize, egresses: usize) -> (Vec<Home>, Vec<Returns>) {
    assert!(ingresses > 0 && egresses > 0);
    let share = frames.len() / ingresses;
    let mut frames = frames.into_iter();
    let mut returns: Vec<Returns> = (0..egresses).map(|_| Returns { homes: Vec::new() }).collect();
    let homes = (0..ingresses)
        .map(|i| {
            let count = if i + 1 == ingresses { frames.len() } else { share };
            let mut free = Vec::with_capacity(count);
            free.extend(frames.by_ref().take(count));
            let end = free.last().map_or(0, |last| last.index() + 1);
            let rings = returns.iter_mut().map(|egress| {
                let (producer, consumer) = rtrb::RingBuffer::new(count.max(1));
                egress.homes.push((end, producer));
                consumer
            });
            Home { frames: count as u32, returns: rings.collect(), free }
        })
        .collect();
    (homes, returns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_comes_back_to_its_own_home_from_any_egress() {
        let (table, frames) = Table::heap(10, 64);
        let (mut homes, mut returns) = homes(frames, 3, 2);
        assert_eq!(homes.iter().map(Home::frames).collect::<Vec<_>>(), [3, 3, 4]);
        let mut out = Vec::new();
        for home in &mut homes {
            while let Some(frame) = home.take() {
                table.pass(&frame, Owner::Home, Owner::Egress);
                out.push(frame);
            }
        }
        for (i, frame) in out.into_iter().enumerate() {
            returns[i % 2].send(&table, frame, Owner::Egress);
        }
        for home in &mut homes {
            home.collect();
            assert_eq!(home.free(), home.frames() as usize);
        }
        let mut first: Vec<u32> = std::iter::from_fn(|| homes[0].take()).map(|frame| frame.index()).collect();
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2]);
    }
}
