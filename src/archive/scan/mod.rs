//! Scanning: archived rows in the order in which they arrived, for replay, `cat` and export.
//!
//! Within a session that is the order of `seq`: parts follow one another, and the files of one part
//! (one per kind and day) are merged. Several sessions are merged by session start plus `elapsed_ns`.
//!
//! What is read of a segment was checked against its manifest before ([`CheckedFile`](super::blocks::CheckedFile)): of a
//! damaged one, the rows before the damage are given, and then the error.
//!
//! Memory does not grow with the session: only the current part's files are open, a page of each
//! column and one small batch each. The payloads of a batch share one buffer.
//!
//! A session that is still being recorded is scanned as far as it is sealed; scan again from the next
//! `seq` for more.

mod behind;
mod bounds;
mod columns;
mod cursor;
mod end;
mod pages;
mod session;
mod skipped;

use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use super::error::ArchiveError;
use super::filter::Predicate;
use super::{Archive, link::LINK_KIND};
use crate::index::{SegmentRow, SessionRow};
use crate::message::{Row, Selection, SessionId};
use crate::vendors;
pub use behind::last_rows_from;
use cursor::Wanted;
pub use end::end_of;
use session::SessionStream;
pub use skipped::{Skipped, SkippedSegment};

pub(super) use bounds::seq_range;
pub(super) use columns::{Stretch, each_batch, stretches};
pub(super) use session::Segments;

/// What to scan.
#[derive(Clone, Debug, Default)]
pub struct ScanOptions {
    /// Empty: all sessions.
    pub sessions: Vec<SessionId>,
    /// Inclusive.
    pub from: Option<Bound>,
    /// Exclusive.
    pub to: Option<Bound>,
    /// Also only from this place on among several sessions, which is where they merge: nanoseconds since the Unix
    /// epoch, of a session's start plus what had elapsed of it.
    pub merged_from: Option<i128>,
    /// And up to there, exclusive.
    pub merged_to: Option<i128>,
    /// Of a session that is named here only these stretches of `seq`.
    pub ranges: Vec<(SessionId, Range<u64>)>,
    pub selection: Selection,
    /// Only rows for which this holds.
    pub predicate: Option<Predicate>,
    /// Leave out `link` and `control` rows, unless the selection names kinds.
    pub data_only: bool,
    /// Leave out all that a replay does not emit, unless the selection names kinds.
    pub emitted_only: bool,
    /// Leave out what cannot be read of a damaged segment, and say so here. None: it is an error.
    pub skipped: Option<Arc<Skipped>>,
}

/// A moment of a session: the first message, of whatever kind, that is not before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Nanoseconds since the session's start.
    Elapsed(u64),
    /// Microseconds since the Unix epoch, compared with `received_at`.
    Wall(i64),
    Seq(u64),
}

/// What a scan would give.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ScanSummary {
    pub sessions: u64,
    pub messages: u64,
    /// Of the payloads; none where only reading all of them would tell.
    pub bytes: Option<u64>,
    /// Of the first and last message (of the segments that hold them, where nothing had to be read).
    pub first_elapsed_ns: Option<u64>,
    pub last_elapsed_ns: Option<u64>,
}

/// Rows in replay order. Ends after the first error.
#[derive(Debug)]
pub struct Scan {
    /// Sessions that may have begun, with rows left.
    active: Vec<SessionStream>,
    /// The others, the earliest last.
    pending: Vec<SessionStream>,
    selection: Selection,
    failed: bool,
}

/// Starts a scan.
pub fn scan(archive: &Archive, options: &ScanOptions) -> Result<Scan, ArchiveError> {
    Scan::open(archive, options, true)
}

/// Starts a scan that leaves payloads out: they are empty.
pub fn envelopes(archive: &Archive, options: &ScanOptions) -> Result<Scan, ArchiveError> {
    Scan::open(archive, options, false)
}

/// What a scan would give: from the index where it can tell, else by reading all but the payloads.
pub fn summarize(archive: &Archive, options: &ScanOptions) -> Result<ScanSummary, ArchiveError> {
    let Selection { sources, devices, channels, .. } = &options.selection;
    let by_segment = options.from.is_none()
        && options.merged_from.is_none()
        && options.merged_to.is_none()
        && options.to.is_none()
        && options.ranges.is_empty()
        && options.predicate.is_none()
        && devices.is_empty()
        && channels.is_empty();
    let mut summary = ScanSummary { bytes: by_segment.then_some(0), ..ScanSummary::default() };
    if by_segment {
        for (_, segments) in selected(archive, options)? {
            let before = summary.messages;
            for segment in segments.iter().filter(|segment| options.may_hold(segment)) {
                for source in &segment.sources {
                    if sources.is_empty() || sources.contains(&source.source) {
                        summary.messages += source.rows;
                        summary.bytes = summary.bytes.map(|bytes| bytes + source.payload_bytes);
                        summary.span(segment.elapsed_min_ns, segment.elapsed_max_ns);
                    }
                }
            }
            summary.sessions += u64::from(summary.messages > before);
        }
        return Ok(summary);
    }
    let mut seen = std::collections::BTreeSet::new();
    for row in Scan::open(archive, options, false)? {
        let row = row?;
        summary.messages += 1;
        summary.span(row.elapsed_ns, row.elapsed_ns);
        seen.insert(row.session_id);
    }
    summary.sessions = seen.len() as u64;
    Ok(summary)
}

impl ScanSummary {
    fn span(&mut self, first_ns: u64, last_ns: u64) {
        self.first_elapsed_ns = Some(self.first_elapsed_ns.map_or(first_ns, |known| known.min(first_ns)));
        self.last_elapsed_ns = Some(self.last_elapsed_ns.map_or(last_ns, |known| known.max(last_ns)));
    }
}

/// The sessions asked for, each with all its segments.
fn selected(
    archive: &Archive,
    options: &ScanOptions,
) -> Result<Vec<(SessionRow, Vec<SegmentRow>)>, ArchiveError> {
    let index = archive.catalog()?;
    let mut found = Vec::new();
    for session in index.sessions()? {
        if options.sessions.is_empty() || options.sessions.contains(&session.session_id) {
            let segments = index.segments(session.session_id)?;
            found.push((session, segments));
        }
    }
    Ok(found)
}

impl ScanOptions {
    /// The stretches of a session that are wanted, in order and apart from one another.
    fn stretches(&self, session_id: SessionId) -> Vec<Range<u64>> {
        let named = self.ranges.iter().filter(|(of, _)| *of == session_id).map(|(_, range)| range.clone());
        let mut named: Vec<Range<u64>> = named.collect();
        if named.is_empty() {
            named.push(0..u64::MAX);
            return named;
        }
        named.sort_by_key(|range| range.start);
        named.dedup_by(|next, known| {
            let touches = next.start <= known.end;
            known.end = if touches { known.end.max(next.end) } else { known.end };
            touches
        });
        named
    }

    fn may_hold(&self, segment: &SegmentRow) -> bool {
        let Selection { vendors, sources, kinds, .. } = &self.selection;
        let is_protocol = segment.kind == LINK_KIND || segment.kind == "control";
        let is_left_out = (self.data_only && is_protocol)
            || (self.emitted_only && !vendors::is_emitted(&segment.vendor, &segment.kind));
        (vendors.is_empty() || vendors.contains(&segment.vendor))
            && if kinds.is_empty() { !is_left_out } else { kinds.contains(&segment.kind) }
            && (sources.is_empty() || segment.sources.iter().any(|s| sources.contains(&s.source)))
    }
}

impl Scan {
    fn open(archive: &Archive, options: &ScanOptions, with_payloads: bool) -> Result<Self, ArchiveError> {
        archive.while_files_change(|| Self::plan(archive, options, with_payloads))
    }

    fn plan(archive: &Archive, options: &ScanOptions, with_payloads: bool) -> Result<Self, ArchiveError> {
        let may_hold = Arc::new(options.clone());
        let mut pending = Vec::new();
        for Stretch { session, segments, seqs } in stretches(archive, options)? {
            let wanted = Wanted { predicate: options.predicate.clone(), with_payloads };
            let may_hold = Arc::clone(&may_hold);
            pending.push(SessionStream::new(archive, session, segments, seqs, wanted, may_hold));
        }
        pending.sort_by_key(|stream| std::cmp::Reverse(stream.earliest()));
        Ok(Self { active: Vec::new(), pending, selection: options.selection.clone(), failed: false })
    }

    fn advance(&mut self) -> Result<Option<Row>, ArchiveError> {
        loop {
            let Some(at) = self.next_stream()? else { return Ok(None) };
            match self.active[at].take()? {
                Some(row) if self.selection.matches(&row) => return Ok(Some(row)),
                Some(_) => {}
                None => {
                    self.active.swap_remove(at);
                }
            }
        }
    }

    /// The active stream that holds the next row, after those that may hold an earlier one have been
    /// made active.
    fn next_stream(&mut self) -> Result<Option<usize>, ArchiveError> {
        if self.pending.is_empty() && self.active.len() == 1 {
            return Ok(Some(0));
        }
        loop {
            let mut first = None;
            let mut at = 0;
            while at < self.active.len() {
                match self.active[at].peek()? {
                    None => {
                        self.active.swap_remove(at);
                    }
                    Some(key) => {
                        if first.is_none_or(|(known, _)| key < known) {
                            first = Some((key, at));
                        }
                        at += 1;
                    }
                }
            }
            match (self.pending.pop_if(|next| first.is_none_or(|(key, _)| next.earliest() <= key)), first) {
                (Some(next), _) => self.active.push(next),
                (None, first) => return Ok(first.map(|(_, at)| at)),
            }
        }
    }
}

impl Iterator for Scan {
    type Item = Result<Row, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance();
        self.failed = next.is_err();
        next.transpose()
    }
}
