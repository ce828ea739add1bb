//! A view of a running recorder, for whoever asks: the status page, the progress bar, the summary.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::devices::{Devices, DevicesSeen};
use super::health::{self, Risk};
use super::latest::Latest;
use super::sealer::Sealing;
use super::stats::{
    DamageStatus, DurableStatus, JournalStatus, SealingStatus, SourceStats, SourceStatus, State, Status,
    Summary,
};
use super::upkeep::{Keeping, Load};
use super::{rfc3339, summarise};
use crate::archive::{Archive, ArchiveError, Mark};
use crate::clock::{Clock, Now};
use crate::index::Index;
use crate::journal::JournalHandle;
use crate::message::{SessionHeader, SessionId, SourceHeader};
use crate::units::human_size;

const DAY_S: f64 = 86_400.0;

/// A running recorder's insides, to be looked at. Clones share it.
#[derive(Clone, Debug)]
pub struct StatusSource(Arc<Running>);

/// What the parts of a running recorder share.
#[derive(Debug)]
pub struct Running {
    pub clock: Clock,
    pub archive: Archive,
    pub root: PathBuf,
    pub started: Now,
    pub journal: JournalHandle,
    pub queue_bytes_max: u64,
    pub min_free_disk: u64,
    pub sealing: Arc<Sealing>,
    pub sources: Mutex<Sources>,
    pub sessions: Mutex<Sessions>,
    pub keeping: Arc<Keeping>,
    /// What the start found.
    pub damage: Option<DamageStatus>,
}

/// The sessions of this recorder. Of those that are over only the ids: a header holds all declarations, and the recorder
/// goes on for years.
#[derive(Debug)]
pub struct Sessions {
    past: Vec<SessionId>,
    current: SessionHeader,
    /// Its start on the steady clock.
    started_ns: u64,
}

impl Sessions {
    pub fn new(current: SessionHeader, started_ns: u64) -> Self {
        Self { past: Vec::new(), current, started_ns }
    }
}

/// One source, as seen from outside its task.
#[derive(Clone, Debug)]
pub struct Watched {
    pub stats: Arc<SourceStats>,
    pub latest: Arc<Latest>,
    pub devices: Arc<Devices>,
}

impl Watched {
    fn new(header: &SourceHeader, stats: Arc<SourceStats>) -> Self {
        Self { stats, latest: Arc::new(Latest::new(header)), devices: Arc::new(Devices::new(header)) }
    }
}

/// The sources as seen from outside: those that are recorded, in the configuration's order, and those that were.
#[derive(Debug)]
pub struct Sources {
    present: Vec<Watched>,
    past: Vec<Watched>,
}

impl Sources {
    pub fn new(headers: &[SourceHeader]) -> Self {
        let watched = |header: &SourceHeader| {
            Watched::new(header, Arc::new(SourceStats::new(&header.name, &header.vendor)))
        };
        Self { present: headers.iter().map(watched).collect(), past: Vec::new() }
    }
}

impl StatusSource {
    pub fn new(running: Running) -> Self {
        Self(Arc::new(running))
    }

    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub fn journal(&self) -> &JournalHandle {
        &self.0.journal
    }

    pub fn archive(&self) -> &Archive {
        &self.0.archive
    }

    pub fn sealing(&self) -> &Arc<Sealing> {
        &self.0.sealing
    }

    /// The session of the moment.
    pub fn session(&self) -> SessionHeader {
        self.session_and_start().0
    }

    fn session_and_start(&self) -> (SessionHeader, u64) {
        let sessions = self.sessions();
        (sessions.current.clone(), sessions.started_ns)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another session has begun, at this time of the steady clock.
    pub fn rolled(&self, header: SessionHeader, started_ns: u64) {
        let mut sessions = self.sessions();
        let over = std::mem::replace(&mut sessions.current, header).session_id;
        sessions.past.push(over);
        sessions.started_ns = started_ns;
    }

    /// Notes something in the session of the moment: now, or at this time of the wall clock. Writes to the disk.
    pub fn mark(&self, note: String, at_us: Option<i64>) -> Result<(SessionHeader, Mark), ArchiveError> {
        let ((session, started_ns), now) = (self.session_and_start(), self.0.clock.now());
        let at_us = at_us.unwrap_or(now.wall_us);
        let ago_ns = i128::from(now.wall_us - at_us) * 1_000;
        let elapsed_ns = i128::from(now.steady_ns) - i128::from(started_ns) - ago_ns;
        let elapsed_ns = u64::try_from(elapsed_ns.max(0)).unwrap_or(u64::MAX);
        let mark = Mark { elapsed_ns, at_us, note };
        self.0.archive.add_mark(session.session_id, mark.clone())?;
        Ok((session, mark))
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watched(&self) -> Vec<Watched> {
        self.sources().present.clone()
    }

    /// To look at a source that comes, or comes again: its counters go on where they were.
    pub(super) fn watch(&self, header: &SourceHeader) -> Watched {
        let sources = self.sources();
        let mut known = sources.present.iter().chain(&sources.past).map(|watched| &watched.stats);
        let stats = match known.find(|stats| stats.name == header.name && stats.vendor == header.vendor) {
            Some(stats) => Arc::clone(stats),
            None => Arc::new(SourceStats::new(&header.name, &header.vendor)),
        };
        Watched::new(header, stats)
    }

    /// From now on these are recorded.
    pub(super) fn line_up(&self, watched: Vec<Watched>) {
        let mut sources = self.sources();
        let sources = &mut *sources;
        sources.past.append(&mut sources.present);
        sources.present = watched;
        let is_past =
            |past: &Watched| !sources.present.iter().any(|now| Arc::ptr_eq(&now.stats, &past.stats));
        sources.past.retain(is_past);
        let mut seen = Vec::new();
        sources.past.retain(|past| {
            let is_new = !seen.contains(&Arc::as_ptr(&past.stats));
            seen.push(Arc::as_ptr(&past.stats));
            is_new
        });
    }

    /// The states of the sources.
    pub fn states(&self) -> Vec<State> {
        self.watched().iter().map(|watched| watched.stats.lock().state).collect()
    }

    fn session_ids(&self) -> Vec<SessionId> {
        let sessions = self.sessions();
        sessions.past.iter().copied().chain([sessions.current.session_id]).collect()
    }

    /// Whether the journal's writer answers. Waits for nothing.
    pub fn is_alive(&self) -> bool {
        let failed = self.0.journal.durable().borrow().error.is_some();
        !failed && health::is_alive(&self.0.journal.progress(), self.0.clock.now().steady_ns)
    }

    /// What upkeep goes by.
    pub fn keeping(&self) -> &Arc<Keeping> {
        &self.0.keeping
    }

    /// How much there is to do: upkeep leaves the disk and the cores to the recording.
    pub fn load(&self) -> Load {
        let journal = &self.0.journal;
        let queue_is_long = journal.queued_bytes() as u64 > self.0.queue_bytes_max / 4;
        if !journal.accepting() {
            Load::Full
        } else if queue_is_long || self.0.sealing.stats().waiting_since_ns.is_some() {
            Load::Heavy
        } else {
            Load::Light
        }
    }

    /// What puts data at risk now.
    pub fn risks(&self) -> Vec<Risk> {
        health::risks(&self.status())
    }

    /// Each source's devices, by its name.
    pub fn devices(&self) -> Vec<(String, DevicesSeen)> {
        let of = |watched: &Watched| (watched.stats.name.clone(), watched.devices.seen());
        self.watched().iter().map(of).collect()
    }

    /// Below so many free bytes nothing is accepted.
    pub fn min_free_disk(&self) -> u64 {
        self.0.min_free_disk
    }

    /// When it began, microseconds since the Unix epoch.
    pub fn started_at_us(&self) -> i64 {
        self.0.started.wall_us
    }

    /// The recorder as it is now.
    pub fn status(&self) -> Status {
        let running = &*self.0;
        let now = running.clock.now();
        // Of its header only these: it holds all declarations.
        let (session_id, session) = {
            let sessions = self.sessions();
            (sessions.current.session_id, sessions.current.name.clone())
        };
        let watched = self.watched();
        let durable = running.journal.durable().borrow().clone();
        let progress = running.journal.progress();
        let ago_ns = |since_ns: u64| now.steady_ns.saturating_sub(since_ns);
        let sealed = running.sealing.stats();
        let sources: Vec<SourceStatus> = watched.iter().map(|watched| source_status(watched, now)).collect();
        let bytes_per_s: f64 = watched
            .iter()
            .map(|watched| watched.stats.lock().rate.last_seconds(now.steady_ns).1 as f64 / 10.0)
            .sum();
        let accepting = running.journal.accepting();
        let free = running.archive.disk().free_bytes(&running.root).ok();
        Status {
            session_id,
            session,
            started_at: rfc3339(running.started.wall_us),
            duration_ns: now.steady_ns.saturating_sub(running.started.steady_ns),
            archive: running.root.display().to_string(),
            sources,
            journal: JournalStatus {
                durable_up_to: durable.up_to,
                durable: progress.durable.map(|mark| DurableStatus {
                    session_id: mark.session_id,
                    seq: mark.seq,
                    received_at: rfc3339(mark.received_at_us),
                    received_at_us: mark.received_at_us,
                }),
                waiting_messages: progress.waiting_messages,
                lag_ns: progress.waiting_since_ns.map_or(0, ago_ns),
                lag_max_ns: running.journal.lag_max_ns(),
                late_ago_ns: progress.late_ns.map(ago_ns),
                turn_ns: progress.at_work_since_ns.map_or(0, ago_ns),
                failed: durable.error.is_some(),
                queue_bytes: running.journal.queued_bytes() as u64,
                queue_bytes_max: running.queue_bytes_max,
                accepting: accepting && durable.error.is_none(),
                error: match durable.error {
                    Some(error) => Some(error.to_string()),
                    None => (!accepting).then(|| match durable.stuck {
                        Some(why) => format!("{why}: nothing is accepted"),
                        None => {
                            let least = human_size(running.min_free_disk);
                            format!("less than min_free_disk ({least}) is free: nothing is accepted")
                        }
                    }),
                },
            },
            sealing: SealingStatus {
                open_part_age_ns: progress.part_since_ns.map(ago_ns),
                unsealed_parts: progress.closed_parts.saturating_sub(sealed.parts),
                unsealed_part_age_ns: sealed.waiting_since_ns.map(ago_ns),
                last_sealed_ago_ns: sealed.last_sealed_ns.map(ago_ns),
            },
            segments: sealed.segments,
            bytes_stored: sealed.bytes_stored,
            rows_stored: sealed.messages,
            damage: DamageStatus::since(running.damage.clone(), &sealed),
            seal_error: sealed.last_error,
            upkeep: running.keeping.status(),
            disk_free_bytes: free,
            disk_left_days: free
                .and_then(|free| days_left(free.saturating_sub(running.min_free_disk), bytes_per_s)),
        }
    }

    /// The recording when it is over.
    pub fn summary(&self, now: Now) -> Summary {
        let running = &*self.0;
        let session_ids = self.session_ids();
        let all = {
            let sources = self.sources();
            [&sources.present[..], &sources.past].concat()
        };
        let decode_errors = self.decode_errors(&session_ids);
        let sealed = running.sealing.stats();
        let of = |name: &str| decode_errors.get(name).copied().unwrap_or(0);
        let source = |watched: &Watched| summarise(&watched.stats, now.steady_ns, of(&watched.stats.name));
        Summary {
            duration_ns: now.steady_ns.saturating_sub(running.started.steady_ns),
            sources: all.iter().map(source).collect(),
            segments: sealed.segments,
            bytes_stored: sealed.bytes_stored,
            lost: sealed.lost,
            is_damaged: sealed.has_damage(),
            seal_error: sealed.last_error,
            session_ids,
        }
    }

    /// By source. What cannot be looked up is shown as none: the recording itself is safe.
    fn decode_errors(&self, sessions: &[SessionId]) -> HashMap<String, u64> {
        let mut errors = HashMap::new();
        for session in sessions {
            let segments = Index::open_read_only(&self.0.archive.layout().index())
                .and_then(|index| index.segments(*session));
            match segments {
                Ok(segments) => {
                    for source in segments.into_iter().flat_map(|segment| segment.sources) {
                        *errors.entry(source.source).or_default() += source.decode_errors;
                    }
                }
                Err(error) => tracing::warn!("the decode errors of session {session} are unknown: {error}"),
            }
        }
        errors
    }
}

fn source_status(watched: &Watched, now: Now) -> SourceStatus {
    let lag_ms = watched.latest.lag_ms();
    let stats = &watched.stats;
    let counters = stats.lock();
    let ago_ns = |at_ns: u64| now.steady_ns.saturating_sub(at_ns);
    SourceStatus {
        name: stats.name.clone(),
        vendor: stats.vendor.clone(),
        state: counters.state,
        messages: counters.messages,
        bytes: counters.bytes,
        rate: counters.rate.last_seconds(now.steady_ns).0 as f64 / 10.0,
        last_message_at: counters.last_message_us.map(rfc3339),
        last_message_at_us: counters.last_message_us,
        silent_ns: counters.last_message_ns.map(ago_ns),
        lag_ms,
        duplicates: counters.duplicates,
        dropped: counters.dropped,
        dropped_ago_ns: counters.last_dropped_ns.map(ago_ns),
        dropped_bytes: counters.dropped_bytes,
        refused: counters.refused,
        refused_ago_ns: counters.last_refused_ns.map(ago_ns),
        disconnects: counters.disconnects,
        gap_ns: counters.gap_ns_at(now.steady_ns),
        down_ns: counters.down_since_ns.map(ago_ns),
        last_error: counters.last_error.clone(),
        gave_up: counters.gave_up.clone(),
    }
}

/// Payload bytes stand for disk bytes: a safe estimate, since segments are compressed.
fn days_left(free: u64, bytes_per_s: f64) -> Option<f64> {
    (bytes_per_s > 0.0).then(|| free as f64 / bytes_per_s / DAY_S)
}
