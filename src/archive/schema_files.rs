//! Zero-row files that are damaged: what columns they had, and making them again.

use arrow::datatypes::Field;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use super::Archive;
use super::error::{ArchiveError, IoContext};
use super::layout::schema_path;
use super::schema::segment_schema;
use super::segment::write_schema_file;
use crate::message::COMMON_KINDS;

impl Archive {
    /// The columns of a kind as its zero-row file tells them.
    pub(super) fn schema_file_columns(&self, vendor: &str, kind: &str) -> Result<Vec<Field>, ArchiveError> {
        let path = self.root().join(schema_path(vendor, kind));
        let bytes = self.disk.read(&path).doing("read", &path)?;
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

    /// Makes the zero-row files again that cannot be read. What is in them stands in the declarations.
    pub(super) fn mend_schema_files(&self) -> Result<(), ArchiveError> {
        for (vendor, kind) in self.kinds_in_data()? {
            let Err(error) = self.schema_file_columns(&vendor, &kind) else { continue };
            let Some(columns) = self.declared_columns(&vendor, &kind)? else {
                tracing::warn!("{error}; no declaration tells its columns");
                continue;
            };
            tracing::warn!("{error}; it is made again");
            let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(columns));
            write_schema_file(self, &vendor, &kind, schema)?;
        }
        Ok(())
    }
}
