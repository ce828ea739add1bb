//! What becomes of an event of the time line: it is made ready, and when it is due it happens.

use sha2::Sha256;
use std::num::NonZeroU64;

use super::ready::{Ready, What};
use super::{Scheduler, Sleep, Stepping};
use crate::message::Row;
use crate::player::control::{Steps, Tape};
use crate::player::event::{Changes, Happening, add_to_digest};
use crate::player::faults::{DISCONNECTED, Fault, Struck};
use crate::transport::fanout::{Emission, Flow, StateTable};

impl<S: Sleep> Scheduler<'_, S> {
    /// Carries out `next`, which is no message where there is a time to keep.
    pub(super) fn happen(&mut self, due_ns: Option<u64>, now_ns: u64) {
        let Some(next) = self.next.take() else { return };
        let Ready { at_ns, recorded_ns, round, index, digest, what, .. } = next;
        let is_behind = self.reach(at_ns, recorded_ns, round);
        if due_ns.is_none() {
            self.tape = Tape::Held { at_ns };
        }
        let (emission, changes) = match what {
            What::Planned(happening) => {
                let is_counted = matches!(happening, Happening::Dropped { .. });
                // What a fault took has a digest with it.
                if is_counted {
                    self.note_down(index + 1, digest, None);
                }
                self.emitted_here += u64::from(is_counted && !is_behind);
                self.carry_out(happening, index);
                return self.show();
            }
            What::Message(emission, changes) => (emission, changes),
        };
        self.fanout.deliver(&emission, Flow::Wait, self.control.stopped());
        self.delivered_ns = now_ns;
        self.note_down(index + 1, digest, Some(&emission.row));
        self.left(&emission, changes, is_behind);
        self.show_last(&emission.row, emission.row.seq, true);
        self.stepped(&emission.row);
    }

    /// Enters the place of an event that happens; true if that is behind us: what a fault held back, or repeats,
    /// does not take the replay back to its place.
    pub(super) fn reach(&mut self, at_ns: u64, recorded_ns: u64, round: u64) -> bool {
        let is_behind = (round, recorded_ns) < (self.round, self.recorded_ns);
        if !is_behind {
            if (recorded_ns, round) != (self.recorded_ns, self.round) {
                self.emitted_here = 0;
            }
            (self.at_ns, self.recorded_ns, self.round) = (at_ns, recorded_ns, round);
        }
        is_behind
    }

    /// A message has left.
    pub(super) fn left(&mut self, emission: &Emission, changes: Changes, is_behind: bool) {
        if changes.copy == 0 {
            self.emitted_here += u64::from(!is_behind);
            self.played.count(&emission.row);
            self.held.remove(&emission.index);
        }
        let fanout = self.fanout;
        self.preparation.left(emission, changes, |fault, struck| fanout.note_fault(fault.name(), &struck));
    }

    /// Shows a message that has left, and is the last; of those that left with it, none has a `seq` above `highest`.
    pub(super) fn show_last(&self, row: &Row, highest: u64, is_held: bool) {
        let (at_ns, recorded_ns, emitted) = (self.at_ns, self.recorded_ns, self.played.messages);
        self.control.show(|shown| {
            (shown.seq, shown.is_last, shown.emitted) = (Some((row.session_id, row.seq)), true, emitted);
            (shown.at_ns, shown.recorded_ns, shown.next_ns) = (at_ns, recorded_ns, None);
            shown.pass(highest);
            if is_held {
                shown.tape = Tape::Held { at_ns };
            }
        });
    }

    /// `index` is that of the next message, and `digest` covers those before it; where there is none, the last of
    /// them is `row`, and the one before that was noted down before.
    pub(super) fn note_down(&mut self, index: u64, digest: Option<Box<Sha256>>, row: Option<&Row>) {
        // Faults may have put an earlier one behind a later one: the digest goes as far as the farthest.
        if index > self.index {
            self.index = index;
            match (digest, row) {
                (Some(digest), _) => self.played.digest = *digest,
                (None, Some(row)) => add_to_digest(&mut self.played.digest, &row.channel, &row.payload),
                (None, None) => {}
            }
        }
    }

    /// What is no message.
    fn carry_out(&mut self, happening: Happening, index: u64) {
        match happening {
            Happening::Message { .. } => {}
            Happening::Held { row } => _ = self.held.insert(index, row),
            Happening::Dropped { row } => {
                self.played.count(&row);
                let emitted = self.played.messages;
                // Whoever waits for it would wait for ever.
                self.control.show(|shown| {
                    (shown.seq, shown.emitted) = (Some((row.session_id, row.seq)), emitted);
                    shown.pass(row.seq);
                });
                self.preparation.passed(index, row.seq);
                self.struck(Fault::Drop, Struck { index, seq: Some(row.seq), ns: None });
                // It is not one of those that a step counts, but may be the one that it goes to.
                if self.stepping.as_ref().is_some_and(|step| matches!(step.steps, Steps::Until { .. })) {
                    self.stepped(&row);
                }
            }
            Happening::Disconnect => {
                // Behind the message before it.
                self.struck(
                    Fault::Disconnect,
                    Struck { index: index.saturating_sub(1), seq: None, ns: None },
                );
                self.fanout.disconnect(DISCONNECTED);
            }
            Happening::Down { down } => self.fanout.set_down(&down),
            Happening::Ended { key } => self.fanout.end_state(&key),
            Happening::State { known } => {
                if self.past.is_news() {
                    let known = self.prepared(*known);
                    self.fanout.restate(known, true);
                }
            }
        }
    }

    /// What is `known` here, as it leaves.
    fn prepared(&mut self, known: StateTable) -> StateTable {
        self.past.prepared(known, (self.recorded_ns, self.at_ns), &mut self.preparation)
    }

    /// Tells what is known though the replay does not play.
    pub(super) fn tell_early(&mut self) {
        let now = self.now();
        if !self.is_open {
            // Times are moved as if it were played from now on.
            self.preparation.started(now, self.zero_ns);
            if let Some(Ready { what: What::Planned(Happening::State { known }), .. }) = &self.next {
                self.early = self.options.rebasing.is_some().then(|| known.clone());
            }
        }
        self.happen(None, now.steady_ns);
    }

    /// The clock starts: whoever comes from now on is told times that were moved by as much as what is played.
    pub(super) fn retell(&mut self) {
        if let Some(known) = self.early.take()
            && !self.past.is_awaited()
        {
            let known = self.prepared(*known);
            self.fanout.restate(known, false);
        }
    }

    /// The replay is wound, or over: what a fault holds back does not leave any more. Where something behind it has
    /// left, the digest covers it: it counts as emitted, as what was dropped does.
    pub(super) fn lose_held(&mut self) {
        for (index, row) in std::mem::take(&mut self.held) {
            if index < self.index {
                self.played.count(&row);
                self.preparation.passed(index, row.seq);
                self.struck(Fault::Reorder, Struck { index, seq: Some(row.seq), ns: None });
            }
        }
    }

    fn struck(&mut self, fault: Fault, struck: Struck) {
        self.preparation.struck(fault, struck);
        self.fanout.note_fault(fault.name(), &struck);
    }

    /// Counts a message that was emitted while stepping.
    fn stepped(&mut self, row: &Row) {
        let Some(Stepping { steps, ticket }) = &mut self.stepping else { return };
        let done = match steps {
            Steps::Until { session_id, seq } => (*session_id, *seq) == (row.session_id, row.seq),
            Steps::Count(count) => match NonZeroU64::new(count.get() - 1) {
                Some(left) => {
                    *count = left;
                    false
                }
                None => true,
            },
        };
        if done {
            let ticket = *ticket;
            self.stepping = None;
            self.has_stepped = true;
            self.control.obey(ticket);
        }
    }
}
