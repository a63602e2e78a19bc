//! What an interface carries, read where the frames arrive: bytes and frames over a window, and the rate on the wire.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{LEAST_FRAME, WIRE_OVERHEAD, parse_report, report, say_ready};
use crate::clock;
use crate::command::Process;
use crate::netns::{Host, START_LIMIT};

/// What came in by an interface during a window.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Window {
    /// Its length.
    pub nanos: u64,
    /// Frames received.
    pub frames: u64,
    /// Their bytes, Ethernet header included, checksum not.
    pub bytes: u64,
}

impl Window {
    /// Bits per second on the wire: each frame with its overhead of 24 bytes and padded to 60. The padding is of the mean
    /// frame, so the figure is exact where no frame is shorter than 60 bytes or all are of one length.
    pub fn wire_rate(&self) -> f64 {
        let bytes = self.bytes.max(self.frames * LEAST_FRAME) + self.frames * WIRE_OVERHEAD;
        bytes as f64 * 8e9 / self.nanos as f64
    }
}

/// A meter at work at a host's `eth0`.
#[derive(Debug)]
pub struct Meter {
    process: Process,
    length: Duration,
}

impl Meter {
    /// Starts metering at `host`; the window opens after `settle`, in which queues fill and bursts are spent.
    pub fn start(host: &Host, settle: Duration, window: Duration) -> Result<Meter> {
        let words = format!("meter --settle-ms {} --window-ms {}", settle.as_millis(), window.as_millis());
        let mut process = host.helper(words).realtime().spawn()?;
        process.wait_for(super::READY, START_LIMIT)?;
        Ok(Meter { process, length: settle + window })
    }

    /// Waits for the window to close.
    pub fn finish(mut self) -> Result<Window> {
        parse_report(&self.process.wait(self.length + START_LIMIT)?)
    }
}

/// The body of `tidegate-lab meter`.
pub fn meter(settle: Duration, window: Duration) -> Result<()> {
    clock::sharpen();
    say_ready()?;
    clock::sleep_until(clock::now() + settle.as_nanos() as u64);
    let (start, frames, bytes) = reading()?;
    clock::sleep_until(start + window.as_nanos() as u64);
    let (end, frames_after, bytes_after) = reading()?;
    report(&Window { nanos: end - start, frames: frames_after - frames, bytes: bytes_after - bytes })
}

/// The time and the counters of `eth0`, within some microseconds of each other.
fn reading() -> Result<(u64, u64, u64)> {
    let counter = |name: &str| -> Result<u64> {
        let path = format!("/sys/class/net/eth0/statistics/{name}");
        fs::read_to_string(&path).and_then(|text| text.trim().parse().map_err(std::io::Error::other)).context(path)
    };
    Ok((clock::now(), counter("rx_packets")?, counter("rx_bytes")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_rate_counts_overhead_and_padding() {
        let full = Window { nanos: 1_000_000_000, frames: 1000, bytes: 1_514_000 };
        assert_eq!(full.wire_rate(), 1_538_000.0 * 8.0);
        let tiny = Window { nanos: 500_000_000, frames: 10, bytes: 420 };
        assert_eq!(tiny.wire_rate(), 10.0 * 84.0 * 8.0 * 2.0);
    }
}
