//! The command line: one file per command.
//!
//! Exit codes: 0 done, 1 failed at run time, 2 wrong usage or configuration.

// The bridge.
mod run;
// Validates a policy file.
mod check;
// The same datapath over a capture.
mod replay;
// Hands the wire to the kernel's bridge and back.
mod bypass;
// Undoes what `run` set up.
mod detach;
// What this machine can do.
mod bench;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config};

/// A transparent inline QoS bridge: put it in a wire, and voice goes before video and video before downloads.
///
/// Start with `tidegate check -c FILE` on a policy file, try it on a capture with `tidegate replay IN -c FILE`, and run it
/// between two interfaces with `tidegate run -c FILE` (as root).
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 120)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(check::Arguments),
    Replay(replay::Arguments),
    Bypass(bypass::Arguments),
    Detach(detach::Arguments),
    Bench(bench::Arguments),
}

/// What went wrong, by exit code.
#[derive(Debug)]
enum Failure {
    /// The command was used wrongly or the configuration is wrong; the message is complete.
    Usage(String),
    /// Something failed while running.
    Run(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Run(error.into())
    }
}

/// Runs the command that the arguments name. Errors go to standard error, one per line.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let result = match &arguments.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Replay(arguments) => replay::run(arguments),
        Command::Bypass(arguments) => bypass::run(arguments),
        Command::Detach(arguments) => detach::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
        Err(Failure::Run(error)) => {
            // Our errors name their causes themselves.
            eprintln!("tidegate: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads a policy file; all its errors make one failure, and its warnings go to standard error.
fn load(file: &Path) -> Result<Config, Failure> {
    let config = config::load(file).map_err(|errors| Failure::Usage(errors.to_string()))?;
    for warning in &config.warnings {
        eprintln!("{}:{warning} (allowed)", file.display());
    }
    Ok(config)
}
