//! Session sidecars: `sessions/ID.json`, one small file per session, true beside the segments.

use serde::{Deserialize, Serialize};

use std::collections::BTreeMap;
use std::path::Path;

use super::Archive;
use super::clips::{Clip, Mark};
use super::durable::{files_in, read_json, replace_json, set_aside};
use super::error::ArchiveError;
use super::headers::declaration_hash;
use super::layout::is_plain;
use super::manifest::Manifest;
use super::time::{rfc3339_us, rfc3339_us_option};
use super::verify::{Problem, relative};
use crate::index::{SessionRow, SourceRow};
use crate::message::{KindHeader, SessionHeader, SessionId, SourceHeader};

/// What is known about a session besides its messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sidecar {
    pub session_id: SessionId,
    pub name: String,
    pub site: String,
    #[serde(rename = "started_at", with = "rfc3339_us")]
    pub started_at_us: i64,
    /// None while recording, and after a crash until recovery.
    #[serde(rename = "ended_at", with = "rfc3339_us_option", default)]
    pub ended_at_us: Option<i64>,
    #[serde(default)]
    pub ended: Option<Ended>,
    /// How many `seq` were given out, once the session has ended and is sealed: with it, a missing
    /// last part is noticed.
    #[serde(default)]
    pub messages: Option<u64>,
    /// At least so many `seq` were on disk: noted down with the first message of each journal part, so that a part is
    /// missed that is gone after a crash, and is the last or the only one.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    pub reached: u64,
    /// The session is coming in (`import`) and not yet whole: readers may see some of it, recovery takes it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub importing: bool,
    /// From which file it came in, so that the same bytes do not come in twice unnoticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_from: Option<CameFrom>,
    /// It came in from a file that was exported with pseudonyms. None (`null`) where that is not known any more, since the
    /// sidecar was lost and made anew.
    #[serde(default = "no", skip_serializing_if = "is_no")]
    pub pseudonymized: Option<bool>,
    pub sources: Vec<SidecarSource>,
    #[serde(default)]
    pub clips: Vec<Clip>,
    #[serde(default)]
    pub marks: Vec<Mark>,
}

pub(super) fn no() -> Option<bool> {
    Some(false)
}

pub(super) fn is_no(is: &Option<bool>) -> bool {
    *is == no()
}

/// A file, and which of its sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameFrom {
    /// Of the whole file, in hexadecimal.
    pub blake3: String,
    /// Counted from 0, in the order of the file.
    pub nth: usize,
    /// How many messages it brought; none where an earlier version took it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<u64>,
}

/// How a session came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Asked to stop, or rolled over into the next.
    Stopped,
    /// By a crash; `ended_at` is when its last message arrived.
    Recovered,
}

impl Ended {
    pub fn as_str(self) -> &'static str {
        match self {
            Ended::Stopped => "stopped",
            Ended::Recovered => "recovered",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SidecarSource {
    pub name: String,
    pub vendor: String,
    pub kinds: Vec<String>,
    /// The effective options, without secrets.
    pub settings: serde_json::Value,
    /// By kind, the beginning of the BLAKE3 of the declaration that it is decoded by, whose text lies in `schema/`; a
    /// kind without one is not named. None in sidecars of early versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<BTreeMap<String, String>>,
}

impl From<SidecarSource> for SourceHeader {
    /// The source as the recorder had set it up; its declarations lie in `schema/`.
    fn from(source: SidecarSource) -> Self {
        let kinds = source.kinds.into_iter().map(|name| KindHeader { name, declaration: None }).collect();
        Self { name: source.name, vendor: source.vendor, kinds, settings: source.settings }
    }
}

fn is_none_yet(reached: &u64) -> bool {
    *reached == 0
}

fn declared(kind: &KindHeader) -> Option<(String, String)> {
    Some((kind.name.clone(), declaration_hash(kind.declaration.as_deref()?)))
}

impl Sidecar {
    pub(super) fn of(header: &SessionHeader) -> Self {
        let source = |s: &crate::message::SourceHeader| SidecarSource {
            name: s.name.clone(),
            vendor: s.vendor.clone(),
            kinds: s.kinds.iter().map(|k| k.name.clone()).collect(),
            settings: s.settings.clone(),
            declared: Some(s.kinds.iter().filter_map(declared).collect()),
        };
        Self {
            session_id: header.session_id,
            name: header.name.clone(),
            site: header.site.clone(),
            started_at_us: header.started_at_us,
            ended_at_us: None,
            ended: None,
            messages: None,
            reached: 0,
            importing: false,
            came_from: None,
            pseudonymized: no(),
            sources: header.sources.iter().map(source).collect(),
            clips: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// Of a session whose sidecar is lost.
    pub(super) fn stub(session_id: SessionId) -> Self {
        Self::of(&SessionHeader {
            session_id,
            name: session_id.to_string(),
            site: String::new(),
            started_at_us: 0,
            sources: Vec::new(),
        })
    }

    pub(super) fn to_row(&self) -> SessionRow {
        let mut clips: Vec<&Clip> = self.clips.iter().collect();
        clips.sort_by(|a, b| (a.seq_from, &a.name).cmp(&(b.seq_from, &b.name)));
        SessionRow {
            session_id: self.session_id,
            name: self.name.clone(),
            site: self.site.clone(),
            started_at_us: self.started_at_us,
            ended_at_us: self.ended_at_us,
            ended: self.ended.map(|e| e.as_str().to_owned()),
            sources: self
                .sources
                .iter()
                .map(|s| SourceRow {
                    name: s.name.clone(),
                    vendor: s.vendor.clone(),
                    settings: s.settings.clone(),
                })
                .collect(),
            clips: clips.into_iter().map(Clip::to_row).collect(),
            marks: self.marks.iter().map(Mark::to_row).collect(),
        }
    }
}

/// The sessions of an archive, by its sidecars. One whose sidecar is lost is known by its manifests,
/// under its id, so that what was recorded can still be reached.
pub(super) fn session_rows(sidecars: &[Sidecar], manifests: &[Manifest]) -> Vec<SessionRow> {
    let mut sessions: Vec<SessionRow> = sidecars.iter().map(Sidecar::to_row).collect();
    let known = sessions.len();
    for manifest in manifests {
        if sessions[..known].iter().any(|session| session.session_id == manifest.session_id) {
            continue;
        }
        for file in &manifest.files {
            let began_us = file.received_min_us - (file.elapsed_min_ns / 1_000) as i64;
            let at = sessions[known..].iter().position(|s| s.session_id == manifest.session_id);
            let at = known + at.unwrap_or(sessions.len() - known);
            if at == sessions.len() {
                sessions.push(SessionRow {
                    session_id: manifest.session_id,
                    name: manifest.session_id.to_string(),
                    site: String::new(),
                    started_at_us: began_us,
                    ended_at_us: Some(file.received_max_us),
                    ended: Some(Ended::Recovered.as_str().to_owned()),
                    sources: Vec::new(),
                    clips: Vec::new(),
                    marks: Vec::new(),
                });
            }
            let session = &mut sessions[at];
            session.ended_at_us = session.ended_at_us.max(Some(file.received_max_us));
            for source in &file.sources {
                if session.sources.iter().all(|known| known.name != source.name) {
                    session.sources.push(SourceRow {
                        name: source.name.clone(),
                        vendor: file.vendor.clone(),
                        settings: serde_json::Value::Null,
                    });
                }
            }
        }
    }
    sessions
}

impl Archive {
    /// What is known about a session besides its messages; none if there is no such session.
    pub fn read_sidecar(&self, session_id: SessionId) -> Result<Option<Sidecar>, ArchiveError> {
        self.read_sidecar_file(&self.layout.sidecar(session_id))
    }

    /// Reads one file of the folder; none if there is no such.
    fn read_sidecar_file(&self, path: &Path) -> Result<Option<Sidecar>, ArchiveError> {
        let damaged = |what: String| Err(ArchiveError::Damaged { path: path.to_owned(), what });
        let sidecar = match read_json::<Sidecar>(&*self.disk, path) {
            Err(ArchiveError::Json { source, .. }) => return damaged(source.to_string()),
            Ok(Some(sidecar)) => sidecar,
            read => return read,
        };
        let id = sidecar.session_id;
        if self.layout.sidecar(id) != path {
            return damaged(format!(
                "it is the sidecar of session {id} under another name, and does not count"
            ));
        }
        // They become folders.
        let words = sidecar.sources.iter().flat_map(|source| source.kinds.iter().chain([&source.vendor]));
        if let Some(word) = words.into_iter().find(|word| !is_plain(word)) {
            return damaged(format!("`{}` cannot be a vendor or kind", word.escape_debug()));
        }
        Ok(Some(sidecar))
    }

    /// Whose sidecar a file is by its name; none where it is no sidecar's.
    pub(super) fn sidecar_name(&self, path: &Path) -> Option<SessionId> {
        let id = path.file_stem()?.to_str()?.parse().ok()?;
        (self.layout.sidecar(id) == path).then_some(id)
    }

    /// A session's sidecar, or a new one of `header` where there is none. One that cannot be read is kept under another
    /// name, which comes with it, so that what is recorded of the session has its place.
    pub(super) fn sidecar_or_new(
        &self,
        header: &SessionHeader,
    ) -> Result<(Sidecar, Option<std::path::PathBuf>), ArchiveError> {
        let _lock = self.lock_sidecars()?;
        let kept = match self.read_sidecar(header.session_id) {
            Ok(Some(sidecar)) => return Ok((sidecar, None)),
            Ok(None) => None,
            Err(error @ ArchiveError::Damaged { .. }) => {
                let kept = set_aside(&*self.disk, &self.layout.sidecar(header.session_id))?;
                tracing::error!("{error}; it is kept as {}, and made anew", kept.display());
                Some(kept)
            }
            Err(error) => return Err(error),
        };
        let sidecar = Sidecar::of(header);
        self.write_sidecar(&sidecar)?;
        Ok((sidecar, kept))
    }

    /// All sidecars that can be read: an old one that is damaged must not keep a new recording from
    /// beginning. `verify` tells of it.
    pub(super) fn read_sidecars(&self) -> Result<Vec<Sidecar>, ArchiveError> {
        let (sidecars, problems) = self.look_into_sidecars()?;
        for problem in problems {
            tracing::warn!("{problem}; its session goes by its id (`telereel verify` tells more)");
        }
        Ok(sidecars)
    }

    /// All sidecars that can be read, and what is wrong with the others.
    pub(super) fn look_into_sidecars(&self) -> Result<(Vec<Sidecar>, Vec<Problem>), ArchiveError> {
        let (mut sidecars, mut problems) = (Vec::new(), Vec::new());
        for path in files_in(&*self.disk, &self.layout.sessions(), "json")? {
            match self.read_sidecar_file(&path) {
                Err(ArchiveError::Damaged { path, what }) => {
                    problems.push(Problem::Unreadable { path: relative(self, &path), what });
                }
                read => sidecars.extend(read?),
            }
        }
        Ok((sidecars, problems))
    }

    pub(super) fn write_sidecar(&self, sidecar: &Sidecar) -> Result<(), ArchiveError> {
        replace_json(&self.layout, &*self.disk, &self.layout.sidecar(sidecar.session_id), sidecar)
    }
}
