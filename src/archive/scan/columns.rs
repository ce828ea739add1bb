//! The rows of a scan as columns and in no order among the kinds: for sums over them, which a row at a time would
//! make slow.
//!
//! A segment is read as a scan reads it, checked against its manifest, with no more columns than are asked for. Within a
//! source and kind the rows come in the order of `seq`.

use std::ops::Range;

use arrow::array::{AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{and, filter_record_batch};
use arrow::datatypes::Int64Type;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::pages::Rest;
use super::{ScanOptions, Skipped, bounds, selected, session};
use crate::archive::Archive;
use crate::archive::error::ArchiveError;
use crate::archive::filter::{Folders, Predicate};
use crate::index::{SegmentRow, SessionRow};
use crate::message::{Selection, glob};

/// A batch holds at most this many rows, and about this many bytes of payload.
const BATCH_ROWS: u64 = 8_192;
const BATCH_BYTES: u64 = 8 << 20;

/// A stretch of a session, with the segments that may hold what is wanted of it.
#[derive(Clone, Debug)]
pub(in crate::archive) struct Stretch {
    pub session: SessionRow,
    pub segments: Vec<SegmentRow>,
    pub seqs: Range<u64>,
}

/// What a scan goes through, session by session.
pub(in crate::archive) fn stretches(
    archive: &Archive,
    options: &ScanOptions,
) -> Result<Vec<Stretch>, ArchiveError> {
    let (mut found, skipped) = (Vec::new(), options.skipped.as_deref());
    for (session, mut segments) in selected(archive, options)? {
        let mut range = bounds::seq_range(archive, &segments, options.from, options.to, skipped)?;
        let elapsed = |merged_ns: i128| {
            let elapsed_ns = merged_ns - i128::from(session.started_at_us) * 1_000;
            Some(super::Bound::Elapsed(u64::try_from(elapsed_ns).unwrap_or(0)))
        };
        if let Some(from) = options.merged_from.map(elapsed) {
            range.start = range.start.max(bounds::seq_range(archive, &segments, from, None, skipped)?.start);
        }
        if let Some(to) = options.merged_to.map(elapsed) {
            range.end = range.end.min(bounds::seq_range(archive, &segments, None, to, skipped)?.end);
        }
        segments.retain(|segment| options.may_hold(segment));
        for stretch in options.stretches(session.session_id) {
            let seqs = range.start.max(stretch.start)..range.end.min(stretch.end);
            found.push(Stretch { session: session.clone(), segments: segments.clone(), seqs });
        }
    }
    Ok(found)
}

/// Shows `see` the selected rows of a stretch: of each segment, in batches that have `columns` and maybe others. Its
/// answer: whether these are columns of the envelope.
pub(in crate::archive) fn each_batch(
    archive: &Archive,
    stretch: &Stretch,
    options: &ScanOptions,
    columns: &[&'static str],
    see: &mut dyn FnMut(&SegmentRow, &RecordBatch) -> Result<bool, ArchiveError>,
) -> Result<(), ArchiveError> {
    let seqs = &stretch.seqs;
    let inside = |s: &&SegmentRow| s.seq_max >= seqs.start && s.seq_min < seqs.end;
    let mut segments: Vec<&SegmentRow> = stretch.segments.iter().filter(inside).collect();
    segments.sort_by_key(|segment| (segment.part, segment.seq_min));
    let mut files = session::Segments::new(archive);
    for segment in segments {
        let mut read = 0;
        let seen = each_of_segment(&mut files, segment, seqs, options, columns, &mut |rows| {
            read += rows.num_rows() as u64;
            see(segment, rows)
        });
        if let Err(error) = seen {
            Skipped::add(options.skipped.as_deref(), segment, read, error)?;
        }
    }
    Ok(())
}

fn each_of_segment(
    files: &mut session::Segments<'_>,
    segment: &SegmentRow,
    seqs: &Range<u64>,
    options: &ScanOptions,
    columns: &[&'static str],
    see: &mut dyn FnMut(&RecordBatch) -> Result<bool, ArchiveError>,
) -> Result<(), ArchiveError> {
    let file = files.open(segment)?;
    let failed = |source| file.failed(source);
    let is_before = |seq: i64| (seq as u64) < seqs.start;
    let rest = Rest::of(&file, "seq", &is_before, seqs.start > segment.seq_min).map_err(failed)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), rest.metadata);
    let mut filter = None;
    if let Some(predicate) = &options.predicate {
        let (vendor, kind) = (segment.vendor.as_str().into(), segment.kind.as_str().into());
        let folders = Folders { vendor, kind, date: segment.date.clone() };
        filter = predicate.of_segment(folders, |name| builder.schema().index_of(name).is_ok());
        if filter.is_none() {
            return Ok(());
        }
    }
    let mut wanted: Vec<&str> = vec!["seq"];
    columns.iter().copied().chain(columns_of(&options.selection)).for_each(|name| wanted.push(name));
    wanted.extend(options.predicate.iter().flat_map(Predicate::columns));
    let mask = ProjectionMask::columns(builder.parquet_schema(), wanted);
    let row_bytes = (segment.payload_bytes / segment.rows.max(1)).max(1);
    let rows = (BATCH_BYTES / row_bytes).clamp(16, BATCH_ROWS) as usize;
    let mut builder = builder.with_projection(mask).with_row_groups(rest.groups).with_batch_size(rows);
    if let Some(selected) = rest.rows {
        builder = builder.with_row_selection(selected);
    }
    for batch in builder.build().map_err(failed)? {
        let mut batch = batch.map_err(|e| failed(e.into()))?;
        let damaged = || file.damaged("its columns are not those of the envelope".to_owned());
        let seq = batch.column_by_name("seq").and_then(|c| c.as_primitive_opt::<Int64Type>());
        let seq = seq.ok_or_else(damaged)?.values();
        let from = seq.partition_point(|&seq| (seq as u64) < seqs.start);
        let to = seq.partition_point(|&seq| (seq as u64) < seqs.end);
        let is_last = to < seq.len();
        batch = batch.slice(from, to.saturating_sub(from));
        if let Some(filter) = &filter {
            batch = filter.apply(&batch).map_err(|e| failed(e.into()))?;
        }
        if let Some(keep) = matching(&batch, &options.selection).ok_or_else(damaged)? {
            batch = filter_record_batch(&batch, &keep).map_err(|e| failed(e.into()))?;
        }
        if batch.num_rows() > 0 && !see(&batch)? {
            return Err(damaged());
        }
        if is_last {
            break;
        }
    }
    Ok(())
}

/// The columns that a selection looks at; vendor and kind are folders.
fn columns_of(selection: &Selection) -> impl Iterator<Item = &'static str> {
    let Selection { sources, devices, channels, .. } = selection;
    let looked_at = [("source", sources), ("device_id", devices), ("channel", channels)];
    looked_at.into_iter().filter(|(_, wanted)| !wanted.is_empty()).map(|(column, _)| column)
}

/// Which rows are selected; none where all are. No answer where a column is missing.
fn matching(batch: &RecordBatch, selection: &Selection) -> Option<Option<BooleanArray>> {
    let mut keep: Option<BooleanArray> = None;
    for column in columns_of(selection) {
        let texts: &StringArray = batch.column_by_name(column)?.as_string_opt::<i32>()?;
        let is_wanted = |text: Option<&str>| {
            let Some(text) = text else { return false };
            match column {
                "source" => selection.sources.iter().any(|wanted| wanted == text),
                "device_id" => selection.devices.iter().any(|wanted| wanted == text),
                _ => selection.channels.iter().any(|wanted| glob(wanted.as_bytes(), text.as_bytes())),
            }
        };
        let these: BooleanArray = texts.iter().map(|text| Some(is_wanted(text))).collect();
        keep = Some(match keep {
            Some(known) => and(&known, &these).ok()?,
            None => these,
        });
    }
    Some(keep)
}
