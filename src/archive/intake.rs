//! Rows into the archive without a journal: what `import` takes in, and what `export` puts into a reel.
//!
//! A whole session comes in, or nothing of it. Its parts are written to `tmp/` first, as [`seal`](mod@super::seal)
//! writes them; [`Intake::commit`] then puts them in place:
//!
//! 1. the sidecar is written, and says that the session is coming in (`importing`);
//! 2. each part is committed as a sealed one is: files renamed, folders synced, manifest, index rows;
//! 3. the sidecar is written again, with the session's end and without the word.
//!
//! ```text
//! cut                      what is left                          what recovery does
//! before 1                 files in tmp/                         removes them
//! within 2, or before 3    a sidecar that says `importing`,      takes the session back: its manifests, its
//!                          some of its files and manifests       segments, then its sidecar
//! after 3                  the session                           nothing
//! ```
//!
//! Rows keep their `seq`. Numbers that are left out between them were left out on purpose, by a filter, say: the
//! manifests record them as removed by the verb.
//!
//! What never happens here: a look at where the rows come from; a part of one session beside another session's.

use std::path::Path;

use super::Archive;
use super::durable::remove_if_there;
use super::error::{ArchiveError, IoContext};
use super::layout::PartName;
use super::manifest::SeqRange;
use super::rewrite::Seqs;
use super::seal::{commit, in_stages};
use super::sidecar::{Ended, Sidecar};
use super::sorting::{Finished, Sorting};
use super::verify::segment_files;
use crate::journal::{HeadersRef, RecordRef};
use crate::message::{Row, SessionHeader, SessionId};

/// A session on its way in. Dropped before it is committed, it leaves nothing.
#[derive(Debug)]
pub struct Intake {
    archive: Archive,
    header: SessionHeader,
    verb: &'static str,
    next_seq: u64,
    part: u32,
    /// What was lost before it could come.
    lost: Vec<SeqRange>,
    dated_by_rows: bool,
    finished: Vec<Finished>,
}

/// Takes the rows of one part.
pub struct PartIntake<'s, 'a> {
    sorting: &'s mut Sorting<'a>,
    session: &'a SessionHeader,
    /// Where the last row's source and kind are in the session: most often the next one's as well.
    last: (u16, u16),
    rows: u64,
    bytes: u64,
    headers: Vec<u8>,
}

impl std::fmt::Debug for PartIntake<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartIntake").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Intake {
    /// Begins to take in a session; the caller holds the archive's lock. `header` must name all sources and kinds
    /// that come, and an id that the archive does not have. Its name is made unique.
    pub fn begin(
        archive: &Archive,
        mut header: SessionHeader,
        verb: &'static str,
    ) -> Result<Self, ArchiveError> {
        header.name = archive.names_taken()?.take(&header.name);
        let tmp = archive.layout.tmp();
        archive.disk.create_dir_all(&tmp).doing("create", &tmp)?;
        Ok(Self {
            archive: archive.clone(),
            header,
            verb,
            next_seq: 0,
            part: 0,
            lost: Vec::new(),
            dated_by_rows: false,
            finished: Vec::new(),
        })
    }

    /// With the numbers that were lost where the rows come from: damage is not to pass for what somebody left out.
    pub fn with_lost(mut self, lost: Vec<SeqRange>) -> Self {
        self.lost = lost;
        self
    }

    /// Manifests say nothing of the day on which they are made: their times are that of their last message. The same
    /// messages then give the same bytes, and where times were moved nothing tells of when they truly were.
    pub fn dated_by_rows(mut self) -> Self {
        self.dated_by_rows = true;
        self
    }

    /// The session as it will be called.
    pub fn header(&self) -> &SessionHeader {
        &self.header
    }

    /// Writes one part with the rows that `fill` hands over, in the order of their `seq`.
    pub fn part<T, E: From<ArchiveError>>(
        &mut self,
        fill: impl FnOnce(&mut PartIntake<'_, '_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let name = PartName { session_id: self.header.session_id, part: self.part };
        let (session, mut told) = (&self.header, None);
        let tmp = self.archive.layout.tmp();
        let mut finished = in_stages(&self.archive, name, session, self.next_seq, &tmp, |sorting| {
            let mut part =
                PartIntake { sorting, session, last: (0, 0), rows: 0, bytes: 0, headers: Vec::new() };
            told = Some(fill(&mut part)?);
            Ok::<_, E>(())
        })?;
        let manifest = &mut finished.manifest;
        if manifest.rows > 0 {
            let last_us = manifest.files.iter().map(|file| file.received_max_us).max();
            if let Some(last_us) = last_us.filter(|_| self.dated_by_rows) {
                manifest.sealed_at_us = last_us;
            }
            let (lost, ranges) = told_apart(&std::mem::take(&mut manifest.lost), &self.lost);
            manifest.lost = lost;
            if !ranges.is_empty() {
                let at_us = manifest.sealed_at_us;
                let rows = ranges.iter().map(|range| range.messages()).sum();
                manifest.removed.extend(Seqs::of(ranges, rows).into_removed(self.verb, at_us));
            }
            self.next_seq = manifest.seq_end;
            self.part += 1;
            self.finished.push(finished);
        }
        // It is there, since there was no error.
        told.ok_or_else(|| ArchiveError::DamagedSegment { path: tmp, what: "no rows came".into() }.into())
    }

    /// Puts everything in place. `complete` adds to the sidecar what it is to say besides; without an end of its
    /// own the session ends with its last message.
    pub fn commit(mut self, complete: impl FnOnce(&mut Sidecar)) -> Result<SessionId, ArchiveError> {
        let (archive, session_id) = (self.archive.clone(), self.header.session_id);
        let mut sidecar = Sidecar { importing: true, ..Sidecar::of(&self.header) };
        archive.write_sidecar(&sidecar)?;
        archive.write_declarations(&self.header)?;
        super::segment::write_schema_files(&archive, &self.header)?;
        let mut last_us = None;
        let parts = std::mem::take(&mut self.finished);
        for part in &parts {
            commit(&archive, part)?;
            last_us = last_us.max(part.manifest.files.iter().map(|file| file.received_max_us).max());
        }
        sidecar.importing = false;
        sidecar.ended = Some(Ended::Stopped);
        sidecar.ended_at_us = last_us.or(Some(sidecar.started_at_us));
        sidecar.messages = Some(self.next_seq);
        complete(&mut sidecar);
        let mut taken = archive.names_taken()?;
        for clip in &mut sidecar.clips {
            clip.name = taken.take(&clip.name);
        }
        // Before the end is written: a recovery that takes the session back makes the index again.
        archive.update_index(|index| {
            index.put_session(&sidecar.to_row())?;
            parts.iter().try_for_each(|part| {
                let manifest = &part.manifest;
                index.put_part(&manifest.to_part_row(), &manifest.to_rows(), &part.links)
            })
        })?;
        archive.write_segment_list()?;
        archive.write_sidecar(&sidecar)?;
        archive.write_views()?;
        Ok(session_id)
    }
}

/// Of the numbers that are missing, those that were lost before, and the others.
fn told_apart(missing: &[SeqRange], lost: &[SeqRange]) -> (Vec<SeqRange>, Vec<SeqRange>) {
    let (mut known, mut others) = (Vec::new(), Vec::new());
    for range in missing {
        let mut from = range.seq_start;
        for lost in lost {
            let start = lost.seq_start.max(from);
            let end = lost.seq_end.min(range.seq_end);
            if start < end {
                if from < start {
                    others.push((from..start).into());
                }
                known.push((start..end).into());
                from = end;
            }
        }
        if from < range.seq_end {
            others.push((from..range.seq_end).into());
        }
    }
    (known, others)
}

impl Drop for Intake {
    /// What was not committed goes. What cannot be removed now, `recover` removes.
    fn drop(&mut self) {
        let tmp = self.archive.layout.tmp();
        for path in self.archive.disk.list(&tmp).unwrap_or_default() {
            if is_of_session(&path, self.header.session_id) {
                let _ = remove_if_there(&*self.archive.disk, &path);
            }
        }
    }
}

/// Whether a file in `tmp/` is a segment of the session in the making.
fn is_of_session(path: &Path, session_id: SessionId) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.ends_with(".parquet") && name.starts_with(&format!("{session_id}-"))
}

impl PartIntake<'_, '_> {
    /// Takes a row. Its `device_id`, `event_at_us` and `decode_error` are derived anew, like its typed columns.
    pub fn push(&mut self, row: &Row) -> Result<(), ArchiveError> {
        let next = self.sorting.next_seq();
        if row.seq < next {
            return Err(self.refused(row, format!("its seq comes after {}", next - 1)));
        }
        let Some((source, kind)) = self.place(row) else {
            return Err(
                self.refused(row, format!("its session has no source {} of {}", row.source, row.vendor))
            );
        };
        self.last = (source, kind);
        self.rows += 1;
        self.bytes +=
            (row.payload.len() + row.channel.len() + row.clear.as_ref().map_or(0, |c| c.len())) as u64;
        self.sorting.push(&record_of(row, (source, kind), &mut self.headers))
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// About what a journal would hold of these rows.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn place(&self, row: &Row) -> Option<(u16, u16)> {
        let is_it = |source: u16, kind: u16| {
            let source = self.session.sources.get(usize::from(source))?;
            let kind = source.kinds.get(usize::from(kind))?;
            (*source.name == *row.source && *source.vendor == *row.vendor && *kind.name == *row.kind)
                .then_some(())
        };
        if is_it(self.last.0, self.last.1).is_some() {
            return Some(self.last);
        }
        let sources = self.session.sources.iter();
        let source = sources.enumerate().find(|(_, s)| *s.name == *row.source && *s.vendor == *row.vendor);
        let (at, source) = source?;
        let kind = source.kinds.iter().position(|kind| *kind.name == *row.kind)?;
        Some((u16::try_from(at).ok()?, u16::try_from(kind).ok()?))
    }

    fn refused(&self, row: &Row, what: String) -> ArchiveError {
        ArchiveError::RowRefused { session: self.session.name.clone(), seq: row.seq, what }
    }
}

/// A row as a journal would hold it; `place` is of its source and kind, `headers` where its headers are written.
pub(super) fn record_of<'r>(row: &'r Row, place: (u16, u16), headers: &'r mut Vec<u8>) -> RecordRef<'r> {
    RecordRef {
        seq: row.seq,
        received_at_us: row.received_at_us,
        elapsed_ns: row.elapsed_ns,
        source: place.0,
        kind: place.1,
        connection: u32::try_from(row.connection).unwrap_or(0),
        channel: &row.channel,
        mqtt: row.mqtt,
        is_binary: row.is_binary,
        headers: row.headers.as_ref().map(|own| HeadersRef::write(own, headers)),
        duplicate_of: row.duplicate_of,
        payload: &row.payload,
        clear: row.clear.as_deref(),
    }
}

/// Takes back sessions whose coming in was cut. Returns how many files went.
pub(super) fn take_back(archive: &Archive) -> Result<Vec<Sidecar>, ArchiveError> {
    let mut cut = archive.read_sidecars()?;
    cut.retain(|sidecar| sidecar.importing);
    if cut.is_empty() {
        return Ok(cut);
    }
    let disk = &*archive.disk;
    let is_cut = |path: &Path| {
        PartName::of(path).is_some_and(|name| cut.iter().any(|sidecar| sidecar.session_id == name.session_id))
    };
    // Manifests first: nobody shall look for files that are gone.
    let manifests = archive.layout.manifests();
    let named = disk.list(&manifests).doing("list", &manifests)?;
    let named: Vec<_> = named.into_iter().filter(|path| is_cut(path)).collect();
    for path in &named {
        remove_if_there(disk, path)?;
    }
    if !named.is_empty() {
        disk.sync_dir(&manifests).doing("sync", &manifests)?;
    }
    for path in segment_files(archive)?.into_iter().filter(|path| is_cut(path)) {
        let path = archive.root().join(path);
        remove_if_there(disk, &path)?;
        let folder = path.parent().unwrap_or(archive.root());
        disk.sync_dir(folder).doing("sync", folder)?;
    }
    for sidecar in &cut {
        remove_if_there(disk, &archive.layout.sidecar(sidecar.session_id))?;
    }
    let sessions = archive.layout.sessions();
    disk.sync_dir(&sessions).doing("sync", &sessions)?;
    super::reindex::index_anew(archive)?;
    Ok(cut)
}
