//! Which index readers use: the one on disk if it is whole and complete, else one made on the spot.

use std::os::unix::fs::PermissionsExt as _;

use super::Archive;
use super::durable::files_in;
use super::error::ArchiveError;
use super::layout::PartName;
use super::manifest::Manifest;
use super::manifests::ManifestFolder;
use super::sidecar::{Sidecar, session_rows};
use crate::index::{Index, IndexError, PartRow};

impl Archive {
    /// The index for reading. Where the file is missing, broken, of another version or behind the
    /// manifests, one is made of manifests and sidecars in memory: slower, and the same answers, but
    /// without link events.
    pub(super) fn catalog(&self) -> Result<Index, ArchiveError> {
        match self.open_index() {
            Ok(index) if self.is_complete(&index).unwrap_or(false) => Ok(index),
            Ok(_) => {
                tracing::debug!("the index is behind the manifests, reading those");
                self.catalog_in_memory()
            }
            Err(error) => {
                if !files_in(&*self.disk, &self.layout.manifests(), "json")?.is_empty() {
                    tracing::warn!(%error, "reading the manifests, which takes longer");
                }
                self.catalog_in_memory()
            }
        }
    }

    /// The index on disk, for reading.
    pub(super) fn open_index(&self) -> Result<Index, IndexError> {
        Index::open_read_only(&self.layout.index())
    }

    /// The permissions of what is not written through the disk: those of what is.
    pub(super) fn file_mode(&self) -> u32 {
        let known = std::fs::metadata(self.layout.archive_json());
        known.map_or(0o600, |metadata| metadata.permissions().mode() & 0o666)
    }

    /// Whether the group may read what is there.
    pub fn is_group_readable(&self) -> bool {
        self.file_mode() & 0o040 != 0
    }

    /// Whether the index knows as many sessions and parts as there are sidecars and manifests.
    fn is_complete(&self, index: &Index) -> Result<bool, ArchiveError> {
        let (sessions, parts) = index.counts()?;
        let sidecars = files_in(&*self.disk, &self.layout.sessions(), "json")?;
        let manifests = files_in(&*self.disk, &self.layout.manifests(), "json")?;
        Ok(sessions >= sidecars.iter().filter(|path| self.sidecar_name(path).is_some()).count()
            && parts >= manifests.iter().filter(|path| self.manifest_name(path).is_some()).count())
    }

    /// Whether the index can be read, all of it; also where there is none.
    pub(super) fn index_is_sound(&self) -> bool {
        let sound = || self.open_index()?.integrity();
        !self.layout.index().exists() || sound().is_ok_and(|complaint| complaint.is_none())
    }

    /// Whether the index can be read, knows all parts, and says of the sessions what the sidecars say. What it knows of
    /// a part whose manifest cannot be read it may keep. `folder` holds those that count.
    pub(super) fn index_is_whole(&self, folder: &ManifestFolder) -> Result<bool, ArchiveError> {
        let Ok(index) = self.open_index() else { return Ok(false) };
        let sidecars = self.read_sidecars()?;
        let differs = difference(&index, &sidecars, &folder.manifests, &folder.damaged);
        Ok(differs.is_ok_and(|differs| differs.is_none()))
    }

    /// Which link events the index has that the segments have not, or the other way round; the first part in which.
    /// What cannot be read is passed over: it is told of where it is looked at.
    pub(super) fn link_difference(
        &self,
        index: &Index,
        manifests: &[Manifest],
        damaged: &[PartName],
    ) -> Result<Option<&'static str>, IndexError> {
        const WHAT: &str = "its link events are not those of the segments";
        for of_session in manifests.chunk_by(|a, b| a.session_id == b.session_id) {
            let session_id = of_session[0].session_id;
            let mut known = index.links(session_id)?;
            for manifest in of_session {
                let seqs = manifest.seq_start..manifest.seq_end;
                let of_part: Vec<_> = known.extract_if(.., |link| seqs.contains(&link.seq)).collect();
                if self.read_links(manifest).is_ok_and(|links| links != of_part) {
                    return Ok(Some(WHAT));
                }
            }
            if !known.is_empty() && damaged.iter().all(|name| name.session_id != session_id) {
                return Ok(Some(WHAT));
            }
        }
        Ok(None)
    }

    /// Reads again what failed while upkeep replaced some of the files.
    pub(super) fn while_files_change<T>(
        &self,
        read: impl Fn() -> Result<T, ArchiveError>,
    ) -> Result<T, ArchiveError> {
        loop {
            let before = self.generations()?;
            match read() {
                Err(error @ (ArchiveError::Io { .. } | ArchiveError::DamagedSegment { .. }))
                    if self.generations()? == before =>
                {
                    return Err(error);
                }
                Err(ArchiveError::Io { .. } | ArchiveError::DamagedSegment { .. }) => {}
                done => return done,
            }
        }
    }

    /// Which parts count, and how often each was written anew: it changes with every commit.
    pub(super) fn generations(&self) -> Result<Vec<(PartName, u32)>, ArchiveError> {
        // A manifest that cannot be read counts for none here; `verify` tells of it.
        let names = files_in(&*self.disk, &self.layout.manifests(), "json")?;
        let read = names.iter().filter_map(|path| self.read_manifest_file(path).ok().flatten());
        Ok(read.map(|manifest| (manifest.name(), manifest.generation)).collect())
    }

    fn catalog_in_memory(&self) -> Result<Index, ArchiveError> {
        let mut index = Index::in_memory()?;
        let manifests = self.readable_manifests()?;
        for session in session_rows(&self.read_sidecars()?, &manifests) {
            index.put_session(&session)?;
        }
        for manifest in manifests {
            index.put_part(&manifest.to_part_row(), &manifest.to_rows(), &[])?;
        }
        Ok(index)
    }
}

/// What an index says otherwise than sidecars and manifests, row by row: SQLite finds what breaks its own structure,
/// and no other number or name in it. What it knows of parts whose manifest is damaged is not held against it.
pub(super) fn difference(
    index: &Index,
    sidecars: &[Sidecar],
    manifests: &[Manifest],
    damaged: &[PartName],
) -> Result<Option<&'static str>, IndexError> {
    let (sessions, wanted) = (index.sessions()?, session_rows(sidecars, manifests));
    if wanted.iter().any(|session| !sessions.contains(session)) || sessions.len() != wanted.len() {
        return Ok(Some("its sessions are not those of the sidecars"));
    }
    let is_known = |session_id, part| !damaged.contains(&PartName { session_id, part });
    let mut parts = index.parts()?;
    parts.retain(|row| is_known(row.session_id, row.part));
    let is_of = |(row, manifest): (&PartRow, &Manifest)| is_of(row, manifest);
    if parts.len() != manifests.len() || !parts.iter().zip(manifests).all(is_of) {
        return Ok(Some("its parts are not those of the manifests"));
    }
    let mut segments = 0;
    for session in &sessions {
        let mut known = index.segments(session.session_id)?;
        segments += known.len();
        known.retain(|row| is_known(row.session_id, row.part));
        let own = manifests.iter().filter(|manifest| manifest.session_id == session.session_id);
        if !own.flat_map(Manifest::to_rows).eq(known) {
            return Ok(Some(NOT_THE_SEGMENTS));
        }
    }
    Ok((index.segment_paths()?.len() != segments).then_some(NOT_THE_SEGMENTS))
}

const NOT_THE_SEGMENTS: &str = "its segments are not those of the manifests";

/// Whether a part is that of a manifest as it was written last. An index that was brought up to date from an older one
/// knows the seqs only about.
fn is_of(row: &PartRow, manifest: &Manifest) -> bool {
    let exact = manifest.to_part_row();
    let least = manifest.files.iter().map(|file| file.seq_min).min();
    let greatest = manifest.files.iter().map(|file| file.seq_max).max();
    let about = least.zip(greatest).map(|(least, greatest)| PartRow {
        seq_start: least,
        seq_end: greatest + 1,
        ..exact
    });
    *row == exact || Some(*row) == about
}
