//! Upkeep of whole sessions: their removal, their names.

use super::Archive;
use super::error::ArchiveError;
use super::rewrite;
use super::sidecar::Sidecar;
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

    /// The names of a session's clips.
    pub fn clip_names(&self, session_id: SessionId) -> Result<Vec<String>, ArchiveError> {
        let sidecar = self.read_sidecar(session_id)?;
        Ok(sidecar.into_iter().flat_map(|sidecar| sidecar.clips).map(|clip| clip.name).collect())
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
