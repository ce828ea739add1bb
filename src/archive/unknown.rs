//! Members of payloads that no declaration knows, found by looking at some messages of each kind.
//!
//! Looked for when somebody asks (`info`), not while sealing: the answer is the same whether the
//! declaration was older or newer at the time, and recording pays nothing for it. What is looked at is
//! bounded, however long the session: of each kind at most [`EXAMINED_MAX`] messages, the first and the last
//! ones of each of its segments in equal shares, so that a change shows up wherever in the session it was made.
//! A member that only a few messages in between have may be missed; `examined` says how many were looked at.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, BinaryArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use serde::Serialize;

use super::Archive;
use super::blocks::CheckedFile;
use super::error::ArchiveError;
use super::scan::{Segments, Skipped};
use crate::decode::KnownPaths;
use crate::index::SegmentRow;

/// Messages of a kind: some milliseconds of parsing.
const EXAMINED_MAX: u64 = 4_096;

/// Bytes of payload of a kind, where its messages are large.
const EXAMINED_BYTES_MAX: usize = 16 << 20;

/// Members told of a kind. There are more only where a sender's keys are data.
const TOLD_MAX: usize = 100;

const COLUMNS: [&str; 2] = ["payload", "clear"];

/// A member that payloads have and the kind's declaration does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownField {
    pub vendor: String,
    pub kind: String,
    /// Keys joined by dots; `[]` is any element of a list.
    pub path: String,
    /// How many of the examined messages have it.
    pub messages: u64,
    /// How many messages of the kind were looked at.
    pub examined: u64,
    /// The JSON type of one of its values.
    #[serde(rename = "type")]
    pub json_type: &'static str,
}

/// What was found in the messages of one kind.
#[derive(Debug, Default)]
pub(super) struct Examined {
    pub(super) messages: u64,
    bytes: usize,
    /// By path: how many have it, and the JSON type.
    pub(super) unknown: BTreeMap<String, (u64, &'static str)>,
}

/// The unknown members of every kind that has a declaration.
pub(super) fn unknown_fields(
    archive: &Archive,
    segments: &[SegmentRow],
    skipped: &Skipped,
) -> Result<Vec<UnknownField>, ArchiveError> {
    let mut kinds: BTreeMap<(&str, &str), Vec<&SegmentRow>> = BTreeMap::new();
    for segment in segments {
        kinds.entry((&segment.vendor, &segment.kind)).or_default().push(segment);
    }
    let (mut fields, mut files) = (Vec::new(), Segments::new(archive));
    for ((vendor, kind), segments) in kinds {
        let Some(known) = known_paths(archive, vendor, kind)? else { continue };
        let mut examined = Examined::default();
        let share = (EXAMINED_MAX / segments.len() as u64).max(1);
        let step = segments.len().div_ceil(EXAMINED_MAX as usize).max(1);
        for segment in segments.into_iter().step_by(step) {
            let looked = files.open(segment);
            let looked = looked.and_then(|file| examine(&file, segment.rows, share, &known, &mut examined));
            looked.or_else(|error| Skipped::add(Some(skipped), segment, 0, error))?;
        }
        let messages = examined.messages;
        fields.extend(examined.unknown.into_iter().map(|(path, (count, json_type))| UnknownField {
            vendor: vendor.to_owned(),
            kind: kind.to_owned(),
            path,
            messages: count,
            examined: messages,
            json_type,
        }));
    }
    Ok(fields)
}

/// What the declarations of a kind know: what any of them knows is known.
pub(super) fn known_paths(
    archive: &Archive,
    vendor: &str,
    kind: &str,
) -> Result<Option<KnownPaths>, ArchiveError> {
    let mut known = None;
    for declaration in archive.declarations(vendor, kind)? {
        known.get_or_insert_with(KnownPaths::default).add(&declaration);
    }
    Ok(known)
}

/// Looks at the first and the last rows of a segment, `share` of them in all.
fn examine(
    file: &CheckedFile,
    rows: u64,
    share: u64,
    known: &KnownPaths,
    examined: &mut Examined,
) -> Result<(), ArchiveError> {
    let failed = |source| file.failed(source);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(failed)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    let mut builder = builder.with_projection(mask).with_batch_size(256);
    if rows > share {
        let (first, last) = (share.div_ceil(2) as usize, (share / 2) as usize);
        let between = rows as usize - first - last;
        builder = builder.with_row_selection(RowSelection::from(vec![
            RowSelector::select(first),
            RowSelector::skip(between),
            RowSelector::select(last),
        ]));
    }
    for batch in builder.build().map_err(failed)? {
        let batch = batch.map_err(|e| failed(e.into()))?;
        let blobs = |name| batch.column_by_name(name).and_then(|column| column.as_binary_opt::<i32>());
        let (Some(payloads), Some(clears)) = (blobs("payload"), blobs("clear")) else { continue };
        for at in 0..batch.num_rows() {
            if examined.is_full() {
                return Ok(());
            }
            examined.look_at(blob(payloads, at).unwrap_or_default(), blob(clears, at), known);
        }
    }
    Ok(())
}

fn blob(column: &BinaryArray, at: usize) -> Option<&[u8]> {
    column.is_valid(at).then(|| column.value(at))
}

impl Examined {
    /// Whether its payloads were enough by their length.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= EXAMINED_BYTES_MAX
    }

    pub(super) fn look_at(&mut self, payload: &[u8], clear: Option<&[u8]>, known: &KnownPaths) {
        self.messages += 1;
        self.bytes += payload.len() + clear.map_or(0, <[u8]>::len);
        for (path, json_type) in known.unknown_of(payload, clear).unwrap_or_default() {
            if let Some((count, known_type)) = self.unknown.get_mut(&path) {
                *count += 1;
                // A null tells nothing of what it would be.
                if *known_type == "null" {
                    *known_type = json_type;
                }
            } else if self.unknown.len() < TOLD_MAX {
                self.unknown.insert(path, (1, json_type));
            }
        }
    }
}
