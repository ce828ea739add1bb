//! A record's place in its session: `seq`, `elapsed_ns`, and what the session must be told of beforehand.

use std::ops::Range;
use std::path::Path;

use super::fields::Record;
use super::{ImportOptions, no_id};
use crate::archive::{Archive, ArchiveError, SEQ_END_MAX, Sidecar};
use crate::exchange::header::Sources;
use crate::message::{SessionHeader, SessionId, SourceHeader};

/// Gives records their places, one after the other: the same records, the same places.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placer {
    started_at_us: i64,
    /// The file says which row is which.
    keeps_seq: bool,
    next_seq: u64,
    elapsed_ns: u64,
}

impl Placer {
    /// `first` is the first record of the session. When the session began, if nothing else says so, is when that was
    /// received less what had elapsed.
    fn new(first: &Record, started_at_us: Option<i64>) -> Self {
        let elapsed_us = i64::try_from(first.elapsed_ns.unwrap_or(0) / 1_000).unwrap_or(0);
        let started_at_us =
            started_at_us.unwrap_or_else(|| first.row.received_at_us.saturating_sub(elapsed_us));
        Self { started_at_us, keeps_seq: first.seq.is_some(), next_seq: 0, elapsed_ns: 0 }
    }

    /// Or why it has none.
    pub(super) fn place(&mut self, record: &mut Record) -> Result<(), String> {
        let seq = match record.seq {
            _ if !self.keeps_seq => self.next_seq,
            None => return Err("it has no seq, and the rows of its session before it have".into()),
            Some(seq) if seq < self.next_seq => {
                return Err(format!(
                    "its seq {seq} comes after {}: rows go in the order of seq",
                    self.next_seq - 1
                ));
            }
            Some(seq) if seq >= SEQ_END_MAX => {
                return Err(format!("its seq {seq} is too large: they end at {SEQ_END_MAX}"));
            }
            Some(seq) => seq,
        };
        let since_start = || {
            let us = record.row.received_at_us.saturating_sub(self.started_at_us);
            u64::try_from(us).unwrap_or(0).saturating_mul(1_000)
        };
        let elapsed_ns = record.elapsed_ns.unwrap_or_else(since_start).min(i64::MAX as u64);
        self.next_seq = seq + 1;
        self.elapsed_ns = self.elapsed_ns.max(elapsed_ns);
        record.row.seq = seq;
        record.row.elapsed_ns = self.elapsed_ns;
        // A number that means another row than it did says less than none.
        record.row.duplicate_of = record.row.duplicate_of.filter(|first| self.keeps_seq && *first < seq);
        Ok(())
    }
}

/// One session of a file.
#[derive(Debug)]
pub(super) struct PlannedSession {
    pub id: Option<SessionId>,
    pub sidecar: Option<Sidecar>,
    pub sources: Sources,
    pub rows: u64,
    /// From where its first record begins to behind its last.
    pub span: Range<u64>,
    site: String,
    placer: Placer,
    begun: Placer,
}

impl PlannedSession {
    pub(super) fn new(first: &Record, sidecar: Option<Sidecar>) -> Self {
        let placer = Placer::new(first, sidecar.as_ref().map(|sidecar| sidecar.started_at_us));
        Self {
            id: first.session_id,
            sources: Sources::default(),
            rows: 0,
            span: first.offset..first.offset,
            site: first.row.site.to_string(),
            begun: placer.clone(),
            placer,
            sidecar,
        }
    }

    /// Takes note of a record that ends before `end`.
    pub(super) fn see(&mut self, record: &mut Record, end: u64) -> Result<(), String> {
        self.placer.place(record)?;
        self.sources.see(&record.row);
        self.rows += 1;
        self.span.end = end;
        Ok(())
    }

    /// What gives the same places once more.
    pub(super) fn placer(&self) -> Placer {
        self.begun.clone()
    }

    /// The session as it comes in, under its own id, or under [`no_id`].
    pub(super) fn header(
        &self,
        archive: &Archive,
        path: &Path,
        options: &ImportOptions,
    ) -> Result<SessionHeader, ArchiveError> {
        let mut sources = self.sources.headers(Some(archive))?;
        let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let own = self.sidecar.as_ref().map(|sidecar| sidecar.name.clone());
        for known in self.sidecar.iter().flat_map(|sidecar| &sidecar.sources) {
            match sources.iter_mut().find(|source| source.name == known.name && source.vendor == known.vendor)
            {
                Some(source) => source.settings = known.settings.clone(),
                None => sources.push(SourceHeader { kinds: Vec::new(), ..SourceHeader::from(known.clone()) }),
            }
        }
        Ok(SessionHeader {
            session_id: self.id.unwrap_or_else(no_id),
            name: options.session.clone().or(own).unwrap_or_else(stem),
            site: self.site.clone(),
            started_at_us: self.begun.started_at_us,
            sources,
        })
    }
}
