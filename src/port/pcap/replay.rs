//! Two ports over one capture, in virtual time.
//!
//! One wire carries one frame at a time, so no two frames arrive at the same instant: a time that stands still or goes back
//! becomes the previous one plus 1 ns. The order of the capture is the order of arrival, across both sides.
//!
//! The locks here are taken by one thread only, or by two that must take turns anyhow; no live port has any.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Capture, Error, MAX_FRAME, Truncated, Writer};
use crate::frame::{BURST, Burst, Home, Side, Table};
use crate::port::fill::Fill;
use crate::port::{Line, Rx, RxLosses, Tx};
use crate::time::Clock;
use crate::units::{Nanos, Rate};

/// The frames that each receiving half borrows: a burst and the next. More would only keep them from the other side.
const FILL: usize = 2 * BURST;
/// The frames that each transmitting half holds.
const RING: usize = 256;

/// What a replay is to do besides reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplaySetup<'a> {
    /// The file for the frames that come out, in the order in which they leave.
    pub output: Option<&'a Path>,
    /// The rate of the line at each port, by [`Side`]; a line without one carries a frame in no time.
    pub rates: [Option<Rate>; 2],
    /// The bytes that each frame takes on a line with a rate, besides its own.
    pub overhead: u32,
}

/// A capture that is being replayed, to ask how it went.
pub struct Replay {
    feed: Arc<Mutex<Feed>>,
    output: Arc<Mutex<Output>>,
}

/// What a replay read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The frames that arrived at each port, by [`Side`], lost ones included.
    pub frames: [u64; 2],
    /// Their bytes on the wire.
    pub bytes: [u64; 2],
    /// Records passed over, because nothing that could be classified is known to be in them.
    pub skipped: u64,
    /// Where the capture was cut short, if it was.
    pub truncated: Option<Truncated>,
}

impl Replay {
    /// Opens both ports, each by [`Side`]; `side_of` tells the side by which an Ethernet frame came in.
    ///
    /// # Errors
    ///
    /// If the output can't be made, is the capture itself, or the capture is known not to be Ethernet and there is an output.
    pub fn open(
        mut capture: Capture,
        setup: ReplaySetup<'_>,
        side_of: impl FnMut(&[u8]) -> Side + Send + 'static,
    ) -> Result<(Replay, [PcapRx; 2], [PcapTx; 2]), Error> {
        let writer = match setup.output {
            Some(path) if capture.is_same_file(path) => return Err(Error::SameFile { path: path.to_owned() }),
            Some(path) => {
                capture.ethernet_only()?;
                Some(Writer::create(path)?)
            }
            None => None,
        };
        let mut feed = Feed {
            capture,
            side_of: Box::new(side_of),
            frame: Vec::new(),
            next: None,
            earliest: Nanos::ZERO,
            summary: Summary::default(),
            failed: None,
        };
        feed.advance();
        let feed = Arc::new(Mutex::new(feed));
        let output = Arc::new(Mutex::new(Output { writer, leaving: BTreeMap::new(), submitted: 0, failed: None }));
        let rx = Side::BOTH.map(|side| PcapRx { side, feed: feed.clone(), fill: Fill::new(FILL) });
        let tx = Side::BOTH.map(|side| PcapTx {
            line: match setup.rates[side as usize] {
                Some(rate) => Line::limited(rate, setup.overhead, RING),
                None => Line::unlimited(RING),
            },
            output: output.clone(),
        });
        Ok((Replay { feed, output }, rx, tx))
    }

    /// Ends the replay: writes out what has been submitted, and says what was read.
    ///
    /// # Errors
    ///
    /// If the capture was damaged or the output could not be written.
    pub fn finish(self) -> Result<Summary, Error> {
        let mut output = lock(&self.output);
        output.write_until(Nanos::MAX);
        let written = match (output.failed.take(), output.writer.take()) {
            (Some(failed), _) => Err(failed),
            (None, Some(writer)) => writer.finish(),
            (None, None) => Ok(()),
        };
        let mut feed = lock(&self.feed);
        match feed.failed.take() {
            Some(failed) => Err(failed),
            None => written.map(|()| feed.summary.clone()),
        }
    }
}

/// Tells the side by which an Ethernet frame came in.
type SideOf = Box<dyn FnMut(&[u8]) -> Side + Send>;

/// Reads one frame ahead, so that both sides can tell when it comes.
struct Feed {
    capture: Capture,
    side_of: SideOf,
    /// The bytes of the next frame.
    frame: Vec<u8>,
    next: Option<Arrival>,
    earliest: Nanos,
    summary: Summary,
    failed: Option<Error>,
}

#[derive(Clone, Copy)]
struct Arrival {
    at: Nanos,
    side: Side,
    wire_len: u32,
}

impl Feed {
    /// Reads the next frame, or finds that there is none.
    fn advance(&mut self) {
        self.next = None;
        loop {
            let record = match self.capture.next() {
                Ok(Some(record)) => record,
                Ok(None) => {
                    self.summary.truncated = self.capture.truncated().cloned();
                    return;
                }
                Err(e) => {
                    self.failed = Some(e);
                    return;
                }
            };
            if !record.link.to_ethernet(record.data, &mut self.frame) {
                self.summary.skipped += 1;
                continue;
            }
            // A frame that says more of itself than any can be is taken as the longest, or it would hold up a line for minutes.
            let missing = record.wire_len as usize - record.data.len();
            let wire_len = (self.frame.len() + missing).min(MAX_FRAME) as u32;
            let at = record.time.max(self.earliest);
            self.earliest = at + Nanos(1);
            self.next = Some(Arrival { at, side: (self.side_of)(&self.frame), wire_len });
            return;
        }
    }
}

/// The receiving half of one side of a replay.
///
/// A frame that arrives while no free frame is lent is lost, and counted as `fill_empty`. Frames longer than a chunk of the table are counted as `other`.
pub struct PcapRx {
    side: Side,
    feed: Arc<Mutex<Feed>>,
    fill: Fill,
}

impl Rx for PcapRx {
    /// Stops at a frame that is for the other side, so that the order across both sides is kept.
    fn receive(&mut self, table: &Table, now: Nanos, burst: &mut Burst) {
        let mut feed = lock(&self.feed);
        while !burst.is_full()
            && let Some(next) = feed.next
            && next.side == self.side
            && next.at <= now
        {
            feed.summary.frames[self.side as usize] += 1;
            feed.summary.bytes[self.side as usize] += u64::from(next.wire_len);
            self.fill.deliver(table, &feed.frame, next.wire_len, burst);
            feed.advance();
        }
    }

    fn refill(&mut self, table: &Table, home: &mut Home) {
        self.fill.refill(table, home);
    }

    fn lent(&self) -> u32 {
        self.fill.lent()
    }

    fn losses(&self) -> RxLosses {
        self.fill.losses()
    }

    /// Of the two sides only that of the next frame knows when; after the last frame both say [`Nanos::MAX`].
    fn next_arrival(&self) -> Option<Nanos> {
        match lock(&self.feed).next {
            Some(next) if next.side == self.side => Some(next.at),
            Some(_) => None,
            None => Some(Nanos::MAX),
        }
    }
}

/// Puts the frames of both sides into one file, by departure, and those that leave together by submission.
struct Output {
    writer: Option<Writer>,
    /// What is still on a line, by departure and number.
    leaving: BTreeMap<(Nanos, u64), (Vec<u8>, u32)>,
    submitted: u64,
    failed: Option<Error>,
}

impl Output {
    fn submit(&mut self, now: Nanos, at: Nanos, bytes: &[u8], wire_len: u32) {
        if self.writer.is_none() {
            return;
        }
        if at <= now && self.leaving.is_empty() {
            self.write(at, bytes, wire_len);
        } else {
            self.leaving.insert((at, self.submitted), (bytes.to_vec(), wire_len));
            self.submitted += 1;
        }
    }

    /// Nothing that is submitted later leaves before `now`.
    fn write_until(&mut self, now: Nanos) {
        while let Some(first) = self.leaving.first_entry()
            && first.key().0 <= now
        {
            let ((at, _), (bytes, wire_len)) = first.remove_entry();
            self.write(at, &bytes, wire_len);
        }
    }

    /// The first failure ends the writing.
    fn write(&mut self, at: Nanos, bytes: &[u8], wire_len: u32) {
        if let Some(writer) = &mut self.writer
            && let Err(e) = writer.write(at, bytes, wire_len)
        {
            self.failed = Some(e);
            self.writer = None;
        }
    }
}

/// The transmitting half of one side of a replay: a [`Line`] into the output file, if there is one.
///
/// Time must not go back, neither here nor between the two sides.
pub struct PcapTx {
    line: Line,
    output: Arc<Mutex<Output>>,
}

impl Tx for PcapTx {
    fn room(&mut self) -> usize {
        self.line.room()
    }

    fn submit(&mut self, table: &Table, now: Nanos, burst: &mut Burst) {
        let count = burst.len().min(self.line.room());
        if count == 0 {
            return;
        }
        let mut output = lock(&self.output);
        output.write_until(now);
        for frame in burst.drain(..count) {
            let wire_len = table.slot(&frame).wire_len;
            // The line takes the frame, so its bytes are read first and its departure asked before.
            let at = self.line.departure(now, wire_len);
            output.submit(now, at, table.bytes(&frame), wire_len);
            self.line.submit(table, now, frame);
        }
    }

    fn flush(&mut self, _latest: Nanos, _clock: &impl Clock) {}

    fn complete(&mut self, _table: &Table, now: Nanos, burst: &mut Burst) {
        self.line.complete(now, burst);
    }

    fn in_flight(&self) -> u32 {
        self.line.in_flight()
    }

    fn next_completion(&self) -> Option<Nanos> {
        self.line.next_completion()
    }
}

/// A half that panicked has spoilt nothing here that the other could trip over.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Owner, homes};

    /// A capture of frames of 60 bytes, each with its side in the first byte and its number in the second, at the given times.
    fn capture(folder: &Path, frames: &[(u64, Side)]) -> Capture {
        let path = folder.join("in.pcap");
        let mut writer = Writer::create(&path).unwrap();
        for (number, (at, side)) in frames.iter().enumerate() {
            let mut bytes = [0; 60];
            (bytes[0], bytes[1]) = (*side as u8, number as u8);
            writer.write(Nanos(*at), &bytes, 60).unwrap();
        }
        writer.finish().unwrap();
        Capture::open(&path).unwrap()
    }

    fn side_of(frame: &[u8]) -> Side {
        Side::BOTH[usize::from(frame[0])]
    }

    /// Frames that an egress half holds.
    fn egress(table: &Table, frames: &mut Vec<Frame>, numbers: &[u8], wire_len: u32) -> Burst {
        let take = |number: &u8| {
            let mut frame = frames.pop().unwrap();
            table.pass(&frame, Owner::Home, Owner::Egress);
            table.write(&mut frame, &[*number; 14], wire_len);
            frame
        };
        numbers.iter().map(take).collect()
    }

    #[test]
    fn frames_arrive_one_at_a_time_in_the_order_of_the_capture() {
        use Side::{Inside, Outside};
        let folder = tempfile::tempdir().unwrap();
        let times =
            [(100, Inside), (100, Outside), (100, Outside), (50, Inside), (104, Inside), (104, Inside), (900, Outside)];
        let (replay, mut rx, _tx) =
            Replay::open(capture(folder.path(), &times), ReplaySetup::default(), side_of).unwrap();
        let (table, frames) = Table::heap(200, 64);
        let (mut homes, _returns) = homes(frames, 1, 1);
        rx.iter_mut().for_each(|rx| rx.refill(&table, &mut homes[0]));
        let mut seen = Vec::new();
        loop {
            let arrivals = [rx[0].next_arrival(), rx[1].next_arrival()];
            let now = arrivals.into_iter().flatten().min().unwrap();
            if now == Nanos::MAX {
                assert_eq!(arrivals, [Some(Nanos::MAX); 2]);
                break;
            }
            assert_eq!(arrivals.iter().flatten().count(), 1, "only the side of the next frame knows");
            for side in Side::BOTH {
                let mut burst = Burst::new();
                rx[side as usize].receive(&table, now, &mut burst);
                for frame in burst {
                    seen.push((now.0, side, table.bytes(&frame)[1]));
                    homes[0].give(&table, frame);
                }
            }
        }
        let expected = [
            (100, Inside, 0),
            (101, Outside, 1),
            (102, Outside, 2),
            (103, Inside, 3),
            (104, Inside, 4),
            (105, Inside, 5),
            (900, Outside, 6),
        ];
        assert_eq!(seen, expected);
        let summary = replay.finish().unwrap();
        assert_eq!((summary.frames, summary.bytes, summary.skipped), ([4, 3], [240, 180], 0));
    }

    #[test]
    fn a_late_caller_gets_everything_side_by_side_in_order() {
        use Side::{Inside, Outside};
        let folder = tempfile::tempdir().unwrap();
        let times = [(1, Outside), (2, Outside), (3, Inside), (4, Outside)];
        let (_replay, mut rx, _tx) =
            Replay::open(capture(folder.path(), &times), ReplaySetup::default(), side_of).unwrap();
        let (table, frames) = Table::heap(200, 64);
        let (mut homes, _returns) = homes(frames, 1, 1);
        rx.iter_mut().for_each(|rx| rx.refill(&table, &mut homes[0]));
        for (side, count) in [(Inside, 0), (Outside, 2), (Outside, 0), (Inside, 1), (Inside, 0), (Outside, 1)] {
            let mut burst = Burst::new();
            rx[side as usize].receive(&table, Nanos(1000), &mut burst);
            assert_eq!(burst.len(), count);
            burst.into_iter().for_each(|frame| homes[0].give(&table, frame));
        }
    }

    #[test]
    fn a_frame_without_a_free_one_to_receive_into_is_lost_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let times = [(1, Side::Inside), (2, Side::Inside), (3, Side::Inside)];
        let (replay, mut rx, _tx) =
            Replay::open(capture(folder.path(), &times), ReplaySetup::default(), side_of).unwrap();
        let (table, frames) = Table::heap(1, 64);
        let (mut homes, _returns) = homes(frames, 1, 1);
        let mut burst = Burst::new();
        rx[0].refill(&table, &mut homes[0]);
        rx[0].receive(&table, Nanos(3), &mut burst);
        assert_eq!(burst.len(), 1);
        assert_eq!(rx[0].losses(), RxLosses { fill_empty: 2, ..RxLosses::default() });
        assert_eq!(replay.finish().unwrap().frames, [3, 0], "lost frames have arrived");
        burst.into_iter().for_each(|frame| homes[0].give(&table, frame));
    }

    #[test]
    fn frames_leave_into_the_file_by_departure_across_both_sides() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.pcap");
        let setup = ReplaySetup { output: Some(&path), rates: [Some(Rate(8_000_000_000)), None], overhead: 24 };
        let (replay, _rx, mut tx) = Replay::open(capture(folder.path(), &[]), setup, side_of).unwrap();
        let (table, mut frames) = Table::heap(16, 64);
        // 76 + 24 bytes take 100 ns on the inside line; the outside line takes no time.
        tx[0].submit(&table, Nanos(1000), &mut egress(&table, &mut frames, &[1, 2, 3], 76));
        tx[1].submit(&table, Nanos(1000), &mut egress(&table, &mut frames, &[4], 76));
        tx[1].submit(&table, Nanos(1200), &mut egress(&table, &mut frames, &[5, 6], 76));
        tx[1].submit(&table, Nanos(1250), &mut egress(&table, &mut frames, &[7], 76));
        let mut done = Burst::new();
        tx[0].complete(&table, Nanos(1250), &mut done);
        tx[1].complete(&table, Nanos(1250), &mut done);
        assert_eq!((done.len(), tx[0].next_completion(), tx[1].in_flight()), (6, Some(Nanos(1300)), 0));
        drop(done);
        replay.finish().unwrap();
        let mut written = Capture::open(&path).unwrap();
        let mut seen = Vec::new();
        while let Some(record) = written.next().unwrap() {
            assert_eq!(record.wire_len, 76);
            seen.push((record.time.0, record.data[0]));
        }
        assert_eq!(seen, [(1000, 4), (1100, 1), (1200, 2), (1200, 5), (1200, 6), (1250, 7), (1300, 3)]);
    }

    #[test]
    fn the_output_is_never_the_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.pcap");
        let input = capture(folder.path(), &[(1, Side::Inside)]);
        let before = std::fs::read(&path).unwrap();
        let alias = folder.path().join("alias.pcap");
        std::fs::hard_link(&path, &alias).unwrap();
        let setup = ReplaySetup { output: Some(&alias), ..ReplaySetup::default() };
        assert!(matches!(Replay::open(input, setup, side_of), Err(Error::SameFile { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_disk_that_fills_up_fails_the_replay_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let setup = ReplaySetup { output: Some("/dev/full".as_ref()), ..ReplaySetup::default() };
        let (replay, _rx, mut tx) = Replay::open(capture(folder.path(), &[]), setup, side_of).unwrap();
        let (table, mut frames) = Table::heap(1, 64);
        tx[0].submit(&table, Nanos(1), &mut egress(&table, &mut frames, &[1], 60));
        assert!(matches!(replay.finish(), Err(Error::Io { action: "write", .. })));
    }
}
