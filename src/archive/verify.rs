//! Verification: whether everything that the manifests promise is there, once, unchanged.

mod journal;
mod schema_files;
mod seqs;
mod texts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::seqs::{Seen, is_credible, known, length, read_seqs};
use super::Archive;
use super::blocks;
use super::catalog::difference;
use super::durable::{checksum, files_in};
use super::error::{ArchiveError, IoContext};
use super::layout::{PartName, SCHEMA_FILE};
use super::manifest::{Manifest, ManifestFile, SeqRange, split_covered};
use super::recover::Lost;
use super::rewrite::is_explained;
use super::sidecar::Sidecar;
use crate::index::IndexError;
use crate::message::SessionId;

/// What looks damaged while the archive changes is looked at again; a recorder changes it for ever.
const PASSES_MAX: u32 = 3;

/// How thorough to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Looks at lengths, not at contents: finds what is missing, not what has changed.
    pub quick: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VerifyReport {
    pub sessions: u64,
    pub segments: u64,
    pub messages: u64,
    pub bytes_stored: u64,
    /// Damage.
    pub problems: Vec<Problem>,
    /// Losses that recovery found and reported, written down in the manifests.
    pub known_lost: Vec<Lost>,
    /// No damage: journal parts that wait to be sealed, sessions without an end.
    pub leftovers: Vec<String>,
    /// A recorder is at work: what it has not sealed yet was left out.
    pub recording: bool,
}

/// One damage. The paths are relative to the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Problem {
    #[error("{path} is missing")]
    Missing { path: String },
    #[error("{path} has changed: its BLAKE3 is {found}, its manifest says {expected}")]
    Changed { path: String, expected: String, found: String },
    #[error("{path} has {found} bytes, its manifest says {expected}")]
    Length { path: String, expected: u64, found: u64 },
    #[error("{path} has {found} rows, its manifest says {expected}")]
    Rows { path: String, expected: u64, found: u64 },
    #[error("{path}: {what} in it, its manifest says {expected}")]
    Extremes { path: String, what: String, expected: String },
    #[error("{path} cannot be read: {what}")]
    Unreadable { path: String, what: String },
    #[error("{path} is named by no manifest")]
    Unnamed { path: String },
    #[error("session {session_id}: seq {} to {} are missing", range.seq_start, range.seq_end.saturating_sub(1))]
    SeqMissing { session_id: SessionId, range: SeqRange },
    #[error("session {session_id}: seq {} to {} are there more than once", range.seq_start, range.seq_end.saturating_sub(1))]
    SeqRepeated { session_id: SessionId, range: SeqRange },
    #[error(
        "session {session_id}: {found} rows are gone where its manifest says that {expected} were removed"
    )]
    RemovedCount { session_id: SessionId, expected: u64, found: u64 },
    #[error("{path} is damaged: it claims {claimed} messages, and says of {known} what became of them")]
    Claims { path: String, claimed: u64, known: u64 },
    #[error("session {session_id} has messages and no sidecar")]
    NoSidecar { session_id: SessionId },
    #[error("{path} was set aside: it cannot be read, or is not what it was called")]
    SetAside { path: String },
    #[error("archive.json was lost ({what}), and is written anew: check its `site`")]
    Description { what: String },
    #[error("index.sqlite: {what}; `telereel reindex` makes it again")]
    Index { what: String },
    #[error("segments.jsonl does not list the segments of the manifests; `telereel reindex` makes it again")]
    SegmentList,
}

impl VerifyReport {
    /// Whether there is no damage but what is already known.
    pub fn is_content(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Checks the whole archive.
pub fn verify(archive: &Archive, options: VerifyOptions) -> Result<VerifyReport, ArchiveError> {
    verify_telling(archive, options, &|_, _| ())
}

/// The same, and `tell` is told how many segments of how many have been looked at.
pub fn verify_telling(
    archive: &Archive,
    options: VerifyOptions,
    tell: &dyn Fn(u64, u64),
) -> Result<VerifyReport, ArchiveError> {
    for _ in 1..PASSES_MAX {
        let before = archive.generations()?;
        let report = look(archive, options, tell, archive.is_locked())?;
        // What upkeep has replaced in the meantime is not missing.
        if report.problems.is_empty() || archive.generations()? == before {
            return Ok(report);
        }
    }
    look(archive, options, tell, archive.is_locked())
}

/// What is missing or cannot be read, without a look into segments or index. The caller holds the archive's lock.
pub(super) fn survey(archive: &Archive) -> Result<Vec<Problem>, ArchiveError> {
    Ok(look(archive, VerifyOptions { quick: true }, &|_, _| (), true)?.problems)
}

fn look(
    archive: &Archive,
    options: VerifyOptions,
    tell: &dyn Fn(u64, u64),
    recording: bool,
) -> Result<VerifyReport, ArchiveError> {
    // In this order a seal that goes on at the same time is seen as waiting or as done, never as damage.
    let on_disk = segment_files(archive)?;
    let waiting = archive.parts()?;
    let mut report = VerifyReport { recording, ..VerifyReport::default() };
    let (sidecars, problems) = archive.look_into_sidecars()?;
    report.problems.extend(problems);
    let folder = archive.look_into_manifests(|_| true)?;
    report.problems.extend(folder.problems);
    let (mut manifests, damaged) = (folder.manifests, folder.damaged);
    // Half imported: what there is of them says nothing yet.
    let (cut, sidecars): (Vec<_>, Vec<_>) = sidecars.into_iter().partition(|sidecar| sidecar.importing);
    let is_cut = |id: SessionId| cut.iter().any(|sidecar| sidecar.session_id == id);
    let going = archive.sessions_going()?;
    manifests.retain(|manifest| !going.contains(&manifest.session_id) && !is_cut(manifest.session_id));
    let (manifests, covered) = split_covered(manifests);

    let total = manifests.iter().map(|manifest| manifest.files.len() as u64).sum();
    for manifest in &manifests {
        check_part(archive, manifest, options, &mut report, &|done| tell(done, total));
    }
    check_sessions(&manifests, &sidecars, &waiting, &mut report);
    let named: std::collections::HashSet<&str> =
        manifests.iter().flat_map(|m| &m.files).map(|file| file.path.as_str()).collect();
    for path in on_disk {
        let text = path.to_string_lossy().into_owned();
        let name = PartName::of(&path);
        let goes = name.is_some_and(|part| going.contains(&part.session_id) || is_cut(part.session_id));
        if named.contains(text.as_str()) || name.is_some_and(|part| waiting.contains(&part)) || goes {
            continue;
        }
        // Its manifest has been told: what that named cannot be said.
        if name.is_some_and(|part| damaged.contains(&part)) {
            continue;
        }
        if !is_explained(archive, &path, &manifests) {
            report.problems.push(Problem::Unnamed { path: text });
        } else if !recording {
            report
                .leftovers
                .push(format!("{text} was replaced, or made and not used: run `telereel recover`"));
        }
    }
    let sources = sidecars.iter().flat_map(|sidecar| &sidecar.sources);
    let begun = sources.flat_map(|source| source.kinds.iter().map(|kind| (&source.vendor, kind)));
    let files = manifests.iter().flat_map(|manifest| &manifest.files);
    let recorded = files.map(|file| (&file.vendor, &file.kind)).chain(begun);
    let recorded = recorded.map(|(vendor, kind)| (vendor.clone(), kind.clone())).collect();
    schema_files::check(archive, recorded, &mut report)?;
    if !recording {
        for sidecar in &cut {
            report
                .leftovers
                .push(format!("session {} is half imported: run `telereel recover`", sidecar.name));
        }
        for manifest in covered {
            let name = manifest.name();
            report.leftovers.push(format!("manifests/{name}.json was replaced: run `telereel recover`"));
        }
        for session_id in going {
            report
                .leftovers
                .push(format!("session {session_id} is not removed whole: run `telereel recover`"));
        }
        if cut.is_empty() {
            check_index(archive, (&manifests, &damaged), &sidecars, options, &mut report);
            if !archive.segment_list_is_right(&manifests, &damaged) {
                report.problems.push(Problem::SegmentList);
            }
        }
        for part in &waiting {
            report.leftovers.push(format!("journal/{part}.journal is not sealed: run `telereel recover`"));
        }
        texts::check(archive, &mut report);
        for folder in [archive.layout.journal(), archive.layout.sessions()] {
            for path in files_in(&*archive.disk, &folder, "damaged")? {
                report.problems.push(Problem::SetAside { path: relative(archive, &path) });
            }
        }
        if !options.quick {
            journal::check(archive, &waiting, &mut report)?;
        }
    }
    Ok(report)
}

fn check_part(
    archive: &Archive,
    manifest: &Manifest,
    options: VerifyOptions,
    report: &mut VerifyReport,
    tell: &dyn Fn(u64),
) {
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
        check_file(archive, file, options, seen.as_mut(), report);
        complete &= report.problems.len() == problems;
        tell(report.segments);
    }
    let lost = manifest.lost.iter();
    report.known_lost.extend(lost.map(|&range| Lost { session_id: manifest.session_id, range }));
    let Some(mut seen) = seen else { return };
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
}

fn check_file(
    archive: &Archive,
    file: &ManifestFile,
    options: VerifyOptions,
    seen: Option<&mut Seen>,
    report: &mut VerifyReport,
) {
    if let Some(problem) = look_at(archive, file) {
        return report.problems.push(problem);
    }
    if options.quick {
        return;
    }
    let full = archive.root().join(&file.path);
    let path = file.path.clone();
    match checksum(&full) {
        Ok(found) if found == file.blake3 => {}
        Ok(found) => {
            let expected = file.blake3.clone();
            return report.problems.push(Problem::Changed { path, expected, found });
        }
        Err(error) => return report.problems.push(Problem::Unreadable { path, what: error.to_string() }),
    }
    // What is read through them would be refused.
    if let Some(sums) = &file.blocks
        && !blocks::are_of(sums, &full).is_ok_and(|are_of| are_of)
    {
        let what = "its blocks are not those of its manifest's checksums, though the whole is".to_owned();
        return report.problems.push(Problem::Unreadable { path, what });
    }
    match read_seqs(&full, seen) {
        Ok(found) if found.rows != file.rows => {
            report.problems.push(Problem::Rows { path, expected: file.rows, found: found.rows });
        }
        // Scans go by them, and leave out what they say is not there.
        Ok(found) => {
            if let Some((what, expected)) = found.differs_from(file) {
                report.problems.push(Problem::Extremes { path, what, expected });
            }
        }
        Err(what) => report.problems.push(Problem::Unreadable { path, what }),
    }
}

/// What is wrong with a file, without reading it.
pub(super) fn look_at(archive: &Archive, file: &ManifestFile) -> Option<Problem> {
    let path = file.path.clone();
    match std::fs::metadata(archive.root().join(&path)) {
        Ok(metadata) if metadata.len() == file.bytes => None,
        Ok(metadata) => Some(Problem::Length { path, expected: file.bytes, found: metadata.len() }),
        Err(_) => Some(Problem::Missing { path }),
    }
}

fn check_sessions(
    manifests: &[Manifest],
    sidecars: &[Sidecar],
    waiting: &[PartName],
    report: &mut VerifyReport,
) {
    let mut sessions: BTreeMap<SessionId, (Option<&Sidecar>, Vec<&Manifest>)> = BTreeMap::new();
    for sidecar in sidecars {
        sessions.entry(sidecar.session_id).or_default().0 = Some(sidecar);
    }
    for manifest in manifests {
        sessions.entry(manifest.session_id).or_default().1.push(manifest);
    }
    for part in waiting {
        sessions.entry(part.session_id).or_default();
    }
    report.sessions = sessions.len() as u64;
    for (session_id, (sidecar, mut parts)) in sessions {
        parts.sort_by_key(|part| part.part);
        let mut next = Some(0);
        for part in parts {
            check_step(session_id, next, part.seq_start, report);
            // Of what is damaged nothing follows for the others.
            next = is_credible(part).then_some(part.seq_end);
        }
        let Some(sidecar) = sidecar else {
            report.problems.push(Problem::NoSidecar { session_id });
            continue;
        };
        let is_waiting = waiting.iter().any(|part| part.session_id == session_id);
        match sidecar.messages {
            Some(messages) => check_step(session_id, next, messages, report),
            None if !report.recording && !is_waiting => report
                .leftovers
                .push(format!("session {} ({session_id}) has no end: run `telereel recover`", sidecar.name)),
            None => {}
        }
    }
}

fn check_step(session_id: SessionId, expected: Option<u64>, found: u64, report: &mut VerifyReport) {
    let Some(expected) = expected else { return };
    if found > expected {
        report.problems.push(Problem::SeqMissing { session_id, range: (expected..found).into() });
    } else if found < expected {
        report.problems.push(Problem::SeqRepeated { session_id, range: (found..expected).into() });
    }
}

/// What it knows of parts whose manifest cannot be read is not held against it.
fn check_index(
    archive: &Archive,
    (manifests, damaged): (&[Manifest], &[PartName]),
    sidecars: &[Sidecar],
    options: VerifyOptions,
    report: &mut VerifyReport,
) {
    let complaint = (|| {
        let index = archive.open_index()?;
        if let Some(said) = if options.quick { index.integrity()? } else { index.whole_integrity()? } {
            return Ok(Some(said));
        }
        let mut differs = difference(&index, sidecars, manifests, damaged)?;
        if differs.is_none() && !options.quick {
            differs = archive.link_difference(&index, manifests, damaged)?;
        }
        Ok::<_, IndexError>(differs.map(str::to_owned))
    })();
    match complaint {
        Ok(None) => {}
        Ok(Some(what)) => report.problems.push(Problem::Index { what }),
        Err(IndexError::Older { .. }) => {
            let what =
                "index.sqlite is an older telereel's: it is brought up to date by the next that writes to it";
            report.leftovers.push(format!("{what}, or by `telereel reindex`"));
        }
        // An archive in which nothing was ever recorded has none.
        Err(_) if !archive.layout.index().exists() && sidecars.is_empty() => {}
        Err(error) => {
            if error.lacks_room() && archive.layout.index().exists() {
                let what = format!(
                    "index.sqlite could not be looked into, {}: make room, and verify again",
                    error.what()
                );
                return report.leftovers.push(what);
            }
            report.problems.push(Problem::Index { what: error.what() });
        }
    }
}

/// All Parquet files in `data/` that hold messages, relative to the archive, sorted.
pub(super) fn segment_files(archive: &Archive) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut found = Vec::new();
    walk_data(archive, |path, is_folder| {
        let is_segment = path.extension().is_some_and(|e| e == "parquet")
            && path.file_name().is_some_and(|n| n != SCHEMA_FILE);
        if !is_folder && is_segment {
            found.push(path.strip_prefix(archive.root()).unwrap_or(path).to_owned());
        }
    })?;
    found.sort();
    Ok(found)
}

/// All folders within `data/`.
pub(super) fn data_folders(archive: &Archive) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut found = Vec::new();
    walk_data(archive, |path, is_folder| found.extend(is_folder.then(|| path.to_owned())))?;
    Ok(found)
}

/// Tells of all that lies within `data/`, and whether it is a folder.
fn walk_data(archive: &Archive, mut tell: impl FnMut(&Path, bool)) -> Result<(), ArchiveError> {
    let mut folders = vec![archive.layout.data()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.doing("list", &folder)?,
        };
        for entry in entries {
            let entry = entry.doing("list", &folder)?;
            let path = entry.path();
            // What a link leads to is not the archive's.
            let is_folder = entry.file_type().doing("look at", &path)?.is_dir();
            tell(&path, is_folder);
            if is_folder {
                folders.push(path);
            }
        }
    }
    Ok(())
}

pub(super) fn relative(archive: &Archive, path: &Path) -> String {
    path.strip_prefix(archive.root()).unwrap_or(path).to_string_lossy().into_owned()
}
