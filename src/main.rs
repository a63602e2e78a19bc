//! Parses the arguments, runs the command, and turns its result into the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate::cli::main()
}
