//! What is counted while a replay runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::Sha256;

use super::faults::FaultReport;
use super::pace::Speed;
use crate::message::Row;

/// What a replay came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Played {
    pub messages: u64,
    pub bytes: u64,
    /// When the clock started; none if it did not come to that.
    pub started_ns: Option<u64>,
    /// Messages that were late because they had not been read in time.
    pub reader_late: u64,
    /// The speed at the end.
    pub speed: Speed,
    /// Ended before its end.
    pub stopped: bool,
    pub digest: Sha256,
    /// The same over what left, where it can differ.
    pub sent_digest: Option<Sha256>,
    pub faults: Vec<FaultReport>,
    /// Messages and bytes by name and vendor of their source.
    pub sources: BTreeMap<(Arc<str>, Arc<str>), (u64, u64)>,
}

impl Played {
    /// A message was emitted, as far as the recording goes: it left, or a fault took it.
    pub(super) fn count(&mut self, row: &Row) {
        let row_bytes = row.payload.len() as u64;
        self.messages += 1;
        self.bytes += row_bytes;
        let (name, vendor) = (&row.source, &row.vendor);
        let (messages, bytes) = self.sources.entry((Arc::clone(name), Arc::clone(vendor))).or_default();
        *messages += 1;
        *bytes += row_bytes;
    }
}
