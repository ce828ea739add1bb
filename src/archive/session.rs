//! Sessions: beginning and ending one, listing them, finding the one that a user means.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use serde::Serialize;

use super::durable::{replace, set_aside};
use super::error::{ArchiveError, IoContext};
use super::layout::{PartName, is_plain};
use super::manifest::{Manifest, split_covered};
use super::own_checksum::{Form, with_checksum};
use super::sidecar::{Ended, Sidecar};
use super::time::{rfc3339_us, rfc3339_us_option};
use super::{Archive, segment};
use crate::index::{Index, SegmentRow, SessionRow};
use crate::message::{SessionHeader, SessionId};

/// How many names an unknown session is answered with.
const NEAREST: usize = 3;

/// One session in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionSummary {
    pub session_id: SessionId,
    pub name: String,
    pub site: String,
    #[serde(rename = "started_at", with = "rfc3339_us")]
    pub started_at_us: i64,
    /// None while recording, and after a crash until recovery.
    #[serde(rename = "ended_at", with = "rfc3339_us_option")]
    pub ended_at_us: Option<i64>,
    /// `stopped` or `recovered`.
    pub ended: Option<String>,
    /// From the start to the last sealed message.
    pub duration_ns: u64,
    /// Sealed messages, link and control rows included.
    pub messages: u64,
    /// Of their payloads.
    pub bytes: u64,
    /// Of their segments.
    pub bytes_stored: u64,
    pub segments: u64,
    pub sources: Vec<String>,
    pub vendors: Vec<String>,
}

impl Archive {
    /// Begins a session: makes its name unique in the archive (`-2`, `-3`, …, also in `header`), and
    /// writes its sidecar, its declarations, the zero-row files of its kinds and the views. Where that fails, there is
    /// no such session. The caller holds the archive's lock.
    pub fn begin_session(&self, header: &mut SessionHeader) -> Result<(), ArchiveError> {
        self.try_to_begin(header).inspect_err(|_| self.take_back_session(header.session_id))
    }

    /// Takes back a session of which there is no message. What cannot be removed now, recovery removes.
    pub fn take_back_session(&self, session_id: SessionId) {
        if self.disk.len(&self.layout.sidecar(session_id)).is_ok()
            && let Err(error) = self.remove_session(session_id)
        {
            tracing::debug!(%error, "a session that could not begin is not wholly removed");
        }
    }

    fn try_to_begin(&self, header: &mut SessionHeader) -> Result<(), ArchiveError> {
        let _lock = self.lock_sidecars()?;
        header.name = self.names_taken()?.take(&header.name);
        let sidecar = Sidecar::of(header);
        self.write_declarations(header)?;
        segment::write_schema_files(self, header)?;
        self.write_sidecar(&sidecar)?;
        self.update_index(|index| index.put_session(&sidecar.to_row()))?;
        self.write_views()
    }

    /// Ends a session whose parts are all sealed, at `ended_at_us`.
    pub fn end_session(&self, session_id: SessionId, ended_at_us: i64) -> Result<(), ArchiveError> {
        self.end_session_as(session_id, Some(ended_at_us), Ended::Stopped)
    }

    /// Notes down that so many `seq` of a session under way are on disk.
    pub fn note_reached(&self, session_id: SessionId, seqs: u64) -> Result<(), ArchiveError> {
        self.edit_sidecar_locked(session_id, |sidecar| {
            if sidecar.ended.is_none() {
                sidecar.reached = sidecar.reached.max(seqs);
            }
            Ok(())
        })
    }

    /// `ended_at_us`: none means when the last message arrived.
    pub(super) fn end_session_as(
        &self,
        session_id: SessionId,
        ended_at_us: Option<i64>,
        ended: Ended,
    ) -> Result<(), ArchiveError> {
        let folder = self.look_into_manifests(|path| {
            PartName::of(path).is_some_and(|name| name.session_id == session_id)
        })?;
        let (manifests, _) = split_covered(folder.manifests);
        let last = manifests.iter().flat_map(|m| &m.files).map(|f| f.received_max_us).max();
        // How many there are stands in the last manifest.
        let last_part = manifests.iter().map(Manifest::last_part).max();
        let is_known = folder.damaged.iter().all(|damaged| Some(damaged.part) < last_part);
        let has_journal = self.has_journal();
        self.edit_sidecar_locked(session_id, |sidecar| {
            if is_known {
                let sealed = manifests.iter().map(|m| m.seq_end).max().unwrap_or(0);
                let reached = if has_journal { sidecar.reached } else { 0 };
                sidecar.messages = Some(sealed.max(reached));
            }
            sidecar.ended_at_us = ended_at_us.or(last).or(Some(sidecar.started_at_us));
            sidecar.ended = Some(ended);
            Ok(())
        })
    }

    /// Whether there is a journal at all: a backup is made without what is not sealed, and misses nothing.
    pub(super) fn has_journal(&self) -> bool {
        self.layout.journal().is_dir()
    }

    /// Whether anything is known of a session, or left of it.
    pub fn has_session(&self, session_id: SessionId) -> Result<bool, ArchiveError> {
        let is_known =
            self.read_sidecar(session_id)?.is_some() || !self.read_manifests_of(session_id)?.is_empty();
        Ok(is_known || self.parts()?.iter().any(|part| part.session_id == session_id))
    }

    /// The names which no other session or clip may have.
    pub(super) fn names_taken(&self) -> Result<Taken, ArchiveError> {
        let sidecars = self.read_sidecars()?;
        let ids = sidecars.iter().map(|sidecar| sidecar.session_id.to_string()).collect();
        let names = sidecars.into_iter();
        let names = names.flat_map(|s| s.clips.into_iter().map(|clip| clip.name).chain([s.name])).collect();
        Ok(Taken { names, ids })
    }

    /// Whether a name could be taken for the id of a session that the archive has.
    pub fn is_as_an_id(&self, name: &str) -> Result<bool, ArchiveError> {
        Ok(self.names_taken()?.begins_id(name))
    }

    /// All sessions, oldest first.
    pub fn list(&self) -> Result<Vec<SessionSummary>, ArchiveError> {
        let index = self.catalog()?;
        index.sessions()?.into_iter().map(|session| summarise(&index, session)).collect()
    }

    /// The session that a user means: `latest`, an id, a name, or the beginning of an id.
    pub fn resolve(&self, wanted: &str) -> Result<SessionSummary, ArchiveError> {
        let index = self.catalog()?;
        let sessions = index.sessions()?;
        let found = pick(&sessions, wanted)?;
        summarise(&index, sessions[found].clone())
    }

    /// Keeps the declarations beside the data: the newest text of a kind under its own name, an older
    /// one under its checksum's beginning.
    pub(super) fn write_declarations(&self, header: &SessionHeader) -> Result<(), ArchiveError> {
        let mut folders = BTreeSet::new();
        for source in &header.sources {
            for kind in &source.kinds {
                // They become folders here, and a header may come from a file of somebody else's.
                if let Some(name) = [&source.vendor, &kind.name].into_iter().find(|name| !is_plain(name)) {
                    let why = "it would be a folder's".to_owned();
                    return Err(ArchiveError::NameRefused { name: name.escape_debug().to_string(), why });
                }
                let Some(text) = &kind.declaration else { continue };
                let folder = self.layout.schema().join(&source.vendor);
                let path = folder.join(format!("{}.toml", kind.name));
                let write = |path: &Path, text: &str| {
                    let file = with_checksum(Form::Toml, text.as_bytes());
                    replace(&self.layout, &*self.disk, path, &file)
                };
                folders.insert(folder.clone());
                match self.read_declaration(&path) {
                    Ok(Some(known)) if known == *text => continue,
                    Ok(Some(older)) => {
                        let hash = blake3::hash(older.as_bytes()).to_hex();
                        write(&folder.join(format!("{}-{}.toml", kind.name, &hash[..8])), &older)?;
                    }
                    Ok(None) => {}
                    Err(error @ ArchiveError::Damaged { .. }) => {
                        let kept = set_aside(&*self.disk, &path)?;
                        tracing::error!("{error}; it is kept as {}, and written anew", kept.display());
                    }
                    Err(error) => return Err(error),
                }
                write(&path, text)?;
            }
        }
        // One that was found is perhaps what an attempt has left that could not sync its name.
        folders.iter().try_for_each(|folder| self.disk.sync_dir(folder).doing("sync", folder))
    }
}

/// The names of sessions and clips; and whatever is the beginning of a session's id, which would be meant no more.
#[derive(Default)]
pub(super) struct Taken {
    names: HashSet<String>,
    ids: Vec<String>,
}

impl Taken {
    fn has(&self, name: &str) -> bool {
        self.names.contains(name) || self.begins_id(name)
    }

    fn begins_id(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        !name.is_empty() && self.ids.iter().any(|id| id.starts_with(&name))
    }

    /// `wanted`, or with a number behind it; taken from now on.
    pub(super) fn take(&mut self, wanted: &str) -> String {
        let numbered = (2_u64..).map(|n| format!("{wanted}-{n}"));
        let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
        let name = names.find(|name| !self.has(name)).unwrap_or_default();
        self.names.insert(name.clone());
        name
    }
}

/// So many characters of an id may be meant for one, though a session is called so.
const ID_CHARS_MIN: usize = 8;

/// The position of the session that `wanted` names.
pub(super) fn pick(sessions: &[SessionRow], wanted: &str) -> Result<usize, ArchiveError> {
    // First: a session that was handed over may be called so, and is not to be taken for the latest.
    if wanted == "latest" && !sessions.is_empty() {
        return Ok(latest(sessions));
    }
    let wanted_id = wanted.to_ascii_lowercase();
    // Whatever others are called: an id is one session's for ever.
    if let Some(own) = sessions.iter().position(|s| s.session_id.to_string() == wanted_id) {
        return Ok(own);
    }
    let named = sessions.iter().rposition(|s| s.name == wanted);
    let begun = |i: &usize| !wanted.is_empty() && sessions[*i].session_id.to_string().starts_with(&wanted_id);
    let mut matches: Vec<usize> = (0..sessions.len()).filter(begun).collect();
    if let Some(named) = named {
        matches.retain(|at| *at != named);
        // Fewer are no id's that anybody types, and a session may well be called `0`.
        if wanted.len() < ID_CHARS_MIN || matches.is_empty() {
            return Ok(named);
        }
        matches.push(named);
    }
    match matches[..] {
        [one] => Ok(one),
        [] => Err(not_found(wanted, sessions)),
        _ => Err(ArchiveError::SessionAmbiguous {
            wanted: wanted.to_owned(),
            matches: matches.iter().map(|&i| sessions[i].session_id.to_string()).collect(),
        }),
    }
}

/// The one that began last. By their ids, which follow one another though a clock is set back; an id of another sort,
/// which an early version took in as it came, counts as one of its session's start.
fn latest(sessions: &[SessionRow]) -> usize {
    let id = |session: &SessionRow| match session.session_id {
        id if id.is_timed() => id,
        _ => SessionId::new(session.started_at_us, [0; 10]),
    };
    (0..sessions.len()).max_by_key(|&at| id(&sessions[at])).unwrap_or(0)
}

fn not_found(wanted: &str, sessions: &[SessionRow]) -> ArchiveError {
    let clips = sessions.iter().flat_map(|s| &s.clips).map(|clip| clip.name.as_str());
    let mut names: Vec<&str> = sessions.iter().map(|s| s.name.as_str()).chain(clips).collect();
    names.sort_by_key(|name| strsim::damerau_levenshtein(wanted, name));
    let nearest = names.into_iter().take(NEAREST).map(str::to_owned).collect();
    ArchiveError::SessionNotFound { wanted: wanted.to_owned(), nearest }
}

pub(super) fn summarise(index: &Index, session: SessionRow) -> Result<SessionSummary, ArchiveError> {
    let segments = index.segments(session.session_id)?;
    let sum = |of: fn(&SegmentRow) -> u64| segments.iter().map(of).sum();
    let vendors: BTreeSet<&String> = session.sources.iter().map(|s| &s.vendor).collect();
    Ok(SessionSummary {
        session_id: session.session_id,
        duration_ns: segments.iter().map(|s| s.elapsed_max_ns).max().unwrap_or(0),
        messages: sum(|s| s.rows),
        bytes: sum(|s| s.payload_bytes),
        bytes_stored: sum(|s| s.bytes),
        segments: segments.len() as u64,
        vendors: vendors.into_iter().cloned().collect(),
        sources: session.sources.into_iter().map(|s| s.name).collect(),
        name: session.name,
        site: session.site,
        started_at_us: session.started_at_us,
        ended_at_us: session.ended_at_us,
        ended: session.ended,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str, n: u8) -> SessionRow {
        SessionRow {
            session_id: SessionId::new(i64::from(n) * 1_000_000, [n; 10]),
            name: name.into(),
            site: String::new(),
            started_at_us: i64::from(n),
            ended_at_us: None,
            ended: None,
            sources: Vec::new(),
            clips: Vec::new(),
            marks: Vec::new(),
        }
    }

    #[test]
    fn a_session_is_found_by_name_id_prefix_and_latest() {
        let all = [session("monday", 1), session("tuesday", 2)];
        assert_eq!(pick(&all, "monday").unwrap(), 0);
        assert_eq!(pick(&all, "latest").unwrap(), 1);
        let id = all[0].session_id.to_string();
        assert_eq!(pick(&all, &id.to_uppercase()).unwrap(), 0);
        assert_eq!(pick(&all, &id[..12]).unwrap(), 0);
        assert!(matches!(pick(&all, "0"), Err(ArchiveError::SessionAmbiguous { .. })));
    }

    #[test]
    fn no_name_hides_another_session_s_id() {
        let ids = [session("", 1), session("", 2)].map(|session| session.session_id.to_string());
        let all = [session("monday", 1), session(&ids[0], 2)];
        assert_eq!(pick(&all, &ids[0]).unwrap(), 0);
        let all = [session("monday", 1), session(&ids[0][..12], 2)];
        assert!(matches!(pick(&all, &ids[0][..12]), Err(ArchiveError::SessionAmbiguous { .. })));
        assert_eq!(pick(&all, &ids[0][..13]).unwrap(), 0);
        // Its own it may be called by, and few characters are nobody's.
        let all = [session("monday", 1), session(&ids[1][..12], 2), session("0", 3)];
        assert_eq!(pick(&all, &ids[1][..12]).unwrap(), 1);
        assert_eq!(pick(&all, "0").unwrap(), 2);
    }

    #[test]
    fn the_latest_is_the_one_that_began_last_whatever_its_clock_said() {
        let mut all = [session("after", 2), session("before", 1)];
        (all[0].started_at_us, all[0].ended_at_us) = (1, Some(2));
        (all[1].started_at_us, all[1].ended_at_us) = (8, Some(9));
        assert_eq!(pick(&all, "latest").unwrap(), 0);
    }

    #[test]
    fn an_id_that_tells_no_time_is_not_the_latest_for_its_digits() {
        let id = |text: &str| text.parse::<SessionId>().unwrap();
        let mut all = [session("old", 1), session("strange", 2), session("new", 3)];
        let second = |n: i64| 1_800_000_000_000_000 + n * 1_000_000;
        for (n, session) in (0..).zip(&mut all) {
            session.started_at_us = second(n);
            session.session_id = SessionId::new(second(n), [7; 10]);
        }
        all[1].session_id = id("fc6a1d9e-0a57-4c1d-9d3b-5a0d7f0e9b11");
        assert_eq!(pick(&all, "latest").unwrap(), 2);
        assert_eq!(pick(&all[..2], "latest").unwrap(), 1);
    }

    #[test]
    fn an_unknown_session_is_answered_with_the_nearest_names() {
        let all = [session("monday", 1), session("tuesday", 2)];
        let said = pick(&all, "tusday").unwrap_err().to_string();
        assert_eq!(said, "no session `tusday`; nearest: tuesday, monday");
        let said = pick(&[], "latest").unwrap_err().to_string();
        assert_eq!(said, "no session `latest`: the archive has none yet");
    }

    #[test]
    fn names_are_numbered_from_2() {
        let names = ["a", "a-2"].map(str::to_owned).into();
        let mut taken = Taken { names, ids: vec!["0199-2".to_owned()] };
        assert_eq!(taken.take("a"), "a-3");
        assert_eq!(taken.take("a"), "a-4");
        assert_eq!(taken.take("b"), "b");
        assert_eq!(taken.take("0199"), "0199-3", "nor the beginning of an id");
    }
}
