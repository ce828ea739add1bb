//! Zero-row files: the checksum that each holds of itself, what columns it tells, and making it again where it is damaged.
//!
//! No manifest names them, so the BLAKE3 of what follows lies between `PAR1`, with which a Parquet file begins, and what
//! the file says of itself, which readers find from its end. What an early version wrote has none.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use super::Archive;
use super::error::{ArchiveError, IoContext};
use super::layout::{is_plain, schema_path};
use super::schema::segment_schema;
use super::segment::write_schema_file;
use crate::message::COMMON_KINDS;

/// With which a Parquet file begins and ends.
const MAGIC: &[u8; 4] = b"PAR1";

/// Where in a file of an early version, and in one with its checksum, begins what it says of itself.
const FOOTER_AT: [usize; 2] = [MAGIC.len(), MAGIC.len() + blake3::OUT_LEN];

/// A zero-row file with its checksum.
pub(super) fn with_sum(file: &[u8]) -> Vec<u8> {
    let (magic, rest) = file.split_at(MAGIC.len().min(file.len()));
    [magic, blake3::hash(rest).as_bytes(), rest].concat()
}

/// What is wrong with a zero-row file, as far as its bytes tell.
fn fault(file: &[u8]) -> Option<&'static str> {
    let footer_at = || {
        let (rest, length) = file.strip_suffix(MAGIC)?.split_last_chunk::<4>()?;
        rest.len().checked_sub(u32::from_le_bytes(*length) as usize)
    };
    match footer_at() {
        Some(at) if FOOTER_AT.contains(&at) && file.starts_with(MAGIC) => {
            let (sum, rest) = file[MAGIC.len()..].split_at(at - MAGIC.len());
            let is_it = sum.is_empty() || sum == blake3::hash(rest).as_bytes();
            (!is_it).then_some("it is not what its checksum was made of")
        }
        _ => Some("it is no Parquet file without rows"),
    }
}

impl Archive {
    /// The columns of a kind as its zero-row file tells them.
    pub(super) fn schema_file_columns(&self, vendor: &str, kind: &str) -> Result<Vec<Field>, ArchiveError> {
        let path = self.root().join(schema_path(vendor, kind));
        let bytes = self.disk.read(&path).doing("read", &path)?;
        if let Some(what) = fault(&bytes) {
            return Err(ArchiveError::Damaged { path, what: what.to_owned() });
        }
        let metadata = ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new())
            .map_err(|source| ArchiveError::ReadSegment { path: path.clone(), source })?;
        let columns: Vec<Field> = metadata.schema().fields().iter().map(|f| (**f).clone()).collect();
        let envelope = segment_schema(&[]);
        // What an early version wrote describes what lies within a map in fewer words.
        let has = |field: &Field| {
            let mut same = columns.iter().filter(|column| column.name() == field.name());
            same.any(|column| column.data_type().equals_datatype(field.data_type()))
        };
        if !envelope.fields().iter().all(|field| has(field)) {
            let what = "it lacks columns that every kind has".to_owned();
            return Err(ArchiveError::Damaged { path, what });
        }
        Ok(columns)
    }

    /// The columns of a kind as its declarations tell them; none of a kind that nothing declares.
    pub(super) fn declared_columns(
        &self,
        vendor: &str,
        kind: &str,
    ) -> Result<Option<Vec<Field>>, ArchiveError> {
        let declarations = self.declarations(vendor, kind)?;
        if declarations.is_empty() && !COMMON_KINDS.contains(&kind) {
            return Ok(None);
        }
        let mut typed: Vec<Field> = Vec::new();
        for field in declarations.iter().flat_map(|declaration| declaration.arrow_fields()) {
            if typed.iter().all(|known| known.name() != field.name()) {
                typed.push(field);
            }
        }
        Ok(Some(segment_schema(&typed).fields().iter().map(|f| (**f).clone()).collect()))
    }

    /// Makes the zero-row files again that cannot be read or are missing. What is in them stands in the declarations;
    /// of a kind that has none, in its segments: nothing but the envelope, where it never had one.
    pub(super) fn mend_schema_files(&self) -> Result<(), ArchiveError> {
        let mut kinds: BTreeSet<(String, String)> = self.kind_folders()?.into_iter().collect();
        for source in self.read_sidecars()?.into_iter().flat_map(|sidecar| sidecar.sources) {
            let of_source = source.kinds.into_iter().map(|kind| (source.vendor.clone(), kind));
            kinds.extend(of_source.filter(|(vendor, kind)| is_plain(vendor) && is_plain(kind)));
        }
        for (vendor, kind) in kinds {
            let error = match self.schema_file_columns(&vendor, &kind) {
                Ok(_) => continue,
                Err(error) if error.is_damage() => error,
                Err(error) => return Err(error),
            };
            tracing::warn!("{error}; it is made again");
            let schema = match self.declared_columns(&vendor, &kind)? {
                Some(columns) => Arc::new(Schema::new(columns)),
                None => segment_schema(&self.typed_columns_of_segments(&vendor, &kind)?),
            };
            write_schema_file(self, &vendor, &kind, schema)?;
        }
        Ok(())
    }

    /// What a kind's segments have beside the envelope; those that cannot be read are told of elsewhere.
    fn typed_columns_of_segments(&self, vendor: &str, kind: &str) -> Result<Vec<Field>, ArchiveError> {
        let (envelope, mut typed) = (segment_schema(&[]), Vec::<Field>::new());
        let manifests = self.readable_manifests()?;
        let files = manifests.iter().flat_map(|manifest| &manifest.files);
        for file in files.filter(|file| file.vendor == vendor && file.kind == kind) {
            let metadata = File::open(self.root().join(&file.path))
                .ok()
                .and_then(|segment| ArrowReaderMetadata::load(&segment, ArrowReaderOptions::new()).ok());
            let columns = metadata.iter().flat_map(|metadata| metadata.schema().fields());
            let is_new = |field: &Field, typed: &[Field]| {
                envelope.field_with_name(field.name()).is_err()
                    && typed.iter().all(|known| known.name() != field.name())
            };
            for field in columns {
                if is_new(field, &typed) {
                    typed.push((**field).clone());
                }
            }
        }
        Ok(typed)
    }
}
