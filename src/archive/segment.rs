//! The rows of one segment until they are a batch, and what the manifest tells of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::datatypes::{Field, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

use super::Archive;
use super::columns::{Constants, EnvelopeBatch, EnvelopeColumns};
use super::decoding::DecodeErrors;
use super::durable::replace;
use super::encoding::{Effort, writer_options};
use super::error::{ArchiveError, IoContext};
use super::layout::{SCHEMA_DATE, schema_path};
use super::manifest::{ManifestFile, ManifestSource};
use super::schema::{FORMAT, segment_schema};
use super::schema_files::with_sum;
use super::writers::{NewFile, WrittenFile};
use crate::decode::{Declaration, Decoder};
use crate::journal::RecordRef;
use crate::message::{KindHeader, SessionHeader};

/// What a segment is called and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    pub vendor: String,
    pub kind: String,
    pub date: String,
    /// Relative to the archive.
    pub path: String,
    /// Further key-value metadata of the file.
    pub metadata: Vec<(&'static str, String)>,
}

/// The rows of a segment in the making; they are decoded in [`decoding`](super::decoding), and its file is
/// made by the [`writers`](super::writers).
#[derive(Debug)]
pub(super) struct Segment {
    naming: Naming,
    tmp: PathBuf,
    envelope: EnvelopeColumns,
    tally: Tally,
}

/// A segment that is complete and synced, still in `tmp/`.
#[derive(Debug)]
pub(super) struct FinishedSegment {
    pub tmp: PathBuf,
    pub file: ManifestFile,
}

#[derive(Debug, Default)]
struct Tally {
    rows: u64,
    payload_bytes: u64,
    seq: Option<(u64, u64)>,
    elapsed_ns: (u64, u64),
    received_us: (i64, i64),
    /// By the source's position in the session.
    sources: Vec<SourceTally>,
}

#[derive(Clone, Copy, Debug, Default)]
struct SourceTally {
    rows: u64,
    payload_bytes: u64,
    duplicates: u64,
    decode_errors: u64,
}

impl Segment {
    /// A segment without rows, the file that is to take them, and what decodes them.
    pub(super) fn new(
        tmp: PathBuf,
        naming: Naming,
        declaration: Option<&Declaration>,
        sources: usize,
    ) -> (Self, Box<NewFile>, Box<Decoder>) {
        let schema = segment_schema(&declaration.map(Declaration::arrow_fields).unwrap_or_default());
        let options = writer_options(&schema, naming.pairs(), Effort::Seal);
        let path = PathBuf::from(&naming.path);
        let file = NewFile { tmp: tmp.clone(), path, schema, options };
        let segment = Self {
            naming,
            tmp,
            envelope: EnvelopeColumns::new(),
            tally: Tally { sources: vec![SourceTally::default(); sources], ..Tally::default() },
        };
        (segment, Box::new(file), Box::new(Decoder::new(declaration)))
    }

    /// Rows and bytes that wait for the next batch.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.envelope.rows(), self.envelope.bytes())
    }

    /// Takes one row; `source` is the name that belongs to `record.source`.
    pub(super) fn push(&mut self, source: &str, record: &RecordRef<'_>) {
        self.tally.add(record);
        self.envelope.push(source, record);
    }

    /// The waiting rows, if there are any.
    pub(super) fn take_batch(
        &mut self,
        constants: &Constants,
    ) -> Result<Option<EnvelopeBatch>, ArchiveError> {
        if self.envelope.rows() == 0 {
            return Ok(None);
        }
        let path = || PathBuf::from(&self.naming.path);
        let batch = self.envelope.finish(constants);
        batch.map(Some).map_err(|source| ArchiveError::WriteSegment { path: path(), source: source.into() })
    }

    /// `written` is what became of its file, and `errors` what of its rows.
    pub(super) fn finish(
        mut self,
        names: &[&str],
        errors: DecodeErrors,
        written: WrittenFile,
    ) -> FinishedSegment {
        for (source, errors) in self.tally.sources.iter_mut().zip(errors) {
            source.decode_errors = errors;
        }
        let file = self.tally.into_file(self.naming, names, written);
        FinishedSegment { tmp: self.tmp, file }
    }
}

impl Tally {
    fn add(&mut self, record: &RecordRef<'_>) {
        let payload_bytes = record.payload.len() as u64;
        self.rows += 1;
        self.payload_bytes += payload_bytes;
        let (elapsed, received) = (record.elapsed_ns, record.received_at_us);
        match &mut self.seq {
            None => {
                self.seq = Some((record.seq, record.seq));
                self.elapsed_ns = (elapsed, elapsed);
                self.received_us = (received, received);
            }
            Some((_, last)) => {
                *last = record.seq;
                self.elapsed_ns.1 = elapsed;
                self.received_us = (self.received_us.0.min(received), self.received_us.1.max(received));
            }
        }
        if let Some(source) = self.sources.get_mut(usize::from(record.source)) {
            source.rows += 1;
            source.payload_bytes += payload_bytes;
            source.duplicates += u64::from(record.duplicate_of.is_some());
        }
    }

    fn into_file(self, naming: Naming, names: &[&str], written: WrittenFile) -> ManifestFile {
        let WrittenFile { bytes, blake3, blocks } = written;
        let (seq_min, seq_max) = self.seq.unwrap_or_default();
        let sources = names.iter().zip(&self.sources).filter(|(_, tally)| tally.rows > 0);
        ManifestFile {
            path: naming.path,
            vendor: naming.vendor,
            kind: naming.kind,
            date: naming.date,
            rows: self.rows,
            seq_min,
            seq_max,
            elapsed_min_ns: self.elapsed_ns.0,
            elapsed_max_ns: self.elapsed_ns.1,
            received_min_us: self.received_us.0,
            received_max_us: self.received_us.1,
            bytes,
            payload_bytes: self.payload_bytes,
            blake3,
            blocks: Some(blocks),
            sources: sources
                .map(|(name, tally)| ManifestSource {
                    name: (*name).to_owned(),
                    rows: tally.rows,
                    payload_bytes: tally.payload_bytes,
                    duplicates: tally.duplicates,
                    decode_errors: tally.decode_errors,
                })
                .collect(),
        }
    }
}

/// Writes the zero-row file of every kind in `header`, so that views and readers see all columns of
/// kinds without rows and of files from before a column was declared.
pub(super) fn write_schema_files(archive: &Archive, header: &SessionHeader) -> Result<(), ArchiveError> {
    for ((vendor, kind), typed) in typed_columns(header)? {
        write_schema_file(archive, &vendor, &kind, segment_schema(&typed))?;
    }
    Ok(())
}

/// Writes the zero-row file of one kind, where it would change.
pub(super) fn write_schema_file(
    archive: &Archive,
    vendor: &str,
    kind: &str,
    schema: SchemaRef,
) -> Result<(), ArchiveError> {
    let path = schema_path(vendor, kind);
    let target = archive.root().join(&path);
    let bytes = schema_file_bytes(vendor, kind, schema)
        .map_err(|source| ArchiveError::WriteSegment { path: target.clone(), source })?;
    if archive.disk.read(&target).is_ok_and(|known| known == bytes) {
        // Whoever wrote it may have been killed before its name was durable.
        let folder = target.parent().unwrap_or(archive.root());
        return archive.disk.sync_dir(folder).doing("sync", folder);
    }
    replace(&archive.layout, &*archive.disk, &target, &bytes)
}

/// The zero-row file of one kind.
pub(super) fn schema_file_bytes(
    vendor: &str,
    kind: &str,
    schema: SchemaRef,
) -> Result<Vec<u8>, ParquetError> {
    let (vendor, kind, path) = (vendor.to_owned(), kind.to_owned(), schema_path(vendor, kind));
    let naming = Naming { vendor, kind, date: SCHEMA_DATE.to_owned(), path, metadata: Vec::new() };
    let options = writer_options(&schema, naming.pairs(), Effort::Keep);
    let file = ArrowWriter::try_new_with_options(Vec::new(), schema, options)?.into_inner()?;
    Ok(with_sum(&file))
}

/// The typed columns of each kind; where sources declare a kind differently, the columns of all.
fn typed_columns(header: &SessionHeader) -> Result<BTreeMap<(String, String), Vec<Field>>, ArchiveError> {
    let mut kinds: BTreeMap<_, Vec<Field>> = BTreeMap::new();
    for source in &header.sources {
        for kind in &source.kinds {
            let columns = kinds.entry((source.vendor.clone(), kind.name.clone())).or_default();
            let Some(declaration) = parse_declaration(&source.vendor, kind)? else { continue };
            for field in declaration.arrow_fields() {
                if columns.iter().all(|known| known.name() != field.name()) {
                    columns.push(field);
                }
            }
        }
    }
    Ok(kinds)
}

/// A kind's declaration, ready to decode by.
pub(super) fn parse_declaration(
    vendor: &str,
    kind: &KindHeader,
) -> Result<Option<Declaration>, ArchiveError> {
    let Some(text) = &kind.declaration else { return Ok(None) };
    let parsed = Declaration::parse(text, &format!("{vendor}/{}", kind.name));
    parsed.map(Some).map_err(|source| ArchiveError::Declaration {
        vendor: vendor.to_owned(),
        kind: kind.name.clone(),
        source: source.into(),
    })
}

impl Naming {
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![
            ("format", FORMAT.to_string()),
            ("vendor", self.vendor.clone()),
            ("kind", self.kind.clone()),
            ("date", self.date.clone()),
        ];
        pairs.extend(self.metadata.iter().cloned());
        pairs
    }
}
