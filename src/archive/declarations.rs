//! What an archive's own declarations, and the built-in ones, say of a kind.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use super::Archive;
use super::durable::files_in;
use super::error::{ArchiveError, IoContext};
use super::schema::envelope_fields;
use crate::decode::{Declaration, declaration};
use crate::index::SegmentRow;
use crate::message::SessionId;

impl Archive {
    /// The newest text of a kind's declaration that lies beside the data.
    pub fn declaration(&self, vendor: &str, kind: &str) -> Result<Option<String>, ArchiveError> {
        let path = self.layout().schema().join(vendor).join(format!("{kind}.toml"));
        match self.disk.read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => Ok(Some(String::from_utf8_lossy(&read.doing("read", &path)?).into_owned())),
        }
    }

    /// The text that a source's rows of a kind were decoded by in a session: of several, since sources may declare a
    /// kind differently and versions do, the one whose columns its segments have; else the newest.
    pub fn declaration_of(
        &self,
        session_id: SessionId,
        (source, vendor, kind): (&str, &str, &str),
    ) -> Result<Option<String>, ArchiveError> {
        let all = self.declarations(vendor, kind)?;
        if all.len() > 1 {
            let mut segments = self.catalog()?.segments(session_id)?.into_iter();
            let is_it = |s: &SegmentRow| s.vendor == vendor && s.kind == kind;
            let of_source = |s: &SegmentRow| s.sources.iter().any(|known| known.source == source);
            if let Some(segment) = segments.find(|segment| is_it(segment) && of_source(segment)) {
                // Of a segment that is damaged nothing can be said.
                let columns = typed_columns(&self.root().join(&segment.path)).unwrap_or_default();
                let fits = |declaration: &&Declaration| {
                    let fields = declaration.arrow_fields();
                    fields.iter().map(|field| field.name().clone()).collect::<BTreeSet<_>>() == columns
                };
                if let Some(found) = all.iter().rev().find(fits) {
                    return Ok(Some(found.text().to_owned()));
                }
            }
        }
        self.declaration(vendor, kind)
    }

    /// What a session has rows of: source, vendor, kind.
    pub fn kinds_of(
        &self,
        session_id: SessionId,
    ) -> Result<BTreeSet<(String, String, String)>, ArchiveError> {
        let mut kinds = BTreeSet::new();
        for segment in self.catalog()?.segments(session_id)? {
            for source in segment.sources {
                kinds.insert((source.source, segment.vendor.clone(), segment.kind.clone()));
            }
        }
        Ok(kinds)
    }

    /// The declarations of a kind: those beside the data, then the built-in one. Sources may declare a kind
    /// differently, and versions do; each declaration that differs is there.
    pub fn declarations(&self, vendor: &str, kind: &str) -> Result<Vec<Declaration>, ArchiveError> {
        let mut all: Vec<Declaration> = Vec::new();
        let mut add = |text: &str| {
            // What is no declaration any more says nothing; `verify` is for damage.
            if let Ok(declaration) = Declaration::parse(text, kind)
                && !all.iter().any(|known| known.text() == declaration.text())
            {
                all.push(declaration);
            }
        };
        let is_of_kind = |path: &Path| {
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            name.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let folder = self.layout().schema().join(vendor);
        for path in files_in(&*self.disk, &folder, "toml")?.into_iter().filter(|path| is_of_kind(path)) {
            add(&String::from_utf8_lossy(&self.disk.read(&path).doing("read", &path)?));
        }
        declaration(vendor, kind).into_iter().for_each(add);
        Ok(all)
    }
}

/// The names of a segment's columns but for those of the envelope.
fn typed_columns(path: &Path) -> Result<BTreeSet<String>, ArchiveError> {
    let file = File::open(path).doing("open", path)?;
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
        .map_err(|source| ArchiveError::ReadSegment { path: path.to_owned(), source })?;
    let envelope = envelope_fields();
    let is_typed = |name: &String| envelope.iter().all(|field| field.name() != name);
    Ok(metadata.schema().fields().iter().map(|field| field.name().clone()).filter(is_typed).collect())
}
