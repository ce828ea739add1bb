//! The bytes that leave, made from the bytes as recorded before the due time comes.
//!
//! Nothing is changed unless it was asked for, and then nothing of this costs anything.

use bytes::Bytes;
use sha2::Sha256;

use super::PlayOptions;
use super::event::Changes;
use crate::clock::Now;
use crate::message::Row;

/// Makes the bytes of one message after another, in the order in which they leave.
#[derive(Debug, Default)]
pub(super) struct Preparation {}

impl Preparation {
    pub(super) fn new(_options: &PlayOptions) -> Self {
        Self {}
    }

    /// The clock starts: what is at `zero_ns` of the time line (see [`super::event::Planned::at_ns`]) leaves at `start`.
    pub(super) fn started(&mut self, _start: Now, _zero_ns: u64) {}

    /// What leaves in place of the recorded payload; none: the payload as it is. Called once for each message,
    /// shortly before it leaves.
    pub(super) fn payload(&mut self, _row: &Row, _at_ns: u64, _changes: Changes) -> Option<Bytes> {
        None
    }

    /// Over what left (channel and payload, as in `digest`), where that can differ from what was recorded.
    pub(super) fn sent_digest(&self) -> Option<Sha256> {
        None
    }
}
