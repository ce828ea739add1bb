//! What is left of what was selected, and why it may be more than was asked for.

use std::fmt;

use serde::Serialize;

use super::PruneOptions;
use crate::archive::clips::Clip;
use crate::archive::manifest::ManifestFile;
use crate::units::human_size;

/// What is there when the oldest has gone, or would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// What was asked for.
    pub max_bytes: u64,
    pub bytes: u64,
    /// Of these, in files of which something lies in a clip.
    pub in_clips: u64,
    /// Of sessions that have not ended.
    pub recording: u64,
    /// Link events and configurations of sessions of which something is left.
    pub links: u64,
}

impl Left {
    /// More than was asked for.
    pub fn is_above(&self) -> bool {
        self.bytes > self.max_bytes
    }

    /// These files of a session stay.
    pub(super) fn add(&mut self, options: &PruneOptions, clips: &[Clip], files: &[ManifestFile]) {
        let named = || files.iter().filter(|file| options.names(file));
        if !named().any(|file| options.selects(file)) {
            return;
        }
        for file in named() {
            self.bytes += file.bytes;
            if !options.selects(file) {
                self.links += file.bytes;
            } else if clips.iter().any(|clip| clip.touches(file)) {
                self.in_clips += file.bytes;
            }
        }
    }
}

/// Why more is left than was asked for.
impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let above = human_size(self.bytes.saturating_sub(self.max_bytes));
        write!(f, "{} are left, {above} above {}", human_size(self.bytes), human_size(self.max_bytes))?;
        let known = self.in_clips + self.recording + self.links;
        let kept = [
            (self.in_clips, "in clips"),
            (self.recording, "in sessions that have not ended"),
            (self.links, "link events and configurations of what is left"),
            (self.bytes.saturating_sub(known), "in files that could not be pruned"),
        ];
        let kept = kept.iter().filter(|(bytes, _)| *bytes > 0);
        let kept: Vec<_> = kept.map(|(bytes, what)| format!("{} {what}", human_size(*bytes))).collect();
        if kept.is_empty() { Ok(()) } else { write!(f, ": {}", kept.join(", ")) }
    }
}
