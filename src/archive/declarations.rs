//! What an archive's own declarations, and the built-in ones, say of a kind.
//!
//! One that is damaged says nothing: what stands in it decides what numbers mean. `verify` tells of it.

use std::collections::BTreeSet;
use std::path::Path;

use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use super::Archive;
use super::durable::files_in;
use super::error::{ArchiveError, IoContext};
use super::own_checksum::{Form, checked};
use super::scan::Segments;
use super::schema::envelope_fields;
use crate::decode::{Declaration, declaration};
use crate::index::SegmentRow;
use crate::message::SessionId;

impl Archive {
    /// The newest text of a kind's declaration that lies beside the data.
    pub fn declaration(&self, vendor: &str, kind: &str) -> Result<Option<String>, ArchiveError> {
        self.readable_declaration(&self.layout().schema().join(vendor).join(format!("{kind}.toml")))
    }

    /// The text of a declaration, if it is what its checksum says; none where there is no such file.
    pub(super) fn read_declaration(&self, path: &Path) -> Result<Option<String>, ArchiveError> {
        let damaged = |what: String| ArchiveError::Damaged { path: path.to_owned(), what };
        let file = match self.disk.read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.doing("read", path)?,
        };
        let text = checked(Form::Toml, &file).map_err(|what| damaged(what.to_owned()))?;
        let text = String::from_utf8(text.to_vec()).map_err(|error| damaged(error.to_string()))?;
        Ok(Some(text))
    }

    /// The same; none, and a word in the log, where it is damaged.
    fn readable_declaration(&self, path: &Path) -> Result<Option<String>, ArchiveError> {
        match self.read_declaration(path) {
            Err(error @ ArchiveError::Damaged { .. }) => {
                if self.is_news(path) {
                    tracing::warn!("{error}; it is passed over");
                }
                Ok(None)
            }
            read => read,
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
                let columns = typed_columns(self, &segment).unwrap_or_default();
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
            self.readable_declaration(&path)?.iter().for_each(|text| add(text));
        }
        declaration(vendor, kind).into_iter().for_each(add);
        Ok(all)
    }
}

/// The names of a segment's columns but for those of the envelope.
fn typed_columns(archive: &Archive, segment: &SegmentRow) -> Result<BTreeSet<String>, ArchiveError> {
    let file = Segments::new(archive).open(segment)?;
    let metadata =
        ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|error| file.failed(error))?;
    let envelope = envelope_fields();
    let is_typed = |name: &String| envelope.iter().all(|field| field.name() != name);
    Ok(metadata.schema().fields().iter().map(|field| field.name().clone()).filter(is_typed).collect())
}
