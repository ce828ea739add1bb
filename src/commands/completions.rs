//! `telereel completions SHELL`

use clap::CommandFactory;

use super::Outcome;
use super::output::Out;
use crate::cli::{Cli, Completions};

pub(super) fn run(args: &Completions) -> anyhow::Result<Outcome> {
    // Into memory first: clap_complete panics where a write fails, and a pipe may be closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "telereel", &mut script);
    let mut out = Out::new();
    out.line(String::from_utf8_lossy(&script).trim_end())?;
    out.flush()?;
    Ok(Outcome::Done)
}
