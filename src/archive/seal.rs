//! Sealing: one closed journal part into segments, in the order that the [module](super) gives.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use serde::Serialize;

use super::Archive;
use super::decoding::decode_batches;
use super::durable::{checksum, remove_if_there, replace_json};
use super::error::{ArchiveError, IoContext};
use super::layout::PartName;
use super::manifest::{Manifest, SeqRange};
use super::segment::{FinishedSegment, write_schema_files};
use super::sorting::{Finished, Sorting};
use super::verify::look_at;
use super::writers::write_files;
use crate::index::LinkRow;
use crate::journal::{JournalError, PartEnd, PartReader, parse_part_file_name};
use crate::message::{SessionHeader, SessionId};

/// Batches that wait between two stages, within what they may take together: enough that the others go on while a row
/// group is compressed.
const BATCHES_WAITING: usize = 4;

/// What sealing a part came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sealed {
    pub messages: u64,
    pub segments: u64,
    pub bytes_stored: u64,
    /// Bytes at the part's end that are no whole record: a write that a crash cut short, of which
    /// nobody had been promised anything.
    pub torn_tail_bytes: u64,
    /// What the part should hold and does not, because it is damaged.
    pub lost: Vec<SeqRange>,
    /// How many of these had been synced, and so perhaps acknowledged: these are a loss. The others were
    /// cut off by the same crash as a torn tail.
    pub promised_lost: u64,
    /// A sidecar that could not be read is kept under this name, and was made anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<PathBuf>,
    /// It had been sealed already and only had to be put into the index and removed.
    pub again: bool,
}

/// Seals the journal part at `part`, and removes it. Doing it again after a cut, at whatever step,
/// leads to the same files.
pub fn seal(archive: &Archive, part: &Path) -> Result<Sealed, ArchiveError> {
    let unnamed =
        || ArchiveError::DamagedPart { path: part.to_owned(), what: "it is not named as a part".into() };
    let name = PartName::of(part).ok_or_else(unnamed)?;
    if let Some(manifest) = archive.manifest_of(name)?
        && archive.is_committed(&manifest)?
    {
        return release_again(archive, part, &manifest);
    }
    if let Some(earlier) =
        archive.parts()?.into_iter().find(|p| p.session_id == name.session_id && p.part < name.part)
    {
        let earlier = archive.layout.part(earlier);
        return Err(ArchiveError::EarlierPart { path: part.to_owned(), earlier });
    }
    let mut reader = PartReader::open(&*archive.disk, part).map_err(journal_error(part))?;
    let header = reader.header().clone();
    let found = PartName { session_id: header.session.session_id, part: header.part };
    if found != name {
        let what = format!("it is the part {found} under another name");
        return Err(ArchiveError::DamagedPart { path: part.to_owned(), what });
    }
    write_schema_files(archive, &header.session)?;
    let start = archive.start_of(name, header.first_seq)?;
    let finished = in_stages(archive, name, &header.session, start, part, |sorting| {
        sorting.take_all(&mut reader, part)
    })?;
    // What lies between the parts had been synced when the later one was begun.
    let between = header.first_seq - start;
    let (torn_tail_bytes, promised) = match reader.end() {
        PartEnd::Clean => (0, 0),
        PartEnd::TornTail { bytes, .. } => (bytes, 0),
        PartEnd::Damaged { torn_tail, promised_messages, .. } => {
            (torn_tail.map_or(0, |tail| tail.end - tail.start), promised_messages)
        }
    };
    let mut sealed = Sealed { torn_tail_bytes, promised_lost: between + promised, ..finished.summary() };
    if finished.manifest.seq_end == start {
        // Nothing was ever in it: nothing to commit.
        remove_part(archive, part)?;
        return Ok(sealed);
    }
    commit(archive, &finished)?;
    sealed.set_aside = release(archive, part, &header.session, &finished.manifest, &finished.links)?;
    Ok(sealed)
}

/// Step 1: rows into synced files in `tmp/`. `fill` hands them over; `from` is where they come from, for errors.
///
/// Three stages, so that the cores have work: rows are read here, the others are threads that end before this
/// function does.
pub(super) fn in_stages<'a, E: From<ArchiveError>>(
    archive: &'a Archive,
    name: PartName,
    session: &'a SessionHeader,
    start: u64,
    from: &Path,
    fill: impl FnOnce(&mut Sorting<'a>) -> Result<(), E>,
) -> Result<Finished, E> {
    let (batches, to_decode) = sync_channel(BATCHES_WAITING);
    let (steps, to_write) = sync_channel(BATCHES_WAITING);
    let (sorted, errors, written) = std::thread::scope(|scope| {
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let row_groups = archive.sealing.row_groups;
        let writing = thread("seal-write")
            .spawn_scoped(scope, move || write_files(&*archive.disk, row_groups, to_write));
        let writing = writing.doing("start a thread to seal", from)?;
        let decoding = thread("seal-decode").spawn_scoped(scope, move || decode_batches(to_decode, &steps));
        let decoding = decoding.doing("start a thread to seal", from)?;
        // Dropped in here whatever becomes of it: the other stages end when it is gone.
        let sorted = Sorting::new(archive, name, session, start, batches).map_err(E::from);
        let sorted = sorted.and_then(|mut sorting| {
            fill(&mut sorting)?;
            Ok(sorting.sorted()?)
        });
        let errors = decoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        // What went wrong last along the way is what the stages before it were ended by.
        let errors = errors?;
        Ok::<_, E>((sorted?, errors, written))
    })?;
    Ok(sorted.finish(errors, written))
}

/// Steps 2 and 3: into place, then the manifest.
pub(super) fn commit(archive: &Archive, finished: &Finished) -> Result<(), ArchiveError> {
    rename_into_place(archive, &finished.segments)?;
    let manifest = &finished.manifest;
    replace_json(&archive.layout, &*archive.disk, &archive.layout.manifest(manifest.name()), manifest)
}

/// Segments from `tmp/` to `data/`, durably.
pub(super) fn rename_into_place(archive: &Archive, segments: &[FinishedSegment]) -> Result<(), ArchiveError> {
    let disk = &*archive.disk;
    let mut folders: Vec<PathBuf> = Vec::new();
    for FinishedSegment { tmp, file } in segments {
        let target = archive.root().join(&file.path);
        let folder = target.parent().unwrap_or(archive.root()).to_owned();
        disk.create_dir_all(&folder).doing("create", &folder)?;
        disk.rename(tmp, &target).doing("rename to", &target)?;
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    for folder in &folders {
        disk.sync_dir(folder).doing("sync", folder)?;
    }
    Ok(())
}

/// Steps 4 and 5: the index rows and the list of segments, then the part goes. Answers with where a sidecar is kept
/// that could not be read.
fn release(
    archive: &Archive,
    part: &Path,
    session: &SessionHeader,
    manifest: &Manifest,
    links: &[LinkRow],
) -> Result<Option<PathBuf>, ArchiveError> {
    let (sidecar, kept) = archive.sidecar_or_new(session)?;
    archive.update_index(|index| {
        index.put_session(&sidecar.to_row())?;
        index.put_part(&manifest.to_part_row(), &manifest.to_rows(), links)
    })?;
    archive.write_segment_list()?;
    remove_part(archive, part)?;
    Ok(kept)
}

/// The part was committed, and the cut came after: only steps 4 and 5 are left.
fn release_again(archive: &Archive, part: &Path, manifest: &Manifest) -> Result<Sealed, ArchiveError> {
    let reader = PartReader::open(&*archive.disk, part).map_err(journal_error(part))?;
    let links = archive.read_links(manifest)?;
    // It may be that the earlier attempt failed in this very step: then the manifest is there, and not yet durable.
    let manifests = archive.layout.manifests();
    archive.disk.sync_dir(&manifests).doing("sync", &manifests)?;
    let set_aside = release(archive, part, &reader.header().session.clone(), manifest, &links)?;
    Ok(Sealed {
        messages: manifest.rows,
        segments: manifest.files.len() as u64,
        bytes_stored: manifest.files.iter().map(|f| f.bytes).sum(),
        lost: manifest.lost.clone(),
        set_aside,
        again: true,
        ..Sealed::default()
    })
}

fn remove_part(archive: &Archive, part: &Path) -> Result<(), ArchiveError> {
    remove_if_there(&*archive.disk, part)?;
    let journal = archive.layout.journal();
    archive.disk.sync_dir(&journal).doing("sync", &journal)
}

pub(super) fn journal_error(path: &Path) -> impl Fn(JournalError) -> ArchiveError {
    |source| ArchiveError::Journal { path: path.to_owned(), source: source.into() }
}

impl Archive {
    /// Whether all files of a manifest are in place, by their lengths.
    pub(super) fn has_files_of(&self, manifest: &Manifest) -> Result<bool, ArchiveError> {
        for file in &manifest.files {
            if look_at(self, file)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether what a manifest names is all there as it was written, so that the part which it was sealed from, and
    /// which is still in the journal, is not needed any more. That is rare enough to read it all. What cannot be read is
    /// an error: it is not to be removed for that.
    pub(super) fn is_committed(&self, manifest: &Manifest) -> Result<bool, ArchiveError> {
        if manifest.generation > 0 {
            return Ok(true);
        }
        if !self.has_files_of(manifest)? {
            return Ok(false);
        }
        for file in &manifest.files {
            let path = self.root().join(&file.path);
            if checksum(&path).doing("read", &path)? != file.blake3 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The first `seq` that a part's manifest has to account for: where the sealed parts before it end, so that what is
    /// missing between them is told as lost; but where the part itself begins if a manifest of one of those is lost, which
    /// is damage to be told and mended, and costs no message.
    fn start_of(&self, name: PartName, first_seq: u64) -> Result<u64, ArchiveError> {
        match self.manifests_end_before(name)? {
            Some(end) if end < first_seq && !self.has_lost_manifest_before(name)? => Ok(end),
            _ => Ok(first_seq),
        }
    }

    /// Where the sealed parts before `name` end: the first `seq` that they do not account for. None if that cannot be
    /// said, because the manifest of the last of them is lost or cannot be read.
    pub(super) fn seq_end_before(&self, name: PartName) -> Result<Option<u64>, ArchiveError> {
        if self.has_lost_manifest_before(name)? { Ok(None) } else { self.manifests_end_before(name) }
    }

    /// The same by the manifests that are there, which is quick.
    fn manifests_end_before(&self, name: PartName) -> Result<Option<u64>, ArchiveError> {
        if let Some(last) = self.last_manifest_before(name)? {
            return Ok(Some(last.map_or(0, |manifest| manifest.seq_end)));
        }
        let of_session = |path: &Path| PartName::of(path).is_some_and(|p| p.session_id == name.session_id);
        let folder = self.look_into_manifests(of_session)?;
        let before = folder.manifests.iter().filter(|m| m.part < name.part).max_by_key(|m| m.last_part());
        let last = before.map(Manifest::last_part);
        if folder.damaged.iter().any(|damaged| damaged.part < name.part && Some(damaged.part) > last) {
            return Ok(None);
        }
        Ok(Some(before.map_or(0, |manifest| manifest.seq_end)))
    }

    /// Bytes of the journal parts of these sessions, which no reader sees until they are sealed.
    pub fn unsealed_bytes(&self, sessions: &[SessionId]) -> Result<u64, ArchiveError> {
        let parts = self.parts()?.into_iter().filter(|part| sessions.contains(&part.session_id));
        // One that is gone has been sealed meanwhile.
        Ok(parts.filter_map(|part| self.disk.len(&self.layout.part(part)).ok()).sum())
    }

    /// The journal parts that are not sealed yet, in order.
    pub(super) fn parts(&self) -> Result<Vec<PartName>, ArchiveError> {
        let journal = self.layout.journal();
        let files = self.disk.list(&journal).doing("list", &journal)?;
        let mut parts: Vec<_> = files.iter().filter_map(|path| parse_part_file_name(path)).collect();
        parts.sort();
        Ok(parts.into_iter().map(|(session_id, part)| PartName { session_id, part }).collect())
    }
}

impl Finished {
    fn summary(&self) -> Sealed {
        Sealed {
            messages: self.manifest.rows,
            segments: self.segments.len() as u64,
            bytes_stored: self.manifest.files.iter().map(|f| f.bytes).sum(),
            lost: self.manifest.lost.clone(),
            ..Sealed::default()
        }
    }
}
