//! Times in payloads, moved as if what was recorded happened now.
//!
//! What is at the zero of a replay's time line is received at `T`: the moment that the user gave, or the one at which
//! the clock starts. A message that lies later on the line is received so much later, and its times are moved as
//! far as its receipt is, so that it is as old when it leaves as it was when it came. That holds at the
//! original speed: at another, and after a pause, the moved times run on as the recording's do, and so are the
//! same in every run with the same `T`. A fault that delays a message makes it older.
//!
//! All messages of a session are moved by the same, to the microsecond: where the two clocks of the recorder differ
//! by no more than the time between reading them, the receipt is what the steady one says.
//!
//! Which times there are is in [`crate::decode::Rebase`]. What a vendor encrypts is moved in clear and sealed
//! afresh, where times are declared in it; of none of the built-in kinds that is so, and their ciphertext stays.
//!
//! The envelope of a moved message moves with it: `received_at` by the shift, and `event_at` is what the new payload
//! says. `elapsed_ns`, `seq` and whatever else stay as recorded.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::SessionStart;
use crate::clock::Now;
use crate::decode::{Declaration, Rebase};
use crate::message::{Row, SessionId};
use crate::transport::fanout::Changed;
use crate::vendors::Sealer;

/// Wall and steady clock are read one after the other, and a busy machine may do something in between. More
/// than this, and the wall clock was set.
const CLOCKS_APART_MAX_NS: u64 = 10_000_000;

/// What a replay needs to move times.
#[derive(Clone, Debug, Default)]
pub struct Rebasing {
    /// When what is at the replay's zero is received, microseconds since the Unix epoch; none: when the clock starts.
    pub to_us: Option<i64>,
    /// By vendor and kind: all declarations that the archive has of it.
    pub kinds: HashMap<String, HashMap<String, Vec<Declaration>>>,
    /// By source: what seals its ciphertext.
    pub sealers: HashMap<String, Arc<Sealer>>,
}

/// Moves one message after another.
#[derive(Debug)]
pub(super) struct Mover {
    /// What the user gave.
    wanted_us: Option<i64>,
    to_us: Option<i64>,
    zero_ns: u64,
    kinds: HashMap<String, HashMap<String, Rebase>>,
    sealers: HashMap<String, Arc<Sealer>>,
    /// When each session began: wall clock, microseconds.
    starts_us: HashMap<SessionId, i64>,
}

impl Mover {
    pub(super) fn new(rebasing: &Rebasing, sessions: &[SessionStart]) -> Self {
        let of_vendor = |kinds: &HashMap<String, Vec<Declaration>>| {
            let rebase = |(kind, all): (&String, &Vec<_>)| Some((kind.clone(), Rebase::new(all)?));
            kinds.iter().filter_map(rebase).collect()
        };
        Self {
            wanted_us: rebasing.to_us,
            to_us: rebasing.to_us,
            zero_ns: 0,
            kinds: rebasing.kinds.iter().map(|(vendor, kinds)| (vendor.clone(), of_vendor(kinds))).collect(),
            sealers: rebasing.sealers.clone(),
            starts_us: sessions.iter().map(|session| (session.session_id, session.started_at_us)).collect(),
        }
    }

    /// The clock starts, or something is told before it does: what is at `zero_ns` of the time line leaves at
    /// `start`.
    pub(super) fn started(&mut self, start: Now, zero_ns: u64) {
        self.to_us = self.wanted_us.or(Some(start.wall_us));
        self.zero_ns = zero_ns;
    }

    /// When what is at the replay's zero is received, once that is known.
    pub(super) fn to_us(&self) -> Option<i64> {
        self.to_us
    }

    /// By how much the times of a message at `at_ns` of the time line are moved, in microseconds.
    fn shift_us(&self, row: &Row, at_ns: i128) -> Option<i64> {
        let wall_ns = i128::from(row.received_at_us) * 1_000;
        let steady_ns = self
            .starts_us
            .get(&row.session_id)
            .map(|started_us| i128::from(*started_us) * 1_000 + i128::from(row.elapsed_ns))
            .filter(|steady_ns| steady_ns.abs_diff(wall_ns) <= u128::from(CLOCKS_APART_MAX_NS));
        let after_zero_ns = at_ns - i128::from(self.zero_ns);
        let due_ns = i128::from(self.to_us?) * 1_000 + after_zero_ns;
        i64::try_from((due_ns - steady_ns.unwrap_or(wall_ns)).div_euclid(1_000)).ok()
    }

    /// The message with its times moved, as it is to leave at `at_ns` of the time line but for faults; or would
    /// have left, where that is below zero.
    pub(super) fn moved(&mut self, row: &Row, at_ns: i128) -> Option<Changed> {
        let shift_us = self.shift_us(row, at_ns)?;
        let received_at_us = row.received_at_us.checked_add(shift_us)?;
        let unmoved = Changed { received_at_us, ..Changed::of(row) };
        let Some(rebase) = self.kinds.get_mut(&*row.vendor).and_then(|kinds| kinds.get_mut(&*row.kind))
        else {
            return Some(unmoved);
        };
        let mut payload = rebase.payload(&row.payload, shift_us);
        let mut clear = None;
        if let Some(old) = &row.clear {
            let sealer = self.sealers.get(&*row.source);
            clear = rebase.clear(old, shift_us).and_then(|new| {
                let body = payload.as_deref().unwrap_or(&row.payload);
                let sealed = rebase.with_sealed(body, &sealer?.seal(random_of(body, &new), &new))?;
                payload = Some(sealed);
                Some(new)
            });
        }
        if payload.is_none() {
            return Some(unmoved);
        }
        let payload = payload.map_or_else(|| row.payload.clone(), Bytes::from);
        let clear = clear.map(Bytes::from).or_else(|| row.clear.clone());
        let event_at_us = rebase.event_at_us(&payload, clear.as_deref());
        Some(Changed { payload, clear, event_at_us, received_at_us })
    }
}

/// Sixteen bytes that are another for each message, and the same in each run.
fn random_of(payload: &[u8], clear: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("telereel 2026 replay sealing");
    hasher.update(&(payload.len() as u64).to_be_bytes()).update(payload).update(clear);
    let mut random = [0; 16];
    hasher.finalize_xof().fill(&mut random);
    random
}

#[cfg(test)]
mod tests;
