//! What the time line of a replay holds.
//!
//! Two times belong to each event. `at_ns` is how much of the recording has been played when it is due:
//! it never runs back, over loops and seeks, and the clock counts in it. `recorded_ns` is where in the
//! recording it comes from: nanoseconds since the earliest session's start, several sessions merged as
//! they lay in life. Loops and seeks change how the one follows from the other, and nothing else does.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::message::Row;
use crate::transport::fanout::{Down, StateKey, StateTable};

/// An event with its place in the replay.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Played before it, in recorded time; never less than that of the event before.
    pub at_ns: u64,
    /// Its place in the recording; runs back with a loop or a seek.
    pub recorded_ns: u64,
    /// The n-th time, from 0, that the recording is played since the replay began or was wound.
    pub round: u64,
    /// The n-th message of the replay, from 0, loops and seeks counted on. For what is no message: that
    /// of the next one. Faults may change the order of the events, not this.
    pub index: u64,
    pub what: Happening,
    /// Over everything as recorded up to and with this index, not finished, so that a replay that is stopped or
    /// wound has the digest of what was emitted and not of what was read. Only where faults may change the order
    /// or the number of messages; elsewhere whoever emits them knows it as well.
    pub digest: Option<Box<Sha256>>,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A message leaves, changed as faults decided.
    Message { row: Box<Row>, changes: Changes },
    /// A message would have left, and a fault took it: it counts as emitted (`digest`) and not as sent.
    Dropped { row: Box<Row> },
    /// A fault holds this message back while others leave; it follows, unless the replay is wound or stopped before.
    Held { row: Box<Row> },
    /// From now on exactly these were not connected: they are to be down for clients, too.
    Down { down: Arc<[Down]> },
    /// The replay begins here in the middle: what is known of each thing.
    State { known: Box<StateTable> },
    /// This was left out of the selection, and ends what is known of a thing.
    Ended { key: StateKey },
    /// A fault: all clients are disconnected, and may come back at once.
    Disconnect,
}

/// What faults decided about a message, carried out where its bytes are prepared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Corrupted, decided by this hash.
    pub corrupt: Option<u64>,
    /// The n-th repetition of the message by a fault; 0 is the message itself.
    pub copy: u32,
    /// Late by faults, against the recording: its own, and those of what it waits behind.
    pub delay_ns: u64,
    /// Which faults of its own make it late.
    pub late: Late,
}

/// By how much each of the faults that keep a message back does so, in nanoseconds; 0: not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Late {
    pub delay_ns: u64,
    pub jitter_ns: u64,
    /// For how long it is held while others leave.
    pub reorder_ns: u64,
}

/// Where a round of reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// At the first selected row.
    Start,
    /// At the first selected row that is not before this moment of the recording (see
    /// [`Planned::recorded_ns`]). Rows before it may be given, and are passed over.
    At(u64),
}

/// Where a stretch of unbroken playing begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In the recording and on the time line, as in [`Planned`].
    pub recorded_ns: u64,
    pub at_ns: u64,
    pub round: u64,
}

/// What stands between the rows and the stock. Stages run on the reader's thread, far ahead of the clock.
pub trait Stage: Send {
    /// Takes an event of the time line and hands on what becomes of it, now or later, in the order of
    /// `at_ns`. `out` answers false when nothing more is wanted; so does this.
    fn on(&mut self, event: Planned, out: &mut dyn FnMut(Planned) -> bool) -> bool;

    /// The recording is over: what was held back goes on.
    fn end(&mut self, _out: &mut dyn FnMut(Planned) -> bool) -> bool {
        true
    }

    /// What follows of this round begins here in the recording and on the time line, wherever its first message
    /// is, and if there is none. Called where a replay was wound to a place, and for each round of a stretch; for
    /// stages of the past only.
    fn begin(&mut self, _place: Place, _out: &mut dyn FnMut(Planned) -> bool) -> bool {
        true
    }

    /// The replay is wound to another place: what was held back is forgotten.
    fn wind(&mut self);
}

/// Hands `event` through `stages`.
pub(super) fn through(
    stages: &mut [Box<dyn Stage>],
    event: Planned,
    out: &mut dyn FnMut(Planned) -> bool,
) -> bool {
    match stages.split_first_mut() {
        None => out(event),
        Some((first, rest)) => first.on(event, &mut |event| through(rest, event, out)),
    }
}

/// Tells `stages` where what follows begins.
pub(super) fn begin(
    stages: &mut [Box<dyn Stage>],
    place: Place,
    out: &mut dyn FnMut(Planned) -> bool,
) -> bool {
    match stages.split_first_mut() {
        None => true,
        Some((first, rest)) => {
            first.begin(place, &mut |event| through(rest, event, out)) && begin(rest, place, out)
        }
    }
}

/// Hands on what `stages` hold back.
pub(super) fn end(stages: &mut [Box<dyn Stage>], out: &mut dyn FnMut(Planned) -> bool) -> bool {
    match stages.split_first_mut() {
        None => true,
        Some((first, rest)) => first.end(&mut |event| through(rest, event, out)) && end(rest, out),
    }
}

/// Adds a message to a digest: channel and payload, each after its length as four bytes, big-endian, so that
/// no two sequences hash alike.
pub fn add_to_digest(digest: &mut Sha256, channel: &str, payload: &[u8]) {
    for bytes in [channel.as_bytes(), payload] {
        // A payload is below 4 GiB: the journal's records are.
        digest.update((bytes.len() as u32).to_be_bytes());
        digest.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_tells_where_one_field_ends() {
        let digest = |messages: &[(&str, &str)]| {
            let mut digest = Sha256::default();
            messages
                .iter()
                .for_each(|(channel, payload)| add_to_digest(&mut digest, channel, payload.as_bytes()));
            digest.finalize()
        };
        let expected = Sha256::digest(b"\0\0\0\x01a\0\0\0\x02bc\0\0\0\0\0\0\0\x01d");
        assert_eq!(digest(&[("a", "bc"), ("", "d")]), expected);
        assert_ne!(digest(&[("ab", "c"), ("", "d")]), expected);
        let long = "x".repeat(300);
        let expected = Sha256::digest(format!("\0\0\x01\x2c{long}\0\0\0\0"));
        assert_eq!(digest(&[(&long, "")]), expected);
    }
}
