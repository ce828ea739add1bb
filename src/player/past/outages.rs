//! Recorded outages on the time line of a replay.

use std::sync::Arc;

use super::Onset;
use crate::player::event::{Happening, Place, Planned, Stage};
use crate::transport::fanout::Down;

/// A time in which a source, or one of its sensors, was not connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    pub what: Down,
    /// Nanoseconds since the earliest session's start; it ends before `to_ns`.
    pub from_ns: u64,
    pub to_ns: u64,
}

/// Says at each place of the recording what is down there.
///
/// An outage ends with the last message at the latest: nobody is refused who comes afterwards.
#[derive(Debug)]
pub(in crate::player) struct OutageStage {
    /// What is down from each moment on, in order.
    changes: Vec<(u64, Arc<[Down]>)>,
    /// The first of them that was not said yet.
    next: usize,
    onset: Onset,
    is_down: bool,
    /// The last event's times and round.
    last: Option<(u64, u64, u64)>,
}

impl OutageStage {
    /// `zero_ns`: where in the recording the clock starts, if not at the first message.
    pub(in crate::player) fn new(outages: &[Outage], zero_ns: Option<u64>) -> Self {
        Self { changes: changes(outages), next: 0, onset: Onset::new(zero_ns), is_down: false, last: None }
    }

    fn say(
        &mut self,
        down: Arc<[Down]>,
        recorded_ns: u64,
        at_ns: u64,
        round: u64,
        out: &mut dyn FnMut(Planned) -> bool,
    ) -> bool {
        self.is_down = !down.is_empty();
        let what = Happening::Down { down };
        out(Planned { at_ns, recorded_ns, round, index: 0, what, digest: Default::default() })
    }
}

impl Stage for OutageStage {
    fn on(&mut self, event: Planned, out: &mut dyn FnMut(Planned) -> bool) -> bool {
        let (recorded_ns, at_ns, round) = (event.recorded_ns, event.at_ns, event.round);
        let is_unbroken = self.onset.is_begun(round);
        if let Some((from_ns, begins_ns)) = self.onset.of(&event) {
            // Between the last message of a round and the first of the next nobody is refused.
            if !is_unbroken && !self.end(out) {
                return false;
            }
            self.next = self.changes.partition_point(|(ns, _)| *ns <= from_ns);
            let down = self.next.checked_sub(1).map_or_else(Arc::default, |n| Arc::clone(&self.changes[n].1));
            if (self.is_down || !down.is_empty()) && !self.say(down, from_ns, begins_ns, round, out) {
                return false;
            }
        }
        while let Some((ns, down)) = self.changes.get(self.next).filter(|(ns, _)| *ns <= recorded_ns) {
            let (ns, down) = (*ns, Arc::clone(down));
            self.next += 1;
            if !self.say(down, ns, at_ns - (recorded_ns - ns).min(at_ns), round, out) {
                return false;
            }
        }
        self.last = Some((recorded_ns, at_ns, round));
        out(event)
    }

    fn end(&mut self, out: &mut dyn FnMut(Planned) -> bool) -> bool {
        match self.last {
            Some((recorded_ns, at_ns, round)) if self.is_down => {
                self.say(Arc::default(), recorded_ns, at_ns, round, out)
            }
            _ => true,
        }
    }

    fn begin(&mut self, place: Place, _out: &mut dyn FnMut(Planned) -> bool) -> bool {
        self.onset.begin(place);
        true
    }

    fn wind(&mut self) {
        self.onset = Onset::new(self.onset.zero_ns);
        // Whatever was said may not have been heard.
        self.is_down |= self.last.is_some();
    }
}

/// What is down from each moment on at which that changes.
fn changes(outages: &[Outage]) -> Vec<(u64, Arc<[Down]>)> {
    let mut edges: Vec<(u64, bool, &Down)> = outages
        .iter()
        // What was received in the very moment of the loss was received.
        .map(|outage| (outage.from_ns.saturating_add(1), outage.to_ns, &outage.what))
        .filter(|(from_ns, to_ns, _)| from_ns < to_ns)
        .flat_map(|(from_ns, to_ns, what)| [(from_ns, true, what), (to_ns, false, what)])
        .collect();
    edges.sort();
    // Outages of one thing may overlap, of sessions that were recorded beside each other.
    let mut down: Vec<&Down> = Vec::new();
    let mut changes = Vec::new();
    for at_once in edges.chunk_by(|a, b| a.0 == b.0) {
        for (_, begins, what) in at_once {
            match down.iter().position(|known| known == what).filter(|_| !begins) {
                Some(at) => drop(down.swap_remove(at)),
                None => down.push(what),
            }
        }
        let mut now: Vec<Down> = down.iter().map(|what| (*what).clone()).collect();
        now.sort();
        now.dedup();
        if changes.last().is_none_or(|(_, before): &(u64, Arc<[Down]>)| **before != *now) {
            changes.push((at_once[0].0, now.into()));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::player::event::Changes;
    use crate::player::tests::row;

    fn down(source: &str) -> Down {
        Down { source: source.into(), device: None }
    }

    fn outage(source: &str, from_ns: u64, to_ns: u64) -> Outage {
        Outage { what: down(source), from_ns, to_ns }
    }

    fn place(recorded_ns: u64, at_ns: u64) -> Place {
        Place { recorded_ns, at_ns, round: 0 }
    }

    fn message(round: u64, recorded_ns: u64, at_ns: u64) -> Planned {
        let what =
            Happening::Message { row: Box::new(row(0, recorded_ns, "x")), changes: Changes::default() };
        Planned { at_ns, recorded_ns, round, index: 0, what, digest: Default::default() }
    }

    /// Messages as `at`, outages as `at: a b`.
    fn told(events: &mut Vec<String>) -> impl FnMut(Planned) -> bool {
        |event| {
            events.push(match &event.what {
                Happening::Down { down } => {
                    let names: Vec<&str> = down.iter().map(|down| &*down.source).collect();
                    format!("{}: {}", event.at_ns, names.join(" "))
                }
                _ => event.at_ns.to_string(),
            });
            true
        }
    }

    fn play(stage: &mut OutageStage, messages: &[(u64, u64, u64)]) -> Vec<String> {
        let mut events = Vec::new();
        for (round, recorded_ns, at_ns) in messages {
            assert!(stage.on(message(*round, *recorded_ns, *at_ns), &mut told(&mut events)));
        }
        events
    }

    fn end(stage: &mut OutageStage) -> Vec<String> {
        let mut events = Vec::new();
        stage.end(&mut told(&mut events));
        events
    }

    #[test]
    fn what_is_down_is_said_between_the_messages() {
        let mut stage = OutageStage::new(&[outage("a", 100, 300), outage("b", 200, 250)], None);
        let events = play(&mut stage, &[(0, 50, 50), (0, 220, 220), (0, 300, 300), (0, 400, 400)]);
        assert_eq!(events, ["50", "101: a", "201: a b", "220", "250: a", "300: ", "300", "400"]);
        assert!(end(&mut stage).is_empty());
    }

    #[test]
    fn an_outage_at_the_start_is_there_at_once_and_none_outlives_the_end() {
        let mut stage = OutageStage::new(&[outage("a", 0, 900), outage("b", 600, 700)], Some(100));
        assert_eq!(play(&mut stage, &[(0, 150, 150), (0, 500, 500)]), ["100: a", "150", "500"]);
        assert_eq!(end(&mut stage), ["500: "]);
        assert!(end(&mut stage).is_empty());
    }

    #[test]
    fn each_round_begins_as_the_first_did() {
        let mut stage = OutageStage::new(&[outage("a", 100, 300)], None);
        assert_eq!(play(&mut stage, &[(0, 50, 50), (0, 200, 200)]), ["50", "101: a", "200"]);
        assert_eq!(play(&mut stage, &[(1, 50, 300), (1, 200, 450)]), ["200: ", "300", "351: a", "450"]);
    }

    #[test]
    fn wound_into_an_outage_it_is_there_at_once_and_wound_out_it_is_gone() {
        let mut stage = OutageStage::new(&[outage("a", 100, 300)], None);
        play(&mut stage, &[(0, 50, 50)]);
        stage.wind();
        assert!(stage.begin(place(150, 1_000), &mut |_| panic!("with the first event")));
        assert_eq!(play(&mut stage, &[(0, 350, 1_200)]), ["1000: a", "1150: ", "1200"]);
        stage.wind();
        assert!(stage.begin(place(400, 2_000), &mut |_| panic!("with the first event")));
        assert_eq!(play(&mut stage, &[(0, 450, 2_050)]), ["2000: ", "2050"]);
        stage.wind();
        assert_eq!(end(&mut stage), ["2050: "], "wound behind the last message nothing is refused");
    }

    #[test]
    fn a_message_of_the_moment_of_the_loss_comes_first() {
        let mut stage = OutageStage::new(&[outage("a", 100, 300)], None);
        assert_eq!(play(&mut stage, &[(0, 100, 100), (0, 300, 300)]), ["100", "101: a", "300: ", "300"]);
    }

    #[test]
    fn overlapping_outages_of_one_thing_are_one() {
        let mut stage =
            OutageStage::new(&[outage("a", 100, 300), outage("a", 200, 400), outage("a", 5, 6)], None);
        assert_eq!(play(&mut stage, &[(0, 0, 0), (0, 500, 500)]), ["0", "101: a", "400: ", "500"]);
    }
}
