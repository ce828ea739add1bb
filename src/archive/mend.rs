//! Small files that are lost and can be made anew: sidecars, of what manifests and index know of their sessions, and
//! declarations, of those that are built in. What was there and cannot be read is set aside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::Archive;
use super::at_hand::AtHand;
use super::clips::{Clip, Mark};
use super::durable::{files_in, is_there, replace, set_aside};
use super::error::ArchiveError;
use super::manifest::Manifest;
use super::own_checksum::{Form, with_checksum};
use super::rewrite::key_values;
use super::schema::envelope_fields;
use super::sidecar::{Ended, Sidecar, SidecarSource, session_rows};
use super::verify::{Problem, relative};
use crate::decode::declaration;
use crate::index::SessionRow;
use crate::message::SessionId;

/// A small file that was made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mended {
    /// Relative to the archive.
    pub path: String,
    /// What it was made of, and what is not known any more.
    pub of: String,
    /// What was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<PathBuf>,
}

impl std::fmt::Display for Mended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} was lost or damaged, and is made anew {}", self.path, self.of)?;
        match &self.set_aside {
            Some(kept) => write!(f, "; the old one is kept as {}", kept.display()),
            None => Ok(()),
        }
    }
}

impl Archive {
    /// Makes sidecars anew of sessions that are sealed. Those of sessions that wait in the journal are made of that.
    /// `counted` are all manifests that count, `refused` sessions in doubt: without a sidecar their removal may have
    /// been cut.
    pub(super) fn mend_sidecars(
        &self,
        counted: &[Manifest],
        refused: &[Problem],
        at_hand: &AtHand,
    ) -> Result<Vec<Mended>, ArchiveError> {
        let mut lost: BTreeMap<SessionId, Vec<Manifest>> = BTreeMap::new();
        for manifest in counted {
            let id = manifest.session_id;
            let is_in_doubt =
                |p: &Problem| matches!(p, Problem::NotRebuilt { session_id, .. } if *session_id == id);
            let is_known = at_hand.sidecar(id).is_some();
            if !is_known && !at_hand.is_waiting(id) && !refused.iter().any(is_in_doubt) {
                lost.entry(id).or_default().push(manifest.clone());
            }
        }
        let mut mended = Vec::new();
        for (session_id, manifests) in lost {
            let (sidecar, of) = self.sidecar_of(session_id, &manifests)?;
            let path = self.layout.sidecar(session_id);
            let _lock = self.lock_sidecars()?;
            let aside = is_there(&*self.disk, &path)?.then(|| set_aside(&*self.disk, &path)).transpose()?;
            self.write_sidecar(&sidecar)?;
            mended.push(Mended { path: relative(self, &path), of: of.to_owned(), set_aside: aside });
        }
        Ok(mended)
    }

    /// What is not known any more is said: of an import, which file it was, and whether that had pseudonyms.
    fn sidecar_of(
        &self,
        session_id: SessionId,
        manifests: &[Manifest],
    ) -> Result<(Sidecar, &'static str), ArchiveError> {
        let index = self.open_index().ok();
        let indexed = || index.as_ref()?.session(session_id).ok()?;
        let parts = index.as_ref().and_then(|index| index.parts().ok()).unwrap_or_default();
        let own_parts = parts.iter().filter(|part| part.session_id == session_id);
        let by_id = |row: &SessionRow| row.name == session_id.to_string();
        let (row, of) = match indexed().filter(|row| !by_id(row)) {
            Some(row) => (
                row,
                "of what the index had of it; notes of clips, and whether it was imported, from which file and with \
                 pseudonyms, are not known any more",
            ),
            None => {
                let mut row =
                    session_rows(&[], manifests).pop().unwrap_or_else(|| Sidecar::stub(session_id).to_row());
                for (key, value) in self.key_values_of_any(manifests)? {
                    match key.as_str() {
                        "telereel.session" => row.name = value,
                        "telereel.site" => row.site = value,
                        _ => {}
                    }
                }
                (
                    row,
                    "of its segments; clips, marks, settings of sources, how it ended, and whether it was imported, \
                     from which file and with pseudonyms, are not known any more",
                )
            }
        };
        let kinds = |source: &str, vendor: &str| {
            let files = manifests.iter().flat_map(|manifest| &manifest.files);
            let own =
                files.filter(|file| file.vendor == vendor && file.sources.iter().any(|s| s.name == source));
            own.map(|file| file.kind.clone()).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let source = |source: crate::index::SourceRow| SidecarSource {
            kinds: kinds(&source.name, &source.vendor),
            declared: None,
            name: source.name,
            vendor: source.vendor,
            settings: source.settings,
        };
        let last =
            manifests.iter().flat_map(|manifest| &manifest.files).map(|file| file.received_max_us).max();
        let started_at_us = row.started_at_us;
        let sidecar = Sidecar {
            session_id,
            name: row.name,
            site: row.site,
            started_at_us,
            ended_at_us: row.ended_at_us.or(last).or(Some(started_at_us)),
            ended: Some(if row.ended.as_deref() == Some("stopped") {
                Ended::Stopped
            } else {
                Ended::Recovered
            }),
            // Of parts that are gone only the index knows: they are to be missed.
            messages: manifests.iter().map(|m| m.seq_end).chain(own_parts.map(|part| part.seq_end)).max(),
            reached: 0,
            importing: false,
            came_from: None,
            pseudonymized: None,
            sources: row.sources.into_iter().map(source).collect(),
            clips: row
                .clips
                .into_iter()
                .map(|clip| Clip {
                    name: clip.name,
                    seq_from: clip.seq_from,
                    seq_to: clip.seq_to,
                    note: None,
                })
                .collect(),
            marks: row
                .marks
                .into_iter()
                .map(|mark| Mark {
                    elapsed_ns: mark.elapsed_ns,
                    at_us: started_at_us.saturating_add((mark.elapsed_ns / 1_000) as i64),
                    note: mark.note,
                })
                .collect(),
        };
        Ok((sidecar, of))
    }

    /// What the first segment that can be read says of itself: of their session all say the same.
    fn key_values_of_any(&self, manifests: &[Manifest]) -> Result<Vec<(String, String)>, ArchiveError> {
        for file in manifests.iter().flat_map(|manifest| &manifest.files) {
            match key_values(self, file) {
                Err(error) if error.is_damage() => {}
                read => return read,
            }
        }
        Ok(Vec::new())
    }

    /// Writes built-in declarations anew that are damaged or missing. One that a user wrote comes back with the next
    /// session that is recorded by it.
    pub(super) fn mend_declarations(&self) -> Result<Vec<Mended>, ArchiveError> {
        let mut lost = BTreeSet::new();
        let envelope = envelope_fields().len();
        for (vendor, kind) in self.kind_folders()? {
            let path = self.layout.schema().join(&vendor).join(format!("{kind}.toml"));
            let has_columns =
                || self.schema_file_columns(&vendor, &kind).is_ok_and(|all| all.len() > envelope);
            if !is_there(&*self.disk, &path)? && has_columns() {
                lost.insert((vendor, kind));
            }
        }
        let vendors = std::fs::read_dir(self.layout.schema()).into_iter().flatten().flatten();
        for vendor in vendors.map(|entry| entry.path()).filter(|path| path.is_dir()) {
            for path in files_in(&*self.disk, &vendor, "toml")? {
                if matches!(self.read_declaration(&path), Err(ArchiveError::Damaged { .. })) {
                    let text = |path: &std::path::Path| {
                        path.file_name().map(|name| name.to_string_lossy().into_owned())
                    };
                    let kind = path.with_extension("");
                    lost.extend(text(&vendor).zip(text(&kind)));
                }
            }
        }
        let mut mended = Vec::new();
        for (vendor, kind) in lost {
            let Some(text) = declaration(&vendor, &kind) else { continue };
            let path = self.layout.schema().join(&vendor).join(format!("{kind}.toml"));
            let aside = is_there(&*self.disk, &path)?.then(|| set_aside(&*self.disk, &path)).transpose()?;
            replace(&self.layout, &*self.disk, &path, &with_checksum(Form::Toml, text.as_bytes()))?;
            let of = "of the one that this telereel has built in".to_owned();
            mended.push(Mended { path: relative(self, &path), of, set_aside: aside });
        }
        Ok(mended)
    }
}
