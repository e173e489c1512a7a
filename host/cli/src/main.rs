//! The `nightshift` command.

use std::process::ExitCode;

use clap::Parser;
use nightshift_cli::Cli;

fn main() -> ExitCode {
    nightshift_cli::main(Cli::parse())
}
