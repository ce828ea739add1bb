//! What a scan leaves out, where it was asked to leave out what is damaged.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::archive::error::ArchiveError;
use crate::index::SegmentRow;

/// Segments of which not all could be read. Scans add to it as they meet them, each once.
#[derive(Debug, Default)]
pub struct Skipped(Mutex<BTreeMap<String, SkippedSegment>>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkippedSegment {
    /// Relative to the archive.
    pub path: String,
    /// So many of its messages are missing, at most: of those behind the damage some may not have been asked for.
    pub messages: u64,
    pub what: String,
}

impl Skipped {
    /// Takes note of a segment of which `read` rows could be read. What is no damage is handed back.
    pub(in crate::archive) fn add(
        skipped: Option<&Self>,
        segment: &SegmentRow,
        read: u64,
        error: ArchiveError,
    ) -> Result<(), ArchiveError> {
        let Some(skipped) = skipped.filter(|_| error.is_damage()) else { return Err(error) };
        let mut known = skipped.0.lock().unwrap_or_else(PoisonError::into_inner);
        let messages = segment.rows.saturating_sub(read);
        let one = known.entry(segment.path.clone()).or_insert_with(|| SkippedSegment {
            path: segment.path.clone(),
            messages,
            what: error.describe(),
        });
        one.messages = one.messages.max(messages);
        Ok(())
    }

    /// All of them, by path.
    pub fn segments(&self) -> Vec<SkippedSegment> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
