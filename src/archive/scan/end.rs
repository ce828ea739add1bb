//! Where a scan ends, without reading all of it.

use super::{Bound, Scan, ScanOptions, selected};
use crate::archive::{Archive, ArchiveError};
use crate::message::SessionId;

/// A look at the end begins with the last second, and goes so many times farther back until it finds something.
const FIRST_LOOK_NS: u64 = 1_000_000_000;
const FARTHER: u64 = 8;

/// Rows that are read for it at most, about: what a user does not wait for.
const ROWS_MAX: u128 = 100_000;

/// The last row's place, in nanoseconds since the Unix epoch: its session's start, and what had elapsed of it. From
/// the index where that can tell, else from the rows at the end. Where a condition holds for none of these, it is a
/// bound: nothing lies behind it. None where nothing can be selected.
pub fn end_of(archive: &Archive, options: &ScanOptions) -> Result<Option<i128>, ArchiveError> {
    let Spans { mut spans, starts } = spans(archive, options)?;
    let Some(Span { to_ns: end_ns, is_whole, .. }) = spans.iter().copied().max_by_key(|span| span.to_ns)
    else {
        return Ok(None);
    };
    if is_whole {
        return Ok(Some(end_ns));
    }
    spans.sort_by_key(|span| span.from_ns);
    let begin_ns = spans.first().map_or(end_ns, |span| span.from_ns);
    let mut width_ns = FIRST_LOOK_NS;
    loop {
        let from_ns = (end_ns - i128::from(width_ns)).max(begin_ns);
        if spans.iter().map(|span| span.rows_from(from_ns)).sum::<u128>() > ROWS_MAX {
            return Ok(Some(end_ns));
        }
        let options = ScanOptions { merged_from: Some(from_ns), ..options.clone() };
        let mut last = None;
        for row in Scan::open(archive, &options, false)? {
            last = Some(row?);
        }
        if let Some(row) = last {
            let started = starts.iter().find(|(session_id, _)| *session_id == row.session_id);
            return Ok(started.map(|(_, start_ns)| start_ns + i128::from(row.elapsed_ns)));
        }
        if from_ns <= begin_ns {
            return Ok(None);
        }
        width_ns = width_ns.saturating_mul(FARTHER);
    }
}

/// What a segment holds, and where: nanoseconds since the Unix epoch.
#[derive(Clone, Copy)]
struct Span {
    from_ns: i128,
    to_ns: i128,
    rows: u64,
    /// All of it is selected.
    is_whole: bool,
}

impl Span {
    /// About how many of its rows are not before `from_ns`.
    fn rows_from(self, from_ns: i128) -> u128 {
        let length = (self.to_ns - self.from_ns).max(1).unsigned_abs();
        let part = (self.to_ns - from_ns.max(self.from_ns)).max(0).unsigned_abs();
        u128::from(self.rows) * part / length
    }
}

struct Spans {
    spans: Vec<Span>,
    /// When each session began.
    starts: Vec<(SessionId, i128)>,
}

fn spans(archive: &Archive, options: &ScanOptions) -> Result<Spans, ArchiveError> {
    let (mut spans, mut starts) = (Vec::new(), Vec::new());
    let ScanOptions { selection, predicate, to, .. } = options;
    let is_by_row = predicate.is_some() || !selection.devices.is_empty() || !selection.channels.is_empty();
    for (session, segments) in selected(archive, options)? {
        let start_ns = i128::from(session.started_at_us) * 1_000;
        let before_ns = match to {
            None | Some(Bound::Seq(_)) => None,
            Some(Bound::Elapsed(ns)) => Some(start_ns + i128::from(*ns)),
            Some(Bound::Wall(us)) => Some(i128::from(*us) * 1_000),
        };
        let before_ns = match last_of_stretches(archive, options, session.session_id)? {
            Some(elapsed_ns) => {
                let end_ns = start_ns + i128::from(elapsed_ns) + 1;
                Some(before_ns.map_or(end_ns, |before_ns: i128| before_ns.min(end_ns)))
            }
            None => before_ns,
        };
        starts.push((session.session_id, start_ns));
        for segment in segments.iter().filter(|segment| options.may_hold(segment)) {
            let from_ns = start_ns + i128::from(segment.elapsed_min_ns);
            let to_ns = start_ns + i128::from(segment.elapsed_max_ns);
            let is_whole = selection.sources.is_empty()
                || segment.sources.iter().all(|source| selection.sources.contains(&source.source));
            if before_ns.is_none_or(|before_ns| from_ns < before_ns) {
                spans.push(Span {
                    from_ns,
                    to_ns: before_ns.map_or(to_ns, |before_ns| to_ns.min(before_ns)),
                    rows: segment.rows,
                    is_whole: is_whole && !is_by_row && to.is_none() && options.ranges.is_empty(),
                });
            }
        }
    }
    Ok(Spans { spans, starts })
}

/// Of a session of which only stretches are selected: what had elapsed at the end of the last of them.
fn last_of_stretches(
    archive: &Archive,
    options: &ScanOptions,
    session_id: SessionId,
) -> Result<Option<u64>, ArchiveError> {
    let ends = options.ranges.iter().filter(|(of, _)| *of == session_id).map(|(_, range)| range.end);
    let Some(end) = ends.max() else { return Ok(None) };
    let last = ScanOptions {
        sessions: vec![session_id],
        ranges: vec![(session_id, end.saturating_sub(1)..end)],
        skipped: options.skipped.clone(),
        ..ScanOptions::default()
    };
    let row = Scan::open(archive, &last, false)?.next().transpose()?;
    Ok(row.map(|row| row.elapsed_ns))
}
