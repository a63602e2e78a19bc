//! `tidegate check`: validates a policy file.

use std::path::PathBuf;

use super::{Failure, load};

/// Check a policy file and report every error in it at once, as file:line:column.
///
/// The interfaces that it names need not exist.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The policy file (TOML).
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    load(&arguments.config)?;
    println!("{}: ok", arguments.config.display());
    Ok(())
}
