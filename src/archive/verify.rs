//! Verification: whether everything that the manifests promise is there, once, unchanged.

mod behind;
mod files;
mod index;
mod journal;
pub(super) mod rows;
mod schema_files;
mod segments;
pub(super) mod seqs;
mod steady;
mod texts;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use self::index::check_index_and_list;
use self::segments::check_part;
use self::seqs::is_credible;
use super::Archive;
use super::durable::files_in;
use super::error::ArchiveError;
use super::layout::PartName;
use super::manifest::{Manifest, SeqRange, split_covered};
use super::manifests::ManifestFolder;
use super::recover::Lost;
use super::rewrite::is_explained;
use super::sidecar::Sidecar;
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
    /// Numbers without a message of manifests that were made anew: lost, or removed before.
    #[serde(skip_serializing_if = "is_zero")]
    pub unknown: u64,
    /// No damage: journal parts that wait to be sealed, sessions without an end.
    pub leftovers: Vec<String>,
    /// Neither damage nor left over, and worth knowing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
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
    #[error("{path} is named by no manifest: `telereel recover` makes one where one was lost")]
    Unnamed { path: String },
    #[error("session {session_id}: no manifest is made of {segments} segments whose own is lost: {why}")]
    NotRebuilt { session_id: SessionId, segments: u64, why: String },
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

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl VerifyReport {
    /// Whether there is no damage but what is already known.
    pub fn is_content(&self) -> bool {
        self.problems.is_empty()
    }
}

pub(super) use self::files::{damaged_segments, data_folders, segment_files};
pub use self::segments::check_segments;
pub(super) use self::segments::look_at;

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
    steady::look_steadily(archive, options, tell)
}

/// What is missing or cannot be read, without a look into segments or index. The caller holds the archive's lock, and
/// has read its manifests.
pub(super) fn survey(archive: &Archive, folder: ManifestFolder) -> Result<Vec<Problem>, ArchiveError> {
    Ok(look(archive, VerifyOptions { quick: true }, &|_, _| (), true, || Ok(folder))?.problems)
}

fn look(
    archive: &Archive,
    options: VerifyOptions,
    tell: &dyn Fn(u64, u64),
    recording: bool,
    manifests: impl FnOnce() -> Result<ManifestFolder, ArchiveError>,
) -> Result<VerifyReport, ArchiveError> {
    // In this order a seal that goes on at the same time is seen as waiting or as done, never as damage.
    let on_disk = segment_files(archive)?;
    let waiting = archive.parts()?;
    let mut report = VerifyReport { recording, ..VerifyReport::default() };
    let (sidecars, problems) = archive.look_into_sidecars()?;
    report.problems.extend(problems);
    let folder = manifests()?;
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
        check_part(archive, manifest, options, &mut report, &|done| tell(done, total))?;
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
        let is_half_done = !cut.is_empty() || !going.is_empty();
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
        let known = (&*sidecars, &*manifests, &*damaged);
        check_index_and_list(archive, known, is_half_done, options, &mut report)?;
        for part in &waiting {
            report.leftovers.push(format!("journal/{part}.journal is not sealed: run `telereel recover`"));
        }
        texts::check(archive, &mut report)?;
        for path in files_in(&*archive.disk, &archive.layout.manifests(), "damaged")? {
            let path = relative(archive, &path);
            report.leftovers.push(format!("{path} was made anew of its segments: compare, and remove it"));
        }
        for path in damaged_segments(archive)? {
            report.problems.push(Problem::SetAside { path: relative(archive, &path) });
        }
        for folder in [archive.layout.journal(), archive.layout.sessions()] {
            for path in files_in(&*archive.disk, &folder, "damaged")? {
                report.problems.push(Problem::SetAside { path: relative(archive, &path) });
            }
        }
        if !options.quick {
            journal::check(archive, &waiting, (&manifests, &damaged), &sidecars, &mut report)?;
        }
    }
    Ok(report)
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

pub(super) fn relative(archive: &Archive, path: &Path) -> String {
    path.strip_prefix(archive.root()).unwrap_or(path).to_string_lossy().into_owned()
}
