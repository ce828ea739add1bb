//! Progress at a terminal, on standard error, and nothing elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use super::context::Context;

/// Shared by the progress line and the log, so that neither writes over the other.
#[derive(Clone, Debug)]
pub(super) struct Screen(MultiProgress);

/// A line that is drawn over and over.
pub(super) struct Progress(ProgressBar);

impl Screen {
    pub(super) fn new() -> Self {
        Self(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
    }

    /// Says a line beside the data.
    pub(super) fn note(&self, text: impl std::fmt::Display) {
        let line = format!("{text}\n");
        // If nobody can read it, nobody misses it.
        let _ = self.0.suspend(|| stderr().write_all(line.as_bytes()));
    }
}

impl Progress {
    /// A line with no known end; hidden where standard error is no terminal.
    pub(super) fn spinner(context: &Context) -> Self {
        if !stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = context.screen.0.add(ProgressBar::new_spinner());
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

    pub(super) fn say(&self, text: &str) {
        self.0.set_message(text.to_owned());
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
        self.0.suspend(|| stderr().write(line))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        stderr().flush()
    }
}
