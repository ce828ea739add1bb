//! A manifest that is lost, made anew of the segments that it named.
//!
//! Segments say themselves which rows they have; what only the manifest knew is how they were when they were written
//! (its checksums), and which of the missing numbers were removed and which lost. A manifest that is made anew says so
//! (`rebuilt`), its checksums are of what was found, and numbers without a row stand under `removed` with the verb
//! [`UNKNOWN`].
//!
//! # What must not come back
//!
//! Upkeep removes rows by writing files without them. Were a file that it has replaced taken for one that counts,
//! erased rows would be there again. That a cut leaves such files beside no manifest cannot be: a manifest is in its
//! place before, and after. But it may be lost afterwards. So
//!
//! * a rewrite says beforehand that it is at work, by a file of its session beside the sidecars, `{session}.rewriting`,
//!   which goes when recovery or the next look has seen that all that it replaced is gone, durably. While it is there,
//!   nothing is made anew of this session;
//! * a session without a sidecar is left alone: its removal may have been cut;
//! * so is one that is coming in, and a part that still lies in the journal: it is sealed again;
//! * files that the index does not name of a part that it knows do not count, nor files two of which have the same row.
//!
//! What is not made anew is told with the step that helps, and nothing of it is changed. A segment that cannot be read
//! is set aside: under its name it would pass for what a rewrite has left, and be removed.

mod lost;
mod read;

use std::path::{Path, PathBuf};

use serde::Serialize;

use self::lost::{Gap, lost};
use self::read::read_segment;
use super::Archive;
use super::at_hand::AtHand;
use super::durable::{is_there, replace_json, set_aside};
use super::error::ArchiveError;
use super::layout::generation_of;
use super::manifest::{Manifest, ManifestFile};
use super::manifests::ManifestFolder;
use super::rewrite::Seqs;
use super::verify::rows::read_seqs;
use super::verify::seqs::Seen;
use super::verify::{Problem, relative};
use crate::clock::Clock;
use crate::index::{PartRow, SegmentRow};
use crate::message::SessionId;

/// Of numbers that no segment has: whether a verb removed them or damage took them cannot be known any more.
pub(super) const UNKNOWN: &str = "unknown";

/// What helps where a file could not be read this time.
const AGAIN: &str = "nothing has been changed: recover again when that is mended";

/// A manifest that was made anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// Relative to the archive.
    pub manifest: String,
    pub segments: u64,
    pub messages: u64,
    /// Numbers that no segment has: removed or lost before.
    pub unknown: u64,
    /// What could not be read of it, under the names that it is kept by: the old manifest, and segments.
    pub set_aside: Vec<PathBuf>,
}

impl std::fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Rebuilt { manifest, segments, messages, unknown, set_aside } = self;
        write!(
            f,
            "{manifest} was lost, and is made anew of {segments} segments with {messages} messages, which count again"
        )?;
        if *unknown > 0 {
            write!(f, "; {unknown} of its numbers have no message: removed before, or lost")?;
        }
        let kept = set_aside.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        if kept.is_empty() {
            Ok(())
        } else {
            write!(f, "; what cannot be read is kept as {}", kept.join(", "))
        }
    }
}

/// What became of the manifests that are lost.
#[derive(Debug, Default)]
pub(super) struct Rebuilding {
    pub rebuilt: Vec<Rebuilt>,
    /// Those that could not be made anew, and why.
    pub refused: Vec<Problem>,
}

/// What the index says of the parts of a gap.
#[derive(Default)]
struct Known {
    parts: Vec<PartRow>,
    segments: Vec<SegmentRow>,
}

/// Makes anew what manifests are lost; `folder` has the others. The caller holds the archive's lock.
pub(super) fn rebuild_manifests(
    archive: &Archive,
    folder: &ManifestFolder,
    at_hand: &AtHand,
) -> Result<Rebuilding, ArchiveError> {
    let mut done = Rebuilding::default();
    for (session_id, gaps) in lost(archive, folder, at_hand)? {
        let files = gaps.iter().map(|gap| gap.paths.len() as u64).sum();
        for gap in gaps {
            if at_hand.waits_within(session_id, gap.parts) {
                continue;
            }
            match doubt(archive, session_id)?.map_or_else(|| rebuild(archive, &gap), |why| Ok(Err(why)))? {
                Ok(rebuilt) => done.rebuilt.push(rebuilt),
                Err(why) => done.refused.push(Problem::NotRebuilt { session_id, segments: files, why }),
            }
        }
    }
    Ok(done)
}

/// Why nothing of a session may be made anew.
fn doubt(archive: &Archive, session_id: SessionId) -> Result<Option<String>, ArchiveError> {
    let sidecar = archive.layout.sidecar(session_id);
    if is_there(&*archive.disk, &archive.layout.rewriting(session_id))? {
        let mark = relative(archive, &archive.layout.rewriting(session_id));
        return Ok(Some(format!(
            "compact, prune or erase was cut in it, and which of them it had replaced cannot be told: put its manifests \
             back from a backup; or remove {mark}, and rows that were to be removed may come back"
        )));
    }
    if is_there(&*archive.disk, &sidecar)? {
        return Ok(None);
    }
    let sidecar = relative(archive, &sidecar);
    Ok(Some(format!(
        "its sidecar is lost, too, so that its removal may have been cut: put {sidecar} back from a backup"
    )))
}

fn rebuild(archive: &Archive, gap: &Gap) -> Result<Result<Rebuilt, String>, ArchiveError> {
    let known = known(archive, gap);
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    for path in &gap.paths {
        let text = path.to_string_lossy();
        let indexed = known.segments.iter().find(|segment| *segment.path == *text);
        if indexed.is_none() && !known.parts.is_empty() {
            return Ok(Err(format!(
                "the index knows its parts, and not {text}: if that is right, remove index.sqlite and recover again; if \
                 not, move the file out of data/"
            )));
        }
        match read_segment(archive, path, gap.session_id) {
            Ok(file) if indexed.is_none_or(|known| is_as_indexed(&file, known)) => files.push(file),
            Ok(_) => unreadable.push((path, "it is not what the index says of it".to_owned())),
            // The disk or the system did not give it: what is in it may be whole.
            Err(ArchiveError::Io { source, .. }) => {
                let way = "or, if it never will be, when that file is moved out of data/";
                return Ok(Err(format!("{text} could not be read: {source}; {AGAIN}, {way}")));
            }
            Err(error) if error.is_damage() => unreadable.push((path, error.what())),
            Err(error) => return Err(error),
        }
    }
    if files.is_empty() && gap.damaged.is_empty() {
        return Ok(Err("none of them can be read".to_owned()));
    }
    let mut manifest = manifest_of(gap, &known, files);
    if let Some(why) = account(archive, &mut manifest, gap) {
        return Ok(Err(why));
    }
    let mut rebuilt = Rebuilt {
        manifest: relative(archive, &archive.layout.manifest(manifest.name())),
        segments: manifest.files.len() as u64,
        messages: manifest.rows,
        unknown: manifest.removed.iter().map(super::manifest::Removed::messages).sum(),
        set_aside: Vec::new(),
    };
    for (path, what) in unreadable {
        tracing::warn!("the segment {} cannot be read: {what}; it is set aside", path.display());
        rebuilt.set_aside.push(set_aside(&*archive.disk, &archive.root().join(path))?);
    }
    for name in &gap.damaged {
        rebuilt.set_aside.push(set_aside(&*archive.disk, &archive.layout.manifest(*name))?);
    }
    replace_json(&archive.layout, &*archive.disk, &archive.layout.manifest(manifest.name()), &manifest)?;
    Ok(Ok(rebuilt))
}

/// Nothing where the index cannot be read, or does not know them.
fn known(archive: &Archive, gap: &Gap) -> Known {
    let is_of = |part: u32| (gap.parts.0..=gap.parts.1).contains(&part);
    let look = || {
        let index = archive.open_index()?;
        let (mut parts, mut segments) = (index.parts()?, index.segments(gap.session_id)?);
        parts.retain(|row| row.session_id == gap.session_id && is_of(row.part));
        segments.retain(|row| is_of(row.part));
        Ok::<_, crate::index::IndexError>(Known { parts, segments })
    };
    if archive.index_is_sound() { look().unwrap_or_default() } else { Known::default() }
}

/// Not by its numbers of messages: an index that was brought up to date from an older one knows these only about.
fn is_as_indexed(file: &ManifestFile, known: &SegmentRow) -> bool {
    (file.rows, file.bytes, file.payload_bytes) == (known.rows, known.bytes, known.payload_bytes)
}

fn manifest_of(gap: &Gap, known: &Known, mut files: Vec<ManifestFile>) -> Manifest {
    files.sort_by(|a, b| (a.seq_min, &a.path).cmp(&(b.seq_min, &b.path)));
    let (part, part_last) = gap.parts;
    let end = files.iter().map(|file| file.seq_max + 1).max().unwrap_or(gap.seq_start);
    let indexed = known.parts.iter().map(|row| row.seq_end).max();
    let generations = known.parts.iter().map(|row| row.generation);
    let generation = files.iter().map(|file| generation_of(Path::new(&file.path))).chain(generations).max();
    Manifest {
        session_id: gap.session_id,
        part,
        part_last: Some(part_last.max(known.parts.iter().map(|row| row.part_last).max().unwrap_or(0)))
            .filter(|last| *last != part),
        generation: generation.unwrap_or(0),
        sealed_at_us: Clock::System.now().wall_us,
        telereel: env!("CARGO_PKG_VERSION").to_owned(),
        rebuilt: true,
        is_compact: false,
        seq_start: gap.seq_start,
        seq_end: gap.seq_end.or(indexed).unwrap_or(end).max(end),
        rows: files.iter().map(|file| file.rows).sum(),
        files,
        lost: Vec::new(),
        removed: Vec::new(),
    }
}

/// Writes down the numbers that no segment has; says what cannot be of the others.
fn account(archive: &Archive, manifest: &mut Manifest, gap: &Gap) -> Option<String> {
    if let Some(end) = gap.seq_end.filter(|end| *end < manifest.seq_end) {
        return Some(format!("they have messages from seq {end} on, which are another manifest's"));
    }
    let Some(mut seen) = Seen::new(manifest) else {
        return Some("they claim more messages than there can be".to_owned());
    };
    for file in &manifest.files {
        if let Err(error) = read_seqs(&archive.root().join(&file.path), Some(&mut seen)) {
            return Some(format!("{} cannot be read any more: {}; {AGAIN}", file.path, error.what()));
        }
    }
    if let Some(range) = seen.repeated.first() {
        let (from, to) = (range.seq_start, range.seq_end - 1);
        return Some(format!(
            "seq {from} to {to} are in more than one of them, or another manifest's: put its manifest back from a \
             backup, or move those out of data/ that do not count"
        ));
    }
    let missing: Vec<_> = seen.missing().collect();
    let rows = missing.iter().map(|range| range.messages()).sum();
    manifest.removed.extend(Seqs::of(missing, rows).into_removed(UNKNOWN, manifest.sealed_at_us));
    None
}
