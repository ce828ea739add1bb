//! The `telereel` command: parse, dispatch, exit code.

use std::process::ExitCode;

use telereel::{cli, commands};

fn main() -> ExitCode {
    commands::main(cli::parse())
}
