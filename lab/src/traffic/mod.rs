//! What crosses the box. Senders and sinks are processes at the hosts; each prints `ready`, works until its standard input
//! closes (so that none outlives the lab), and prints its report as one line of JSON.

// Paced datagrams with a number and a time inside, and the sink that counts and times them.
pub mod udp;
// One datagram in each of many flows.
pub mod spray;
// Bulk TCP by iperf3.
pub mod iperf;
// Pages over TCP, timed as a reader feels them.
pub mod page;
// What an interface carries: frames, bytes, the rate on the wire.
pub mod meter;
// Raw frames, injected and captured with their tags in place.
pub mod frames;
// Numbered frames of protocols that a wire must not touch.
pub mod beacon;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What Ethernet adds to a frame on the wire: preamble and start (8), checksum (4), gap (12).
pub const WIRE_OVERHEAD: u64 = 24;
/// The least frame without its checksum; shorter ones are padded on the wire.
pub const LEAST_FRAME: u64 = 60;
/// Ethernet, IPv4 and UDP headers around a payload.
pub const UDP_HEADERS: u64 = 14 + 20 + 8;

/// The word that a helper prints once it works.
pub const READY: &str = "ready\n";

/// The bytes that a frame of `length` (headers included, checksum not) takes on the wire.
pub fn wire_bytes(length: u64) -> u64 {
    length.max(LEAST_FRAME) + WIRE_OVERHEAD
}

/// A flag that rises when the standard input of this process closes.
pub fn until_input_closes() -> Arc<AtomicBool> {
    let closed = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&closed);
    std::thread::spawn(move || {
        let mut ignored = [0; 64];
        while matches!(std::io::stdin().read(&mut ignored), Ok(1..)) {}
        flag.store(true, Ordering::Relaxed);
    });
    closed
}

/// Tells the lab that this helper works.
pub fn say_ready() -> Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(READY.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Prints a helper's report.
pub fn report(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Reads a helper's report: the last line that it printed.
pub fn parse_report<T: for<'a> Deserialize<'a>>(output: &str) -> Result<T> {
    let line = output.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("not a helper's report: {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_adds_and_pads() {
        assert_eq!(wire_bytes(1514), 1538);
        assert_eq!(wire_bytes(60), 84);
        assert_eq!(wire_bytes(14), 84);
    }
}
