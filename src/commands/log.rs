//! Logs on standard error: level by -v and -q, else by `TELEREEL_LOG`, else `info`; for people or as JSON lines.

use std::io::{IsTerminal, stderr};

use tracing::level_filters::LevelFilter;

use super::Usage;
use super::progress::Screen;
use crate::cli::{Global, LogFormat};

const VARIABLE: &str = "TELEREEL_LOG";

/// Starts logging for the rest of the process.
pub(super) fn start(global: &Global, screen: &Screen) -> anyhow::Result<()> {
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 1) => LevelFilter::DEBUG,
        (false, 2..) => LevelFilter::TRACE,
        (false, 0) => from_environment()?,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(screen.clone())
        // It would be said on standard error, which is what failed, and by a macro that panics then.
        .log_internal_errors(false);
    // Only a test that runs several commands in one process has a subscriber already.
    let _ = match global.log_format {
        LogFormat::Text => {
            subscriber.with_ansi(stderr().is_terminal()).with_target(level >= LevelFilter::DEBUG).try_init()
        }
        LogFormat::Json => subscriber
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_ansi(false)
            .try_init(),
    };
    Ok(())
}

fn from_environment() -> anyhow::Result<LevelFilter> {
    match std::env::var(VARIABLE) {
        Ok(level) => level.parse().map_err(|_| {
            Usage(format!("{VARIABLE}={level:?}: expected off, error, warn, info, debug or trace")).into()
        }),
        Err(_) => Ok(LevelFilter::INFO),
    }
}
