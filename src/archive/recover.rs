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
//!                                                                                 session, or from the sidecar,
//!                                                                                 and told, then as F; without
//!                                                                                 these the part is kept as
//!                                                                                 *.journal.damaged and lost
//!                                                                                 by the next manifest
//! I  manifest, no part                             sealed                         nothing
//! J  files in data that no manifest names, no part not by a crash: parts go last  as Q
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
//! P  part under a name that is not its header's,   somebody's copy                given its name; where that is
//!    or not its records' and with a broken header                                 taken, sealed or unknown, set aside
//! Q  manifest that is missing or cannot be read    the disk                       made anew of its segments where
//!                                                                                 that is safe (`rebuild`), the old
//!                                                                                 kept as *.damaged; else told,
//!                                                                                 nothing of its session is removed,
//!                                                                                 its part waits
//! R  sidecar or declaration that is missing or     the disk                       made anew, a sidecar from the header
//!    cannot be read                                                               of a part, else of what index and
//!                                                                                 segments have; the old is set aside
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

mod parts;
mod report;

use std::collections::BTreeSet;

use super::Archive;
use super::at_hand::AtHand;
use super::durable::{is_there, remove_if_there};
use super::error::{ArchiveError, IoContext, is_for_room};
use super::intake::take_back;
use super::manifest::split_covered;
use super::manifests::ManifestFolder;
use super::open::write_readme;
use super::rebuild::{Rebuilding, rebuild_manifests};
use super::reindex::index_anew;
use super::rewrite::{finish_removals, finish_rewrites};
use super::seal::seal;
use super::sidecar::{Ended, Sidecar};
use super::verify::Problem;
use super::verify::{data_folders, survey};
use crate::message::SessionId;

pub(super) use self::parts::is_readable;
use self::parts::{put_names_right, remove_uncommitted, session_headers, sync_part};
pub use self::report::{Lost, RecoverReport};

/// Seals what a crash left behind. The caller holds the archive's lock, and no recorder runs.
pub fn recover(archive: &Archive) -> Result<RecoverReport, ArchiveError> {
    recover_telling(archive, &|_, _| ())
}

/// The same, and `tell` is told how many journal parts of how many are done.
pub fn recover_telling(archive: &Archive, tell: &dyn Fn(u64, u64)) -> Result<RecoverReport, ArchiveError> {
    let mut report = RecoverReport::default();
    let rest = put_in_order(archive, &mut report)?;
    seal_all(archive, rest, &mut report, tell)?;
    Ok(report)
}

/// The same for whoever is about to remove something: where there is no room for what it makes, all is as it was left but
/// for what could be put in order without, and it answers with the error as well. What waits in the journal still waits
/// then, and its sessions have no end.
pub fn recover_as_room_allows(
    archive: &Archive,
) -> Result<(RecoverReport, Option<ArchiveError>), ArchiveError> {
    let mut report = RecoverReport::default();
    let rest = put_in_order(archive, &mut report)?;
    match seal_all(archive, rest, &mut report, &|_, _| ()) {
        Err(error) if is_for_room(&error) => Ok((report, Some(error))),
        sealed => sealed.map(|()| (report, None)),
    }
}

/// What is sealed so far, after all that could be put in order.
struct InOrder {
    folder: ManifestFolder,
    /// Manifests that cannot be made anew.
    refused: Vec<Problem>,
}

/// What a cut left half done is done, and what is lost of the small files is made anew. Of an archive that is whole it
/// needs no room.
fn put_in_order(archive: &Archive, report: &mut RecoverReport) -> Result<InOrder, ArchiveError> {
    sync_names(archive)?;
    if !archive.index_is_sound() {
        index_anew(archive)?;
    }
    empty_tmp(archive, report)?;
    report.taken_back = take_back(archive)?.into_iter().map(|sidecar| sidecar.name).collect();
    finish_removals(archive, report)?;
    let mut folder = finish_rewrites(archive, report)?;
    let at_hand = AtHand::of(archive)?;
    let Rebuilding { rebuilt, refused } = rebuild_manifests(archive, &folder, &at_hand)?;
    if !rebuilt.is_empty() {
        folder = archive.look_into_manifests(|_| true)?;
        folder.manifests = split_covered(folder.manifests).0;
    }
    report.rebuilt = rebuilt;
    report.mended = archive.mend_declarations()?;
    report.mended.extend(archive.mend_sidecars(&folder.manifests, &refused, &at_hand)?);
    put_names_right(archive, report)?;
    Ok(InOrder { folder, refused })
}

fn seal_all(
    archive: &Archive,
    InOrder { mut folder, refused }: InOrder,
    report: &mut RecoverReport,
    tell: &dyn Fn(u64, u64),
) -> Result<(), ArchiveError> {
    let names = archive.parts()?;
    let mut held = BTreeSet::new();
    let headers = session_headers(archive, &names)?;
    let total = names.len() as u64;
    for (done, name) in (0_u64..).zip(names) {
        tell(done, total);
        let part = archive.layout.part(name);
        // Whether it has been sealed cannot be said; what comes after it has to wait for it.
        if folder.damaged.contains(&name) || held.contains(&name.session_id) {
            held.insert(name.session_id);
            continue;
        }
        if is_readable(archive, name, &headers, report)? {
            remove_uncommitted(archive, name, report)?;
            sync_part(archive, name);
            let sealed = seal(archive, &part)?;
            report.parts += 1;
            report.messages += sealed.messages;
            report.segments += sealed.segments;
            report.torn_tail_bytes += sealed.torn_tail_bytes;
            report.promised_lost += sealed.promised_lost;
            report.set_aside.extend(sealed.set_aside);
            let lost = sealed.lost.into_iter().filter(|_| !sealed.again);
            report.lost.extend(lost.map(|range| Lost { session_id: name.session_id, range }));
            folder.renew(name, archive.read_manifest(name)?);
        }
    }
    end_sessions(archive, report)?;
    if !archive.index_is_whole(&folder)? {
        index_anew(archive)?;
    }
    archive.write_segment_list()?;
    archive.mend_schema_files()?;
    archive.write_views()?;
    if !is_there(&*archive.disk, &archive.layout.readme())? {
        write_readme(&archive.layout, &*archive.disk)?;
    }
    report.problems = survey(archive, folder)?;
    report.problems.extend(refused);
    Ok(())
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
    } else {
        // A folder of a new day may have been made and its name not be durable: sealing again would find it there.
        folders.extend(archive.partition_folders()?);
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
    // Nothing is missed that was in it: it may have been left out of a copy.
    archive.disk.create_dir_all(&tmp).doing("create", &tmp)?;
    let _lock = archive.lock_sidecars()?;
    for path in archive.disk.list(&tmp).doing("list", &tmp)? {
        remove_if_there(&*archive.disk, &path)?;
        report.removed_files += 1;
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
