//! The zero-row files and the declarations: whether each can be read.

use std::collections::BTreeSet;

use super::{Problem, VerifyReport, relative};
use crate::archive::Archive;
use crate::archive::durable::{files_in, is_there};
use crate::archive::error::{ArchiveError, IoContext};
use crate::archive::layout::schema_path;
use crate::archive::schema::envelope_fields;
use crate::decode::Declaration;

/// `recorded` are the vendors and kinds that were recorded, each of which has a zero-row file.
pub(super) fn check(
    archive: &Archive,
    recorded: BTreeSet<(String, String)>,
    report: &mut VerifyReport,
) -> Result<(), ArchiveError> {
    let envelope = envelope_fields().len();
    let in_data = archive.kinds_in_data()?;
    for (vendor, kind) in recorded.into_iter().chain(in_data).collect::<BTreeSet<_>>() {
        let path = schema_path(&vendor, &kind);
        let what = match archive.schema_file_columns(&vendor, &kind) {
            Ok(columns) => {
                let declaration = archive.layout.schema().join(&vendor).join(format!("{kind}.toml"));
                if columns.len() > envelope && !is_there(&*archive.disk, &declaration)? {
                    report.problems.push(Problem::Missing { path: relative(archive, &declaration) });
                }
                continue;
            }
            Err(ArchiveError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                report.problems.push(Problem::Missing { path });
                continue;
            }
            Err(error) if error.is_damage() => error.what(),
            Err(error) => return Err(error),
        };
        let what = format!("{what}; `telereel recover` mends it");
        report.problems.push(Problem::Unreadable { path, what });
    }
    let folder = archive.layout.schema();
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.doing("list", &folder)?,
    };
    for entry in entries {
        let vendor = entry.doing("list", &folder)?.path();
        if !vendor.is_dir() {
            continue;
        }
        for path in files_in(&*archive.disk, &vendor, "toml")? {
            let parsed = match archive.read_declaration(&path) {
                Ok(Some(text)) => {
                    Declaration::parse(&text, "it").map(drop).map_err(|error| error.to_string())
                }
                Ok(None) => continue,
                Err(error) if error.is_damage() => Err(error.what()),
                Err(error) => return Err(error),
            };
            if let Err(what) = parsed {
                report.problems.push(Problem::Unreadable { path: relative(archive, &path), what });
            }
        }
        for path in files_in(&*archive.disk, &vendor, "damaged")? {
            report.problems.push(Problem::SetAside { path: relative(archive, &path) });
        }
    }
    Ok(())
}
