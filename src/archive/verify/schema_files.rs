//! The zero-row files and the declarations: whether each can be read.

use super::{Problem, VerifyReport, relative};
use crate::archive::Archive;
use crate::archive::durable::files_in;
use crate::archive::error::{ArchiveError, IoContext};
use crate::archive::layout::schema_path;
use crate::decode::Declaration;

pub(super) fn check(archive: &Archive, report: &mut VerifyReport) -> Result<(), ArchiveError> {
    for (vendor, kind) in archive.kinds_in_data()? {
        if let Err(error) = archive.schema_file_columns(&vendor, &kind) {
            let path = schema_path(&vendor, &kind);
            let what = match error {
                ArchiveError::Damaged { what, .. } => what,
                ArchiveError::ReadSegment { source, .. } => source.to_string(),
                error => error.to_string(),
            };
            report
                .problems
                .push(Problem::Unreadable { path, what: format!("{what}; `telereel recover` mends it") });
        }
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
            let text = archive.disk.read(&path).doing("read", &path)?;
            let parsed = match std::str::from_utf8(&text) {
                Ok(text) => Declaration::parse(text, "it").map(drop).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(what) = parsed {
                report.problems.push(Problem::Unreadable { path: relative(archive, &path), what });
            }
        }
    }
    Ok(())
}
