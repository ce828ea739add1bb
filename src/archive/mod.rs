//! The archive: a folder that holds recordings for years, as plain files that need no Telereel.
//!
//! ```text
//! README.md            how to open it, for someone who has only the folder
//! archive.json         format version, site
//! lock                 held by whoever writes
//! journal/             parts that are not sealed yet                    (crate::journal)
//! tmp/                 files in the making, never read
//! data/vendor=V/kind=K/date=YYYY-MM-DD/{session}-{part}.parquet         (schema, segment)
//! data/vendor=V/kind=K/date=1970-01-01/schema.parquet   no rows, every declared column
//! manifests/{session}-{part}.json  commits a sealed part: files, rows, checksums (manifest)
//! sessions/{session}.json          name, times, sources, clips, marks   (sidecar, clips)
//! schema/V/K.toml      the declarations that the columns came from
//! views/duckdb.sql     views over all kinds, relative to the folder     (views)
//! views/questions.md   what to ask them, and how                        (questions)
//! index.sqlite         derived from all this                            (crate::index)
//! segments.jsonl       the same: the segments that count                (segment_list)
//! ```
//!
//! # How data enters
//!
//! [`seal`] turns one closed journal part into segments; an import or a reel hands its rows to the same stages
//! ([`intake`](mod@intake)), and comes in whole or not at all. Sealing is a repeatable function of its part, and this
//! is its order; each step is durable before the next begins:
//!
//! 1. the segments are written to `tmp/` and synced;
//! 2. they are renamed into `data/`, and their folders synced;
//! 3. the manifest is put in place (written, synced, renamed, its folder synced): the part is committed;
//! 4. the index rows are committed;
//! 5. the part is removed from the journal.
//!
//! It reads the part back from the journal, in running as in recovery, so that there is one path to
//! be right. The pages are still in the system's cache, so this costs a copy and a checksum.
//! What a cut at each step leaves, and what [`recover`] does about it, is the table in [`recover`](mod@recover).
//!
//! # How it changes
//!
//! Also in one way: [`rewrite`](mod@rewrite) copies rows into new segments and replaces one manifest.
//!
//! # What is true
//!
//! Segments, manifests and sidecars. The index is made of them; readers that find it missing, broken
//! or behind read the manifests in its place and answer the same.
//!
//! What never happens here: a payload parsed and printed again; a file in `data/` changed after its
//! manifest was written; a write outside [`crate::disk::Disk`], but for the index and the lock.

mod at_hand;
mod blocks;
mod catalog;
pub(crate) mod caught;
mod claims;
mod clips;
mod columns;
mod compact;
mod declarations;
mod decoding;
mod described;
mod durable;
mod encoding;
mod erase;
mod error;
mod filter;
mod gaps;
mod headers;
mod info;
mod intake;
mod kept_index;
mod kinds;
mod layout;
mod link;
mod lock;
mod manifest;
mod manifests;
mod mend;
mod open;
mod own_checksum;
mod passage;
mod prune;
mod questions;
mod rebuild;
mod recover;
mod redecode;
mod reindex;
mod rewrite;
mod row_columns;
mod scan;
mod schema;
mod schema_files;
mod seal;
mod segment;
mod segment_list;
mod session;
mod sessions;
mod sidecar;
mod sorting;
mod stats;
#[cfg(test)]
pub(crate) mod tests;
mod time;
mod unknown;
mod verify;
mod views;
mod writers;

pub use blocks::BlockSums;
pub use claims::check_claims;
pub use clips::{Clip, Mark};
pub use compact::{CompactOptions, Compacted};
pub use erase::{EraseOptions, ErasePlan, Erased, Found, Proof};
pub use error::{ArchiveError, is_for_room};
pub use filter::{ColumnTypes, Filter, FilterError, Predicate};
pub use gaps::Gap;
pub use info::{ChannelCount, DeviceCount, KindCount, SessionInfo, SourceCount};
pub use intake::{Intake, PartIntake};
pub use layout::{Layout, PartName};
pub use lock::Lock;
pub use manifest::{Manifest, ManifestFile, ManifestSource, Removed, SEQ_END_MAX, SeqRange};
pub use mend::Mended;
pub use open::Archive;
pub use passage::SealingBytes;
pub use prune::{Left, PruneOptions, Pruned};
pub use questions::questions;
pub use rebuild::Rebuilt;
pub use recover::{Lost, RecoverReport, recover, recover_as_room_allows, recover_telling};
pub use reindex::{ReindexReport, reindex, reindex_telling};
pub use rewrite::{Terms, Watch};
pub use row_columns::RowColumns;
pub use scan::{
    Bound, Scan, ScanOptions, ScanSummary, Skipped, SkippedSegment, end_of, envelopes, last_rows_from, scan,
    summarize,
};
pub use schema::{FORMAT, envelope_fields};
pub use seal::{Sealed, seal};
pub use session::SessionSummary;
pub use sidecar::{CameFrom, Ended, Sidecar, SidecarSource};
pub use stats::{
    Gaps, GroupStats, Lag, Outage, Series, Sizes, SourceStats, Stats, StatsOptions, Window, stats,
};
pub use time::format_us;
pub use unknown::UnknownField;
pub use verify::{Problem, VerifyOptions, VerifyReport, check_segments, verify, verify_telling};
pub use views::View;
