//! Upkeep of whole sessions: their removal, their names.

use std::path::PathBuf;

use super::Archive;
use super::durable::files_in;
use super::error::ArchiveError;
use super::layout::PartName;
use super::rewrite;
use super::sidecar::{CameFrom, Sidecar};
use super::verify::{look_at, segment_files};
use crate::message::SessionId;

impl Archive {
    /// When the newest of what is sealed was received; none where nothing is.
    pub fn newest_received_us(&self) -> Result<Option<i64>, ArchiveError> {
        let segments = self.catalog()?.all_segments()?;
        Ok(segments.iter().map(|segment| segment.received_max_us).max())
    }

    /// The session that began last, of those whose ids tell.
    pub fn newest_session(&self) -> Result<Option<SessionId>, ArchiveError> {
        let ids = self.catalog()?.sessions()?.into_iter().map(|session| session.session_id);
        Ok(ids.filter(SessionId::is_timed).max())
    }

    /// The names of a session's clips, as far as they can be read: damage must not keep a session from being removed.
    pub fn clip_names(&self, session_id: SessionId) -> Result<Vec<String>, ArchiveError> {
        let sidecar = match self.read_sidecar(session_id) {
            Err(error) if error.is_damage() => None,
            sidecar => sidecar?,
        };
        Ok(sidecar.into_iter().flat_map(|sidecar| sidecar.clips).map(|clip| clip.name).collect())
    }

    /// The sessions that came in from a file: which of its own each is, and what it is called here.
    pub fn came_from(&self, blake3: &str) -> Result<Vec<(CameFrom, String)>, ArchiveError> {
        let sidecars = self.read_sidecars()?.into_iter().filter(|sidecar| !sidecar.importing);
        let of_file = sidecars.filter_map(|sidecar| Some((sidecar.came_from?, sidecar.name)));
        Ok(of_file.filter(|(came_from, _)| came_from.blake3 == blake3).collect())
    }

    /// Whether files are there that are called after a session, whatever is in them.
    pub fn has_files_called(&self, session_id: SessionId) -> Result<bool, ArchiveError> {
        let is_called = |path: &PathBuf| PartName::of(path).is_some_and(|name| name.session_id == session_id);
        Ok(self.disk.len(&self.layout.sidecar(session_id)).is_ok()
            || files_in(&*self.disk, &self.layout.manifests(), "json")?.iter().any(is_called)
            || segment_files(self)?.iter().any(is_called))
    }

    /// What is wrong with a session's sidecar, manifests and segments, without a look into these.
    pub fn damage_of(&self, session_id: SessionId) -> Result<Vec<String>, ArchiveError> {
        let mut found = Vec::new();
        match self.read_sidecar(session_id) {
            Err(error) if error.is_damage() => found.push(error.describe()),
            read => drop(read?),
        }
        let folder = self.look_into_manifests(|path| {
            PartName::of(path).is_some_and(|name| name.session_id == session_id)
        })?;
        found.extend(folder.problems.iter().map(ToString::to_string));
        for file in folder.manifests.iter().flat_map(|manifest| &manifest.files) {
            found.extend(look_at(self, file)?.map(|problem| problem.to_string()));
        }
        Ok(found)
    }

    /// Removes a session with all that belongs to it, also what is not sealed of it. The caller holds the archive's lock,
    /// and has recovered it as far as there was room.
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
        if let Some(other) = id_begun_by(&sidecars, name, Some(session_id)) {
            let why = format!("the id of another session begins so ({other}), which would be meant no more");
            return Err(ArchiveError::NameRefused { name: name.to_owned(), why });
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

/// A session (another than `own`) whose id a name is the beginning of: a name comes before that wherever a session is named.
pub(super) fn id_begun_by(sidecars: &[Sidecar], name: &str, own: Option<SessionId>) -> Option<SessionId> {
    let name = name.to_ascii_lowercase();
    let mut others = sidecars.iter().map(|sidecar| sidecar.session_id).filter(|id| Some(*id) != own);
    others.find(|id| id.to_string().starts_with(&name))
}
