//! What a running recorder knows about itself: counters per source, and how they are shown.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::upkeep::UpkeepStatus;
use crate::archive::RecoverReport;
use crate::message::SessionId;

const SECOND_NS: u64 = 1_000_000_000;

/// The stretch over which rates are taken.
const RATE_SECONDS: usize = 10;

/// One source's counters. Locked for a few additions at a time, never across an await.
#[derive(Debug)]
pub struct SourceStats {
    pub name: String,
    pub vendor: String,
    inner: Mutex<Counters>,
}

/// The counters themselves.
#[derive(Debug, Default)]
pub struct Counters {
    pub state: State,
    pub messages: u64,
    pub bytes: u64,
    pub duplicates: u64,
    pub dropped: u64,
    pub dropped_bytes: u64,
    /// Turned away, and whoever sent it knows: a push that was answered with 503 or 413, and at the
    /// end what was never acknowledged. No loss: it is for the sender to send again.
    pub refused: u64,
    pub disconnects: u64,
    /// Outages that are over.
    pub gap_ns: u64,
    /// Since when nothing can come; none while the source is connected.
    pub down_since_ns: Option<u64>,
    pub last_message_us: Option<i64>,
    pub last_message_ns: Option<u64>,
    pub last_error: Option<String>,
    pub gave_up: Option<String>,
    /// On the steady clock, as for a message.
    pub last_dropped_ns: Option<u64>,
    pub last_refused_ns: Option<u64>,
    pub rate: Rate,
}

/// Where a source stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    #[default]
    Starting,
    Connecting,
    /// Data can come: subscribed, registered or listening, as the vendor has it.
    Connected,
    Stalled,
    Waiting,
    GaveUp,
    Stopped,
}

impl SourceStats {
    pub fn new(name: &str, vendor: &str) -> Self {
        Self { name: name.to_owned(), vendor: vendor.to_owned(), inner: Mutex::default() }
    }

    pub fn lock(&self) -> MutexGuard<'_, Counters> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    /// A message that could not be taken is lost.
    pub fn drop_one(&mut self, bytes: u64, now_ns: u64) {
        self.dropped += 1;
        self.dropped_bytes += bytes;
        self.last_dropped_ns = Some(now_ns);
    }

    /// A message was turned away, and whoever sent it is told.
    pub fn refuse_one(&mut self, now_ns: u64) {
        self.refused += 1;
        self.last_refused_ns = Some(now_ns);
    }

    /// Outages up to `now_ns`, one that lasts included.
    pub fn gap_ns_at(&self, now_ns: u64) -> u64 {
        self.gap_ns + self.down_since_ns.map_or(0, |since| now_ns.saturating_sub(since))
    }
}

/// Messages and bytes of the last seconds, by second.
#[derive(Debug, Default)]
pub struct Rate {
    seconds: VecDeque<(u64, u64, u64)>,
}

impl Rate {
    pub fn count(&mut self, now_ns: u64, bytes: u64) {
        let second = now_ns / SECOND_NS;
        match self.seconds.back_mut() {
            Some(last) if last.0 == second => {
                last.1 += 1;
                last.2 += bytes;
            }
            _ => {
                self.seconds.push_back((second, 1, bytes));
                if self.seconds.len() > RATE_SECONDS + 1 {
                    self.seconds.pop_front();
                }
            }
        }
    }

    /// Messages and bytes in the ten whole seconds before this one.
    pub fn last_seconds(&self, now_ns: u64) -> (u64, u64) {
        let now = now_ns / SECOND_NS;
        let from = now.saturating_sub(RATE_SECONDS as u64);
        let counted = self.seconds.iter().filter(|(second, ..)| (from..now).contains(second));
        counted.fold((0, 0), |sum, (_, messages, bytes)| (sum.0 + messages, sum.1 + bytes))
    }
}

/// What has been sealed so far, and what went wrong with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SealStats {
    pub segments: u64,
    pub bytes_stored: u64,
    pub messages: u64,
    pub last_error: Option<String>,
    /// Parts that were sealed.
    pub parts: u64,
    /// When the last one was, and since when the oldest that is not has been waiting, on the steady clock.
    pub last_sealed_ns: Option<u64>,
    pub waiting_since_ns: Option<u64>,
    /// Messages that parts should have held and did not, because they were damaged while the recording went on.
    pub lost: u64,
    /// Parts that were not as they had been written, though nothing that was counted may be missing.
    pub damaged_parts: u64,
    /// Sidecars that could not be read, and were made anew.
    pub set_aside: u64,
    /// Per source, in the configuration's order.
    pub decode_errors: Vec<u64>,
}

impl SealStats {
    /// Whether the disk has changed what was written in this recording.
    pub fn has_damage(&self) -> bool {
        self.damaged_parts > 0 || self.set_aside > 0
    }
}

/// A recording when it is over: `record --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub session_ids: Vec<SessionId>,
    pub duration_ns: u64,
    pub sources: Vec<SourceSummary>,
    pub segments: u64,
    pub bytes_stored: u64,
    /// Messages that had been stored, and that damage to the journal took before they were sealed.
    pub lost: u64,
    /// Whether the disk has changed what was written meanwhile.
    #[serde(skip)]
    pub is_damaged: bool,
    /// Why parts were left in the journal, for `recover` or the next `record`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal_error: Option<String>,
}

/// One source's share of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceSummary {
    pub name: String,
    pub vendor: String,
    pub messages: u64,
    pub bytes: u64,
    pub duplicates: u64,
    pub decode_errors: u64,
    pub disconnects: u64,
    pub gap_ns: u64,
    /// Input that reached the recorder and was not stored.
    pub dropped: u64,
    /// Input that was turned away, and whoever sent it knows.
    pub refused: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gave_up: Option<String>,
}

impl Summary {
    /// Input that reached the recorder and was not stored, of all sources.
    pub fn dropped(&self) -> u64 {
        self.sources.iter().map(|source| source.dropped).sum()
    }

    /// Whether something that reached the recorder is not in the archive, or damage was found: exit code 3.
    pub fn has_loss(&self) -> bool {
        self.dropped() > 0 || self.lost > 0 || self.is_damaged
    }
}

/// A running recorder: `GET /api/v1/status`. But for the session's id and name all of it is about the process: counts
/// are from its start on, over all its sessions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    pub session_id: SessionId,
    pub session: String,
    /// RFC 3339, of the first session of this recorder.
    pub started_at: String,
    /// Since then.
    pub duration_ns: u64,
    pub archive: String,
    pub sources: Vec<SourceStatus>,
    pub journal: JournalStatus,
    pub sealing: SealingStatus,
    pub segments: u64,
    pub bytes_stored: u64,
    /// In the segments.
    pub rows_stored: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal_error: Option<String>,
    /// What was found damaged, at the start and while recording; none where all was well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<DamageStatus>,
    /// None where the configuration asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upkeep: Option<UpkeepStatus>,
    pub disk_free_bytes: Option<u64>,
    /// How long the disk lasts at the rate of the last ten seconds, down to `min_free_disk`; none
    /// while nothing comes.
    pub disk_left_days: Option<f64>,
}

/// What the recovery at a start, or sealing since, could not leave as it was. Neither looks into sealed segments: `verify`
/// does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DamageStatus {
    /// From the journal.
    pub lost_messages: u64,
    /// Files that cannot be read, kept as `*.damaged`.
    pub set_aside: u64,
    /// Manifests, sidecars, declarations and heads of journal parts that were lost or damaged, and are made anew.
    pub made_anew: u64,
    /// What is missing or cannot be read, and was left; and journal parts that were damaged while recording.
    pub problems: u64,
    /// All of it in a line, for people.
    pub detail: String,
}

impl DamageStatus {
    pub(super) fn of(recovered: &RecoverReport) -> Option<Self> {
        let aside_of_rebuilt = recovered.rebuilt.iter().map(|one| one.set_aside.len()).sum::<usize>();
        let aside_of_mended = recovered.mended.iter().filter(|one| one.set_aside.is_some()).count();
        recovered.has_loss().then(|| Self {
            lost_messages: recovered.lost_messages(),
            set_aside: (recovered.set_aside.len() + aside_of_rebuilt + aside_of_mended) as u64,
            made_anew: (recovered.rebuilt.len() + recovered.mended.len()) as u64,
            problems: recovered.problems.len() as u64,
            detail: recovered.loss(),
        })
    }

    /// The same with what was found since; `found` is what the start did.
    pub(super) fn since(found: Option<Self>, sealed: &SealStats) -> Option<Self> {
        if !sealed.has_damage() {
            return found;
        }
        let mut all = found.unwrap_or_default();
        all.lost_messages += sealed.lost;
        all.set_aside += sealed.set_aside;
        all.problems += sealed.damaged_parts;
        if !all.detail.is_empty() {
            all.detail.push_str("; ");
        }
        all.detail += &format!("while recording: {} messages lost from the journal", sealed.lost);
        Some(all)
    }
}

/// One source's share of a [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SourceStatus {
    pub name: String,
    pub vendor: String,
    pub state: State,
    pub messages: u64,
    pub bytes: u64,
    /// Messages per second over the last ten seconds.
    pub rate: f64,
    /// RFC 3339.
    pub last_message_at: Option<String>,
    #[serde(skip)]
    pub last_message_at_us: Option<i64>,
    /// Since the last message.
    pub silent_ns: Option<u64>,
    /// Arrival minus the vendor's own time, of the last message that holds one.
    pub lag_ms: Option<i64>,
    pub duplicates: u64,
    pub dropped: u64,
    /// Since the last message that was.
    pub dropped_ago_ns: Option<u64>,
    pub dropped_bytes: u64,
    pub refused: u64,
    pub refused_ago_ns: Option<u64>,
    pub disconnects: u64,
    pub gap_ns: u64,
    /// Of the outage that lasts.
    pub down_ns: Option<u64>,
    pub last_error: Option<String>,
    pub gave_up: Option<String>,
}

/// The journal's share of a [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct JournalStatus {
    /// Messages on disk, in order of acceptance.
    pub durable_up_to: u64,
    /// The last of them: what came after it, a power cut would take. None before the first.
    pub durable: Option<DurableStatus>,
    /// Accepted and not yet on disk.
    pub waiting_messages: u64,
    /// For how long the oldest of these has been waiting.
    pub lag_ns: u64,
    /// More than this is too long: two seconds beyond `sync_interval`.
    pub lag_max_ns: u64,
    /// Since a message got to the disk that had been waiting for longer than that.
    pub late_ago_ns: Option<u64>,
    /// For how long the writer has been at its present write or sync.
    pub turn_ns: u64,
    pub queue_bytes: u64,
    pub queue_bytes_max: u64,
    /// False while the disk is nearly full or the journal has failed.
    pub accepting: bool,
    /// Why it is not.
    pub error: Option<String>,
    /// It has failed, and nothing is recorded any more.
    pub failed: bool,
}

/// The last message that is on disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DurableStatus {
    pub session_id: SessionId,
    pub seq: u64,
    /// RFC 3339.
    pub received_at: String,
    #[serde(skip)]
    pub received_at_us: i64,
}

/// The sealer's share of a [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SealingStatus {
    /// Since the first message of the part that is being written.
    pub open_part_age_ns: Option<u64>,
    /// Complete, and still in the journal.
    pub unsealed_parts: u64,
    /// Since the oldest of these was complete.
    pub unsealed_part_age_ns: Option<u64>,
    /// Since the last part was sealed.
    pub last_sealed_ago_ns: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_ten_whole_seconds() {
        let mut rate = Rate::default();
        for second in 0..30 {
            for _ in 0..second {
                rate.count(second * SECOND_NS + 5, 2);
            }
        }
        // Seconds 20 to 29 held 20 to 29 messages.
        assert_eq!(rate.last_seconds(30 * SECOND_NS), (245, 490));
        assert_eq!(rate.last_seconds(39 * SECOND_NS + 1), (29, 58));
        assert_eq!(rate.last_seconds(50 * SECOND_NS), (0, 0));
    }

    #[test]
    fn an_outage_that_lasts_is_counted() {
        let counters = Counters { gap_ns: 5, down_since_ns: Some(100), ..Counters::default() };
        assert_eq!(counters.gap_ns_at(130), 35);
    }
}
