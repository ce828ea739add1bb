//! Reading a segment that no manifest tells of, all of it: what a manifest is to say of it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::archive::Archive;
use crate::archive::blocks::{CheckedFile, Summing};
use crate::archive::error::{ArchiveError, IoContext};
use crate::archive::layout::{PartName, kind_dir};
use crate::archive::manifest::{ManifestFile, ManifestSource};
use crate::archive::verify::rows::read_seqs;
use crate::message::SessionId;

/// What is decoded at once.
const BATCH_BYTES: i64 = 8 << 20;

/// Whether a file is called as segments are, and lies where they lie; a copy that somebody made is not.
pub(super) fn is_own(path: &Path, name: PartName) -> bool {
    let place = Place::of(path);
    let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
    let rest = file.strip_prefix(&name.to_string()).and_then(|rest| rest.strip_suffix(".parquet"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let mut words = rest.into_iter().flat_map(|rest| rest.split('.').skip(1)).peekable();
    words.next_if(|word| word.strip_prefix('g').is_some_and(is_number));
    words.next_if(|word| is_number(word));
    place.is_some()
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        && words.next().is_none()
}

/// What the folders of a segment are called after.
struct Place<'a> {
    vendor: &'a str,
    kind: &'a str,
    date: &'a str,
}

impl<'a> Place<'a> {
    fn of(path: &'a Path) -> Option<Self> {
        let mut folders = path.parent()?.to_str()?.strip_prefix("data/")?.split('/');
        let mut named = |name: &str| folders.next()?.strip_prefix(name);
        let (vendor, kind, date) = (named("vendor=")?, named("kind=")?, named("date=")?);
        folders.next().is_none().then_some(Self { vendor, kind, date })
    }
}

/// Reads a segment, all of it. What is wrong with it is an error that is damage.
pub(super) fn read_segment(
    archive: &Archive,
    path: &Path,
    session_id: SessionId,
) -> Result<ManifestFile, ArchiveError> {
    let full = archive.root().join(path);
    let mut summing = Summing::default();
    let mut file = File::open(&full).doing("open", &full)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).doing("read", &full)? {
            0 => break,
            length => summing.update(&buffer[..length]),
        }
    }
    let mut file = decode(&full, path, session_id)?;
    file.bytes = summing.bytes();
    let (blake3, blocks) = summing.finish();
    (file.blake3, file.blocks) = (blake3, Some(blocks));
    Ok(file)
}

/// All but lengths and checksums.
fn decode(full: &Path, path: &Path, session_id: SessionId) -> Result<ManifestFile, ArchiveError> {
    let file = CheckedFile::open_unchecked(full)?;
    let (failed, damaged) = (|source| file.failed(source), |what: &str| file.damaged(what.to_owned()));
    let place = Place::of(path).ok_or_else(|| damaged("it is not where segments lie"))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(failed)?;
    let metadata = builder.metadata();
    let pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    let said = |key: &str| pairs.clone().find(|pair| pair.key == format!("telereel.{key}"))?.value.clone();
    let own = [("vendor", place.vendor), ("kind", place.kind), ("date", place.date)];
    let session = session_id.to_string();
    for (key, wanted) in own.into_iter().chain([("session_id", &*session)]) {
        if said(key).as_deref() != Some(wanted) {
            return Err(damaged(&format!("its {key} is not what its name says")));
        }
    }
    let (rows, bytes) = metadata.row_groups().iter().fold((0, 0), |(rows, bytes), group| {
        (group.num_rows().saturating_add(rows), group.total_byte_size().saturating_add(bytes))
    });
    let batch_rows = (BATCH_BYTES / (bytes / rows.max(1)).max(1)).clamp(1, 8_192);
    let mut tally = Tally::default();
    for batch in builder.with_batch_size(batch_rows as usize).build().map_err(failed)? {
        let batch = batch.map_err(|error| failed(error.into()))?;
        tally.add(&batch).ok_or_else(|| damaged("its columns are not those of the envelope"))?;
    }
    let extremes = read_seqs(full, None)?;
    let [seq, elapsed_ns, received_us] = extremes.all().ok_or_else(|| damaged("it has no rows"))?;
    let number = |value: i64| u64::try_from(value).map_err(|_| damaged("it has a negative number"));
    Ok(ManifestFile {
        path: format!(
            "{}/date={}/{}",
            kind_dir(place.vendor, place.kind),
            place.date,
            path.file_name().unwrap_or_default().to_string_lossy()
        ),
        vendor: place.vendor.to_owned(),
        kind: place.kind.to_owned(),
        date: place.date.to_owned(),
        rows: extremes.rows,
        seq_min: number(seq.0)?,
        seq_max: number(seq.1)?,
        elapsed_min_ns: number(elapsed_ns.0)?,
        elapsed_max_ns: number(elapsed_ns.1)?,
        received_min_us: received_us.0,
        received_max_us: received_us.1,
        bytes: 0,
        payload_bytes: tally.sources.iter().map(|source| source.payload_bytes).sum(),
        blake3: String::new(),
        blocks: None,
        sources: tally.sources,
    })
}

/// What each source contributed.
#[derive(Default)]
struct Tally {
    sources: Vec<ManifestSource>,
}

impl Tally {
    /// None where a column is missing or of another type.
    fn add(&mut self, rows: &RecordBatch) -> Option<()> {
        rows.column_by_name("seq")?.as_primitive_opt::<Int64Type>()?;
        rows.column_by_name("received_at")?.as_primitive_opt::<TimestampMicrosecondType>()?;
        let sources = rows.column_by_name("source")?.as_string_opt::<i32>()?;
        let payloads = rows.column_by_name("payload")?.as_binary_opt::<i32>()?;
        let (duplicates, errors) =
            (rows.column_by_name("duplicate_of")?, rows.column_by_name("decode_error")?);
        for row in 0..rows.num_rows() {
            let name = sources.value(row);
            let at = self.sources.iter().position(|known| known.name == name).unwrap_or_else(|| {
                let name = name.to_owned();
                let (rows, payload_bytes, duplicates, decode_errors) = (0, 0, 0, 0);
                self.sources.push(ManifestSource { name, rows, payload_bytes, duplicates, decode_errors });
                self.sources.len() - 1
            });
            let source = &mut self.sources[at];
            source.rows += 1;
            source.payload_bytes += payloads.value(row).len() as u64;
            source.duplicates += u64::from(duplicates.is_valid(row));
            source.decode_errors += u64::from(errors.is_valid(row));
        }
        Some(())
    }
}
