//! Journal parts, before they are sealed: their names, their headers, and what an earlier attempt has left.

use std::collections::HashMap;

use super::RecoverReport;
use crate::archive::Archive;
use crate::archive::durable::{files_in, is_there, remove_if_there, set_aside};
use crate::archive::error::{ArchiveError, IoContext};
use crate::archive::layout::{PartName, is_plain};
use crate::archive::mend::Mended;
use crate::archive::seal::journal_error;
use crate::archive::verify::{relative, segment_files};
use crate::journal::{
    FILE_HEAD_BYTES, JournalError, PartHeader, PartReader, parse_part_file_name, write_with_header,
};
use crate::message::{SessionHeader, SessionId};

/// Case P. A part under a wrong name would be sealed twice, or as another's.
pub(super) fn put_names_right(archive: &Archive, report: &mut RecoverReport) -> Result<(), ArchiveError> {
    let (disk, journal) = (&*archive.disk, archive.layout.journal());
    for path in files_in(disk, &journal, "journal")? {
        let by_name = parse_part_file_name(&path).map(|(session_id, part)| PartName { session_id, part });
        let reader = match PartReader::open(disk, &path) {
            Ok(reader) => reader,
            Err(error @ JournalError::Io { .. }) => return Err(journal_error(&path)(error)),
            // Nothing tells whose it is, and under this name nobody would look at it again.
            Err(
                JournalError::HeaderTorn { .. }
                | JournalError::HeaderDamaged { .. }
                | JournalError::NotItsOwn { .. },
            ) if by_name.is_none() => {
                report.set_aside.push(set_aside(disk, &path)?);
                continue;
            }
            Err(_) => continue,
        };
        let header = reader.header();
        let name = PartName { session_id: header.session.session_id, part: header.part };
        let mut sources = header.session.sources.iter();
        let is_sane = sources
            .all(|source| is_plain(&source.vendor) && source.kinds.iter().all(|kind| is_plain(&kind.name)));
        if by_name == Some(name) && is_sane {
            continue;
        }
        let right = archive.layout.part(name);
        let is_free = !is_there(disk, &right)? && matches!(archive.manifest_of(name), Ok(None));
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
pub(in crate::archive) fn is_readable(
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
            let session = match headers.get(&name.session_id) {
                Some(session) => Some(session.clone()),
                None => archive.session_header(name.session_id)?,
            };
            // Where it begins stands in the manifest before it.
            if let (Some(session), Some(first_seq)) = (session, archive.seq_end_before(name)?) {
                let has_holes = has_holes(&disk.read(part).doing("read", part)?, first_record);
                make_header_again(archive, (name, first_seq), first_record, &session)?;
                // What was written in one go with the records behind it, and never synced, is no damage.
                if !has_holes || had_been_synced(archive, name, first_seq)? {
                    let of =
                        "in its header, of what else tells of its session; its messages count as others do";
                    report.mended.push(Mended {
                        path: relative(archive, part),
                        of: of.into(),
                        set_aside: None,
                    });
                }
                return Ok(true);
            }
            report.set_aside.push(set_aside(disk, part)?);
        }
        // Under this name its records would count as torn, and go with it.
        Err(JournalError::NotItsOwn { .. }) => report.set_aside.push(set_aside(disk, part)?),
        Err(error) => return Err(journal_error(part)(error)),
    }
    let journal = archive.layout.journal();
    disk.sync_dir(&journal).doing("sync", &journal)?;
    Ok(false)
}

/// Whether bytes before the first record have never reached the disk: a file system shows zeroes there. A text has none,
/// and one flipped bit makes no two of them.
fn has_holes(part: &[u8], first_record: u64) -> bool {
    let end = usize::try_from(first_record).unwrap_or(usize::MAX).min(part.len());
    part[FILE_HEAD_BYTES.min(end)..end].windows(2).any(|pair| pair == [0, 0])
}

/// Whether a record tells that some of its part, or all before it, had been on disk when it was written.
fn had_been_synced(archive: &Archive, name: PartName, first_seq: u64) -> Result<bool, ArchiveError> {
    let part = archive.layout.part(name);
    let mut reader = PartReader::open(&*archive.disk, &part).map_err(journal_error(&part))?;
    while reader.next().map_err(journal_error(&part))?.is_some() {}
    Ok(reader.durable_seq() > first_seq)
}

/// What the readable parts say about their sessions.
pub(super) fn session_headers(
    archive: &Archive,
    names: &[PartName],
) -> Result<HashMap<SessionId, SessionHeader>, ArchiveError> {
    let mut headers = HashMap::new();
    for name in names {
        let path = archive.layout.part(*name);
        match PartReader::open(&*archive.disk, &path) {
            Ok(reader) => drop(headers.insert(name.session_id, reader.header().session.clone())),
            Err(error @ JournalError::Io { .. }) => return Err(journal_error(&path)(error)),
            Err(_) => {}
        }
    }
    Ok(headers)
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

/// A process that was killed may not have synced all that can be read of its part. Were it sealed so, a power cut before
/// the manifest would leave segments whose part is torn. Where the disk refuses, what can still be read is all the same
/// better sealed than not.
pub(super) fn sync_part(archive: &Archive, name: PartName) {
    let part = archive.layout.part(name);
    if let Err(error) = archive.disk.sync_file(&part) {
        tracing::warn!("cannot sync {}: {error}; it is sealed as it can be read", relative(archive, &part));
    }
}

/// Cases B and D: what a part is about to be sealed into again goes first, so that no file is left
/// which the new manifest does not name.
pub(super) fn remove_uncommitted(
    archive: &Archive,
    name: PartName,
    report: &mut RecoverReport,
) -> Result<(), ArchiveError> {
    if let Some(manifest) = archive.manifest_of(name)?
        && archive.is_committed(&manifest)?
    {
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
