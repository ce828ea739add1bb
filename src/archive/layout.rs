//! Where things lie in an archive, and what they are called.

use std::path::{Path, PathBuf};

use super::time::date_of_day;
use crate::message::SessionId;

/// The date folder of the zero-row file that shows a kind's columns to every reader.
pub(super) const SCHEMA_DATE: &str = "1970-01-01";
pub(super) const SCHEMA_FILE: &str = "schema.parquet";

/// The folders and files of the archive at `root`.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The format version and the site.
    pub fn archive_json(&self) -> PathBuf {
        self.root.join("archive.json")
    }

    pub fn readme(&self) -> PathBuf {
        self.root.join("README.md")
    }

    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Journal parts that are not sealed yet.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Files in the making; never read.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    pub fn sessions(&self) -> PathBuf {
        self.root.join("sessions")
    }

    pub fn schema(&self) -> PathBuf {
        self.root.join("schema")
    }

    pub fn views(&self) -> PathBuf {
        self.root.join("views")
    }

    /// The segments that count, one JSON object a line.
    pub fn segments(&self) -> PathBuf {
        self.root.join("segments.jsonl")
    }

    /// What becomes of the sidecar of a session that is being removed.
    pub(super) fn going(&self, session_id: SessionId) -> PathBuf {
        self.sessions().join(format!("{session_id}.removed"))
    }

    /// There while files of a session are being replaced.
    pub(super) fn rewriting(&self, session_id: SessionId) -> PathBuf {
        self.sessions().join(format!("{session_id}.rewriting"))
    }

    /// Locked in the place of its folder, where folders cannot be locked.
    pub(super) fn sidecars_lock(&self) -> PathBuf {
        self.sessions().join("lock")
    }

    pub fn index(&self) -> PathBuf {
        self.root.join("index.sqlite")
    }

    pub fn sidecar(&self, session_id: SessionId) -> PathBuf {
        self.sessions().join(format!("{session_id}.json"))
    }

    pub fn manifest(&self, part: PartName) -> PathBuf {
        self.manifests().join(format!("{part}.json"))
    }

    pub fn part(&self, part: PartName) -> PathBuf {
        self.journal().join(format!("{part}.journal"))
    }
}

/// Whether a name stays the one folder or file that it becomes part of.
pub(super) fn is_plain(name: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !['/', '\\'].contains(&c);
    !name.is_empty() && name != "." && name != ".." && name.chars().all(is_plain)
}

/// The folder of one kind, relative to the archive.
pub(super) fn kind_dir(vendor: &str, kind: &str) -> String {
    format!("data/vendor={vendor}/kind={kind}")
}

/// A segment's path, relative to the archive; `day` counts from the Unix epoch.
pub(super) fn segment_path(vendor: &str, kind: &str, day: i64, part: PartName) -> String {
    format!("{}/date={}/{part}.parquet", kind_dir(vendor, kind), date_of_day(day))
}

/// How often a file was written anew, by its name: `{session}-{part}.g{generation}.parquet`, 0 without.
pub(super) fn generation_of(path: &Path) -> u32 {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let generation = name.split('.').nth(1).and_then(|word| word.strip_prefix('g'));
    generation.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The path of a kind's zero-row file, relative to the archive.
pub(super) fn schema_path(vendor: &str, kind: &str) -> String {
    format!("{}/date={SCHEMA_DATE}/{SCHEMA_FILE}", kind_dir(vendor, kind))
}

/// What a journal part, its segments and its manifest are named after: `{session_id}-{part:06}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartName {
    pub session_id: SessionId,
    pub part: u32,
}

impl PartName {
    /// Reads the name back from a file of any of the three sorts.
    pub fn of(path: &Path) -> Option<Self> {
        let (stem, _) = path.file_name()?.to_str()?.split_once('.')?;
        let (id, part) = stem.rsplit_once('-')?;
        Some(Self { session_id: id.parse().ok()?, part: part.parse().ok()? })
    }
}

impl std::fmt::Display for PartName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:06}", self.session_id, self.part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_names_read_back() {
        let name = PartName { session_id: SessionId::new(1_000_000, [3; 10]), part: 42 };
        let layout = Layout::new(Path::new("a"));
        assert_eq!(PartName::of(&layout.part(name)), Some(name));
        assert_eq!(PartName::of(&layout.manifest(name)), Some(name));
        assert_eq!(PartName::of(Path::new(&segment_path("v", "k", 3, name))), Some(name));
        let again = format!("data/{name}.g12.2.parquet");
        assert_eq!((PartName::of(Path::new(&again)), generation_of(Path::new(&again))), (Some(name), 12));
        assert_eq!(generation_of(Path::new(&segment_path("v", "k", 3, name))), 0);
        assert_eq!(PartName::of(Path::new("schema.parquet")), None);
        assert_eq!(PartName::of(Path::new("notes-1.txt")), None);
    }
}
