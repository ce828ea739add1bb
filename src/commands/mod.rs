//! What each verb does, one file per verb: arguments in, calls to the stages below, a result for
//! people or as JSON on standard output.
//!
//! Everything that is said goes through here: data to standard output ([`output`]), errors, logs and
//! progress to standard error. The chain of an error is printed once, in [`main`].

mod cat;
mod check;
mod clip;
mod compact;
mod completions;
mod context;
mod demo;
mod destination;
mod erase;
mod export;
mod import;
mod info;
mod inherited;
mod init;
mod list;
mod log;
mod mark;
mod output;
mod progress;
mod prune;
mod record;
mod recorder_api;
mod recover;
mod reindex;
mod rename;
mod replay;
mod rm;
mod schema;
mod selection;
mod service;
mod signals;
mod simulate;
mod stats;
mod status;
mod upkeep;
mod verify;
mod views;

use std::process::ExitCode;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::cli::{Cli, LogFormat, Verb};
use crate::config::ConfigError;
use crate::player::PlayError;
use context::Context;
use output::StdoutClosed;
use progress::Screen;

/// How a verb ended that did what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Done, but loss or damage was found, and was said.
    Lossy,
    /// As the command that was run for the user ended.
    Code(u8),
}

/// A mistake in how the command was called: nothing was touched.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Runs the command and answers with its exit code.
pub fn main(cli: Cli) -> ExitCode {
    let is_logged = cli.global.log_format == LogFormat::Json;
    let screen = Screen::new(cli.global.quiet, is_logged);
    match log::start(&cli.global, &screen).and_then(|()| run(cli, screen)) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Lossy) => ExitCode::from(3),
        Ok(Outcome::Code(code)) => ExitCode::from(code),
        // `telereel cat | head` has what it wanted.
        Err(error) if error.chain().any(|cause| cause.is::<StdoutClosed>()) => ExitCode::SUCCESS,
        Err(error) => {
            if is_logged {
                tracing::error!("{error:#}");
            } else {
                output::print_error(&error);
            }
            ExitCode::from(if error.chain().any(is_usage) { 2 } else { 1 })
        }
    }
}

/// Whether it is for the caller to mend, and nothing has been touched.
fn is_usage(cause: &(dyn std::error::Error + 'static)) -> bool {
    let refused = cause
        .downcast_ref()
        .is_some_and(|e| matches!(e, PlayError::Exposed { .. } | PlayError::NoCredentials { .. }));
    refused || cause.is::<Usage>() || cause.is::<ConfigError>()
}

/// The runtime of a verb that speaks with others.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use anyhow::Context as _;
    raise_open_files();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// A shell gives 1,024 file descriptors, and a thousand clients need more: as many as are allowed, up to what is
/// no burden on a program that is run with `--exec` and inherits them.
fn raise_open_files() {
    const OPEN_FILES: u64 = 65_536;
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(OPEN_FILES).min(OPEN_FILES);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        // Refused, it stays as it was: a client too many is told so.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

fn run(cli: Cli, screen: Screen) -> anyhow::Result<Outcome> {
    let context = Context::new(cli.global, screen);
    match cli.verb {
        Verb::Demo(args) => demo::run(context.json, &args),
        Verb::Init(args) => init::run(&context, args),
        Verb::Check(args) => check::run(&context, &args),
        Verb::Record(args) => record::run(&context, args),
        Verb::Status(args) => status::run(&context, &args),
        Verb::Replay(args) => replay::run(&context, *args),
        Verb::Simulate(args) => simulate::run(&context, &args),
        Verb::List(_) => list::run(&context),
        Verb::Info(args) => info::run(&context, &args),
        Verb::Cat(args) => cat::run(&context, args),
        Verb::Stats(args) => stats::run(&context, args),
        Verb::Clip(args) => clip::run(&context, args),
        Verb::Mark(args) => mark::run(&context, args),
        Verb::Export(args) => export::run(&context, args),
        Verb::Import(args) => import::run(&context, args),
        Verb::Verify(_) => verify::run(&context),
        Verb::Recover(_) => recover::run(&context),
        Verb::Reindex(_) => reindex::run(&context),
        Verb::Compact(args) => compact::run(&context, args),
        Verb::Prune(args) => prune::run(&context, args),
        Verb::Erase(args) => erase::run(&context, *args),
        Verb::Rename(args) => rename::run(&context, args),
        Verb::Rm(args) => rm::run(&context, args),
        Verb::Schema(args) => schema::run(&context, &args),
        Verb::Views(args) => views::run(&context, &args),
        Verb::Completions(args) => completions::run(&args),
    }
}
