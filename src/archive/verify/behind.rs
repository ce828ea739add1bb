//! Whether the index and the list of segments are behind what they are made of, as a kill leaves them.
//!
//! Both are written after the manifests and sidecars that they repeat. One that differs and was written before the last
//! of these is behind, and no damage; whatever changes it by itself is written later. Only the file system knows when:
//! in a copy that keeps no times, a difference may pass for the one or the other. It is told in any case.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::archive::Archive;
use crate::archive::durable::files_in;
use crate::archive::error::ArchiveError;

/// Whether an import, a removal or a write that these files do not know yet was cut.
pub(super) fn is_behind(archive: &Archive, derived: &[PathBuf]) -> Result<bool, ArchiveError> {
    let Some(known) = last_written(derived) else { return Ok(false) };
    let layout = &archive.layout;
    let mut sources = Vec::new();
    for (folder, extension) in
        [(layout.manifests(), "json"), (layout.sessions(), "json"), (layout.sessions(), "removed")]
    {
        sources.extend(files_in(&*archive.disk, &folder, extension)?);
    }
    Ok(last_written(&sources).is_some_and(|written| written > known))
}

fn last_written(paths: &[PathBuf]) -> Option<SystemTime> {
    paths.iter().filter_map(|path| fs::metadata(path).ok()?.modified().ok()).max()
}
