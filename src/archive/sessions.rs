//! Upkeep of whole sessions: their removal, their names.

use std::path::PathBuf;

use super::Archive;
use super::durable::files_in;
use super::error::ArchiveError;
use super::layout::PartName;
use super::rewrite;
use super::sidecar::Sidecar;
use super::verify::segment_files;
use crate::message::SessionId;

impl Archive {
    /// When the newest of what is sealed was received; none where nothing is.
    pub fn newest_received_us(&self) -> Result<Option<i64>, ArchiveError> {
        let segments = self.catalog()?.all_segments()?;
        Ok(segments.iter().map(|segment| segment.received_max_us).max())
    }

    /// The session that began last.
    pub fn newest_session(&self) -> Result<Option<SessionId>, ArchiveError> {
        Ok(self.catalog()?.sessions()?.into_iter().map(|session| session.session_id).max())
    }

    /// The names of a session's clips, as far as they can be read: damage must not keep a session from being removed.
    pub fn clip_names(&self, session_id: SessionId) -> Result<Vec<String>, ArchiveError> {
        let sidecar = match self.read_sidecar(session_id) {
            Err(error) if error.is_damage() => None,
            sidecar => sidecar?,
        };
        Ok(sidecar.into_iter().flat_map(|sidecar| sidecar.clips).map(|clip| clip.name).collect())
    }

    /// Whether files are there that are called after a session, whatever is in them.
    pub fn has_files_called(&self, session_id: SessionId) -> Result<bool, ArchiveError> {
        let is_called = |path: &PathBuf| PartName::of(path).is_some_and(|name| name.session_id == session_id);
        Ok(self.disk.len(&self.layout.sidecar(session_id)).is_ok()
            || files_in(&*self.disk, &self.layout.manifests(), "json")?.iter().any(is_called)
            || segment_files(self)?.iter().any(is_called))
    }

    /// Removes a session with all that belongs to it. The caller holds the archive's lock, and has recovered it.
    pub fn remove_session(&self, session_id: SessionId) -> Result<(), ArchiveError> {
        rewrite::remove_session(self, session_id)
    }

    /// Gives a session another name, also while another one is being recorded.
    pub fn rename_session(&self, session_id: SessionId, name: &str) -> Result<(), ArchiveError> {
        let _lock = self.lock_sidecars()?;
        let sidecars = self.read_sidecars()?;
        let taken = |other: &Sidecar| {
            (other.session_id != session_id && other.name == name)
                || other.clips.iter().any(|clip| clip.name == name)
        };
        if sidecars.iter().any(taken) {
            return Err(ArchiveError::NameTaken { name: name.to_owned() });
        }
        let known = sidecars.into_iter().find(|sidecar| sidecar.session_id == session_id);
        let mut sidecar = known.unwrap_or_else(|| Sidecar::stub(session_id));
        if sidecar.sources.is_empty() && sidecar.name == session_id.to_string() {
            return Err(ArchiveError::NoSidecar { session_id });
        }
        if sidecar.ended.is_none() {
            return Err(ArchiveError::NotEnded { name: sidecar.name });
        }
        sidecar.name = name.to_owned();
        self.write_sidecar(&sidecar)?;
        self.update_index_unlocked(|index| index.put_session(&sidecar.to_row()))
    }
}
