//! `tidegate detach`: undoes what `run` set up.

use super::Failure;
use crate::port::xdp;

/// Undo what `tidegate run` set up on interfaces: its XDP program, the bridge below, offloads, promiscuous mode and the rest.
///
/// Without names: on every interface of this network namespace that it changed. Running it twice does no harm. It is
/// refused while a bridge runs over one of them.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The interfaces.
    #[arg(value_name = "INTERFACE")]
    interfaces: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let undone = xdp::detach(&arguments.interfaces)?;
    if undone.is_empty() {
        println!("nothing to undo");
    }
    for interface in undone {
        println!("{interface}");
    }
    Ok(())
}
