//! The parts that wait in the journal: whether what they hold can still be read.

use super::{Problem, VerifyReport, relative};
use crate::archive::Archive;
use crate::archive::durable::files_in;
use crate::archive::error::ArchiveError;
use crate::archive::layout::PartName;
use crate::archive::manifest::SeqRange;
use crate::archive::seal::journal_error;
use crate::journal::{JournalError, PartEnd, PartReader, parse_part_file_name};

/// What recovery would lose, set aside or miss.
pub(super) fn check(
    archive: &Archive,
    waiting: &[PartName],
    report: &mut VerifyReport,
) -> Result<(), ArchiveError> {
    for path in files_in(&*archive.disk, &archive.layout.journal(), "journal")? {
        if parse_part_file_name(&path).is_none() {
            let what = "it has no journal part's name: `telereel recover` looks into it".to_owned();
            report.problems.push(Problem::Unreadable { path: relative(archive, &path), what });
        }
    }
    for &name in waiting {
        let is_last =
            !waiting.iter().any(|other| other.session_id == name.session_id && other.part > name.part);
        if let Some(what) = fault(archive, name, is_last)? {
            let path = relative(archive, &archive.layout.part(name));
            report.problems.push(Problem::Unreadable { path, what });
        }
    }
    Ok(())
}

fn fault(archive: &Archive, name: PartName, is_last: bool) -> Result<Option<String>, ArchiveError> {
    let path = archive.layout.part(name);
    let mut reader = match PartReader::open(&*archive.disk, &path) {
        Ok(reader) => reader,
        // A cut while it was made leaves this.
        Err(JournalError::HeaderTorn { .. }) if is_last => return Ok(None),
        Err(
            error @ (JournalError::HeaderTorn { .. }
            | JournalError::HeaderDamaged { .. }
            | JournalError::NewerFormat { .. }),
        ) => return Ok(Some(error.to_string())),
        Err(error) => return Err(journal_error(&path)(error)),
    };
    let header = reader.header();
    let found = PartName { session_id: header.session.session_id, part: header.part };
    if found != name {
        return Ok(Some(format!("it is the part {found} under another name")));
    }
    while reader.next().map_err(journal_error(&path))?.is_some() {}
    Ok(match reader.end() {
        PartEnd::Clean => None,
        // A cut in the last write leaves this.
        PartEnd::TornTail { .. } if is_last => None,
        PartEnd::TornTail { offset, .. } => {
            Some(format!("it breaks off at byte {offset}, and another follows it"))
        }
        PartEnd::Damaged { ranges, lost_messages, .. } => {
            let seqs = ranges.iter().map(|damage| SeqRange::from(damage.seqs.clone()));
            let seqs: Vec<String> = seqs
                .take(3)
                .map(|range| format!("{} to {}", range.seq_start, range.seq_end.saturating_sub(1)))
                .collect();
            let seqs = seqs.join(", ");
            Some(format!("{lost_messages} messages in it are damaged: seq {seqs}"))
        }
    })
}
