//! The rows of a segment: how many there are, in which order, and between which values.

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::seqs::Seen;
use crate::archive::blocks::CheckedFile;
use crate::archive::error::ArchiveError;
use crate::archive::manifest::ManifestFile;

/// How many rows a segment has, and the least and greatest values in them.
#[derive(Debug, Default)]
pub(in crate::archive) struct Extremes {
    pub(in crate::archive) rows: u64,
    seq: Option<(i64, i64)>,
    elapsed_ns: Option<(i64, i64)>,
    received_us: Option<(i64, i64)>,
}

impl Extremes {
    /// What is otherwise than the manifest says, and what that says.
    pub(in crate::archive) fn differs_from(&self, file: &ManifestFile) -> Option<(String, String)> {
        if self.rows == 0 {
            return None;
        }
        let seq = (file.seq_min as i64, file.seq_max as i64);
        let elapsed_ns = (file.elapsed_min_ns as i64, file.elapsed_max_ns as i64);
        let received_us = (file.received_min_us, file.received_max_us);
        let all = [
            ("seq", self.seq, seq),
            ("elapsed_ns", self.elapsed_ns, elapsed_ns),
            ("received_at", self.received_us, received_us),
        ];
        let (what, found, expected) = all.into_iter().find(|(_, found, said)| *found != Some(*said))?;
        let (least, greatest) = found.unwrap_or_default();
        Some((format!("{what} is {least} to {greatest}"), format!("{} to {}", expected.0, expected.1)))
    }

    /// Those of seq, `elapsed_ns` and `received_at`; none where there are no rows.
    pub(in crate::archive) fn all(&self) -> Option<[(i64, i64); 3]> {
        Some([self.seq?, self.elapsed_ns?, self.received_us?])
    }

    fn add(extremes: &mut Option<(i64, i64)>, values: &[i64]) {
        let (Some(&least), Some(&greatest)) = (values.iter().min(), values.iter().max()) else { return };
        let (min, max) = extremes.unwrap_or((least, greatest));
        *extremes = Some((min.min(least), max.max(greatest)));
    }
}

/// Reads the columns `seq`, which must rise, and those of the times.
pub(in crate::archive) fn read_seqs(
    path: &Path,
    mut seen: Option<&mut Seen>,
) -> Result<Extremes, ArchiveError> {
    let file = CheckedFile::open_unchecked(path)?;
    let (failed, damaged) = (|source| file.failed(source), |what: &str| file.damaged(what.to_owned()));
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(failed)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["seq", "elapsed_ns", "received_at"]);
    let (mut found, mut last) = (Extremes::default(), None);
    let reader = builder.with_projection(mask).with_batch_size(65_536).build();
    for batch in reader.map_err(failed)? {
        let batch = batch.map_err(|error| failed(error.into()))?;
        let number =
            |name: &str| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>().map(|c| c.values());
        let received = batch.column_by_name("received_at");
        let received = received.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        Extremes::add(
            &mut found.received_us,
            received.ok_or_else(|| damaged("it has no column `received_at`"))?.values(),
        );
        Extremes::add(
            &mut found.elapsed_ns,
            number("elapsed_ns").ok_or_else(|| damaged("it has no column `elapsed_ns`"))?,
        );
        let seqs = number("seq").ok_or_else(|| damaged("it has no column `seq`"))?;
        Extremes::add(&mut found.seq, seqs);
        for &seq in seqs.iter() {
            if last.is_some_and(|last| seq <= last) {
                return Err(damaged(&format!("its rows are not in the order of seq at {seq}")));
            }
            last = Some(seq);
            if let Some(seen) = &mut seen {
                seen.mark(seq as u64);
            }
            found.rows += 1;
        }
    }
    Ok(found)
}
