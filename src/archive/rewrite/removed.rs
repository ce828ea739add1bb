//! Removing a session, whole.
//!
//! Its sidecar is renamed to `{session}.removed`: that commits it, since nothing of a session with such a file
//! counts. Then its index rows go, its segments, its manifests, what of it waits in the journal, and the renamed sidecar
//! last.

use super::commit::{remove_files, remove_manifests};
use crate::archive::Archive;
use crate::archive::durable::{files_in, is_there, remove_if_there, replace};
use crate::archive::error::{ArchiveError, IoContext};
use crate::archive::layout::PartName;
use crate::archive::recover::RecoverReport;
use crate::archive::verify::{damaged_segments, segment_files};
use crate::message::SessionId;

/// Removes a session. The caller holds the archive's lock.
pub(in crate::archive) fn remove_session(
    archive: &Archive,
    session_id: SessionId,
) -> Result<(), ArchiveError> {
    remove_session_if(archive, session_id, &|| Ok(true)).map(drop)
}

/// The same, if it `agrees`, which it is asked while nobody else can change the sidecar; says whether it did.
pub(in crate::archive) fn remove_session_if(
    archive: &Archive,
    session_id: SessionId,
    agrees: &dyn Fn() -> Result<bool, ArchiveError>,
) -> Result<bool, ArchiveError> {
    let (disk, sessions) = (&*archive.disk, archive.layout.sessions());
    let (sidecar, going) = (archive.layout.sidecar(session_id), archive.layout.going(session_id));
    let lock = archive.lock_sidecars()?;
    if !agrees()? {
        return Ok(false);
    }
    if is_there(disk, &sidecar)? {
        disk.rename(&sidecar, &going).doing("rename to", &going)?;
        disk.sync_dir(&sessions).doing("sync", &sessions)?;
    } else {
        replace(&archive.layout, disk, &going, b"{}\n")?;
    }
    drop(lock);
    finish(archive, session_id).map(|()| true)
}

/// Case g: removals that a cut has left half done.
pub(in crate::archive) fn finish_removals(
    archive: &Archive,
    report: &mut RecoverReport,
) -> Result<(), ArchiveError> {
    for session_id in archive.sessions_going()? {
        finish(archive, session_id)?;
        report.removed_sessions.push(session_id);
    }
    Ok(())
}

fn finish(archive: &Archive, session_id: SessionId) -> Result<(), ArchiveError> {
    let forget = || -> Result<(), ArchiveError> {
        archive.update_index(|index| index.remove_session(session_id))?;
        archive.write_segment_list()
    };
    // First, so that no reader is led to what goes; but a full disk has room for it only when that is gone.
    let is_forgotten = forget().is_ok();
    let mut files = segment_files(archive)?;
    files.retain(|path| PartName::of(path).is_some_and(|name| name.session_id == session_id));
    remove_files(archive, files.iter().map(|path| archive.root().join(path)))?;
    let mut manifests = files_in(&*archive.disk, &archive.layout.manifests(), "json")?;
    manifests.retain(|path| PartName::of(path).is_some_and(|name| name.session_id == session_id));
    remove_manifests(archive, manifests.into_iter())?;
    // Sealed later, it would come back. There is some only where recovery found no room for it, or held it back.
    let mut parts = archive.parts()?;
    parts.retain(|part| part.session_id == session_id);
    remove_files(archive, parts.into_iter().map(|part| archive.layout.part(part)))?;
    // What was set aside is the session's as well.
    let mut aside = damaged_segments(archive)?;
    for folder in [archive.layout.manifests(), archive.layout.sessions(), archive.layout.journal()] {
        aside.extend(files_in(&*archive.disk, &folder, "damaged")?);
    }
    aside.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(&session_id.to_string())
    });
    remove_files(archive, aside.into_iter())?;
    if !is_forgotten {
        forget()?;
    }
    let (going, sessions) = (archive.layout.going(session_id), archive.layout.sessions());
    remove_if_there(&*archive.disk, &archive.layout.rewriting(session_id))?;
    remove_if_there(&*archive.disk, &going)?;
    archive.disk.sync_dir(&sessions).doing("sync", &sessions)
}

impl Archive {
    /// Sessions whose removal has been committed and may not be finished.
    pub(in crate::archive) fn sessions_going(&self) -> Result<Vec<SessionId>, ArchiveError> {
        let marked = files_in(&*self.disk, &self.layout.sessions(), "removed")?;
        let id = |path: &std::path::PathBuf| path.file_stem()?.to_str()?.parse().ok();
        Ok(marked.iter().filter_map(id).collect())
    }
}
