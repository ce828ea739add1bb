//! The bytes that leave, made from the bytes as recorded before the due time comes.
//!
//! First times are moved, then a fault may corrupt what came of it. Nothing is changed unless it was asked
//! for, and then nothing of this costs anything.

use bytes::Bytes;
use sha2::Sha256;

use super::PlayOptions;
use super::event::{Changes, add_to_digest};
use super::faults::{Fault, FaultReport, Struck, Tally, corrupt, of_changes};
use super::rebase::Mover;
use crate::clock::Now;
use crate::message::Row;
use crate::transport::fanout::{Changed, Emission};

/// Makes the bytes of one message after another, in the order in which they leave, and keeps account of them.
#[derive(Debug, Default)]
pub(super) struct Preparation {
    mover: Option<Mover>,
    /// Over what left, where that can differ from what was recorded.
    sent_digest: Option<Sha256>,
    tally: Tally,
}

impl Preparation {
    pub(super) fn new(options: &PlayOptions) -> Self {
        let differs = options.rebasing.is_some() || options.faults.is_some();
        Self {
            mover: options.rebasing.as_ref().map(|rebasing| Mover::new(rebasing, &options.sessions)),
            sent_digest: differs.then(Sha256::default),
            tally: Tally::new(options.faults.as_ref()),
        }
    }

    /// The clock starts: what is at `zero_ns` of the time line (see [`super::event::Planned::at_ns`]) leaves at `start`.
    pub(super) fn started(&mut self, start: Now, zero_ns: u64) {
        if let Some(mover) = &mut self.mover {
            mover.started(start, zero_ns);
        }
    }

    /// What leaves in place of what was recorded; none: that itself. For each message, shortly before it leaves.
    /// `at_ns` is below zero for what is told of the time before the replay.
    pub(super) fn payload(&mut self, row: &Row, at_ns: i128, changes: Changes) -> Option<Changed> {
        let mover = self.mover.as_mut();
        let moved = mover.and_then(|mover| mover.moved(row, at_ns - i128::from(changes.delay_ns)));
        let Some(chance) = changes.corrupt else { return moved };
        let moved = moved.unwrap_or_else(|| Changed::of(row));
        Some(Changed { payload: Bytes::from(corrupt(&moved.payload, chance)), ..moved })
    }

    /// A message has left. `note` is told of each fault with which it did.
    pub(super) fn left(
        &mut self,
        emission: &Emission,
        changes: Changes,
        mut note: impl FnMut(Fault, Struck),
    ) {
        if let Some(digest) = &mut self.sent_digest {
            add_to_digest(digest, &emission.row.channel, emission.payload());
        }
        self.passed(emission.index, emission.row.seq);
        for (fault, ns) in of_changes(&changes) {
            let struck = Struck { index: emission.index, seq: Some(emission.row.seq), ns };
            self.struck(fault, struck);
            note(fault, struck);
        }
    }

    /// A message came: it has left, or a fault took it.
    pub(super) fn passed(&mut self, index: u64, seq: u64) {
        self.tally.pass(index, seq);
    }

    /// A fault struck something else than a message that left.
    pub(super) fn struck(&mut self, fault: Fault, struck: Struck) {
        self.tally.note(fault, struck);
    }

    /// To what times were moved, if they were.
    pub(super) fn rebased_to_us(&self) -> Option<i64> {
        self.mover.as_ref().and_then(Mover::to_us)
    }

    /// What became of it: the digest over what left (channel and payload, as in `digest`), where that can differ
    /// from what was recorded, and the faults.
    pub(super) fn into_account(self) -> (Option<Sha256>, Vec<FaultReport>) {
        (self.sent_digest, self.tally.into_reports())
    }
}
