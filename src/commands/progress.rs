//! Progress at a terminal, on standard error, and nothing elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use super::context::Context;
use crate::printable::{printable, printable_lines};
use crate::units::human_count;

/// Shared by the progress line and the log, so that neither writes over the other.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    lines: MultiProgress,
    quiet: bool,
    /// What is said beside the data are lines of the log.
    is_logged: bool,
}

/// A line that is drawn over and over.
pub(super) struct Progress(ProgressBar);

impl Screen {
    /// `quiet`: only errors are wanted; `is_logged`: standard error is for a program, each line of it a log's.
    pub(super) fn new(quiet: bool, is_logged: bool) -> Self {
        Self { lines: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), quiet, is_logged }
    }

    /// Says a line beside the data.
    pub(super) fn note(&self, text: impl std::fmt::Display) {
        if self.quiet {
            return;
        }
        if self.is_logged {
            return tracing::info!("{}", printable(&text.to_string()));
        }
        let line = format!("{}\n", printable_lines(&text.to_string()));
        // If nobody can read it, nobody misses it.
        let _ = self.beside(|| stderr().write_all(line.as_bytes()));
    }

    /// Writes while no progress is drawn. A terminal that was closed has none, and its drawing would panic.
    fn beside<T>(&self, write: impl FnOnce() -> T) -> T {
        if stderr().is_terminal() { self.lines.suspend(write) } else { write() }
    }
}

impl Progress {
    /// A line with no known end; hidden where standard error is no terminal, or nothing but errors is wanted.
    pub(super) fn spinner(context: &Context) -> Self {
        if context.screen.quiet || context.screen.is_logged || !stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = context.screen.lines.add(ProgressBar::new_spinner());
        bar.set_style(
            ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    pub(super) fn is_shown(&self) -> bool {
        !self.0.is_hidden()
    }

    /// `12 of 340 segments checked`
    pub(super) fn count(&self, done: u64, total: u64, what: &str) {
        if self.is_shown() {
            self.say(&format!("{} of {} {what}", human_count(done), human_count(total)));
        }
    }

    /// Leaves the terminal to what `asks`.
    pub(super) fn hidden_while<T>(&self, asks: impl FnOnce() -> T) -> T {
        self.0.suspend(asks)
    }

    pub(super) fn say(&self, text: &str) {
        self.0.set_message(printable(text).into_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

// The log writes whole lines at once.
impl Write for Screen {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.beside(|| stderr().write(line))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        stderr().flush()
    }
}
