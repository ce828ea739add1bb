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
    /// writes its sidecar, its declarations, the zero-row files of its kinds and the views.
    pub fn begin_session(&self, header: &mut SessionHeader) -> Result<(), ArchiveError> {
        let _lock = self.lock_sidecars()?;
        let taken = self.names_taken()?;
        header.name = unique_name(&header.name, &taken);
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
        self.edit_sidecar_locked(session_id, |sidecar| {
            if is_known {
                sidecar.messages = Some(manifests.iter().map(|m| m.seq_end).max().unwrap_or(0));
            }
            sidecar.ended_at_us = ended_at_us.or(last).or(Some(sidecar.started_at_us));
            sidecar.ended = Some(ended);
            Ok(())
        })
    }

    /// Whether anything is known of a session, or left of it.
    pub fn has_session(&self, session_id: SessionId) -> Result<bool, ArchiveError> {
        let is_known =
            self.read_sidecar(session_id)?.is_some() || !self.read_manifests_of(session_id)?.is_empty();
        Ok(is_known || self.parts()?.iter().any(|part| part.session_id == session_id))
    }

    /// The names of sessions and clips, which no other session may have.
    pub(super) fn names_taken(&self) -> Result<HashSet<String>, ArchiveError> {
        let sidecars = self.read_sidecars()?.into_iter();
        Ok(sidecars.flat_map(|s| s.clips.into_iter().map(|clip| clip.name).chain([s.name])).collect())
    }

    /// All sessions, oldest first.
    pub fn list(&self) -> Result<Vec<SessionSummary>, ArchiveError> {
        let index = self.catalog()?;
        index.sessions()?.into_iter().map(|session| summarise(&index, session)).collect()
    }

    /// The session that a user means: `latest`, a name, an id, or the beginning of an id.
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

pub(super) fn unique_name(wanted: &str, taken: &HashSet<String>) -> String {
    if !taken.contains(wanted) {
        return wanted.to_owned();
    }
    (2u64..).map(|n| format!("{wanted}-{n}")).find(|name| !taken.contains(name)).unwrap_or_default()
}

/// The position of the session that `wanted` names.
pub(super) fn pick(sessions: &[SessionRow], wanted: &str) -> Result<usize, ArchiveError> {
    // First: a session that was handed over may be called so, and is not to be taken for the latest.
    if wanted == "latest" && !sessions.is_empty() {
        return Ok(latest(sessions));
    }
    if let Some(named) = sessions.iter().rposition(|s| s.name == wanted) {
        return Ok(named);
    }
    let wanted_id = wanted.to_ascii_lowercase();
    let matches: Vec<usize> = (0..sessions.len())
        .filter(|&i| !wanted.is_empty() && sessions[i].session_id.to_string().starts_with(&wanted_id))
        .collect();
    match matches[..] {
        [one] => Ok(one),
        [] => Err(not_found(wanted, sessions)),
        _ => Err(ArchiveError::SessionAmbiguous {
            wanted: wanted.to_owned(),
            matches: matches.iter().map(|&i| sessions[i].session_id.to_string()).collect(),
        }),
    }
}

/// The one that began last. By their ids, which follow one another though a clock is set back; of sessions that came in,
/// by their starts.
fn latest(sessions: &[SessionRow]) -> usize {
    (0..sessions.len()).max_by_key(|&at| sessions[at].session_id).unwrap_or(0)
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
    fn the_latest_is_the_one_that_began_last_whatever_its_clock_said() {
        let mut all = [session("after", 2), session("before", 1)];
        (all[0].started_at_us, all[0].ended_at_us) = (1, Some(2));
        (all[1].started_at_us, all[1].ended_at_us) = (8, Some(9));
        assert_eq!(pick(&all, "latest").unwrap(), 0);
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
        let taken = HashSet::from(["a".to_owned(), "a-2".to_owned()]);
        assert_eq!(unique_name("a", &taken), "a-3");
        assert_eq!(unique_name("b", &taken), "b");
    }
}
