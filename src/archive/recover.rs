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
//! P  part under a name that is not its header's    somebody's copy                given its name; where that is
//!                                                                                 taken or sealed, set aside
//! Q  manifest that cannot be read, or is called    the disk, somebody's copy      told; nothing of its session is
//!    otherwise than it calls itself                                               removed, its part waits
//! R  sidecar that cannot be read                   the disk                       told; made anew from the header of
//!                                                                                 a part, then the old is set aside
//! S  archive.json that is missing or broken        the disk                       written anew (`open`)
//! T  zero-row file that is broken                  the disk                       made anew (`views`)
//! U  segment missing, seqs that nothing has        the disk                       told
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
use super::durable::{files_in, remove_if_there, set_aside};
use super::error::{ArchiveError, IoContext};
use super::intake::take_back;
use super::layout::{PartName, is_plain};
use super::manifest::SeqRange;
use super::open::write_readme;
use super::rewrite::{finish_removals, finish_rewrites};
use super::seal::{journal_error, seal};
use super::sidecar::{Ended, Sidecar};
use super::verify::{Problem, data_folders, relative, segment_files, survey};
use crate::journal::{JournalError, PartHeader, PartReader, parse_part_file_name, write_with_header};
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
    /// Journal parts and sidecars that cannot be read or are not what their names say, kept under these names.
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
    /// What is missing or cannot be read, as far as that can be seen without looking into segments. Nothing that it
    /// may be about was removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
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
        self.promised_lost > 0 || !self.set_aside.is_empty() || !self.problems.is_empty()
    }

    /// What [`has_loss`](Self::has_loss) is about, in one line.
    pub fn loss(&self) -> String {
        let lost = self.lost_messages();
        let mut said = Vec::new();
        if lost > 0 {
            said.push(format!("lost: {lost} messages of an earlier recording"));
        }
        said.extend(
            self.set_aside.iter().map(|path| format!("cannot be read, and kept as {}", path.display())),
        );
        said.extend(self.problems.first().map(|problem| format!("damage: {problem}")));
        if self.problems.len() > 1 {
            said.push(format!("and {} more", self.problems.len() - 1));
        }
        said.join("; ")
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
    let unreadable = finish_rewrites(archive, &mut report)?;
    put_names_right(archive, &mut report)?;
    let names = archive.parts()?;
    let mut held = BTreeSet::new();
    let headers = session_headers(archive, &names);
    let total = names.len() as u64;
    for (done, name) in (0_u64..).zip(names) {
        tell(done, total);
        let part = archive.layout.part(name);
        // Whether it has been sealed cannot be said; what comes after it has to wait for it.
        if unreadable.contains(&name) || held.contains(&name.session_id) {
            held.insert(name.session_id);
            continue;
        }
        if is_readable(archive, name, &headers, &mut report)? {
            remove_uncommitted(archive, name, &mut report)?;
            let sealed = seal(archive, &part)?;
            report.parts += 1;
            report.messages += sealed.messages;
            report.segments += sealed.segments;
            report.torn_tail_bytes += sealed.torn_tail_bytes;
            report.promised_lost += sealed.promised_lost;
            report.set_aside.extend(sealed.set_aside);
            let lost = sealed.lost.into_iter().filter(|_| !sealed.again);
            report.lost.extend(lost.map(|range| Lost { session_id: name.session_id, range }));
        }
    }
    end_sessions(archive, &mut report)?;
    if !archive.index_is_whole()? {
        super::reindex::reindex(archive)?;
    }
    archive.write_segment_list()?;
    archive.mend_schema_files()?;
    archive.write_views()?;
    if archive.disk.len(&archive.layout.readme()).is_err() {
        write_readme(&archive.layout, &*archive.disk)?;
    }
    report.problems = survey(archive)?;
    Ok(report)
}

/// Makes durable what the process before has left: it may have been killed, or have failed, between a rename and the
/// sync of its folder. What it renamed can be seen then and could still be undone by a power cut, after recovery has
/// removed what it replaced. Segments that it removed with their session could come back when nothing knows them any
/// more, and in which folders they were, nothing says.
fn sync_names(archive: &Archive) -> Result<(), ArchiveError> {
    let layout = &archive.layout;
    let mut folders = vec![layout.root().to_owned(), layout.sessions(), layout.manifests(), layout.journal()];
    let is_coming = |sidecar: &Sidecar| sidecar.importing;
    if !archive.sessions_going()?.is_empty() || archive.read_sidecars()?.iter().any(is_coming) {
        folders.extend(data_folders(archive)?);
    }
    for folder in folders {
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

/// Case P. A part under a wrong name would be sealed twice, or as another's.
fn put_names_right(archive: &Archive, report: &mut RecoverReport) -> Result<(), ArchiveError> {
    let (disk, journal) = (&*archive.disk, archive.layout.journal());
    for path in files_in(disk, &journal, "journal")? {
        let Ok(reader) = PartReader::open(disk, &path) else { continue };
        let header = reader.header();
        let name = PartName { session_id: header.session.session_id, part: header.part };
        let mut sources = header.session.sources.iter();
        let is_sane = sources
            .all(|source| is_plain(&source.vendor) && source.kinds.iter().all(|kind| is_plain(&kind.name)));
        let by_name = parse_part_file_name(&path).map(|(session_id, part)| PartName { session_id, part });
        if by_name == Some(name) && is_sane {
            continue;
        }
        let right = archive.layout.part(name);
        let is_free = disk.len(&right).is_err() && matches!(archive.manifest_of(name), Ok(None));
        if is_sane && is_free {
            tracing::warn!("{} is the journal part {name}: it gets its name again", relative(archive, &path));
            disk.rename(&path, &right).doing("rename to", &right)?;
            disk.sync_dir(&journal).doing("sync", &journal)?;
        } else {
            report.set_aside.push(set_aside(disk, &path)?);
        }
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
            // Where it begins stands in the manifest before it.
            if let (Some(session), Some(first_seq)) =
                (headers.get(&name.session_id), archive.seq_end_before(name)?)
            {
                make_header_again(archive, (name, first_seq), first_record, session)?;
                return Ok(true);
            }
            report.set_aside.push(set_aside(disk, part)?);
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
    (name, first_seq): (PartName, u64),
    first_record: u64,
    session: &SessionHeader,
) -> Result<(), ArchiveError> {
    let (disk, part) = (&*archive.disk, &*archive.layout.part(name));
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
    if archive.manifest_of(name)?.is_some_and(|manifest| archive.is_committed(&manifest)) {
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
