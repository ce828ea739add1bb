//! Recovery: what a crash left in the journal is sealed, what it left half done is done.
//!
//! Doing it again changes nothing. For each journal part, and for what lies beside it:
//!
//! ```text
//! case                                             how it comes about             what is done
//! A  part, no manifest, none of its files in data  crash while recording, or      sealed
//!                                                  before step 2 of sealing
//! B  part, no manifest, some of its files in data  cut within step 2 or 3         files removed, then as A
//! C  part and manifest, all files there            cut within step 4 or 5         index rows, part removed
//! D  part and manifest, a file missing or short    the disk lost what was synced  as B
//! E  part with a torn tail                         cut within a write             as A; the tail is dropped:
//!                                                                                 nobody was promised it
//! F  part damaged in its middle                    the disk changed what was      as A; the seqs that are
//!                                                  synced                         missing go into the
//!                                                                                 manifest as lost
//! G  part with a torn header, no records           cut while it was made          removed
//! H  part with records behind a broken header      the disk, as F                 the header is made again
//!                                                                                 from another part of the
//!                                                                                 session, then as F; without
//!                                                                                 one the part is kept as
//!                                                                                 *.journal.damaged and lost
//!                                                                                 by the next manifest
//! I  manifest, no part                             sealed                         nothing
//! J  files in data that no manifest names, no part not by a crash: parts go last  left for `verify` to report
//! K  files in tmp                                  cut within step 1, or within   removed
//!                                                  the writing of any small file
//! L  sidecar without an end                        crash while recording          ended as `recovered`, when
//!                                                                                 its last message arrived
//! M  part without a sidecar                        the disk                       written from the part's header
//! N  index or segments.jsonl missing, or behind    cut right after one of these   made again
//!    sidecars and manifests                        was written, or in `reindex`
//!    index damaged                                 the disk                       made again, first of all
//! O  sidecar that says `importing`                 cut within the commit of an    the session is taken back
//!                                                  import                         (intake)
//! ```
//!
//! What upkeep leaves half done when it is cut has a table of its own, in [`rewrite`](mod@super::rewrite).
//!
//! F and H lose what had been promised, unless the journal knows that it had not been synced; so does a
//! torn tail behind which a later part follows. All of it ends up as `lost` ranges of a manifest, so that
//! `verify` tells known from new damage.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use serde::Serialize;

use super::Archive;
use super::durable::remove_if_there;
use super::error::{ArchiveError, IoContext};
use super::intake::take_back;
use super::layout::PartName;
use super::manifest::{Manifest, SeqRange};
use super::rewrite::{finish_removals, finish_rewrites};
use super::seal::{journal_error, seal};
use super::sidecar::Ended;
use super::verify::segment_files;
use crate::journal::{JournalError, PartHeader, PartReader, write_with_header};
use crate::message::{SessionHeader, SessionId};

/// What recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RecoverReport {
    /// Journal parts that were sealed.
    pub parts: u64,
    pub messages: u64,
    pub segments: u64,
    /// Dropped from the ends of parts; nobody had been promised them.
    pub torn_tail_bytes: u64,
    /// Messages that are missing between others.
    pub lost: Vec<Lost>,
    /// How many of these had been whole and perhaps acknowledged.
    pub promised_lost: u64,
    /// Parts that cannot be read, kept under these names.
    pub set_aside: Vec<PathBuf>,
    /// Sessions that a crash had ended.
    pub sessions: Vec<SessionId>,
    /// Names of sessions whose import a crash had cut: nothing is left of them.
    pub taken_back: Vec<String>,
    /// Half-written files that were removed, and replaced ones.
    pub removed_files: u64,
    /// Sessions whose removal had been begun.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed_sessions: Vec<SessionId>,
}

/// A stretch of a session that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    pub session_id: SessionId,
    #[serde(flatten)]
    pub range: SeqRange,
}

impl RecoverReport {
    /// Whether something whole could not be saved.
    pub fn has_loss(&self) -> bool {
        self.promised_lost > 0 || !self.set_aside.is_empty()
    }

    pub fn lost_messages(&self) -> u64 {
        self.lost.iter().map(|lost| lost.range.messages()).sum()
    }
}

/// Seals what a crash left behind. The caller holds the archive's lock, and no recorder runs.
pub fn recover(archive: &Archive) -> Result<RecoverReport, ArchiveError> {
    recover_telling(archive, &|_, _| ())
}

/// The same, and `tell` is told how many journal parts of how many are done.
pub fn recover_telling(archive: &Archive, tell: &dyn Fn(u64, u64)) -> Result<RecoverReport, ArchiveError> {
    let mut report = RecoverReport::default();
    sync_names(archive)?;
    if !archive.index_is_sound() {
        super::reindex::reindex(archive)?;
    }
    empty_tmp(archive, &mut report)?;
    report.taken_back = take_back(archive)?.into_iter().map(|sidecar| sidecar.name).collect();
    finish_removals(archive, &mut report)?;
    finish_rewrites(archive, &mut report)?;
    let names = archive.parts()?;
    let headers = session_headers(archive, &names);
    let total = names.len() as u64;
    for (done, name) in (0_u64..).zip(names) {
        tell(done, total);
        let part = archive.layout.part(name);
        if is_readable(archive, name, &headers, &mut report)? {
            remove_uncommitted(archive, name, &mut report)?;
            let sealed = seal(archive, &part)?;
            report.parts += 1;
            report.messages += sealed.messages;
            report.segments += sealed.segments;
            report.torn_tail_bytes += sealed.torn_tail_bytes;
            report.promised_lost += sealed.promised_lost;
            let lost = sealed.lost.into_iter().filter(|_| !sealed.again);
            report.lost.extend(lost.map(|range| Lost { session_id: name.session_id, range }));
        }
    }
    end_sessions(archive, &mut report)?;
    if !archive.index_is_whole()? {
        super::reindex::reindex(archive)?;
    }
    archive.write_segment_list()?;
    archive.write_views()?;
    Ok(report)
}

/// Makes durable what the process before has left: it may have been killed, or have failed, between a rename and the
/// sync of its folder. What it renamed can be seen then and could still be undone by a power cut, after recovery has
/// removed what it replaced.
fn sync_names(archive: &Archive) -> Result<(), ArchiveError> {
    let layout = &archive.layout;
    for folder in [layout.root().to_owned(), layout.sessions(), layout.manifests(), layout.journal()] {
        // An archive that was copied without its empty folders is whole all the same.
        if folder.is_dir() {
            archive.disk.sync_dir(&folder).doing("sync", &folder)?;
        }
    }
    Ok(())
}

/// Case K.
fn empty_tmp(archive: &Archive, report: &mut RecoverReport) -> Result<(), ArchiveError> {
    let tmp = archive.layout.tmp();
    let _lock = archive.lock_sidecars()?;
    for path in archive.disk.list(&tmp).doing("list", &tmp)? {
        remove_if_there(&*archive.disk, &path)?;
        report.removed_files += 1;
    }
    Ok(())
}

/// Cases G and H: what cannot be read is removed or set aside here.
fn is_readable(
    archive: &Archive,
    name: PartName,
    headers: &HashMap<SessionId, SessionHeader>,
    report: &mut RecoverReport,
) -> Result<bool, ArchiveError> {
    let disk = &*archive.disk;
    let part = &*archive.layout.part(name);
    match PartReader::open(disk, part) {
        Ok(_) => return Ok(true),
        Err(JournalError::HeaderTorn { bytes, .. }) => {
            report.torn_tail_bytes += bytes;
            remove_if_there(disk, part)?;
        }
        Err(JournalError::HeaderDamaged { first_record, .. }) => {
            if let Some(session) = headers.get(&name.session_id) {
                make_header_again(archive, name, first_record, session)?;
                return Ok(true);
            }
            let mut aside = part.as_os_str().to_owned();
            aside.push(".damaged");
            let aside = PathBuf::from(aside);
            disk.rename(part, &aside).doing("rename to", &aside)?;
            report.set_aside.push(aside);
        }
        Err(error) => return Err(journal_error(part)(error)),
    }
    let journal = archive.layout.journal();
    disk.sync_dir(&journal).doing("sync", &journal)?;
    Ok(false)
}

/// What the readable parts say about their sessions.
fn session_headers(archive: &Archive, names: &[PartName]) -> HashMap<SessionId, SessionHeader> {
    let read = |name: &PartName| PartReader::open(&*archive.disk, &archive.layout.part(*name)).ok();
    let headers = names.iter().filter_map(read).map(|reader| reader.header().session.clone());
    headers.map(|session| (session.session_id, session)).collect()
}

/// Gives a part, before which all have been sealed, the header that it must have had.
fn make_header_again(
    archive: &Archive,
    name: PartName,
    first_record: u64,
    session: &SessionHeader,
) -> Result<(), ArchiveError> {
    let (disk, part) = (&*archive.disk, &*archive.layout.part(name));
    let before = archive.read_manifests_of(name.session_id)?.into_iter().filter(|m| m.part < name.part);
    let first_seq = before.map(|manifest| manifest.seq_end).max().unwrap_or(0);
    let header = PartHeader { session: session.clone(), part: name.part, first_seq };
    let tmp = archive.layout.tmp().join(format!("{name}.journal"));
    write_with_header(disk, (part, first_record), &header, &tmp).map_err(journal_error(part))?;
    disk.rename(&tmp, part).doing("rename to", part)?;
    let journal = archive.layout.journal();
    disk.sync_dir(&journal).doing("sync", &journal)
}

/// Cases B and D: what a part is about to be sealed into again goes first, so that no file is left
/// which the new manifest does not name.
fn remove_uncommitted(
    archive: &Archive,
    name: PartName,
    report: &mut RecoverReport,
) -> Result<(), ArchiveError> {
    let is_committed = |manifest: Manifest| manifest.generation > 0 || archive.has_files_of(&manifest);
    if archive.manifest_of(name)?.is_some_and(is_committed) {
        return Ok(());
    }
    for path in segment_files(archive)? {
        if PartName::of(&path) == Some(name) {
            let path = archive.root().join(path);
            remove_if_there(&*archive.disk, &path)?;
            report.removed_files += 1;
        }
    }
    Ok(())
}

/// Case L, for sessions that have no part left in the journal.
fn end_sessions(archive: &Archive, report: &mut RecoverReport) -> Result<(), ArchiveError> {
    let waiting: BTreeSet<SessionId> = archive.parts()?.into_iter().map(|part| part.session_id).collect();
    for sidecar in archive.read_sidecars()? {
        if sidecar.ended.is_none() && !waiting.contains(&sidecar.session_id) {
            archive.end_session_as(sidecar.session_id, None, Ended::Recovered)?;
            report.sessions.push(sidecar.session_id);
        }
    }
    Ok(())
}
