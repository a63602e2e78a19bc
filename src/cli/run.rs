//! `tidegate run`: the bridge.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

use super::{Failure, load};
use crate::control::supervisor;

/// Bridge the two interfaces that the policy names until interrupted (SIGINT or SIGTERM), then print the accounts.
///
/// Needs root (CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF). Offloads and promiscuous mode that it sets on the interfaces stay as
/// they are at exit; `tidegate detach` undoes them.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The policy file (TOML).
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// Print the accounts at exit as one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = load(&arguments.config)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second signal ends the process at once, should the first not do it.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let accounts = supervisor::run(&config, &stop)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&accounts)?);
    } else {
        println!("{accounts}");
    }
    Ok(())
}
