//! What recovery tells.

use std::path::PathBuf;

use serde::Serialize;

use crate::archive::manifest::SeqRange;
use crate::archive::mend::Mended;
use crate::archive::rebuild::Rebuilt;
use crate::archive::verify::Problem;
use crate::message::SessionId;

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
    /// Manifests that were lost, and were made anew of their segments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rebuilt: Vec<Rebuilt>,
    /// Sidecars, declarations and headers of journal parts that were lost, and were made anew.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mended: Vec<Mended>,
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
    /// Whether there was damage: something whole could not be saved, or the disk has changed what was saved all the same.
    pub fn has_loss(&self) -> bool {
        self.promised_lost > 0
            || !self.set_aside.is_empty()
            || !self.rebuilt.is_empty()
            || !self.mended.is_empty()
            || !self.problems.is_empty()
    }

    /// What [`has_loss`](Self::has_loss) is about, in one line.
    pub fn loss(&self) -> String {
        let lost = self.lost_messages();
        let mut said: Vec<String> = self.rebuilt.iter().map(ToString::to_string).collect();
        said.extend(self.mended.iter().map(ToString::to_string));
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
