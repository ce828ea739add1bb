//! Several messages at once.
//!
//! Most of what one message costs is locks, wake-ups and looks at the clock, which a burst shares.
//!
//! Where there is no time to keep, it is what the stock has handed out, and leaves where every client has room for
//! all of it; else its messages leave one by one, and the stream waits for whoever has none. Where there is, it is
//! what is due at the same moment, or by now: who was held up has more to send, and is through with it sooner.
//! Orders are obeyed between two bursts, and what is shown is exact then.

use std::sync::Arc;

use super::ready::{Ready, What, message};
use super::{Pace, PlaybackClock, Scheduler, Sleep, Tape};

/// What is due together is handed over together up to so many bytes, and one message of any size: of more, a client's
/// queue is to have sent a part before the rest comes.
pub(super) const TOGETHER_BYTES_MAX: usize = 256 << 10;

impl<S: Sleep> Scheduler<'_, S> {
    /// Whether messages leave as fast as clients take them.
    pub(super) fn is_hasty(&self) -> bool {
        self.options.pace == Pace::Max && self.stepping.is_none()
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
        self.have_left(count);
        self.tape = Tape::Held { at_ns: self.at_ns };
        true
    }

    /// Sends `next`, a message, and those that follow it in hand and are due by then, or by now.
    pub(super) fn leave_together(&mut self, clock: PlaybackClock, now_ns: u64) {
        let Some(next) = self.next.take() else { return };
        let (waited, due_ns) = (next.waited, clock.due_ns(next.at_ns));
        let until_ns = due_ns.max(now_ns);
        self.prepare_hand(|ready| clock.due_ns(ready.at_ns) <= until_ns);
        self.hand.push_front(next);
        let (mut count, mut bytes) = (0, 0);
        for ready in &mut self.hand {
            let ready_due_ns = clock.due_ns(ready.at_ns);
            let What::Message(emission, _) = &mut ready.what else { break };
            bytes += emission.payload().len();
            if ready_due_ns > until_ns || (count > 0 && bytes > TOGETHER_BYTES_MAX) {
                break;
            }
            if let Some(emission) = Arc::get_mut(emission) {
                emission.due_ns = Some(ready_due_ns);
            }
            count += 1;
        }
        self.fanout.deliver_due(self.hand.range(..count).filter_map(message));
        self.delivered_ns = now_ns;
        self.played.reader_late += u64::from(waited && now_ns > due_ns);
        self.played.at_speed(self.speed);
        self.have_left(count);
    }

    /// Notes down that the first so many messages in hand have left.
    fn have_left(&mut self, count: usize) {
        let is_held = self.is_hasty();
        let (mut last, mut highest) = (None, 0);
        for _ in 0..count {
            let Some(Ready { at_ns, recorded_ns, round, index, digest, what, .. }) = self.hand.pop_front()
            else {
                break;
            };
            let What::Message(emission, changes) = what else { break };
            let is_behind = self.reach(at_ns, recorded_ns, round);
            self.note_down(index + 1, digest, Some(&emission.row));
            self.left(&emission, changes, is_behind);
            // Messages of several sessions are not in the order of these.
            highest = highest.max(emission.row.seq);
            last = Some(emission);
        }
        if let Some(last) = last {
            self.show_last(&last.row, highest, is_held);
        }
    }
}
