//! Rows of an archive into one file.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::csv::CsvWriter;
use super::error::ExchangeError;
use super::jsonl::JsonlWriter;
use super::mcap::McapWriter;
use super::parquet::ParquetFile;
use super::target::Target;
use super::typed::Typed;
use super::{Format, reel};
use crate::archive::{Archive, ArchiveError, ScanOptions, scan};
use crate::decode::{Declaration, Field, FieldType, Role};
use crate::message::{Row, Selection};

/// What becomes of each row before it is written. Numbers, session and source stay as they are.
pub type Change<'c> = dyn FnMut(Row) -> Row + 'c;

/// Where rows go.
pub trait RowWriter {
    fn write(&mut self, row: &Row) -> Result<(), ExchangeError>;
    /// Writes what waits, and whatever ends such a file.
    fn finish(self: Box<Self>) -> Result<(), ExchangeError>;
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    pub messages: u64,
    /// Of the payloads.
    pub bytes: u64,
    /// Of the file; none where it went to standard output.
    pub file_bytes: Option<u64>,
}

/// How far it is: messages and bytes of payload.
pub type Tell<'t> = dyn Fn(u64, u64) + 't;

/// Writes what `options` select to the file `to`, which is replaced when the new one is whole.
pub fn export(
    archive: &Archive,
    options: &ScanOptions,
    format: Format,
    to: &Path,
    change: &mut Change<'_>,
    tell: &Tell<'_>,
) -> Result<Exported, ExchangeError> {
    if format == Format::Reel {
        return reel::write(archive, options, to, change, tell);
    }
    let mut target = Target::create(to)?;
    let mut exported = stream(archive, options, format, (&mut target, to), change, tell)?;
    exported.file_bytes = Some(target.put()?);
    Ok(exported)
}

/// The same to wherever bytes go; not a reel. `to` is what it is called in errors.
pub fn stream<'w>(
    archive: &Archive,
    options: &ScanOptions,
    format: Format,
    (out, to): (impl Write + Send + 'w, &Path),
    change: &mut Change<'_>,
    tell: &Tell<'_>,
) -> Result<Exported, ExchangeError> {
    let typed = || Typed::new(archive, &kinds(archive, options)?);
    let mut writer: Box<dyn RowWriter + 'w> = match format {
        Format::Jsonl => Box::new(JsonlWriter::new(out, to)),
        Format::Csv => Box::new(CsvWriter::new(out, to, typed()?)?),
        Format::Mcap => Box::new(McapWriter::new(out, to, archive, options)?),
        Format::Parquet => Box::new(ParquetFile::new(out, to, typed()?)?),
        Format::Reel => {
            let what = "it is made of files that are put together, not streamed".to_owned();
            return Err(ExchangeError::NotAReel { path: to.to_owned(), what });
        }
    };
    let mut exported = Exported::default();
    for row in scan(archive, options)? {
        let row = change(row?);
        exported.count(&row);
        writer.write(&row)?;
        if exported.messages.is_multiple_of(4_096) {
            tell(exported.messages, exported.bytes);
        }
    }
    writer.finish()?;
    Ok(exported)
}

impl Exported {
    pub(super) fn count(&mut self, row: &Row) {
        self.messages += 1;
        self.bytes += row.payload.len() as u64;
    }
}

/// The vendors and kinds of which rows may be selected.
pub(super) fn kinds(
    archive: &Archive,
    options: &ScanOptions,
) -> Result<BTreeSet<(String, String)>, ArchiveError> {
    let Selection { vendors, sources, kinds, .. } = &options.selection;
    let has = |wanted: &[String], value: &String| wanted.is_empty() || wanted.contains(value);
    let sessions = match &options.sessions[..] {
        [] => archive.list()?.into_iter().map(|session| session.session_id).collect(),
        sessions => sessions.to_vec(),
    };
    let mut found = BTreeSet::new();
    for session in sessions {
        for (source, vendor, kind) in archive.kinds_of(session)? {
            if has(vendors, &vendor) && has(sources, &source) && has(kinds, &kind) {
                found.insert((vendor, kind));
            }
        }
    }
    Ok(found)
}

/// Which of these roles the declared fields have that may be selected: by what a warning is given.
pub fn sensitive(archive: &Archive, options: &ScanOptions) -> Result<Vec<Role>, ArchiveError> {
    let mut found = Vec::new();
    for (vendor, kind) in kinds(archive, options)? {
        for declaration in archive.declarations(&vendor, &kind)? {
            note_roles(&declaration, &mut found);
        }
    }
    Ok(found)
}

fn note_roles(declaration: &Declaration, found: &mut Vec<Role>) {
    fn of(field: &Field, found: &mut Vec<Role>) {
        if matches!(field.role, Role::Health | Role::Location) && !found.contains(&field.role) {
            found.push(field.role);
        }
        if let FieldType::Structs { members, .. } = &field.data_type {
            members.iter().for_each(|member| of(member, found));
        }
    }
    declaration.fields().iter().for_each(|field| of(field, found));
}
