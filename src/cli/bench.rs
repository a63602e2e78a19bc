//! `tidegate bench`: what this machine can do.

use std::fmt;

use clap::Subcommand;
use serde::Serialize;

use super::Failure;
use crate::control::bench::{self, Pipeline};
use crate::units::Rate;

/// Measure what this machine can do, over ports in memory: no network card, no root.
///
/// Figures of a shared machine vary; compare two programs or two settings in one go.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// The whole path of a frame, one worker: receive, parse, flow cache, judge, rings, queues, tree, transmit.
    Pipeline {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,

        /// Flows among which the frames are spread.
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        flows: u32,

        /// Bytes per frame, its check sequence included.
        #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(64..=1_518))]
        size: u32,

        /// Frames to send, after a tenth as many to warm up.
        #[arg(long, value_name = "N", default_value_t = 20_000_000)]
        frames: u64,

        /// Shape both directions to this rate, far above what a core can forward, so that the buckets are paid but never empty.
        #[arg(long, value_name = "RATE")]
        rate: Option<Rate>,
    },
}

/// The result as it is printed.
#[derive(Serialize)]
struct Report {
    ns_per_frame: f64,
    frames_per_second: f64,
    allocations_per_frame: f64,
    flows: u32,
    size: u32,
    frames: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} ns per frame, {:.2} million frames per second, {} allocations per frame ({} frames of {} bytes, {} flows)",
            self.ns_per_frame,
            self.frames_per_second / 1e6,
            self.allocations_per_frame,
            self.frames,
            self.size,
            self.flows,
        )
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Subject::Pipeline { json, flows, size, frames, rate } = arguments.subject;
    let mut pipeline = Pipeline::new(flows, size, rate);
    pipeline.forward(frames / 10);
    let mut span = crate::units::Nanos::ZERO;
    let allocations = allocation_counter::measure(|| span = pipeline.forward(frames));
    let report = Report {
        ns_per_frame: span.0 as f64 / frames as f64,
        frames_per_second: frames as f64 / span.as_secs_f64(),
        allocations_per_frame: allocations.count_total as f64 / frames as f64,
        flows,
        size,
        frames,
    };
    let lost = pipeline.lost();
    if lost > 0 {
        return Err(bench::Error::Lost(lost).into());
    }
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}
