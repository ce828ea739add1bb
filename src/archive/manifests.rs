//! Reading `manifests/`: which of its files are manifests, and what is known of the others.
//!
//! A manifest decides which segments are read and which are removed, so nothing is taken for one that may not be one:
//! its file has to be called as it calls itself (a copy under another name counts for nothing, and nothing is ever
//! removed by a name that stands in a file rather than on it), and its segments have to lie where those of its parts
//! lie. One file that is damaged must not keep the rest from being read: it is told ([`Problem`]), and what it may
//! have been about is left alone.

use std::collections::HashSet;
use std::path::Path;

use super::Archive;
use super::durable::{files_in, read_json};
use super::error::ArchiveError;
use super::layout::PartName;
use super::manifest::{Manifest, SeqRange, split_covered};
use super::verify::{Problem, relative};
use crate::message::SessionId;

/// How often manifests are read anew while upkeep replaces some of them, many times a second.
const LOOKS_MAX: usize = 100;

/// What lies in `manifests/`.
#[derive(Debug, Default)]
pub(super) struct ManifestFolder {
    /// With those that others cover, by path.
    pub manifests: Vec<Manifest>,
    /// Parts whose manifest cannot be read, or says that it is another's.
    pub damaged: Vec<PartName>,
    /// What is wrong with these, and with files that are no manifests by their names.
    pub problems: Vec<Problem>,
}

impl ManifestFolder {
    /// Those that count; the log tells of what cannot be read.
    pub(super) fn counted_telling(&self) -> Vec<Manifest> {
        for problem in &self.problems {
            tracing::warn!("{problem}; what it was about is left out (`telereel verify` tells more)");
        }
        split_covered(self.manifests.clone()).0
    }

    /// A part's manifest is this one now.
    pub(super) fn renew(&mut self, name: PartName, manifest: Option<Manifest>) {
        self.manifests.retain(|known| known.name() != name);
        self.manifests.extend(manifest);
        self.manifests.sort_by_key(Manifest::name);
    }

    /// Sessions of which not all is known: nothing of theirs may be taken for superfluous.
    pub(super) fn doubtful(&self) -> HashSet<SessionId> {
        self.damaged.iter().map(|name| name.session_id).collect()
    }
}

impl Archive {
    /// All manifests that count, by session and part.
    #[cfg(test)]
    pub(super) fn read_manifests(&self) -> Result<Vec<Manifest>, ArchiveError> {
        self.read_manifests_where(|_| true)
    }

    /// One session's manifests that count, by part.
    pub(super) fn read_manifests_of(&self, session_id: SessionId) -> Result<Vec<Manifest>, ArchiveError> {
        self.read_manifests_where(|path| PartName::of(path).is_some_and(|name| name.session_id == session_id))
    }

    /// All manifests that count and can be read; the others are told in the log.
    pub(super) fn readable_manifests(&self) -> Result<Vec<Manifest>, ArchiveError> {
        Ok(self.look_into_manifests(|_| true)?.counted_telling())
    }

    /// The numbers of a session that damage took, in their order.
    pub fn lost_of(&self, session_id: SessionId) -> Result<Vec<SeqRange>, ArchiveError> {
        let manifests = self.read_manifests_of(session_id)?;
        let mut lost: Vec<SeqRange> = manifests.into_iter().flat_map(|manifest| manifest.lost).collect();
        lost.sort_by_key(|range| range.seq_start);
        Ok(lost)
    }

    /// The manifest of this name, whether it counts or not.
    pub(super) fn read_manifest(&self, name: PartName) -> Result<Option<Manifest>, ArchiveError> {
        self.read_manifest_file(&self.layout.manifest(name))
    }

    /// The manifest that counts for a part. Manifests of other parts that cannot be read do not matter: while a part is
    /// in the journal, none of its session's is rewritten to cover it.
    pub(super) fn manifest_of(&self, name: PartName) -> Result<Option<Manifest>, ArchiveError> {
        match self.read_manifest(name)? {
            // Nothing before it can cover the first.
            Some(manifest) if name.part == 0 => Ok(Some(manifest)),
            None => match self.last_manifest_before(name)? {
                Some(before) => Ok(before.filter(|manifest| manifest.covers(name))),
                None => self.manifest_among(name),
            },
            Some(_) => self.manifest_among(name),
        }
    }

    /// The same by a look at all of the session.
    fn manifest_among(&self, name: PartName) -> Result<Option<Manifest>, ArchiveError> {
        let of_session = |path: &Path| PartName::of(path).is_some_and(|p| p.session_id == name.session_id);
        let (counted, _) = split_covered(self.look_into_manifests(of_session)?.manifests);
        Ok(counted.into_iter().find(|m| m.covers(name)))
    }

    /// The manifest of the last part before this one that has its own, none where nothing is before it: all that sealing
    /// asks of earlier parts, however many there are. Nothing (the outer) if that cannot be said by it alone.
    pub(super) fn last_manifest_before(
        &self,
        name: PartName,
    ) -> Result<Option<Option<Manifest>>, ArchiveError> {
        let paths = files_in(&*self.disk, &self.layout.manifests(), "json")?;
        let names = paths.iter().filter_map(|path| self.manifest_name(path));
        let last = names.filter(|p| p.session_id == name.session_id && p.part < name.part).max();
        let Some(last) = last else { return Ok(Some(None)) };
        match self.read_manifest(last) {
            Err(ArchiveError::Damaged { .. }) | Ok(None) => Ok(None),
            read => read.map(Some),
        }
    }

    fn read_manifests_where(&self, wanted: impl Fn(&Path) -> bool) -> Result<Vec<Manifest>, ArchiveError> {
        let folder = self.look_into_manifests(wanted)?;
        if let Some(name) = folder.damaged.first() {
            // Says what is wrong with it, unless that has been mended since.
            let path = self.layout.manifest(*name);
            self.read_manifest_file(&path)?;
            return Err(ArchiveError::Unsteady { path: self.root().to_owned() });
        }
        Ok(split_covered(folder.manifests).0)
    }

    /// All manifests, also those that others cover; of sessions that are being removed, none.
    pub(super) fn look_into_manifests(
        &self,
        wanted: impl Fn(&Path) -> bool,
    ) -> Result<ManifestFolder, ArchiveError> {
        'look: for _ in 0..LOOKS_MAX {
            let going = self.sessions_going()?;
            let goes = |path: &Path| PartName::of(path).is_some_and(|name| going.contains(&name.session_id));
            let mut paths = files_in(&*self.disk, &self.layout.manifests(), "json")?;
            paths.retain(|path| wanted(path) && (going.is_empty() || !goes(path)));
            let mut folder = ManifestFolder::default();
            for path in paths {
                match self.read_manifest_file(&path) {
                    Ok(Some(manifest)) => folder.manifests.push(manifest),
                    // One that is gone since was covered by one that may have been read before it was replaced:
                    // together they would be no whole set.
                    Ok(None) => continue 'look,
                    Err(ArchiveError::Damaged { path, what }) => {
                        let name = self.manifest_name(&path);
                        let anew = "`telereel recover` makes it anew of its segments where that is safe";
                        let what = if name.is_some() { format!("{what}; {anew}") } else { what };
                        folder.damaged.extend(name);
                        let path = relative(self, &path);
                        folder.problems.push(Problem::Unreadable { path, what });
                    }
                    Err(error) => return Err(error),
                }
            }
            return Ok(folder);
        }
        Err(ArchiveError::Unsteady { path: self.root().to_owned() })
    }

    /// Reads one file of the folder; none if it is gone.
    pub(super) fn read_manifest_file(&self, path: &Path) -> Result<Option<Manifest>, ArchiveError> {
        let damaged = |what: String| Err(ArchiveError::Damaged { path: path.to_owned(), what });
        let manifest = match read_json::<Manifest>(&*self.disk, path) {
            Err(ArchiveError::Json { source, .. }) => return damaged(source.to_string()),
            Ok(Some(manifest)) => manifest,
            read => return read,
        };
        let name = manifest.name();
        if self.layout.manifest(name) != path {
            return damaged(format!("it is the manifest {name} under another name, and does not count"));
        }
        match manifest.fault() {
            Some(what) => damaged(what),
            None => Ok(Some(manifest)),
        }
    }

    /// Whose manifest a file is by its name; none where it is no manifest's, so that nothing depends on it.
    pub(super) fn manifest_name(&self, path: &Path) -> Option<PartName> {
        PartName::of(path).filter(|name| self.layout.manifest(*name) == path)
    }
}
