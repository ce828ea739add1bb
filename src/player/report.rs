//! The report of a replay: what `--report` writes and `--json` ends with.

use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::faults::{DISCONNECTED, FaultReport};
use super::played::Played;
use super::{Pace, PlayOptions};
use crate::message::SessionId;
use crate::transport::fanout::{ClientSummary, Fanout, Lateness, OutageCount};

/// What was sent to whom, and how late.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub session_ids: Vec<SessionId>,
    /// Emitted, loops included; each once, however many clients there were.
    pub messages: u64,
    /// Of their payloads.
    pub bytes: u64,
    /// From the start of the clock until every client had everything.
    pub duration_ns: u64,
    /// At the end, where it was changed.
    pub speed: String,
    /// All that messages left at, one after the other; empty where there was no time to keep.
    pub speeds: Vec<String>,
    /// `original`, `max`, `lockstep` or `step`; without due times there is no lateness.
    pub pace: &'static str,
    /// Over all messages to all clients: flushed to the socket, minus due.
    pub lateness_us: Quantiles,
    /// Median lateness of the last tenth of the replay minus that of its first tenth.
    pub drift_us: i64,
    /// SHA-256, in hexadecimal, over channel and payload of every emitted message, each after its
    /// length as four bytes, big-endian.
    pub digest: String,
    /// The same over what left; differs where faults or rebasing changed something.
    pub sent_digest: String,
    /// What the messages were.
    pub sources: Vec<SourceReport>,
    pub clients: Vec<ClientReport>,
    /// What was done to the stream on purpose.
    pub faults: Vec<FaultReport>,
    /// Connections that were closed and refused because what they came for was down: `--outages reproduce`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outages: Option<OutageCount>,
    /// Things whose last message was not kept, because there were more than are remembered.
    pub states_forgotten: u64,
    /// Messages that were late because the archive was not read in time.
    pub reader_late: u64,
    /// The replay was stopped before its end.
    pub stopped: bool,
    /// The wall clock (microseconds since the Unix epoch) to which times in payloads were moved.
    #[serde(skip)]
    pub rebased_to_us: Option<i64>,
}

/// One source's part of what was emitted.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    pub name: String,
    pub vendor: String,
    pub messages: u64,
    pub bytes: u64,
}

/// One client's part.
#[derive(Clone, Debug, Serialize)]
pub struct ClientReport {
    pub id: u64,
    pub endpoint: String,
    pub messages: u64,
    pub bytes: u64,
    /// Told to it first, because it came late or the replay was wound; not among `messages`.
    pub states: u64,
    /// Its connection was closed because all that it came for was down, as `--outages reproduce` asks for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub outage: bool,
    /// Addressed to it and not sent, because it was too slow.
    pub dropped: u64,
    /// Pushes that were refused for good, after every repetition.
    pub refused: u64,
    /// How often something was pushed again.
    pub repeated: u64,
    /// Why it was disconnected before the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    pub lateness_us: Quantiles,
}

/// A distribution in whole microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl From<&Lateness> for Quantiles {
    fn from(lateness: &Lateness) -> Self {
        Self {
            p50: lateness.at_per_mille(500),
            p90: lateness.at_per_mille(900),
            p99: lateness.at_per_mille(990),
            p999: lateness.at_per_mille(999),
            max: lateness.max(),
        }
    }
}

impl From<ClientSummary> for ClientReport {
    fn from(client: ClientSummary) -> Self {
        Self {
            lateness_us: Quantiles::from(&client.lateness),
            id: client.id,
            endpoint: client.endpoint,
            messages: client.messages,
            bytes: client.bytes,
            states: client.states,
            outage: client.cut,
            dropped: client.dropped,
            refused: client.refused,
            repeated: client.repeated,
            reason: client.reason,
        }
    }
}

impl From<((Arc<str>, Arc<str>), (u64, u64))> for SourceReport {
    fn from(((name, vendor), (messages, bytes)): ((Arc<str>, Arc<str>), (u64, u64))) -> Self {
        Self { name: name.to_string(), vendor: vendor.to_string(), messages, bytes }
    }
}

impl Report {
    /// Whether a client was disconnected for being slow, or a push refused for good: exit code 3. What was
    /// asked for is no loss.
    pub fn has_loss(&self) -> bool {
        let is_lost = |reason| reason != DISCONNECTED;
        self.clients.iter().any(|client| client.reason.is_some_and(is_lost) || client.refused > 0)
    }

    pub(super) fn new(options: &PlayOptions, played: Played, fanout: &Fanout, ended_ns: u64) -> Self {
        let summaries = fanout.summaries();
        let mut lateness = Lateness::default();
        summaries.iter().for_each(|client| lateness.add(&client.lateness));
        let digest = hex(played.digest);
        let sent_digest = played.sent_digest.map_or_else(|| digest.clone(), hex);
        Self {
            session_ids: options.sessions.iter().map(|session| session.session_id).collect(),
            messages: played.messages,
            bytes: played.bytes,
            duration_ns: played.started_ns.map_or(0, |started_ns| ended_ns.saturating_sub(started_ns)),
            speed: played.speed.to_string(),
            speeds: played.speeds.iter().map(ToString::to_string).collect(),
            pace: match options.pace {
                Pace::Original => "original",
                Pace::Max => "max",
                Pace::Lockstep => "lockstep",
                Pace::Step => "step",
            },
            lateness_us: Quantiles::from(&lateness),
            drift_us: fanout.drift_us(),
            sent_digest,
            digest,
            sources: played.sources.into_counts().into_iter().map(SourceReport::from).collect(),
            clients: summaries.into_iter().map(ClientReport::from).collect(),
            faults: played.faults,
            outages: fanout.outages(),
            states_forgotten: fanout.forgotten_states(),
            reader_late: played.reader_late,
            stopped: played.stopped,
            rebased_to_us: played.rebased_to_us,
        }
    }
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
