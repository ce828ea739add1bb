//! The sessions that an archive knows besides by what is sealed: what recovery looks at before it makes anything anew.

use super::Archive;
use super::error::ArchiveError;
use super::layout::PartName;
use super::sidecar::Sidecar;
use crate::message::SessionId;

#[derive(Debug)]
pub(super) struct AtHand {
    /// Those that can be read.
    sidecars: Vec<Sidecar>,
    /// The parts in the journal.
    waiting: Vec<PartName>,
    /// Sessions that are being removed.
    going: Vec<SessionId>,
}

impl AtHand {
    /// As it is while the archive's lock is held.
    pub(super) fn of(archive: &Archive) -> Result<Self, ArchiveError> {
        let (sidecars, _) = archive.look_into_sidecars()?;
        Ok(Self { sidecars, waiting: archive.parts()?, going: archive.sessions_going()? })
    }

    pub(super) fn sidecar(&self, session_id: SessionId) -> Option<&Sidecar> {
        self.sidecars.iter().find(|sidecar| sidecar.session_id == session_id)
    }

    /// Whether a part of a session is in the journal.
    pub(super) fn is_waiting(&self, session_id: SessionId) -> bool {
        self.waiting.iter().any(|part| part.session_id == session_id)
    }

    /// Whether one of these parts is, the last of them included.
    pub(super) fn waits_within(&self, session_id: SessionId, (first, last): (u32, u32)) -> bool {
        let is_one = |part: &PartName| part.session_id == session_id && (first..=last).contains(&part.part);
        self.waiting.iter().any(is_one)
    }

    /// Whether a session is being removed, or coming in.
    pub(super) fn is_on_its_way(&self, session_id: SessionId) -> bool {
        self.going.contains(&session_id) || self.sidecar(session_id).is_some_and(|sidecar| sidecar.importing)
    }
}
