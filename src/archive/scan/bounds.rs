//! Turning moments into `seq`: everything else in a scan knows `seq` only.

use std::ops::Range;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::pages::Rest;
use super::{Bound, Skipped, session};
use crate::archive::Archive;
use crate::archive::error::ArchiveError;
use crate::index::SegmentRow;

/// One look at a page or so.
const BATCH_ROWS: usize = 4_096;

/// The range of `seq` between two bounds of a session; `segments` are all that it has, since all kinds
/// count, not only those that the scan selects.
pub(in crate::archive) fn seq_range(
    archive: &Archive,
    segments: &[SegmentRow],
    from: Option<Bound>,
    to: Option<Bound>,
    skipped: Option<&Skipped>,
) -> Result<Range<u64>, ArchiveError> {
    let resolve = |bound| match bound {
        Bound::Seq(seq) => Ok(seq),
        bound => first_at_or_after(archive, segments, bound, skipped),
    };
    let start = from.map_or(Ok(0), resolve)?;
    let end = to.map_or(Ok(u64::MAX), resolve)?;
    Ok(start..end)
}

/// The first `seq` that is not before `bound`; `u64::MAX` if all are.
fn first_at_or_after(
    archive: &Archive,
    segments: &[SegmentRow],
    bound: Bound,
    skipped: Option<&Skipped>,
) -> Result<u64, ArchiveError> {
    for part in segments.chunk_by(|a, b| a.part == b.part) {
        let mut first = u64::MAX;
        for segment in part.iter().filter(|s| last_of(s, bound) && s.seq_min < u64::MAX) {
            if starts_within(segment, bound) {
                first = first.min(segment.seq_min);
            } else if segment.seq_min < first {
                match search(archive, segment, bound) {
                    Ok(found) => first = first.min(found),
                    // The first row is one of those that can be read.
                    Err(error) => Skipped::add(skipped, segment, 0, error)?,
                }
            }
        }
        if first < u64::MAX {
            return Ok(first);
        }
    }
    Ok(u64::MAX)
}

/// Whether a segment holds a row that is not before `bound`.
fn last_of(segment: &SegmentRow, bound: Bound) -> bool {
    match bound {
        Bound::Elapsed(ns) => segment.elapsed_max_ns >= ns,
        Bound::Wall(us) => segment.received_max_us >= us,
        Bound::Seq(seq) => segment.seq_max >= seq,
    }
}

/// Whether all rows of a segment are not before `bound`.
fn starts_within(segment: &SegmentRow, bound: Bound) -> bool {
    match bound {
        Bound::Elapsed(ns) => segment.elapsed_min_ns >= ns,
        Bound::Wall(us) => segment.received_min_us >= us,
        Bound::Seq(seq) => segment.seq_min >= seq,
    }
}

/// Reads a segment for its first row that is not before `bound`.
fn search(archive: &Archive, segment: &SegmentRow, bound: Bound) -> Result<u64, ArchiveError> {
    let file = session::open(archive, segment, session::manifest_of(archive, segment)?.as_ref())?;
    let failed = |source| file.failed(source);
    let (time, is_before): (_, &dyn Fn(i64) -> bool) = match &bound {
        Bound::Wall(us) => ("received_at", &|at_us| at_us < *us),
        Bound::Elapsed(ns) => ("elapsed_ns", &|at_ns| (at_ns as u64) < *ns),
        Bound::Seq(seq) => ("seq", &|of_row| (of_row as u64) < *seq),
    };
    let rest = Rest::of(&file, time, is_before, true).map_err(failed)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), rest.metadata);
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["seq", time]);
    let mut builder = builder.with_projection(mask).with_row_groups(rest.groups).with_batch_size(BATCH_ROWS);
    if let Some(selected) = rest.rows {
        builder = builder.with_row_selection(selected);
    }
    for batch in builder.build().map_err(failed)? {
        let batch = batch.map_err(|e| failed(e.into()))?;
        let damaged = || file.damaged(format!("its columns seq and {time} are not those of the envelope"));
        let column = batch.column_by_name(time).ok_or_else(damaged)?;
        let found = match bound {
            Bound::Wall(_) => {
                let column = column.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(damaged)?;
                column.values().iter().position(|&of_row| !is_before(of_row))
            }
            Bound::Elapsed(_) | Bound::Seq(_) => {
                let column = column.as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
                column.values().iter().position(|&of_row| !is_before(of_row))
            }
        };
        if let Some(row) = found {
            let seq = batch.column_by_name("seq").and_then(|c| c.as_primitive_opt::<Int64Type>());
            return Ok(seq.ok_or_else(damaged)?.value(row) as u64);
        }
    }
    Ok(u64::MAX)
}
