//! Rewriting: some parts of a session get new segments and one manifest in place of their own.
//!
//! All upkeep that touches messages (`compact`, `prune`, `erase`) is this one operation. No file in `data/` is
//! ever changed: rows are copied into new files, and one atomic rename makes these count and the old ones not.
//! Each step is durable before the next begins:
//!
//! 1. the new segments are written to `tmp/` and synced; what is read for it is checked against its checksum,
//!    so that damage cannot get a new, good checksum;
//! 2. a file `sessions/{session}.rewriting` says that this is at work, so that of what it replaces nothing comes back
//!    should the manifest be lost ([`rebuild`](mod@super::rebuild)); then they are renamed into `data/` as `{session}-{part}.g{generation}.parquet`, and their folders synced;
//! 3. the manifest of the first part is replaced by one of the next generation that covers all the parts: this
//!    commits;
//! 4. the index changes in one transaction, then `segments.jsonl`;
//! 5. the manifests of the other parts are removed: they have not counted since 3;
//! 6. the old segments are removed, but for those that the new manifest names as well;
//! 7. the file of step 2 goes.
//!
//! # What a cut leaves, and what is done about it
//!
//! ```text
//! case                                            how it comes about          what recovery does
//! a  files in tmp                                 cut within 1                removed (as ever)
//! b  .g files that no manifest names, of a part   cut within 2, or before 3   removed: the old manifests count
//!    that a manifest covers
//! c  manifests that another one covers            cut within 3 to 5           removed: they do not count
//! d  index or segments.jsonl behind the           cut within 3 or 4           made again
//!    manifests
//! e  files that no manifest names, of a part      cut within 5 or 6           removed: they are the old ones
//!    covered by a manifest of a later generation
//! f  any other file that no manifest names        not by a cut                left for `verify` to report
//!    (b and e: or of one whose own files are gone)
//! g  a sidecar that ends in .removed              cut while a session is      its index rows, segments,
//!                                                 removed                     manifests and the sidecar removed
//! ```
//!
//! A commit that fails without a cut removes its own segments at once, where its manifest is not in place: nothing would
//! go by them, but a recorder may run for months before the next recovery.
//!
//! Damaged files that are to go whole go unread, by what their manifest says of them; those that stay keep nothing else
//! from being rewritten, but are not copied.
//!
//! Of a session that has a manifest which cannot be read, nothing is removed: it may say what a file is for.
//!
//! Readers need no lock. A manifest that covers others counts alone, so every set of manifests that can be read
//! at any moment is whole; a scan whose next segment is gone reads the manifests again and goes on at its next
//! `seq`. A session is removed in the same spirit: renaming its sidecar commits it.

mod commit;
mod copy;
mod input;
mod mark;
mod output;
mod removed;
mod seqs;

pub(super) use commit::{finish_rewrites, is_explained};
pub(super) use copy::{Derive, Keep, Rewrite, Rewritten, Target, Targets, count_removed, measure, run};
pub(super) use input::{Merged, device_ids, effort_of, key_values, schema_of, stamp_of};
pub(super) use output::described_as;
pub(super) use removed::{finish_removals, remove_session, remove_session_if};
pub(super) use seqs::Seqs;

use crate::clock::Clock;

/// What upkeep may take for itself, and which time it writes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// When it is done, in microseconds since the Unix epoch. None: now, by the system's clock.
    pub at_us: Option<i64>,
    /// What has to stay free on the disk while old and new files lie beside each other.
    pub spare_bytes: u64,
    /// An open row group holds at most this: only payloads of a kilobyte and more, or a small bound, make it smaller
    /// than it could be.
    pub row_group_bytes: usize,
}

impl Default for Terms {
    fn default() -> Self {
        Self { at_us: None, spare_bytes: 0, row_group_bytes: 128 << 20 }
    }
}

impl Terms {
    pub(super) fn at_us(&self) -> i64 {
        self.at_us.unwrap_or_else(|| Clock::System.now().wall_us)
    }
}

/// Whoever asked for upkeep: is told how many messages of how many have been gone through, and may end it. Ended
/// before the commit, nothing has changed.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    pub tell: &'a dyn Fn(u64, u64),
    pub goes_on: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch<'_> {
    /// Nobody looks.
    pub const NONE: Watch<'static> = Watch { tell: &|_, _| (), goes_on: &|| true };
}
