//! Which manifests are lost: what lies there that none of the others covers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::read::is_own;
use crate::archive::Archive;
use crate::archive::at_hand::AtHand;
use crate::archive::error::ArchiveError;
use crate::archive::layout::PartName;
use crate::archive::manifest::{Manifest, split_covered};
use crate::archive::manifests::ManifestFolder;
use crate::archive::verify::segment_files;
use crate::message::SessionId;

/// Segments and damaged manifests that no manifest covers, between two that are known.
pub(super) struct Gap {
    pub(super) session_id: SessionId,
    /// Its first part and its last.
    pub(super) parts: (u32, u32),
    pub(super) seq_start: u64,
    /// Where the next manifest's messages begin.
    pub(super) seq_end: Option<u64>,
    pub(super) paths: Vec<PathBuf>,
    pub(super) damaged: Vec<PartName>,
}

/// The gaps of each session, but of those that go or come in.
pub(super) fn lost(
    archive: &Archive,
    folder: &ManifestFolder,
    at_hand: &AtHand,
) -> Result<BTreeMap<SessionId, Vec<Gap>>, ArchiveError> {
    let (counted, _) = split_covered(folder.manifests.clone());
    let mut found: BTreeMap<SessionId, Vec<(u32, Option<PathBuf>)>> = BTreeMap::new();
    let is_covered = |name: PartName| covering(&counted, name).is_some();
    for path in segment_files(archive)? {
        if let Some(name) = PartName::of(&path).filter(|name| !is_covered(*name) && is_own(&path, *name)) {
            found.entry(name.session_id).or_default().push((name.part, Some(path)));
        }
    }
    for name in folder.damaged.iter().copied().filter(|name| !is_covered(*name)) {
        found.entry(name.session_id).or_default().push((name.part, None));
    }
    found.retain(|session_id, _| !at_hand.is_on_its_way(*session_id));
    let gaps_of = |(session_id, mut found): (SessionId, Vec<_>)| {
        found.sort();
        let own: Vec<&Manifest> = counted.iter().filter(|m| m.session_id == session_id).collect();
        let mut gaps = gaps(session_id, found, &own);
        if let Some(last) = gaps.last_mut()
            && last.seq_end.is_none()
            && !at_hand.is_waiting(session_id)
        {
            last.seq_end = at_hand.sidecar(session_id).and_then(|sidecar| sidecar.messages);
        }
        (session_id, gaps)
    };
    Ok(found.into_iter().map(gaps_of).collect())
}

fn covering(counted: &[Manifest], name: PartName) -> Option<&Manifest> {
    let after = counted.partition_point(|manifest| manifest.name() <= name);
    counted[..after].last().filter(|manifest| manifest.covers(name))
}

/// The parts that were `found`, in their order, by the manifests between which they lie.
fn gaps(session_id: SessionId, found: Vec<(u32, Option<PathBuf>)>, own: &[&Manifest]) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    for (part, path) in found {
        let before = own.iter().rfind(|manifest| manifest.part < part);
        let after = own.iter().find(|manifest| manifest.part > part);
        let first = before.map_or(0, |manifest| manifest.last_part() + 1);
        if gaps.last().is_none_or(|gap| gap.parts.0 != first) {
            let seq_start = before.map_or(0, |manifest| manifest.seq_end);
            let seq_end = after.map(|manifest| manifest.seq_start);
            let (paths, damaged) = (Vec::new(), Vec::new());
            gaps.push(Gap { session_id, parts: (first, part), seq_start, seq_end, paths, damaged });
        }
        if let Some(gap) = gaps.last_mut() {
            gap.parts.1 = after.map_or(part, |manifest| manifest.part - 1);
            match path {
                Some(path) => gap.paths.push(path),
                None => gap.damaged.push(PartName { session_id, part }),
            }
        }
    }
    gaps
}

impl Archive {
    /// Whether a part of its session before `name` has segments that no manifest covers. The journal has none of those
    /// any more: they were sealed, and their manifest is lost.
    pub(in crate::archive) fn has_lost_manifest_before(&self, name: PartName) -> Result<bool, ArchiveError> {
        let of_session = |path: &Path| PartName::of(path).is_some_and(|p| p.session_id == name.session_id);
        let (counted, _) = split_covered(self.look_into_manifests(of_session)?.manifests);
        let is_lost = |path: &PathBuf| {
            PartName::of(path).is_some_and(|found| {
                let is_before = found.session_id == name.session_id && found.part < name.part;
                is_before && is_own(path, found) && covering(&counted, found).is_none()
            })
        };
        Ok(segment_files(self)?.iter().any(is_lost))
    }
}
