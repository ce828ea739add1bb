//! Clips and marks: what people name in a session, kept in its sidecar, without touching a message.
//!
//! A clip is a stretch of a session by `seq`, so that it means the same rows for ever. Its name is one of the
//! archive's: no session and no other clip has it, and a session that begins later gets `-2`.
//!
//! Sidecars are rewritten while a recorder runs, by it and by others: whoever does holds a short lock of its own
//! ([`Archive::edit_sidecar`]), which is not the archive's.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::error::ArchiveError;
use super::scan::{Bound, Skipped, seq_range};
use super::session::{SessionSummary, summarise};
use super::sessions::id_begun_by;
use super::sidecar::Sidecar;
use super::time::rfc3339_us;
use super::{Archive, session};
use crate::index::{ClipRow, MarkRow};
use crate::message::SessionId;

/// Marks of a session: each that is added rewrites them all, and anybody on this machine may ask a recorder to.
const MARKS_MAX: usize = if cfg!(test) { 100 } else { 10_000 };

/// A named stretch of a session: `seq_from <= seq < seq_to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clip {
    pub name: String,
    pub seq_from: u64,
    pub seq_to: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A note at a moment of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Nanoseconds since the session's start.
    pub elapsed_ns: u64,
    /// The same on the wall clock.
    #[serde(rename = "at", with = "rfc3339_us")]
    pub at_us: i64,
    pub note: String,
}

impl Clip {
    pub fn seqs(&self) -> Range<u64> {
        self.seq_from..self.seq_to
    }

    pub(super) fn to_row(&self) -> ClipRow {
        ClipRow { name: self.name.clone(), seq_from: self.seq_from, seq_to: self.seq_to }
    }
}

impl Mark {
    pub(super) fn to_row(&self) -> MarkRow {
        MarkRow { elapsed_ns: self.elapsed_ns, note: self.note.clone() }
    }
}

impl Archive {
    /// Changes a session's sidecar, and the index with it, also beside a recorder.
    fn edit_sidecar<T>(
        &self,
        session_id: SessionId,
        edit: impl FnOnce(&mut Sidecar) -> Result<T, ArchiveError>,
    ) -> Result<T, ArchiveError> {
        let _lock = self.lock_sidecars()?;
        let (sidecar, told) = self.edited_sidecar(session_id, edit)?;
        self.update_index_unlocked(|index| index.put_session(&sidecar.to_row()))?;
        Ok(told)
    }

    /// Changes a session's sidecar, and the index with it. The caller holds the archive's lock.
    pub(super) fn edit_sidecar_locked(
        &self,
        session_id: SessionId,
        edit: impl FnOnce(&mut Sidecar) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let _lock = self.lock_sidecars()?;
        let (sidecar, ()) = self.edited_sidecar(session_id, edit)?;
        self.update_index(|index| index.put_session(&sidecar.to_row()))
    }

    fn edited_sidecar<T>(
        &self,
        session_id: SessionId,
        edit: impl FnOnce(&mut Sidecar) -> Result<T, ArchiveError>,
    ) -> Result<(Sidecar, T), ArchiveError> {
        let Some(mut sidecar) = self.read_sidecar(session_id)? else {
            let nearest = Vec::new();
            return Err(ArchiveError::SessionNotFound { wanted: session_id.to_string(), nearest });
        };
        let told = edit(&mut sidecar)?;
        self.write_sidecar(&sidecar)?;
        Ok((sidecar, told))
    }

    /// Names a stretch of a session.
    pub fn add_clip(&self, session_id: SessionId, clip: Clip) -> Result<(), ArchiveError> {
        self.edit_sidecar(session_id, |own| {
            let refused = |why: String| Err(ArchiveError::NameRefused { name: clip.name.clone(), why });
            if clip.name.is_empty() || clip.name == "latest" || clip.name.ends_with(".reel") {
                return refused("a SESSION means something else by it".into());
            }
            let sidecars = self.read_sidecars()?;
            if let Some(begun) = id_begun_by(&sidecars, &clip.name, None) {
                return refused(format!("the id of a session begins so ({begun})"));
            }
            for sidecar in sidecars {
                if sidecar.name == clip.name {
                    return refused(format!("session {} is called so", sidecar.session_id));
                }
                if sidecar.clips.iter().any(|known| known.name == clip.name) {
                    let of = sidecar.name;
                    return refused(format!(
                        "a clip of {of} is called so: `telereel clip --remove {}`",
                        clip.name
                    ));
                }
            }
            own.clips.push(clip.clone());
            Ok(())
        })
    }

    /// Forgets a clip; its messages stay. Answers with the session that it was of.
    pub fn remove_clip(&self, name: &str) -> Result<(SessionId, Clip), ArchiveError> {
        let (mut names, mut found) = (Vec::new(), None);
        for sidecar in self.read_sidecars()? {
            if sidecar.clips.iter().any(|clip| clip.name == name) {
                found = Some(sidecar.session_id);
            }
            names.extend(sidecar.clips.into_iter().map(|clip| clip.name));
        }
        let not_found = || ArchiveError::ClipNotFound { wanted: name.to_owned(), clips: names.clone() };
        let session_id = found.ok_or_else(not_found)?;
        self.edit_sidecar(session_id, |sidecar| {
            let at = sidecar.clips.iter().position(|clip| clip.name == name).ok_or_else(not_found)?;
            Ok((session_id, sidecar.clips.remove(at)))
        })
    }

    /// Notes something at a moment of a session.
    pub fn add_mark(&self, session_id: SessionId, mark: Mark) -> Result<(), ArchiveError> {
        self.edit_sidecar(session_id, |sidecar| {
            if sidecar.marks.len() >= MARKS_MAX {
                return Err(ArchiveError::TooManyMarks { session: sidecar.name.clone(), most: MARKS_MAX });
            }
            let at = sidecar.marks.partition_point(|known| known.elapsed_ns <= mark.elapsed_ns);
            sidecar.marks.insert(at, mark);
            Ok(())
        })
    }

    /// The rows of a session between two moments, as far as they are sealed: the first and the last that there is,
    /// exclusive. Empty where there is none.
    pub fn seqs_between(
        &self,
        session_id: SessionId,
        from: Option<Bound>,
        to: Option<Bound>,
        skipped: Option<&Skipped>,
    ) -> Result<Range<u64>, ArchiveError> {
        let segments = self.catalog()?.segments(session_id)?;
        let range = seq_range(self, &segments, from, to, skipped)?;
        let start = segments.iter().map(|s| s.seq_min).min().unwrap_or(0);
        let end = segments.iter().map(|s| s.seq_max + 1).max().unwrap_or(0);
        let end = range.end.min(end);
        Ok(range.start.max(start).min(end)..end)
    }

    /// The session that a user means, by itself or by a clip of it.
    pub fn resolve_stretch(&self, wanted: &str) -> Result<(SessionSummary, Option<Clip>), ArchiveError> {
        let index = self.catalog()?;
        let sessions = index.sessions()?;
        let (at, clip) = match session::pick(&sessions, wanted) {
            Ok(at) => (at, None),
            Err(error) => {
                let of = sessions.iter().position(|s| s.clips.iter().any(|clip| clip.name == wanted));
                let Some(at) = of else { return Err(error) };
                // What the index does not hold of a clip stands in its sidecar.
                let sidecar = self.read_sidecar(sessions[at].session_id)?;
                let clip = sidecar.and_then(|s| s.clips.into_iter().find(|clip| clip.name == wanted));
                (at, Some(clip.ok_or(error)?))
            }
        };
        Ok((summarise(&index, sessions[at].clone())?, clip))
    }
}
