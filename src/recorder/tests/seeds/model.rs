//! What was delivered, as a plain list, and what must be found of it.
//!
//! The journal gives each message its place in the order in which it accepts them, so the model's list *is* the
//! session: the row with `seq` n is the n-th entry, or is missing because nobody had been promised it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use crate::archive::{Archive, Clip, Manifest, ScanOptions, scan};
use crate::clock::Now;
use crate::journal::Ticket;
use crate::message::{Message, Row, SessionHeader, SessionId};

/// Why a seed fails.
pub(super) type Check = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}
pub(super) use ensure;

/// One accepted message.
#[derive(Debug)]
pub(super) struct Entry {
    pub message: Message,
    pub accepted_ns: u64,
    pub ticket: Ticket,
    /// `seq` of the first delivery, if it is of the same session.
    pub duplicate_of: Option<u64>,
    /// Its vendor was told that it is safe, or `status` said so, or a recovery has found it: it must stay.
    pub promised: bool,
    /// A recovery has found that it is not there: it must not come back.
    pub lost: bool,
    /// It may have been pruned; true where it was said that it is.
    pub pruned: Option<bool>,
}

/// What upkeep may have done to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// A removal of it failed or was cut.
    MayBeGone,
    Gone,
}

#[derive(Debug)]
pub(super) struct Session {
    pub header: SessionHeader,
    pub started_ns: u64,
    pub entries: Vec<Entry>,
    /// Its names, of which it has one: several where a renaming was cut.
    pub names: Vec<String>,
    /// Clips; true where it was said that they are there.
    pub clips: Vec<(Clip, bool)>,
    pub fate: Fate,
    /// Something has been pruned since it was there; a session of which nothing stays goes whole.
    pub may_be_pruned: bool,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub sessions: Vec<Session>,
    /// How often each payload reached the recorder.
    pub delivered: HashMap<Bytes, u64>,
}

impl Session {
    pub(super) fn new(header: SessionHeader, started_ns: u64, fate: Fate) -> Self {
        let names = vec![header.name.clone()];
        Self { header, started_ns, entries: Vec::new(), names, clips: Vec::new(), fate, may_be_pruned: false }
    }

    fn id(&self) -> SessionId {
        self.header.session_id
    }

    /// What was received before `before_us` is being pruned, or, `done`, has been: but for what is in clips.
    pub(super) fn prune(&mut self, before_us: i64, done: bool) {
        self.may_be_pruned = true;
        let clips = &self.clips;
        for (seq, entry) in (0..).zip(&mut self.entries) {
            let is_kept =
                |sure: bool| clips.iter().any(|(clip, s)| (*s || !sure) && clip.seqs().contains(&seq));
            if entry.message.at.wall_us < before_us && !is_kept(true) {
                entry.pruned = Some(entry.pruned == Some(true) || (done && !is_kept(false)));
            }
        }
    }

    fn is_link(&self, entry: &Entry) -> bool {
        let source = &self.header.sources[usize::from(entry.message.source)];
        source.kinds[usize::from(entry.message.kind)].name == "link"
    }

    /// Whether all of it may have gone with what was pruned.
    fn may_have_gone(&self) -> bool {
        self.may_be_pruned && self.entries.iter().all(|entry| !entry.promised || entry.pruned.is_some())
    }

    /// Compares with what is there of it.
    fn check(&self, rows: &[Row]) -> Check {
        let name = &self.header.name;
        let mut at = 0;
        let mut elapsed_ns = 0;
        for (seq, entry) in (0..).zip(&self.entries) {
            elapsed_ns = entry.message.at.steady_ns.saturating_sub(self.started_ns).max(elapsed_ns);
            let Some(row) = rows.get(at).filter(|row| row.seq == seq) else {
                ensure!(
                    !entry.promised || entry.pruned.is_some(),
                    "{name}: seq {seq} is lost, and was promised"
                );
                continue;
            };
            at += 1;
            ensure!(!entry.lost, "{name}: seq {seq} is there, and was lost");
            ensure!(
                entry.pruned != Some(true) || self.is_link(entry),
                "{name}: seq {seq} is there, and was pruned"
            );
            let message = &entry.message;
            let source = &self.header.sources[usize::from(message.source)];
            let same = row.payload == message.payload
                && *row.source == *source.name
                && *row.kind == *source.kinds[usize::from(message.kind)].name
                && row.received_at_us == message.at.wall_us
                && row.elapsed_ns == elapsed_ns
                && row.channel == message.channel
                && row.mqtt == message.mqtt
                && row.headers == message.headers
                && row.duplicate_of == entry.duplicate_of;
            ensure!(same, "{name}: seq {seq} is not what was delivered: {row:?} for {entry:?}");
        }
        ensure!(at == rows.len(), "{name}: {} rows that were never delivered, or twice", rows.len() - at);
        Ok(())
    }
}

impl Model {
    /// Notes a delivery, whatever becomes of it.
    pub(super) fn deliver(&mut self, payload: &Bytes) {
        *self.delivered.entry(payload.clone()).or_default() += 1;
    }

    /// The journal has accepted a message as the next of a session.
    pub(super) fn accept(&mut self, session: usize, message: Message, ticket: Ticket, now: Now) {
        let session = &mut self.sessions[session];
        let first = session.entries.first().map_or(ticket, |entry| entry.ticket);
        let duplicate_of = message.duplicate_of.and_then(|of| of.checked_sub(first));
        session.entries.push(Entry {
            message,
            accepted_ns: now.steady_ns,
            ticket,
            duplicate_of,
            promised: false,
            lost: false,
            pruned: None,
        });
    }

    /// A recovery has been through: what it has found stays, and what it has not found was not promised.
    pub(super) fn settle(&mut self, archive: &Archive) -> Check {
        let disk = archive.disk();
        let mut parts: BTreeMap<SessionId, Vec<Manifest>> = BTreeMap::new();
        for path in disk.list(&archive.layout().manifests()).map_err(|e| e.to_string())? {
            let bytes = disk.read(&path).map_err(|e| e.to_string())?;
            let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
            parts.entry(manifest.session_id).or_default().push(manifest);
        }
        for session in &mut self.sessions {
            let sidecar = archive.read_sidecar(session.id()).map_err(|e| e.to_string())?;
            if sidecar.is_none() {
                let gone = session.fate != Fate::Stays || session.may_have_gone();
                ensure!(gone, "{} is gone after recovery", session.header.name);
                session.fate = Fate::Gone;
                continue;
            }
            ensure!(session.fate != Fate::Gone, "{} has come back", session.header.name);
            session.fate = Fate::Stays;
            let own = parts.get(&session.header.session_id).map_or(&[][..], Vec::as_slice);
            let end = own.iter().map(|manifest| manifest.seq_end).max().unwrap_or(0);
            let lost: BTreeSet<u64> = own
                .iter()
                .flat_map(|manifest| &manifest.lost)
                .flat_map(|range| range.seq_start..range.seq_end)
                .collect();
            for (seq, entry) in (0..).zip(&mut session.entries) {
                entry.lost = seq >= end || lost.contains(&seq);
                ensure!(
                    !(entry.lost && entry.promised),
                    "{}: seq {seq} is lost in recovery, and was promised",
                    session.header.name
                );
                entry.promised = !entry.lost;
            }
        }
        Ok(())
    }

    /// Compares all that is there with all that was delivered.
    pub(super) fn check(&self, archive: &Archive) -> Check {
        let mut found: BTreeMap<SessionId, Vec<Row>> = BTreeMap::new();
        let mut times: HashMap<Bytes, u64> = HashMap::new();
        for row in scan(archive, &ScanOptions::default()).map_err(|e| e.to_string())? {
            let row = row.map_err(|e| e.to_string())?;
            *times.entry(row.payload.clone()).or_default() += 1;
            found.entry(row.session_id).or_default().push(row);
        }
        for (payload, times) in times {
            let delivered = self.delivered.get(&payload).copied().unwrap_or(0);
            ensure!(times <= delivered, "{payload:?} is there {times} times, delivered {delivered} times");
        }
        let listed = archive.list().map_err(|e| e.to_string())?;
        for session in &self.sessions {
            let rows = found.remove(&session.id()).unwrap_or_default();
            let summary = listed.iter().find(|summary| summary.session_id == session.id());
            let Some(summary) = summary else {
                let gone = session.fate != Fate::Stays || session.may_have_gone();
                ensure!(gone && rows.is_empty(), "{} is gone", session.header.name);
                continue;
            };
            ensure!(session.fate != Fate::Gone, "{} was removed and is back", session.header.name);
            ensure!(session.names.contains(&summary.name), "{:?} is called {}", session.names, summary.name);
            ensure!(summary.ended.is_some(), "{} has not ended", summary.name);
            session.check(&rows)?;
            let sidecar = archive.read_sidecar(session.id()).map_err(|e| e.to_string())?;
            let clips = sidecar.map(|sidecar| sidecar.clips).unwrap_or_default();
            for (clip, sure) in &session.clips {
                ensure!(!sure || clips.contains(clip), "the clip {} is gone", clip.name);
            }
            let known = |clip: &Clip| session.clips.iter().any(|(known, _)| known == clip);
            ensure!(clips.iter().all(known), "clips that nobody made: {clips:?}");
        }
        ensure!(found.is_empty(), "sessions that nobody recorded: {:?}", found.keys());
        let known = listed.iter().all(|l| self.sessions.iter().any(|s| s.id() == l.session_id));
        ensure!(known, "sessions that nobody began: {listed:?}");
        Ok(())
    }
}
