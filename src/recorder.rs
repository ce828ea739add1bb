//! The recording path, and the only place that joins its stages:
//! transport -> collector -> journal -> segments.
//!
//! ```text
//! connection tasks ─┐                    ┌─ acknowledgements, once durable
//! webhook requests ─┴─> one task per source ──> journal (thread) ──> sealer (thread)
//! ```
//!
//! * [`source`] drives a vendor's collector and carries out what it wants;
//! * [`gate`] is the way into the journal, and what happens when it is full;
//! * [`webhook`] receives requests, [`redact`] says what of them is never stored;
//! * [`sealer`] turns closed parts into segments while the recording goes on;
//! * [`upkeep`] compacts what is over and prunes what is old, beside it all and after it all;
//! * [`lineup`] is who is recorded, [`reload`] changes that, [`roll`] begins a new session while connections stay open;
//! * [`stats`] is what is known about it all, [`devices`] when each was heard, [`health`] whether data is at risk, and [`memory`](crate::config::memory)
//!   how the memory is split.
//!
//! A start binds its listeners before anything is written, so that a port in use leaves nothing
//! behind; where the disk takes nothing, it waits ([`waiting`]) until it can [`begin`]. A stop closes connections, the journal, then seals all of it. One source never disturbs
//! another; a vendor that cannot be reached is dialled for ever.

pub mod begin;
pub mod deliveries;
pub mod devices;
pub mod gate;
pub mod health;
pub mod latest;
pub mod lineup;
pub mod reached;
pub mod redact;
pub mod reload;
pub mod roll;
pub mod sealer;
pub mod source;
pub mod start;
pub mod stats;
pub mod status;
pub mod upkeep;
mod waiting;
pub mod webhook;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::reload::Reloaded;
pub use self::start::{Inherited, RecordError, StartOptions};
pub use self::stats::{Status, Summary};
pub use self::status::StatusSource;

use self::lineup::{Lineup, Request};
use self::stats::SourceSummary;
use self::upkeep::Keeper;
use self::webhook::{Doors, Room};
use crate::archive::RecoverReport;
use crate::config::Config;
use crate::journal::{Journal, JournalError};
use crate::transport::http_server::{Places, ServerTls};

/// How long a change of sources or session that is under way may take until a stop goes on without it.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a stop waits for webhooks under way: for a body to come, and its answer to leave.
const WEBHOOKS_TIMEOUT: Duration = Duration::from_secs(3);

/// Who asks for the status at the end gets it, or is slow.
const CONSOLE_TIMEOUT: Duration = Duration::from_millis(500);

/// A recording that is running. Dropping it leaves all data in the journal.
#[derive(Debug)]
pub struct Recorder {
    running: StatusSource,
    recovered: RecoverReport,
    webhooks_at: Option<SocketAddr>,
    console_at: Option<SocketAddr>,
    /// Connections to both listeners.
    places: Places,
    /// For the bodies of webhooks under way.
    bodies: Room,
    /// As it was started with.
    config: Config,
    lineup: JoinHandle<Lineup>,
    requests: mpsc::Sender<Request>,
    /// Ends the lineup's task, which then hands it back.
    end: CancellationToken,
    doors: Doors,
    webhooks_tls: ServerTls,
    console_tls: ServerTls,
    webhooks: Option<JoinHandle<()>>,
    console: Option<JoinHandle<()>>,
    stop_webhooks: CancellationToken,
    stop_console: CancellationToken,
    journal: Journal,
    sealed: oneshot::Receiver<()>,
    upkeep: Keeper,
}

impl Recorder {
    /// What an earlier recording had left in the journal, and has been sealed at the start.
    pub fn recovered(&self) -> &RecoverReport {
        &self.recovered
    }

    /// Where webhooks are received, if any source is one.
    pub fn webhooks_at(&self) -> Option<SocketAddr> {
        self.webhooks_at
    }

    /// Where the status is served.
    pub fn console_at(&self) -> Option<SocketAddr> {
        self.console_at
    }

    /// The recording as it is now.
    pub fn status(&self) -> Status {
        self.running.status()
    }

    /// For whoever looks on by himself.
    pub fn status_source(&self) -> StatusSource {
        self.running.clone()
    }

    /// Resolves, with the reason, when the journal has failed: nothing is recorded any more.
    pub async fn failed(&self) -> String {
        let mut durable = self.running.journal().durable();
        let failed = durable.wait_for(|durable| durable.error.is_some()).await;
        match failed.ok().and_then(|durable| durable.error.clone()) {
            Some(error) => error.to_string(),
            None => "the journal is closed".to_owned(),
        }
    }

    /// Closes the connections, seals everything and ends the session. If `abort` is cancelled
    /// meanwhile, what is not sealed yet stays in the journal.
    pub async fn stop(self, abort: CancellationToken) -> Result<Summary, RecordError> {
        let sealing = std::sync::Arc::clone(self.running.sealing());
        let mut stopping = std::pin::pin!(self.stop_in_order());
        tokio::select! {
            biased;
            () = abort.cancelled() => {
                // Before `stopping` is dropped, and the journal with it, which closes its last part.
                sealing.abort();
                Err(RecordError::Aborted)
            }
            stopped = stopping.as_mut() => stopped,
        }
    }

    async fn stop_in_order(mut self) -> Result<Summary, RecordError> {
        self.end.cancel();
        self.upkeep.stop();
        // One that does not come back in time is left alone: its sources end when it is dropped.
        let lineup = tokio::time::timeout(CHANGE_TIMEOUT, &mut self.lineup).await;
        if lineup.is_err() {
            self.lineup.abort();
        }
        // No connection is accepted any more. Those that are open get their answers, before their sources end.
        self.stop_webhooks.cancel();
        let webhooks = self.webhooks.take();
        let pushed = async move {
            if let Some(webhooks) = webhooks
                && tokio::time::timeout(WEBHOOKS_TIMEOUT, webhooks).await.is_err()
            {
                tracing::warn!("some webhooks were not there whole in time");
            }
        };
        match lineup {
            Ok(Ok(lineup)) => lineup.end(pushed).await,
            _ => tracing::error!("the sources could not be ended in good order"),
        }
        let now = self.running.clock().now();
        self.running.sealing().end(self.running.session().session_id, now.wall_us, None);
        let closed = close(self.journal).await;
        // The sealer ends when the journal's channel of closed parts does.
        let sealed = self.sealed.await;
        self.upkeep.ended().await;
        self.stop_console.cancel();
        if let Some(console) = self.console.take() {
            let _ = tokio::time::timeout(CONSOLE_TIMEOUT, console).await;
        }
        closed.map_err(|source| RecordError::Journal { source })?;
        sealed.map_err(|_| RecordError::SealerDied)?;
        Ok(self.running.summary(now))
    }
}

#[cfg(test)]
impl Recorder {
    /// Begins a new session now.
    async fn roll(&self, name: Option<&str>) -> Result<(), RecordError> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Roll { name: name.map(str::to_owned), answer };
        self.requests.send(request).await.map_err(|_| RecordError::Ending)?;
        answered.await.map_err(|_| RecordError::Ending)?
    }
}

/// Closes the journal without holding up a worker thread, and without keeping the program alive for it.
async fn close(journal: Journal) -> Result<(), JournalError> {
    let (done, is_done) = oneshot::channel();
    std::thread::spawn(move || done.send(journal.close()));
    let died = |_| Err(JournalError::Poisoned { reason: "its thread panicked".into() });
    is_done.await.unwrap_or_else(died)
}

/// Microseconds since the Unix epoch as RFC 3339, UTC.
fn rfc3339(wall_us: i64) -> String {
    match chrono::DateTime::from_timestamp_micros(wall_us) {
        Some(time) => time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        None => wall_us.to_string(),
    }
}

/// What a source's summary is made of, with the decode errors that only sealing knows.
fn summarise(stats: &stats::SourceStats, now_ns: u64, decode_errors: u64) -> SourceSummary {
    let counters = stats.lock();
    SourceSummary {
        name: stats.name.clone(),
        vendor: stats.vendor.clone(),
        messages: counters.messages,
        bytes: counters.bytes,
        duplicates: counters.duplicates,
        decode_errors,
        disconnects: counters.disconnects,
        gap_ns: counters.gap_ns_at(now_ns),
        dropped: counters.dropped,
        refused: counters.refused,
        last_error: counters.last_error.clone(),
        gave_up: counters.gave_up.clone(),
    }
}

#[cfg(test)]
mod tests;
