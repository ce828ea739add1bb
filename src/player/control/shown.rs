//! What a replay shows of itself.

use std::collections::{BTreeMap, VecDeque};

use serde::{Serialize, Serializer};

use super::Refused;
use crate::message::SessionId;
use crate::player::pace::{PlaybackClock, Speed};

/// What it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// For its clients, to play or to be told to.
    #[default]
    Waiting,
    Playing,
    Paused,
    /// Every client has everything, or has left; or it was stopped: what was sent until then may still be on its
    /// way.
    Done,
}

/// How a replay stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    pub state: State,
    /// Where in the recording it is, in nanoseconds since the replay's zero.
    pub position_ns: u64,
    /// Where the last message is; none while that is not known.
    pub duration_ns: Option<u64>,
    /// Of the message that was emitted last, and its session.
    pub seq: Option<u64>,
    pub session_id: Option<SessionId>,
    #[serde(serialize_with = "as_text")]
    pub speed: Speed,
    /// Messages, loops included.
    pub emitted: u64,
    /// Ready to receive.
    pub clients: usize,
}

fn as_text<S: Serializer>(speed: &Speed, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(speed)
}

/// The time line's clock: it stands or runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::player) enum Tape {
    Held { at_ns: u64 },
    Running(PlaybackClock),
}

impl Tape {
    /// What of the time line has been played at the steady time `now_ns`.
    pub(in crate::player) fn at_ns(self, now_ns: u64) -> u64 {
        match self {
            Tape::Held { at_ns } => at_ns,
            Tape::Running(clock) => clock.recorded_ns(now_ns),
        }
    }
}

/// What the scheduler notes down for [`Snapshot`].
#[derive(Clone, Debug)]
pub(in crate::player) struct Shown {
    pub(in crate::player) state: State,
    pub(in crate::player) tape: Tape,
    pub(in crate::player) speed: Speed,
    /// A moment on the time line and in the recording from which the position follows: the last event, or
    /// where the replay was wound to.
    pub(in crate::player) at_ns: u64,
    pub(in crate::player) recorded_ns: u64,
    /// Where in the recording the replay's zero is.
    pub(in crate::player) zero_ns: u64,
    /// Where in the recording the last message is, as far as is known.
    pub(in crate::player) end_ns: Option<u64>,
    /// Where in the recording the next message is, noted down with each order: what was not sent is not passed.
    pub(in crate::player) next_ns: Option<u64>,
    pub(in crate::player) seq: Option<(SessionId, u64)>,
    /// That message is the last event: it was not wound since.
    pub(in crate::player) is_last: bool,
    pub(in crate::player) emitted: u64,
    /// The last ticket that is carried out.
    pub(in crate::player) obeyed: u64,
    /// Of these, the tickets that were refused.
    pub(in crate::player) refused: VecDeque<(u64, Refused)>,
    /// Messages that are waited for, by a number of the wait: their `seq`, and whether they have passed since.
    pub(in crate::player) awaited: BTreeMap<u64, (u64, bool)>,
    /// Where this round ends before the recording does, and where a further one begins, if there is one; noted
    /// down with each order.
    pub(in crate::player) round_end_ns: Option<u64>,
    pub(in crate::player) again_from_ns: Option<u64>,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            state: State::default(),
            tape: Tape::Held { at_ns: 0 },
            speed: Speed::ORIGINAL,
            at_ns: 0,
            recorded_ns: 0,
            zero_ns: 0,
            end_ns: None,
            next_ns: None,
            seq: None,
            is_last: false,
            emitted: 0,
            obeyed: 0,
            refused: VecDeque::new(),
            awaited: BTreeMap::new(),
            round_end_ns: None,
            again_from_ns: None,
        }
    }
}

impl Shown {
    /// Where in the recording it is at the steady time `now_ns`.
    pub(in crate::player) fn recorded_ns(&self, now_ns: u64) -> u64 {
        let ahead_ns = self.tape.at_ns(now_ns).saturating_sub(self.at_ns);
        let recorded_ns = self.recorded_ns.saturating_add(ahead_ns);
        // Between two rounds of a loop, or after the last message, it stands at the end.
        [self.end_ns, self.next_ns].into_iter().flatten().fold(recorded_ns, u64::min)
    }

    /// Has this `seq`, or a later one, noted when it passes; the number of the wait.
    pub(super) fn await_seq(&mut self, seq: u64) -> u64 {
        let id = self.awaited.keys().next_back().map_or(0, |last| last + 1);
        self.awaited.insert(id, (seq, self.seq.is_some_and(|(_, emitted)| emitted >= seq)));
        id
    }

    pub(super) fn has_passed(&self, id: u64) -> bool {
        self.awaited.get(&id).is_some_and(|(_, has_passed)| *has_passed)
    }

    pub(super) fn forget(&mut self, id: u64) {
        self.awaited.remove(&id);
    }

    /// Notes down that a message with this `seq` has left, which need not be the last.
    pub(in crate::player) fn pass(&mut self, emitted: u64) {
        for (seq, has_passed) in self.awaited.values_mut() {
            *has_passed |= emitted >= *seq;
        }
    }

    pub(super) fn snapshot(&self, now_ns: u64, clients: usize) -> Snapshot {
        Snapshot {
            state: self.state,
            position_ns: self.recorded_ns(now_ns).saturating_sub(self.zero_ns),
            duration_ns: self.end_ns.map(|end_ns| end_ns.saturating_sub(self.zero_ns)),
            seq: self.seq.map(|(_, seq)| seq),
            session_id: self.seq.map(|(session_id, _)| session_id),
            speed: self.speed,
            emitted: self.emitted,
            clients,
        }
    }
}
