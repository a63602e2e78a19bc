//! Bulk TCP by iperf3.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::udp::Latency;
use crate::command::Process;
use crate::interrupt;
use crate::netns::{Direction, Lab, START_LIMIT};

/// A transfer to be made: the client connects to the server's `port`, data flows in `direction`.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The TCP port at the server.
    pub port: u16,
    /// Which way the data goes.
    pub direction: Direction,
    /// Parallel connections.
    pub streams: u32,
    /// How long.
    pub seconds: u32,
}

impl Transfer {
    /// `streams` connections to iperf3's own port for `seconds`.
    pub fn new(direction: Direction, streams: u32, seconds: u32) -> Transfer {
        Transfer { port: 5201, direction, streams, seconds }
    }
}

/// A transfer in progress.
#[derive(Debug)]
pub struct Iperf {
    client: Process,
    _server: Process,
    limit: Duration,
}

/// What a transfer achieved.
#[derive(Clone, Debug)]
pub struct Achieved {
    /// Payload bits per second that arrived, all streams.
    pub bits_per_second: f64,
    /// Segments sent again, all streams.
    pub retransmits: u64,
    /// The sender's smoothed round trip, sampled ten times a second, in nanoseconds.
    pub round_trip: Latency,
}

impl Iperf {
    /// Starts the server, then the client.
    pub fn start(lab: &Lab, transfer: &Transfer) -> Result<Iperf> {
        let Transfer { port, direction, streams, seconds } = transfer;
        let mut server = lab.server.program("iperf3").words(format!("-s -1 -p {port} -J")).spawn()?;
        await_listener(lab, *port, &mut server)?;
        let reverse = if *direction == Direction::Download { "-R --get-server-output" } else { "" };
        let options = format!("-p {port} -P {streams} -t {seconds} {reverse} -i 0.1 -J");
        let client = lab.client.program("iperf3").words(format!("-c {} {options}", lab.server.ipv4)).spawn()?;
        Ok(Iperf { client, _server: server, limit: Duration::from_secs(u64::from(*seconds)) + 2 * START_LIMIT })
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Result<Achieved> {
        let report = self.client.wait(self.limit)?;
        achieved(&report).with_context(|| format!("iperf3 printed unexpected JSON:\n{report}"))
    }
}

/// A server that is to report as JSON says nothing when it is ready, so look for its socket.
fn await_listener(lab: &Lab, port: u16, server: &mut Process) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    let listeners = lab.server.program("ss").words(format!("-Hltn sport = :{port}"));
    while listeners.run()?.trim().is_empty() {
        interrupt::check()?;
        if !server.is_running()? || Instant::now() > deadline {
            bail!("iperf3 does not listen on port {port}: {}", server.output());
        }
    }
    Ok(())
}

fn achieved(report: &str) -> Result<Achieved> {
    let report: Value = serde_json::from_str(report)?;
    let end = &report["end"];
    let rate = end["sum_received"]["bits_per_second"].as_f64().context("no end.sum_received.bits_per_second")?;
    // In the reverse direction the sender is the server, whose own report is inside the client's.
    let sender = if report["server_output_json"].is_object() { &report["server_output_json"] } else { &report };
    let mut round_trips = Latency::histogram();
    for interval in sender["intervals"].as_array().context("no intervals")? {
        for stream in interval["streams"].as_array().into_iter().flatten() {
            if let Some(micros @ 1..) = stream["rtt"].as_u64() {
                round_trips.saturating_record(micros * 1000);
            }
        }
    }
    Ok(Achieved {
        bits_per_second: rate,
        retransmits: end["sum_sent"]["retransmits"].as_u64().unwrap_or(0),
        round_trip: Latency::of(&round_trips),
    })
}
