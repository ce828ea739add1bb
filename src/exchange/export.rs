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
use crate::archive::{Archive, ArchiveError, ScanOptions, Sidecar, scan};
use crate::decode::{Field, FieldType, Role};
use crate::message::{Row, Selection, SessionHeader};

/// What becomes of rows before they are written, and of what is said about them. Numbers stay as they are, and rows
/// of one session stay rows of one.
pub trait Change {
    /// None: it is left out.
    fn row(&mut self, row: Row) -> Option<Row>;

    fn site(&mut self, site: &str) -> String {
        site.to_owned()
    }

    fn header(&mut self, _: &mut SessionHeader) {}

    fn sidecar(&mut self, _: &mut Sidecar) {}
}

/// As it was recorded.
#[derive(Clone, Copy, Debug)]
pub struct Unchanged;

impl Change for Unchanged {
    fn row(&mut self, row: Row) -> Option<Row> {
        Some(row)
    }
}

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
    change: &mut dyn Change,
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
    change: &mut dyn Change,
    tell: &Tell<'_>,
) -> Result<Exported, ExchangeError> {
    let typed = || Typed::new(archive, &kinds(archive, options)?);
    let mut writer: Box<dyn RowWriter + 'w> = match format {
        Format::Jsonl => Box::new(JsonlWriter::new(out, to)),
        Format::Csv => Box::new(CsvWriter::new(out, to, typed()?)?),
        Format::Mcap => Box::new(McapWriter::new(out, to, archive, options, change)?),
        Format::Parquet => Box::new(ParquetFile::new(out, to, typed()?)?),
        Format::Reel => {
            let what = "it is made of files that are put together, not streamed".to_owned();
            return Err(ExchangeError::NotAReel { path: to.to_owned(), what });
        }
    };
    let mut exported = Exported::default();
    for row in scan(archive, options)? {
        let Some(row) = change.row(row?) else { continue };
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

/// What has to be thought of before it is given away: for each role of health and of places, the kinds that may be
/// selected and declare such a field.
pub fn sensitive(archive: &Archive, options: &ScanOptions) -> Result<Vec<(Role, Vec<String>)>, ArchiveError> {
    let mut found = vec![(Role::Health, Vec::new()), (Role::Location, Vec::new())];
    for (vendor, kind) in kinds(archive, options)? {
        let declarations = archive.declarations(&vendor, &kind)?;
        for (role, kinds) in &mut found {
            if declarations
                .iter()
                .any(|declaration| declaration.fields().iter().any(|field| has(field, *role)))
            {
                kinds.push(format!("{vendor} {kind}"));
            }
        }
    }
    found.retain(|(_, kinds)| !kinds.is_empty());
    Ok(found)
}

/// Whether a field, or one within it, has this role.
fn has(field: &Field, role: Role) -> bool {
    let members = match &field.data_type {
        FieldType::Structs { members, .. } => &members[..],
        _ => &[],
    };
    field.role == role || members.iter().any(|member| has(member, role))
}
