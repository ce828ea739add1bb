//! How far back the last rows before a place lie, told by the index alone.

use super::{Archive, ArchiveError, ScanOptions, selected};
use crate::index::SegmentRow;

/// From which place on (see [`ScanOptions::merged_from`]) `options` give at least their last `rows` rows: where a
/// segment begins, so that little more is read; none: from their beginning.
///
/// Whatever is of the selected kinds and sources counts, whether or not it meets the other conditions, since that
/// is what is read. Of the segments that reach `merged_to` it is not known how much lies before it: they are
/// read as well, and do not count.
pub fn last_rows_from(
    archive: &Archive,
    options: &ScanOptions,
    rows: u64,
) -> Result<Option<i128>, ArchiveError> {
    let mut behind: Vec<(i128, u64)> = Vec::new();
    for (session, segments) in selected(archive, options)? {
        let start_ns = i128::from(session.started_at_us) * 1_000;
        let is_before = |segment: &&SegmentRow| {
            let last_ns = start_ns + i128::from(segment.elapsed_max_ns);
            options.merged_to.is_none_or(|to_ns| last_ns < to_ns)
        };
        let wanted = segments.iter().filter(|segment| options.may_hold(segment)).filter(is_before);
        behind.extend(
            wanted.map(|segment| (start_ns + i128::from(segment.elapsed_min_ns), options.rows_of(segment))),
        );
    }
    behind.sort_unstable_by(|a, b| b.cmp(a));
    let mut found = 0u64;
    Ok(behind.into_iter().find_map(|(from_ns, of_segment)| {
        found = found.saturating_add(of_segment);
        (found >= rows).then_some(from_ns)
    }))
}

impl ScanOptions {
    /// Of a segment, the rows of the selected sources.
    fn rows_of(&self, segment: &SegmentRow) -> u64 {
        let wanted = &self.selection.sources;
        let of_wanted = segment.sources.iter().filter(|s| wanted.is_empty() || wanted.contains(&s.source));
        of_wanted.map(|source| source.rows).sum()
    }
}
