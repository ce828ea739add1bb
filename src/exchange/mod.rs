//! One file out of an archive, and such a file into one.
//!
//! ```text
//! format     what it is                                            comes back
//! reel       a tar of a small archive: manifests, sidecars,        as it was, sessions with their ids, names,
//!            schema, segments (reel)                               clips and marks
//! jsonl      a row a line, as `cat` prints it                      every row; sessions under their ids
//! csv        envelope, payload, scalar typed columns (RFC 4180)    every row; the typed columns are derived anew
//! mcap       payloads as messages, envelopes beside them (mcap)    every row
//! parquet    the envelope, and the typed columns of all kinds      not: it is for readers
//! ```
//!
//! Also taken in: what `mosquitto_sub -F %j` prints, MCAP and CSV of others.
//!
//! # Out
//!
//! Rows come from a scan, pass a change ([`export::Change`]; that of names is [`pseudonymize`]) and go to a
//! [`export::RowWriter`]. Typed columns are derived from the rows as they then are, so that what a change hides stays
//! hidden. A file is written beside its target and renamed ([`target`]).
//!
//! # In
//!
//! A file is read twice ([`import`]): once for what is in it (which sessions, sources and kinds, and which lines are
//! no rows), once for the rows. So nothing is written where a line is bad, and memory does not grow with the file.
//!
//! What never happens here: a payload parsed and printed again; a path out of a file used as it stands.

mod csv;
mod error;
pub mod export;
mod header;
pub mod import;
mod jsonl;
pub mod mcap;
mod parquet;
pub mod pseudonymize;
pub mod reel;
mod tar;
pub mod target;
#[cfg(test)]
mod tests;
mod typed;

use std::path::Path;

pub use error::ExchangeError;
pub use header::session_header;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Reel,
    Parquet,
    Jsonl,
    Csv,
    Mcap,
}

impl Format {
    pub const ALL: [(&'static str, Format); 5] = [
        ("reel", Format::Reel),
        ("parquet", Format::Parquet),
        ("jsonl", Format::Jsonl),
        ("csv", Format::Csv),
        ("mcap", Format::Mcap),
    ];

    /// By the end of a file's name.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        let named = Self::ALL.iter().find(|(name, _)| *name == extension).map(|(_, format)| *format);
        named.or(match extension.as_str() {
            "ndjson" | "json" => Some(Format::Jsonl),
            _ => None,
        })
    }

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}
