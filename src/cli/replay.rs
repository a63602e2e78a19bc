//! `tidegate replay`: the same datapath over a capture, in virtual time.

use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use ipnet::IpNet;

use super::{Failure, load};
use crate::config::{Config, compile};
use crate::control::replay;
use crate::frame::Side;
use crate::port::pcap::{Capture, MAX_FRAME, MacPairs, Replay, ReplaySetup};
use crate::telemetry::flows::FlowLine;
use crate::wire::Packet;

/// Send a capture through the datapath, in virtual time and without root.
///
/// The frames go the way they would on a live wire under the policy (the first wire of it): same classes, same queues, same rates. Two runs give
/// the same output to the bit. Reads pcap and pcapng, also gzipped; writes pcap with times in nanoseconds.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The capture.
    #[arg(value_name = "IN")]
    capture: PathBuf,

    /// The policy file (TOML); without one: no limit, the default classes, no rules.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Write the frames that come out, in the order and at the times at which they leave.
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    /// Addresses that are inside (repeatable); without any, the first sender of each pair of MAC addresses is inside.
    #[arg(long, value_name = "PREFIX")]
    inside: Vec<IpNet>,

    /// Print one line per flow on standard output; the accounts go to standard error then.
    #[arg(long, value_name = "FORMAT")]
    flows: Option<FlowFormat>,

    /// Print the accounts as one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FlowFormat {
    /// One JSON object per line.
    Json,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = match &arguments.config {
        Some(file) => load(file)?,
        None => Config::default_policy(),
    };
    // A capture is of one wire.
    let policy = compile::policy(&config, &config.wires[0], 1);
    let classifier = policy.classifier.clone();
    let capture = Capture::open(&arguments.capture)?;
    let setup = ReplaySetup { output: arguments.output.as_deref(), ..ReplaySetup::default() };
    let (ports, rx, tx) = Replay::open(capture, setup, side_of(arguments.inside.clone()))?;

    let mut flows = BufWriter::new(io::stdout().lock());
    let mut printed = Ok(());
    let accounts = replay::replay(rx, tx, MAX_FRAME as u32, policy, |record| {
        if arguments.flows.is_some() && printed.is_ok() {
            printed = write_line(&mut flows, &FlowLine::new(&record, &classifier));
        }
    });
    // Someone who stops reading has seen enough.
    if let Err(error) = printed.and_then(|()| flows.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(error.into());
    }
    let text = if arguments.json { serde_json::to_string(&accounts)? } else { accounts.to_string() };
    if arguments.flows.is_some() {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
    // The account stands even if the capture was damaged: what could be read was replayed.
    let summary = ports.finish()?;
    if let Some(truncated) = summary.truncated {
        tracing::warn!("{truncated}");
    }
    if summary.skipped > 0 {
        tracing::warn!("{} records that could not be understood were passed over", summary.skipped);
    }
    Ok(())
}

fn write_line(out: &mut impl Write, line: &FlowLine) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// Tells by which side a frame came in: by the addresses that are inside, or else by who spoke first.
fn side_of(inside: Vec<IpNet>) -> impl FnMut(&[u8]) -> Side + Send {
    let mut pairs = MacPairs::default();
    move |frame| {
        let is_inside = |address: [u8; 16]| {
            let address = IpAddr::from(address).to_canonical();
            inside.iter().any(|prefix| prefix.contains(&address))
        };
        let by_pair = pairs.side_of(frame);
        match Packet::parse(frame).addresses(frame) {
            Some((source, _)) if is_inside(source) => Side::Inside,
            Some((_, destination)) if is_inside(destination) => Side::Outside,
            _ => by_pair,
        }
    }
}
