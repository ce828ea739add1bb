//! Sealed segments: whether each is there, and as its manifest says.

use std::io::ErrorKind;

use super::rows::read_seqs;
use super::seqs::{Seen, known, length};
use super::{Problem, VerifyOptions, VerifyReport, relative};
use crate::archive::Archive;
use crate::archive::blocks;
use crate::archive::durable::checksum;
use crate::archive::error::{ArchiveError, IoContext, is_of_file};
use crate::archive::manifest::{Manifest, ManifestFile};
use crate::archive::rebuild::UNKNOWN;
use crate::archive::recover::Lost;

/// After a recovery, which looks into none of them. Adds what is missing or not as it was sealed to the `problems` that are known. `tell` is told how many segments of how
/// many have been read. The caller holds the archive's lock.
pub fn check_segments(
    archive: &Archive,
    problems: &mut Vec<Problem>,
    tell: &dyn Fn(u64, u64),
) -> Result<(), ArchiveError> {
    let manifests = archive.readable_manifests()?;
    let files: Vec<_> = manifests.iter().flat_map(|manifest| &manifest.files).collect();
    let mut report = VerifyReport::default();
    for (done, file) in (0_u64..).zip(&files) {
        tell(done, files.len() as u64);
        check_file(archive, file, VerifyOptions::default(), None, &mut report)?;
    }
    report.problems.retain(|problem| !problems.contains(problem));
    problems.append(&mut report.problems);
    Ok(())
}

/// All of one manifest.
pub(super) fn check_part(
    archive: &Archive,
    manifest: &Manifest,
    options: VerifyOptions,
    report: &mut VerifyReport,
    tell: &dyn Fn(u64),
) -> Result<(), ArchiveError> {
    let mut seen = Seen::new(manifest);
    if seen.is_none() {
        let path = relative(archive, &archive.layout.manifest(manifest.name()));
        let claimed = length(manifest);
        report.problems.push(Problem::Claims { path, claimed, known: known(manifest) });
    }
    let mut complete = true;
    for file in &manifest.files {
        report.segments += 1;
        report.messages = report.messages.saturating_add(file.rows);
        report.bytes_stored = report.bytes_stored.saturating_add(file.bytes);
        let problems = report.problems.len();
        check_file(archive, file, options, seen.as_mut(), report)?;
        complete &= report.problems.len() == problems;
        tell(report.segments);
    }
    let lost = manifest.lost.iter();
    report.known_lost.extend(lost.map(|&range| Lost { session_id: manifest.session_id, range }));
    let unknown = manifest.removed.iter().filter(|removed| removed.verb == UNKNOWN);
    report.unknown = unknown.fold(report.unknown, |all, removed| all.saturating_add(removed.messages()));
    let Some(mut seen) = seen else { return Ok(()) };
    for range in manifest
        .lost
        .iter()
        .chain(manifest.removed.iter().filter(|r| r.rows.is_none()).flat_map(|r| &r.ranges))
    {
        seen.mark_range(*range);
    }
    let counted = seen.mark_counted(&manifest.removed);
    // A file that is missing or broken has been named: its seqs need not be listed as well.
    if !options.quick && complete {
        let session_id = manifest.session_id;
        report.problems.extend(seen.missing().map(|range| Problem::SeqMissing { session_id, range }));
        let repeated = seen.repeated.into_iter();
        report.problems.extend(repeated.map(|range| Problem::SeqRepeated { session_id, range }));
        let removed = manifest.removed.iter().filter_map(|removed| removed.rows).sum();
        if counted != removed {
            report.problems.push(Problem::RemovedCount { session_id, expected: removed, found: counted });
        }
    }
    Ok(())
}

/// What is wrong with a file, looked into. That it cannot be for want of something that is not the file's is an error.
fn check_file(
    archive: &Archive,
    file: &ManifestFile,
    options: VerifyOptions,
    seen: Option<&mut Seen>,
    report: &mut VerifyReport,
) -> Result<(), ArchiveError> {
    let problem = match look_at(archive, file)? {
        None if !options.quick => match look_into(archive, file, seen) {
            Err(error) if error.is_damage() => {
                Some(Problem::Unreadable { path: file.path.clone(), what: error.what() })
            }
            found => found?,
        },
        problem => problem,
    };
    report.problems.extend(problem);
    Ok(())
}

/// What is wrong with a file, without reading it.
pub(in crate::archive) fn look_at(
    archive: &Archive,
    file: &ManifestFile,
) -> Result<Option<Problem>, ArchiveError> {
    let (path, full) = (file.path.clone(), archive.root().join(&file.path));
    match std::fs::metadata(&full) {
        Ok(metadata) if metadata.len() == file.bytes => Ok(None),
        Ok(metadata) => Ok(Some(Problem::Length { path, expected: file.bytes, found: metadata.len() })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(Problem::Missing { path })),
        Err(error) if is_of_file(&error) => Ok(Some(Problem::Unreadable { path, what: error.to_string() })),
        error => error.doing("look at", &full).map(|_| None),
    }
}

/// The same, reading all of it.
fn look_into(
    archive: &Archive,
    file: &ManifestFile,
    seen: Option<&mut Seen>,
) -> Result<Option<Problem>, ArchiveError> {
    let (path, full) = (file.path.clone(), archive.root().join(&file.path));
    let found = checksum(&full).doing("read", &full)?;
    if found != file.blake3 {
        return Ok(Some(Problem::Changed { path, expected: file.blake3.clone(), found }));
    }
    // What is read through them would be refused.
    if let Some(sums) = &file.blocks
        && !blocks::are_of(sums, &full).doing("read", &full)?
    {
        let what = "its blocks are not those of its manifest's checksums, though the whole is".to_owned();
        return Ok(Some(Problem::Unreadable { path, what }));
    }
    let found = read_seqs(&full, seen)?;
    if found.rows != file.rows {
        return Ok(Some(Problem::Rows { path, expected: file.rows, found: found.rows }));
    }
    // Scans go by them, and leave out what they say is not there.
    Ok(found.differs_from(file).map(|(what, expected)| Problem::Extremes { path, what, expected }))
}
