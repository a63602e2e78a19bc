//! `tidegate run`: the bridge.

use std::path::PathBuf;
use std::sync::Arc;
use std::{panic, process};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::{Failure, load};
use crate::api;
use crate::control::supervisor::{self, Orders};
use crate::port::xdp;
use crate::telemetry::Published;

/// Bridge the interfaces that the policy names until interrupted (SIGINT or SIGTERM), then print the accounts.
///
/// Needs root (CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF). Below the ports it makes a bridge of the kernel's, which forwards
/// whenever Tidegate doesn't: before it is ready, while it hangs, after its end however it ends. All of that stays at exit,
/// for the next run; `tidegate detach` undoes it. Metrics are at http://127.0.0.1:8088/metrics unless `[api]` says otherwise.
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
    let orders = Orders::default();
    for signal in [SIGINT, SIGTERM] {
        // A second signal ends the process at once, should the first not do it.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&orders.stop))?;
        signal_hook::flag::register(signal, Arc::clone(&orders.stop))?;
    }
    #[cfg(debug_assertions)]
    signal_hook::flag::register(signal_hook::consts::SIGUSR2, Arc::clone(&orders.fault))?;
    abort_on_panic();

    let published = Published::default();
    if let Some(address) = config.api.listen {
        api::serve(address, Arc::clone(&published))?;
    }
    let accounts = supervisor::run(&config, &orders, &published)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&accounts)?);
    } else {
        println!("{accounts}");
    }
    Ok(())
}

/// Hands the wires to the kernel's bridge at once if any thread panics, then ends: half a bridge is worse than none.
fn abort_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        xdp::mute_all();
        report(panic);
        process::abort();
    }));
}
