//! Putting new segments in the place of old ones, and finishing that after a cut.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::archive::Archive;
use crate::archive::durable::{is_there, remove_if_there, replace_json};
use crate::archive::error::{ArchiveError, IoContext};
use crate::archive::layout::{PartName, generation_of};
use crate::archive::manifest::{Manifest, split_covered};
use crate::archive::manifests::ManifestFolder;
use crate::archive::recover::RecoverReport;
use crate::archive::seal::rename_into_place;
use crate::archive::segment::FinishedSegment;
use crate::archive::verify::segment_files;
use crate::index::LinkRow;

/// Steps 2 to 7 of the [module](super).
pub(super) fn commit(
    archive: &Archive,
    covered: &[Manifest],
    manifest: &Manifest,
    segments: &[FinishedSegment],
    links: &[LinkRow],
) -> Result<(), ArchiveError> {
    let disk = &*archive.disk;
    let rewriting = archive.layout.rewriting(manifest.session_id);
    // One that is there already tells of an attempt that failed, and stays until recovery has looked.
    let is_first = !is_there(disk, &rewriting)?;
    if is_first {
        archive.begin_rewriting(manifest.session_id)?;
    }
    rename_into_place(archive, segments)
        .and_then(|()| {
            replace_json(&archive.layout, disk, &archive.layout.manifest(manifest.name()), manifest)
        })
        .inspect_err(|_| take_back(archive, manifest, segments))?;
    archive.update_index(|index| index.put_part(&manifest.to_part_row(), &manifest.to_rows(), links))?;
    archive.write_segment_list()?;
    let others = covered.iter().filter(|old| old.name() != manifest.name());
    remove_manifests(archive, others.map(|old| archive.layout.manifest(old.name())))?;
    let named: HashSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    let old = covered.iter().flat_map(|old| &old.files).filter(|file| !named.contains(file.path.as_str()));
    remove_files(archive, old.map(|file| archive.root().join(&file.path)))?;
    if is_first {
        remove_if_there(disk, &rewriting)?;
        let sessions = archive.layout.sessions();
        disk.sync_dir(&sessions).doing("sync", &sessions)?;
    }
    Ok(())
}

/// Removes the segments of a commit that failed, where it is sure that it will never count: its manifest is not there.
/// Nothing goes by them, but they take room, and who reads `data/` as it is would see their rows twice. What cannot be
/// removed now, recovery removes.
fn take_back(archive: &Archive, manifest: &Manifest, segments: &[FinishedSegment]) {
    let counts = |known: Option<Manifest>| known.is_some_and(|known| known.generation >= manifest.generation);
    if archive.read_manifest(manifest.name()).is_ok_and(|known| !counts(known)) {
        let paths = segments.iter().map(|segment| archive.root().join(&segment.file.path));
        let _ = remove_files(archive, paths);
    }
}

/// Removes manifests, durably.
pub(super) fn remove_manifests(
    archive: &Archive,
    paths: impl Iterator<Item = PathBuf>,
) -> Result<(), ArchiveError> {
    let mut some = false;
    for path in paths {
        remove_if_there(&*archive.disk, &path)?;
        some = true;
    }
    let folder = archive.layout.manifests();
    if some { archive.disk.sync_dir(&folder).doing("sync", &folder) } else { Ok(()) }
}

/// Removes segments, durably.
pub(super) fn remove_files(
    archive: &Archive,
    paths: impl Iterator<Item = PathBuf>,
) -> Result<(), ArchiveError> {
    let mut folders = BTreeSet::new();
    for path in paths {
        remove_if_there(&*archive.disk, &path)?;
        folders.extend(path.parent().map(Path::to_owned));
    }
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        archive.disk.sync_dir(folder).doing("sync", folder)?;
    }
    Ok(())
}

/// Whether a segment that no manifest names can only be what a rewrite left: one that it made and did not commit,
/// or one that it replaced. `manifests` are those that count.
/// A manifest explains nothing where its own files are not there, or that cannot be said: then what lies beside them may
/// be all that is left.
pub(in crate::archive) fn is_explained(archive: &Archive, path: &Path, manifests: &[Manifest]) -> bool {
    let Some(name) = PartName::of(path) else { return false };
    let made_anew = generation_of(path) > 0;
    manifests.iter().any(|manifest| {
        manifest.covers(name)
            && (made_anew || manifest.generation > 0)
            && archive.has_files_of(manifest).is_ok_and(|has| has)
    })
}

/// Cases b, c and e: what a rewrite that was cut has left. Answers with the manifests that count.
pub(in crate::archive) fn finish_rewrites(
    archive: &Archive,
    report: &mut RecoverReport,
) -> Result<ManifestFolder, ArchiveError> {
    let folder = archive.look_into_manifests(|_| true)?;
    let doubtful = folder.doubtful();
    let (counted, mut covered) = split_covered(folder.manifests);
    covered.retain(|manifest| !doubtful.contains(&manifest.session_id));
    report.removed_files += covered.len() as u64;
    remove_manifests(archive, covered.iter().map(|manifest| archive.layout.manifest(manifest.name())))?;
    let named: HashSet<&str> =
        counted.iter().flat_map(|manifest| &manifest.files).map(|file| file.path.as_str()).collect();
    let mut left = segment_files(archive)?;
    let is_doubtful =
        |path: &Path| PartName::of(path).is_some_and(|name| doubtful.contains(&name.session_id));
    left.retain(|path| {
        path.to_str().is_none_or(|text| !named.contains(text))
            && !is_doubtful(path)
            && is_explained(archive, path, &counted)
    });
    report.removed_files += left.len() as u64;
    remove_files(archive, left.iter().map(|path| archive.root().join(path)))?;
    archive.end_rewriting(&counted, &doubtful)?;
    Ok(ManifestFolder { manifests: counted, ..folder })
}
