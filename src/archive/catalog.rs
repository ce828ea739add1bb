//! Which index readers use: the one on disk if it is whole and complete, else one made on the spot.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Archive;
use super::durable::files_in;
use super::error::ArchiveError;
use super::layout::PartName;
use super::manifest::{Manifest, split_covered};
use super::sidecar::session_rows;
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
            // The recorder's index, in a folder that only the recorder may write to.
            Err(IndexError::Open { .. }) if self.is_locked() => self.catalog_in_memory(),
            Err(error) => {
                if !files_in(&*self.disk, &self.layout.manifests(), "json")?.is_empty() {
                    tracing::warn!(%error, "reading the manifests, which takes longer");
                }
                self.catalog_in_memory()
            }
        }
    }

    /// The index on disk, for reading. Where the folder may not be written to, SQLite can only read a
    /// database that nobody else has open, and none of whose rows are still in its log.
    pub(super) fn open_index(&self) -> Result<Index, IndexError> {
        let path = self.layout.index();
        Index::open_read_only(&path).or_else(|error| match error {
            IndexError::Open { .. } if !self.is_locked() && !has_log(&path) => {
                Index::open_immutable(&path).map_err(|_| error)
            }
            error => Err(error),
        })
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
    /// a part whose manifest cannot be read it may keep.
    pub(super) fn index_is_whole(&self) -> Result<bool, ArchiveError> {
        let Ok(index) = self.open_index() else { return Ok(false) };
        let known = index.sessions().unwrap_or_default();
        let folder = self.look_into_manifests(|_| true)?;
        let (manifests, _) = split_covered(folder.manifests);
        let wanted = session_rows(&self.read_sidecars()?, &manifests);
        Ok(known.len() == wanted.len()
            && wanted.iter().all(|session| known.contains(session))
            && index.parts().is_ok_and(|parts| knows_parts(&parts, &manifests, &folder.damaged)))
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

/// Whether these are the parts of the manifests, each as it was written last. (An index that was brought up to date
/// from an older one knows their seqs only about.) Those `but_for` which it cannot be said may be there or not.
pub(super) fn knows_parts(parts: &[PartRow], manifests: &[Manifest], but_for: &[PartName]) -> bool {
    let of = |row: PartRow| (row.session_id, row.part, row.part_last, row.generation);
    let is_known =
        |row: &PartRow| !but_for.contains(&PartName { session_id: row.session_id, part: row.part });
    parts
        .iter()
        .copied()
        .filter(is_known)
        .map(of)
        .eq(manifests.iter().map(|manifest| of(manifest.to_part_row())))
}

fn has_log(index: &Path) -> bool {
    let mut log = index.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > 0)
}
