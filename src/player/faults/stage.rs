//! The faults of a replay as a stage between its rows and its stock.

use sha2::Sha256;

use super::{Faults, Line, Shaped};
use crate::message::Row;
use crate::player::event::{Happening, Planned, Stage};
use crate::player::stock::cost;

/// Gives what leaves. Its events carry the digest of what was recorded, as far as it has left.
#[derive(Debug)]
pub(in crate::player) struct FaultStage {
    line: Line<Message>,
    /// Messages may be held while others leave.
    reorders: bool,
    latest: Latest,
}

/// A message on the line.
#[derive(Clone, Debug)]
struct Message {
    recorded_ns: u64,
    round: u64,
    index: u64,
    digest: Option<Box<Sha256>>,
    row: Box<Row>,
}

/// The latest, in the order of the recording, of the messages that left or were dropped.
#[derive(Debug, Default)]
struct Latest {
    /// How many there are up to and with it; 0: none yet.
    messages: u64,
    digest: Option<Box<Sha256>>,
}

impl FaultStage {
    pub(in crate::player) fn new(faults: Faults) -> Self {
        Self { reorders: faults.reorder(), line: Line::new(faults), latest: Latest::default() }
    }
}

impl Stage for FaultStage {
    fn on(&mut self, event: Planned, out: &mut dyn FnMut(Planned) -> bool) -> bool {
        let Self { line, reorders, latest } = self;
        let bytes = cost(&event);
        let Planned { at_ns, recorded_ns, round, index, what, digest } = event;
        let mut hand_on = |at_ns, shaped| out(latest.event(at_ns, shaped));
        match what {
            Happening::Message { row, .. } => {
                let number = (index, row.seq);
                let mut held = reorders.then(|| row.clone());
                let message = Message { recorded_ns, round, index, digest, row };
                let is_wanted = line.message(at_ns, number, bytes, message, &mut |at_ns, shaped| {
                    held.take_if(|_| shaped.is_message(index));
                    hand_on(at_ns, shaped)
                });
                match (is_wanted, held) {
                    (true, Some(row)) => line.pass(at_ns, &mut hand_on).is_some_and(|at_ns| {
                        let what = Happening::Held { row };
                        out(Planned { at_ns, recorded_ns, round, index, what, digest: None })
                    }),
                    (is_wanted, _) => is_wanted,
                }
            }
            what => match line.pass(at_ns, &mut hand_on) {
                Some(at_ns) => {
                    let digest = latest.digest_or(digest);
                    out(Planned { at_ns, recorded_ns, round, index, what, digest })
                }
                None => false,
            },
        }
    }

    fn end(&mut self, out: &mut dyn FnMut(Planned) -> bool) -> bool {
        let Self { line, latest, .. } = self;
        line.finish(&mut |at_ns, shaped| out(latest.event(at_ns, shaped)))
    }

    fn wind(&mut self) {
        self.line.wind();
        self.latest = Latest::default();
    }
}

impl Shaped<Message> {
    /// Whether the message of this index leaves, or is dropped; not its copy.
    fn is_message(&self, index: u64) -> bool {
        match self {
            Shaped::Message(message, changes) => message.index == index && changes.copy == 0,
            Shaped::Dropped(message) => message.index == index,
            Shaped::Disconnect(_) => false,
        }
    }
}

impl Latest {
    fn event(&mut self, at_ns: u64, shaped: Shaped<Message>) -> Planned {
        let (message, is_there, changes) = match shaped {
            Shaped::Message(message, changes) => (message, true, Some(changes)),
            Shaped::Dropped(message) => (message, true, None),
            Shaped::Disconnect(message) => (message, false, None),
        };
        let Message { recorded_ns, round, index, digest, row } = message;
        if is_there && index >= self.messages {
            (self.messages, self.digest) = (index + 1, digest.clone());
        }
        let (index, what) = match (changes, is_there) {
            (Some(changes), _) => (index, Happening::Message { row, changes }),
            (None, true) => (index, Happening::Dropped { row }),
            // Behind the message.
            (None, false) => (index + 1, Happening::Disconnect),
        };
        Planned { at_ns, recorded_ns, round, index, what, digest: self.digest_or(digest) }
    }

    /// Its digest, or, if there is none, the one that belongs to the event.
    fn digest_or(&self, digest: Option<Box<Sha256>>) -> Option<Box<Sha256>> {
        if self.messages > 0 { self.digest.clone() } else { digest }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::player::event::Changes;
    use crate::player::event::add_to_digest;
    use crate::player::tests::row;

    /// What a stage makes of so many messages, one each nanosecond: index, copy and digest, or what else.
    fn run(spec: &str, messages: u64) -> Vec<(u64, String, Sha256)> {
        let mut stage = FaultStage::new(Faults::new(spec.parse().unwrap(), 1));
        let mut out = Vec::new();
        let mut keep = |event: Planned| {
            let what = match event.what {
                Happening::Message { changes: Changes { copy, .. }, .. } => format!("message {copy}"),
                Happening::Dropped { .. } => "dropped".to_owned(),
                Happening::Held { .. } => "held".to_owned(),
                Happening::Down { .. } => "up".to_owned(),
                _ => "disconnect".to_owned(),
            };
            out.push((event.index, what, event.digest.map_or_else(Sha256::default, |digest| *digest)));
            true
        };
        let mut digest = Sha256::default();
        for n in 0..messages {
            let row = Box::new(row(n, n, "x"));
            add_to_digest(&mut digest, &row.channel, &row.payload);
            let what = Happening::Message { row, changes: Changes::default() };
            let event = Planned {
                at_ns: n,
                recorded_ns: n,
                round: 0,
                index: n,
                what,
                digest: Some(Box::new(digest.clone())),
            };
            stage.on(event, &mut keep);
        }
        let what = Happening::Down { down: Arc::from([]) };
        let (at_ns, index) = (messages, messages);
        let digest = Some(Box::new(digest));
        stage.on(Planned { at_ns, recorded_ns: at_ns, round: 0, index, what, digest }, &mut keep);
        stage.end(&mut keep);
        out
    }

    fn digest(messages: u64) -> Vec<u8> {
        use sha2::Digest as _;
        let mut digest = Sha256::default();
        (0..messages).for_each(|n| {
            let row = row(n, n, "x");
            add_to_digest(&mut digest, &row.channel, &row.payload);
        });
        digest.finalize().to_vec()
    }

    #[test]
    fn events_carry_the_digest_of_what_was_recorded_and_has_left() {
        use sha2::Digest as _;
        let out = run("drop=@2, duplicate=@1, disconnect=@1, reorder=@0:1h", 3);
        let told: Vec<_> = out.iter().map(|(index, what, _)| (*index, what.as_str())).collect();
        assert_eq!(
            told,
            [
                (0, "held"),
                (1, "message 0"),
                (1, "message 1"),
                (2, "disconnect"),
                (2, "dropped"),
                (3, "up"),
                (0, "message 0"),
            ]
        );
        let digests: Vec<_> = out.into_iter().map(|(_, _, digest)| digest.finalize().to_vec()).collect();
        let expected = [0, 2, 2, 2, 3, 3, 3].map(digest);
        assert_eq!(digests, expected, "whatever was dropped or held, in the end it is that of the recording");
    }

    #[test]
    fn what_was_held_is_forgotten_when_the_replay_is_wound() {
        let mut stage = FaultStage::new(Faults::new("reorder=1/1:1h".parse().unwrap(), 1));
        let what = Happening::Message { row: Box::new(row(0, 0, "x")), changes: Changes::default() };
        let event = Planned { at_ns: 9, recorded_ns: 9, round: 0, index: 0, what, digest: None };
        let mut out = |event: Planned| matches!(event.what, Happening::Held { .. });
        assert!(stage.on(event, &mut out));
        stage.wind();
        assert!(stage.end(&mut out));
    }
}
