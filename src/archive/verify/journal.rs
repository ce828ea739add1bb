//! The parts that wait in the journal: whether what they hold can still be read.
//!
//! A session that lost its only part before anything of it was sealed looks as one that was killed before its first
//! part was made: the sidecar is written before that, and not again until the session ends.

use std::collections::HashMap;
use std::ops::Range;

use super::{Problem, VerifyReport, relative};
use crate::archive::Archive;
use crate::archive::durable::files_in;
use crate::archive::error::ArchiveError;
use crate::archive::layout::PartName;
use crate::archive::manifest::{Manifest, SeqRange};
use crate::archive::seal::journal_error;
use crate::archive::sidecar::Sidecar;
use crate::journal::{JournalError, PartEnd, PartReader, parse_part_file_name};
use crate::message::SessionId;

/// What recovery would lose, set aside or miss. `manifests` are those that count, `unreadable` those that do not; the
/// `sidecars` tell how far a session without an end had come.
pub(super) fn check(
    archive: &Archive,
    waiting: &[PartName],
    (manifests, unreadable): (&[Manifest], &[PartName]),
    sidecars: &[Sidecar],
    report: &mut VerifyReport,
) -> Result<(), ArchiveError> {
    for path in files_in(&*archive.disk, &archive.layout.journal(), "journal")? {
        if parse_part_file_name(&path).is_none() {
            let what = "it has no journal part's name: `telereel recover` looks into it".to_owned();
            report.problems.push(Problem::Unreadable { path: relative(archive, &path), what });
        }
    }
    // Where each session's messages end that are known so far; not where that cannot be said.
    let mut ends: HashMap<SessionId, Option<u64>> = HashMap::new();
    for &name in waiting {
        let session_id = name.session_id;
        let is_last = !waiting.iter().any(|other| other.session_id == session_id && other.part > name.part);
        let path = relative(archive, &archive.layout.part(name));
        let sealed = manifests.iter().filter(|m| m.session_id == session_id && m.part < name.part);
        let sealed_end = sealed.map(|manifest| manifest.seq_end).max().unwrap_or(0);
        let is_known = !unreadable.iter().any(|of| of.session_id == session_id);
        let before = ends.get(&session_id).copied().unwrap_or(Some(0)).filter(|_| is_known);
        let end = match look_into(archive, name, is_last)? {
            Found::Seqs(seqs) => {
                if let Some(before) = before.map(|end| end.max(sealed_end)).filter(|end| *end < seqs.start) {
                    let range = SeqRange { seq_start: before, seq_end: seqs.start };
                    let before = name.part.checked_sub(1).map(|part| PartName { part, ..name });
                    let gone = before.filter(|part| !waiting.contains(part));
                    let path = gone.map(|part| relative(archive, &archive.layout.part(part)));
                    report.problems.extend(path.map(|path| Problem::Missing { path }));
                    report.problems.push(Problem::SeqMissing { session_id, range });
                }
                Some(seqs.end)
            }
            Found::Fault(what) => {
                report.problems.push(Problem::Unreadable { path, what });
                None
            }
            Found::Nothing => before.map(|end| end.max(sealed_end)),
        };
        ends.insert(session_id, end);
    }
    let cut = sidecars.iter().filter(|sidecar| sidecar.ended.is_none() && archive.has_journal());
    for sidecar in cut {
        let session_id = sidecar.session_id;
        let sealed = || manifests.iter().filter(|manifest| manifest.session_id == session_id);
        let is_known = !unreadable.iter().any(|of| of.session_id == session_id);
        let sealed_end = || is_known.then(|| sealed().map(|manifest| manifest.seq_end).max().unwrap_or(0));
        let Some(end) = ends.get(&session_id).copied().unwrap_or_else(sealed_end) else { continue };
        if end >= sidecar.reached {
            continue;
        }
        if !ends.contains_key(&session_id) {
            let part = sealed().map(Manifest::last_part).max().map_or(0, |last| last + 1);
            let path = relative(archive, &archive.layout.part(PartName { session_id, part }));
            report.problems.push(Problem::Missing { path });
        }
        let range = SeqRange { seq_start: end, seq_end: sidecar.reached };
        report.problems.push(Problem::SeqMissing { session_id, range });
    }
    Ok(())
}

enum Found {
    /// Whole, with these.
    Seqs(Range<u64>),
    Fault(String),
    /// Neither good nor bad can be said of it.
    Nothing,
}

fn look_into(archive: &Archive, name: PartName, is_last: bool) -> Result<Found, ArchiveError> {
    let path = archive.layout.part(name);
    let mut reader = match PartReader::open(&*archive.disk, &path) {
        Ok(reader) => reader,
        // A cut while it was made leaves this.
        Err(JournalError::HeaderTorn { .. }) if is_last => return Ok(Found::Nothing),
        Err(
            error @ (JournalError::HeaderTorn { .. }
            | JournalError::HeaderDamaged { .. }
            | JournalError::NotItsOwn { .. }
            | JournalError::NewerFormat { .. }),
        ) => return Ok(Found::Fault(error.to_string())),
        // Sealed meanwhile: what became of it is in its manifest, which counts from the next look on.
        Err(JournalError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Found::Nothing);
        }
        Err(error) => return Err(journal_error(&path)(error)),
    };
    let header = reader.header();
    let found = PartName { session_id: header.session.session_id, part: header.part };
    if found != name {
        return Ok(Found::Fault(format!("it is the part {found} under another name")));
    }
    let first_seq = header.first_seq;
    while reader.next().map_err(journal_error(&path))?.is_some() {}
    Ok(match reader.end() {
        PartEnd::Clean => Found::Seqs(first_seq..reader.next_seq()),
        // A cut in the last write leaves this.
        PartEnd::TornTail { .. } if is_last => Found::Seqs(first_seq..reader.next_seq()),
        PartEnd::TornTail { offset, .. } => {
            Found::Fault(format!("it breaks off at byte {offset}, and another follows it"))
        }
        PartEnd::Damaged { ranges, lost_messages, .. } => {
            let seqs = ranges.iter().map(|damage| SeqRange::from(damage.seqs.clone()));
            let seqs: Vec<String> = seqs
                .take(3)
                .map(|range| format!("{} to {}", range.seq_start, range.seq_end.saturating_sub(1)))
                .collect();
            let seqs = seqs.join(", ");
            Found::Fault(format!("{lost_messages} messages in it are damaged: seq {seqs}"))
        }
    })
}
