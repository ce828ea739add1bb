//! The `telereel` command: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use telereel::cli::Cli;
use telereel::commands;

fn main() -> ExitCode {
    commands::main(Cli::parse())
}
