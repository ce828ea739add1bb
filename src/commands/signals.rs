//! Ctrl-C, SIGTERM and a terminal that closes (SIGHUP): the first asks for an orderly end, the second does not wait for
//! it. A recorder that is no terminal's takes SIGHUP as the wish to read its configuration anew.

use std::io::{IsTerminal as _, stderr, stdin};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// As a shell reports a command that Ctrl-C has ended.
pub(super) const INTERRUPTED: i32 = 130;

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caught {
    Interrupt,
    Terminate,
    Hangup,
}

/// The signals, from now on caught instead of ending the process.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None under `nohup`, whose point it is that this one ends nothing.
    hangup: Option<Signal>,
    had_terminal: bool,
}

impl Signals {
    /// Within a runtime only.
    pub(super) fn catch() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        let hangup = if is_ignored(SignalKind::hangup()) { None } else { Some(catch(SignalKind::hangup())?) };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hangup,
            had_terminal: has_terminal(),
        })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.terminate.recv() => Caught::Terminate,
            _ = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            } => Caught::Hangup,
        }
    }

    /// The next of those that can only mean the end.
    pub(super) async fn end(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.terminate.recv() => Caught::Terminate,
        }
    }

    /// Whether the terminal that this process was started at is gone: it was that which SIGHUP told.
    pub(super) fn lost_terminal(&self) -> bool {
        self.had_terminal && !has_terminal()
    }
}

/// A terminal that was closed is none any more.
fn has_terminal() -> bool {
    stdin().is_terminal() || stderr().is_terminal()
}

/// Whether whoever started this process had it ignore the signal. Where that is not told, it did not.
fn is_ignored(signal: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal.as_raw_value() - 1)) != 0
}
