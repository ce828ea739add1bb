//! Session sidecars: `sessions/ID.json`, one small file per session, true beside the segments.

use serde::{Deserialize, Serialize};

use super::Archive;
use super::durable::{files_in, read_json, replace_json};
use super::error::ArchiveError;
use super::time::{rfc3339_us, rfc3339_us_option};
use crate::index::{SessionRow, SourceRow};
use crate::message::{SessionHeader, SessionId};

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
    pub sources: Vec<SidecarSource>,
    #[serde(default)]
    pub clips: Vec<serde_json::Value>,
    #[serde(default)]
    pub marks: Vec<serde_json::Value>,
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
}

impl Sidecar {
    pub(super) fn of(header: &SessionHeader) -> Self {
        let source = |s: &crate::message::SourceHeader| SidecarSource {
            name: s.name.clone(),
            vendor: s.vendor.clone(),
            kinds: s.kinds.iter().map(|k| k.name.clone()).collect(),
            settings: s.settings.clone(),
        };
        Self {
            session_id: header.session_id,
            name: header.name.clone(),
            site: header.site.clone(),
            started_at_us: header.started_at_us,
            ended_at_us: None,
            ended: None,
            messages: None,
            sources: header.sources.iter().map(source).collect(),
            clips: Vec::new(),
            marks: Vec::new(),
        }
    }

    pub(super) fn to_row(&self) -> SessionRow {
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
        }
    }
}

impl Archive {
    pub(super) fn read_sidecar(&self, session_id: SessionId) -> Result<Option<Sidecar>, ArchiveError> {
        read_json(&*self.disk, &self.layout.sidecar(session_id))
    }

    pub(super) fn read_sidecars(&self) -> Result<Vec<Sidecar>, ArchiveError> {
        let mut sidecars = Vec::new();
        for path in files_in(&*self.disk, &self.layout.sessions(), "json")? {
            sidecars.extend(read_json::<Sidecar>(&*self.disk, &path)?);
        }
        Ok(sidecars)
    }

    pub(super) fn write_sidecar(&self, sidecar: &Sidecar) -> Result<(), ArchiveError> {
        replace_json(&self.layout, &*self.disk, &self.layout.sidecar(sidecar.session_id), sidecar)
    }
}
