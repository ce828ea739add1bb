//! One session's rows in the order of `seq`: its parts one after another, the files of each merged.
//!
//! Upkeep may replace segments while they are scanned. A file that is open stays readable; where the next one is
//! gone, or its manifest names others, the session's manifests are read anew and the scan goes on at its next `seq`.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::cursor::{Cursor, Wanted};
use super::{ScanOptions, Skipped};
use crate::archive::Archive;
use crate::archive::blocks::CheckedFile;
use crate::archive::error::ArchiveError;
use crate::archive::layout::PartName;
use crate::archive::manifest::Manifest;
use crate::index::{SegmentRow, SessionRow};
use crate::message::{Row, SessionId};

/// Where a row stands among several sessions.
pub(super) type Key = (i128, SessionId, u64);

/// What all rows of a session share.
#[derive(Debug)]
pub(super) struct Shared {
    pub session_id: SessionId,
    pub site: Arc<str>,
}

#[derive(Debug)]
pub(super) struct SessionStream {
    archive: Archive,
    shared: Arc<Shared>,
    started_at_us: i64,
    parts: VecDeque<Vec<SegmentRow>>,
    /// The current part's manifest: it and not the index is the truth.
    manifest: Option<Manifest>,
    /// The current part's files that no row has been asked of yet, the earliest last. Each is looked at
    /// when its first row's turn comes, so that damage costs none of the rows before it.
    unopened: Vec<SegmentRow>,
    /// The current part's files that are open, with rows left.
    cursors: Vec<Cursor>,
    /// What came in the way of the row after the last that was given.
    failed: Option<ArchiveError>,
    range: Range<u64>,
    /// The first `seq` that no row has been given of: where the scan goes on if segments were replaced.
    next: u64,
    /// Which manifests the files are of, once they were read anew: unless these have changed since, a file that
    /// is missing is damage.
    generations: Option<Vec<(PartName, u32)>>,
    wanted: Wanted,
    may_hold: Arc<ScanOptions>,
}

impl SessionStream {
    /// `segments` are ordered by part.
    pub(super) fn new(
        archive: &Archive,
        session: SessionRow,
        mut segments: Vec<SegmentRow>,
        range: Range<u64>,
        wanted: Wanted,
        may_hold: Arc<ScanOptions>,
    ) -> Self {
        segments.retain(|s| s.seq_max >= range.start && s.seq_min < range.end);
        let shared = Shared { session_id: session.session_id, site: session.site.into() };
        Self {
            archive: archive.clone(),
            shared: Arc::new(shared),
            started_at_us: session.started_at_us,
            parts: segments.chunk_by(|a, b| a.part == b.part).map(<[_]>::to_vec).collect(),
            manifest: None,
            unopened: Vec::new(),
            cursors: Vec::new(),
            failed: None,
            next: range.start,
            range,
            generations: None,
            wanted,
            may_hold,
        }
    }

    /// A key that no row of the session comes before.
    pub(super) fn earliest(&self) -> Key {
        let elapsed_ns = self.parts.front().into_iter().flatten().map(|s| s.elapsed_min_ns).min();
        self.key(elapsed_ns.unwrap_or(0), 0)
    }

    /// The next row's key.
    pub(super) fn peek(&mut self) -> Result<Option<Key>, ArchiveError> {
        Ok(self.first()?.map(|at| self.key(self.cursors[at].elapsed_ns(), self.cursors[at].seq())))
    }

    /// The next row.
    pub(super) fn take(&mut self) -> Result<Option<Row>, ArchiveError> {
        let Some(at) = self.first()? else { return Ok(None) };
        let row = self.cursors[at].row()?;
        self.next = row.seq + 1;
        match self.cursors[at].advance() {
            Ok(true) if self.cursors[at].seq() < self.range.end => {}
            ended => {
                let cursor = self.cursors.swap_remove(at);
                if let Err(error) = ended {
                    let skipped = self.may_hold.skipped.as_deref();
                    self.failed = Skipped::add(skipped, cursor.segment(), cursor.rows_read(), error).err();
                }
            }
        }
        Ok(Some(row))
    }

    fn key(&self, elapsed_ns: u64, seq: u64) -> Key {
        let at_ns = i128::from(self.started_at_us) * 1_000 + i128::from(elapsed_ns);
        (at_ns, self.shared.session_id, seq)
    }

    /// The cursor that holds the next row.
    fn first(&mut self) -> Result<Option<usize>, ArchiveError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        loop {
            let first = (0..self.cursors.len()).min_by_key(|&at| self.cursors[at].seq());
            let seq = first.map(|at| self.cursors[at].seq());
            match self.unopened.pop_if(|segment| seq.is_none_or(|seq| segment.seq_min <= seq)) {
                Some(segment) => {
                    if let Err(error) = self.open(&segment) {
                        self.go_on_after(&segment, error).or_else(|error| self.skip(&segment, error))?;
                    }
                }
                None if first.is_some() => return Ok(first),
                None => match self.parts.pop_front() {
                    Some(part) => self.begin(part)?,
                    None => return Ok(None),
                },
            }
        }
    }

    fn begin(&mut self, mut part: Vec<SegmentRow>) -> Result<(), ArchiveError> {
        let Some(first) = part.first() else { return Ok(()) };
        self.manifest = match manifest_of(&self.archive, first) {
            Err(error) if error.is_damage() && self.may_hold.skipped.is_some() => {
                let what = error.describe();
                return part.iter().try_for_each(|segment| {
                    let path = self.archive.root().join(&segment.path);
                    self.skip(segment, ArchiveError::Damaged { path, what: what.clone() })
                });
            }
            read => read?,
        };
        // The index has no checksums: what is otherwise in it than in the manifest is damaged, or was replaced.
        if self.generations.is_none()
            && let Some(manifest) = &self.manifest
            && self.wanted_of(manifest) != part
        {
            let manifests = self.archive.read_manifests_of(self.shared.session_id)?;
            self.plan_by(&manifests);
            return Ok(());
        }
        part.sort_by_key(|segment| std::cmp::Reverse(segment.seq_min));
        self.unopened = part;
        Ok(())
    }

    fn open(&mut self, segment: &SegmentRow) -> Result<(), ArchiveError> {
        let file = open(&self.archive, segment, self.manifest.as_ref())?;
        let shared = Arc::clone(&self.shared);
        let cursor = Cursor::open(file, segment, shared, self.next, &self.wanted)?;
        self.cursors.extend(cursor.filter(|cursor| cursor.seq() < self.range.end));
        Ok(())
    }
}

impl SessionStream {
    /// If `segment` was replaced since it was planned for, plans anew from the manifests; else it was damage, or its
    /// session is being removed.
    fn go_on_after(&mut self, segment: &SegmentRow, error: ArchiveError) -> Result<(), ArchiveError> {
        let Ok(manifests) = self.archive.read_manifests_of(self.shared.session_id) else { return Err(error) };
        let is_of = |m: &Manifest| m.seq_start <= segment.seq_min && segment.seq_max < m.seq_end;
        if !manifests.iter().any(is_of) || self.generations.as_ref() == Some(&generations_of(&manifests)) {
            return Err(error);
        }
        self.plan_by(&manifests);
        Ok(())
    }

    /// Leaves a segment out, if that is asked for.
    fn skip(&self, segment: &SegmentRow, error: ArchiveError) -> Result<(), ArchiveError> {
        Skipped::add(self.may_hold.skipped.as_deref(), segment, 0, error)
    }

    /// Goes on by what the session's manifests say now.
    fn plan_by(&mut self, manifests: &[Manifest]) {
        self.generations = Some(generations_of(manifests));
        self.cursors.clear();
        self.unopened.clear();
        self.manifest = None;
        let rows = manifests.iter().map(|manifest| self.wanted_of(manifest));
        self.parts = rows.filter(|rows| !rows.is_empty()).collect();
    }

    /// The segments of a part that may hold rows from here on, in the index's order.
    fn wanted_of(&self, manifest: &Manifest) -> Vec<SegmentRow> {
        let (next, end) = (self.next, self.range.end);
        let mut rows = manifest.to_rows();
        rows.retain(|s| s.seq_max >= next && s.seq_min < end && self.may_hold.may_hold(s));
        rows
    }
}

fn generations_of(manifests: &[Manifest]) -> Vec<(PartName, u32)> {
    manifests.iter().map(|manifest| (manifest.name(), manifest.generation)).collect()
}

/// Opens segments that the index tells of, best in the order of their parts.
pub(in crate::archive) struct Segments<'a> {
    archive: &'a Archive,
    /// Of the part that the last one was of.
    manifest: Option<Manifest>,
}

impl<'a> Segments<'a> {
    pub(in crate::archive) fn new(archive: &'a Archive) -> Self {
        Self { archive, manifest: None }
    }

    pub(in crate::archive) fn open(&mut self, segment: &SegmentRow) -> Result<CheckedFile, ArchiveError> {
        let name = PartName { session_id: segment.session_id, part: segment.part };
        if self.manifest.as_ref().is_none_or(|known| known.name() != name) {
            self.manifest = manifest_of(self.archive, segment)?;
        }
        open(self.archive, segment, self.manifest.as_ref())
    }
}

/// A segment as its part's manifest names it. Without checksums, damage inside a page could pass for what was
/// recorded.
pub(super) fn open(
    archive: &Archive,
    segment: &SegmentRow,
    manifest: Option<&Manifest>,
) -> Result<CheckedFile, ArchiveError> {
    let path = archive.root().join(&segment.path);
    let named = manifest.and_then(|manifest| manifest.files.iter().find(|file| file.path == segment.path));
    let Some(named) = named else {
        return Err(ArchiveError::DamagedSegment { path, what: NO_MANIFEST.into() });
    };
    CheckedFile::open(&path, named)
}

const NO_MANIFEST: &str = "no manifest names it, and `telereel recover` makes one anew where it was lost";

/// The manifest of the part that a segment is of.
pub(super) fn manifest_of(archive: &Archive, segment: &SegmentRow) -> Result<Option<Manifest>, ArchiveError> {
    archive.read_manifest(PartName { session_id: segment.session_id, part: segment.part })
}
