//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second does not wait for it.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// As a shell reports a command that Ctrl-C has ended.
pub(super) const INTERRUPTED: i32 = 130;

/// Both signals, from now on caught instead of ending the process.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Within a runtime only.
    pub(super) fn catch() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// The next signal, whichever it is.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
