//! The `telereel` command: parse, dispatch, exit code.

mod allocator;

use std::process::ExitCode;

use telereel::{cli, commands};

fn main() -> ExitCode {
    allocator::give_back_what_is_large();
    commands::main(cli::parse())
}
