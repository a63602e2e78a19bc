//! `tidegate bypass`: hands the wire to the kernel's bridge and back.

use clap::ValueEnum;

use super::Failure;
use crate::port::xdp;

/// Hand wires to the kernel's bridge, and back.
///
/// While the bypass is on, frames go past Tidegate, unshaped and uncounted; what it holds still leaves. It works from
/// outside the running bridge, so also when that hangs, and holds until it is switched off, over restarts, too.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to do; without it, say how it is.
    #[arg(value_enum)]
    order: Option<Order>,

    /// The interfaces, both of a wire; without any, all in this network namespace.
    #[arg(value_name = "INTERFACE")]
    interfaces: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Frames go past Tidegate.
    On,
    /// Frames go through Tidegate.
    Off,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let states = match arguments.order {
        Some(order) => xdp::set_bypass(&arguments.interfaces, order == Order::On)?,
        None => xdp::bypassed(&arguments.interfaces)?,
    };
    if states.is_empty() {
        println!("no wire here");
    }
    for state in states {
        println!("{state}");
    }
    Ok(())
}
