//! What each verb does, one file per verb: arguments in, calls to the stages below, a result for
//! people or as JSON on standard output.
//!
//! Everything that is said goes through here: data to standard output ([`output`]), errors, logs and
//! progress to standard error. The chain of an error is printed once, in [`main`].

mod check;
mod completions;
mod context;
mod init;
mod log;
mod output;
mod schema;
mod status;

use std::process::ExitCode;

use crate::cli::{Cli, Verb};
use crate::config::ConfigError;
use context::Context;
use output::StdoutClosed;

/// How a verb ended that did what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Done, but loss or damage was found, and was said.
    Lossy,
}

/// A mistake in how the command was called: nothing was touched.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Runs the command and answers with its exit code.
pub fn main(cli: Cli) -> ExitCode {
    match log::start(&cli.global).and_then(|()| run(cli)) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Lossy) => ExitCode::from(3),
        // `telereel cat | head` has what it wanted.
        Err(error) if error.chain().any(|cause| cause.is::<StdoutClosed>()) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            let usage = error.chain().any(|cause| cause.is::<Usage>() || cause.is::<ConfigError>());
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

/// The runtime of a verb that speaks with others.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use anyhow::Context as _;
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let context = Context::new(cli.global);
    match cli.verb {
        Verb::Init(args) => init::run(&context, args),
        Verb::Check(args) => check::run(&context, &args),
        Verb::Status(args) => status::run(&context, &args),
        Verb::Schema(args) => schema::run(&context, &args),
        Verb::Completions(args) => completions::run(&args),
        _ => anyhow::bail!("not wired yet"),
    }
}
