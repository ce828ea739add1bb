//! What lies in `data/`.

use std::path::{Path, PathBuf};

use crate::archive::Archive;
use crate::archive::error::{ArchiveError, IoContext};
use crate::archive::layout::SCHEMA_FILE;

/// All Parquet files in `data/` that hold messages, relative to the archive, sorted.
pub(in crate::archive) fn segment_files(archive: &Archive) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut found = Vec::new();
    walk_data(archive, |path, is_folder| {
        let is_segment = path.extension().is_some_and(|e| e == "parquet")
            && path.file_name().is_some_and(|n| n != SCHEMA_FILE);
        if !is_folder && is_segment {
            found.push(path.strip_prefix(archive.root()).unwrap_or(path).to_owned());
        }
    })?;
    found.sort();
    Ok(found)
}

/// Segments that were set aside.
pub(in crate::archive) fn damaged_segments(archive: &Archive) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut found = Vec::new();
    walk_data(archive, |path, _| {
        found.extend(path.extension().is_some_and(|e| e == "damaged").then(|| path.to_owned()));
    })?;
    found.sort();
    Ok(found)
}

/// All folders within `data/`.
pub(in crate::archive) fn data_folders(archive: &Archive) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut found = Vec::new();
    walk_data(archive, |path, is_folder| found.extend(is_folder.then(|| path.to_owned())))?;
    Ok(found)
}

/// Tells of all that lies within `data/`, and whether it is a folder.
fn walk_data(archive: &Archive, mut tell: impl FnMut(&Path, bool)) -> Result<(), ArchiveError> {
    let mut folders = vec![archive.layout.data()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.doing("list", &folder)?,
        };
        for entry in entries {
            let entry = entry.doing("list", &folder)?;
            let path = entry.path();
            // What a link leads to is not the archive's.
            let is_folder = entry.file_type().doing("look at", &path)?.is_dir();
            tell(&path, is_folder);
            if is_folder {
                folders.push(path);
            }
        }
    }
    Ok(())
}
