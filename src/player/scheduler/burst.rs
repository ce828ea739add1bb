//! Several messages at once, where there is no time to keep.
//!
//! Most of what one message costs is locks, wake-ups and looks at the clock, which a burst shares. It is what the
//! stock has handed out, and leaves where every client has room for all of it; else its messages leave one by one,
//! and the stream waits for whoever has none. Orders are obeyed between two bursts, and what is shown is exact then.

use std::sync::Arc;

use super::ready::{Ready, What};
use super::{Pace, Scheduler, Sleep, Tape};
use crate::transport::fanout::Emission;

impl<S: Sleep> Scheduler<'_, S> {
    /// Whether messages leave as fast as clients take them.
    pub(super) fn is_hasty(&self) -> bool {
        self.options.pace == Pace::Max && self.stepping.is_none()
    }

    pub(super) fn prepare_hand(&mut self) {
        for _ in 0..self.hand.len() {
            if let Some(ready) = self.hand.pop_front() {
                let ready = self.prepare(ready);
                self.hand.push_back(ready);
            }
        }
    }

    /// Sends `next` and the messages that follow it in hand, up to the end of a round; false, and nothing has
    /// happened, if it is something else or a client has no room for them.
    pub(super) fn burst(&mut self, now_ns: u64) -> bool {
        let Some(next) = self.next.take() else { return false };
        let round = next.round;
        self.hand.push_front(next);
        let of_round = |ready: &&Ready| ready.round == round;
        let messages = || self.hand.iter().take_while(of_round).map_while(message);
        let count = messages().count();
        if count == 0 || !self.fanout.deliver_burst(messages()) {
            self.next = self.hand.pop_front();
            return false;
        }
        self.delivered_ns = now_ns;
        let mut last = None;
        for _ in 0..count {
            let Some(Ready { at_ns, recorded_ns, round, index, digest, what, .. }) = self.hand.pop_front()
            else {
                break;
            };
            let What::Message(emission, changes) = what else { break };
            let is_behind = self.reach(at_ns, recorded_ns, round);
            self.note_down(index + 1, digest, Some(&emission.row));
            self.left(&emission, changes, is_behind);
            last = Some(emission);
        }
        self.tape = Tape::Held { at_ns: self.at_ns };
        if let Some(last) = last {
            self.show_last(&last.row, true);
        }
        true
    }
}

fn message(ready: &Ready) -> Option<&Arc<Emission>> {
    match &ready.what {
        What::Message(emission, _) => Some(emission),
        What::Planned(_) => None,
    }
}
