//! What those are told who wait for an acknowledgement.

use super::Source;
use crate::recorder::gate::Refusal;
use crate::recorder::webhook::Answer;
use crate::vendors::Ack;

impl Source {
    /// Carries out the acknowledgements that have become due.
    pub(super) fn acknowledge(&mut self) {
        let (up_to, is_stuck) = {
            let durable = self.durable.borrow_and_update();
            (durable.up_to, durable.stuck.is_some() || durable.error.is_some())
        };
        while let Some(ack) = self.gate.next_due(up_to) {
            match ack {
                Ack::Mqtt { conn, id } => {
                    if let Some(handle) = self.conns.get(&conn) {
                        handle.ack(id);
                    }
                }
                Ack::Http { inbound, reply } => self.answer(inbound, Answer::Reply(reply)),
            }
        }
        if is_stuck {
            let now_ns = self.task.clock.now().steady_ns;
            for (ack, why) in self.gate.give_back() {
                self.refuse(ack, why, now_ns);
            }
        }
    }

    pub(super) fn refuse(&mut self, ack: Ack, why: Refusal, now_ns: u64) {
        let Ack::Http { inbound, .. } = ack else { return };
        let answer = match why {
            Refusal::Busy { retry_after_s } => Answer::Busy { retry_after_s },
            Refusal::TooLarge => Answer::TooLarge,
        };
        // Whose time is over has been told so, and was counted.
        if self.answers.get(&inbound).is_some_and(|(waiting, _)| !waiting.is_closed()) {
            self.task.stats.lock().refuse_one(now_ns);
        }
        self.answer(inbound, answer);
    }
}
