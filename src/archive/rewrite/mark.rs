//! The file that says of a session that files of it are about to be replaced: steps 2 and 7 of the [module](super).

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use crate::archive::Archive;
use crate::archive::durable::{files_in, remove_if_there, replace};
use crate::archive::error::{ArchiveError, IoContext};
use crate::archive::layout::PartName;
use crate::archive::manifest::Manifest;
use crate::archive::verify::{data_folders, segment_files};
use crate::message::SessionId;

impl Archive {
    /// Says, durably, that files of a session are about to be replaced. See [`rebuild`](mod@crate::archive::rebuild).
    pub(in crate::archive) fn begin_rewriting(&self, session_id: SessionId) -> Result<(), ArchiveError> {
        replace(&self.layout, &*self.disk, &self.layout.rewriting(session_id), b"{}\n")
    }

    /// Sessions of which files were about to be replaced.
    pub(in crate::archive) fn sessions_rewritten(&self) -> Result<BTreeSet<SessionId>, ArchiveError> {
        let marked = files_in(&*self.disk, &self.layout.sessions(), "rewriting")?;
        let id = |path: &PathBuf| path.file_stem()?.to_str()?.parse().ok();
        Ok(marked.iter().filter_map(id).collect())
    }

    /// Takes that back of sessions all of whose segments count. `doubtful` are those of which that cannot be said.
    pub(in crate::archive) fn end_rewriting(
        &self,
        counted: &[Manifest],
        doubtful: &HashSet<SessionId>,
    ) -> Result<(), ArchiveError> {
        let mut done = self.sessions_rewritten()?;
        if done.is_empty() {
            return Ok(());
        }
        let named: HashSet<&str> =
            counted.iter().flat_map(|manifest| &manifest.files).map(|file| file.path.as_str()).collect();
        for path in segment_files(self)? {
            if let Some(name) =
                PartName::of(&path).filter(|_| path.to_str().is_none_or(|p| !named.contains(p)))
            {
                done.remove(&name.session_id);
            }
        }
        done.retain(|session_id| !doubtful.contains(session_id));
        // What a killed process has removed could still come back with a power cut, and then nothing told of it.
        for folder in data_folders(self)?.iter().filter(|_| !done.is_empty()) {
            self.disk.sync_dir(folder).doing("sync", folder)?;
        }
        for session_id in &done {
            remove_if_there(&*self.disk, &self.layout.rewriting(*session_id))?;
        }
        let sessions = self.layout.sessions();
        self.disk.sync_dir(&sessions).doing("sync", &sessions)
    }
}
