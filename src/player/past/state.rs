//! What is known of each thing where a replay begins in the middle.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::ends::Ends;
use super::{Cuts, Onset};
use crate::decode::{self, Declaration, StateKeyReader};
use crate::message::{Row, SessionId, SourceHeader};
use crate::player::event::{Happening, Place, Planned, Stage};
use crate::transport::fanout::{Emission, StateChange, StateKey, StateTable};

type BoxError = Box<dyn StdError + Send + Sync>;

/// Rows in the order of the recording.
pub type RowsBefore = Box<dyn Iterator<Item = Result<Row, BoxError>> + Send>;

pub(super) type OpenRows = dyn Fn(u64) -> Result<RowsBefore, BoxError> + Send + Sync;

/// Clients that come late are told the last message of each thing.
#[derive(Clone)]
pub struct StateOptions {
    /// Their declarations say what a message is about.
    pub sources: Arc<[SourceHeader]>,
    /// The rows before a moment of the recording (nanoseconds since the earliest session's start), of these
    /// [`StateKinds`].
    pub before: Arc<OpenRows>,
    /// The rows that end a state, from a moment of the recording on, whether they are selected or not. None where all
    /// of them are selected.
    pub ends: Option<Arc<OpenRows>>,
}

impl fmt::Debug for StateOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateOptions").finish_non_exhaustive()
    }
}

/// The kinds whose messages are what is known; and for each of them those whose messages end it, and are themselves
/// nothing to be told of.
pub type StateKinds = BTreeMap<String, BTreeSet<String>>;

/// Those of the state of the `wanted` kinds (none: of all), by the declarations of `sources`. What ends a state
/// belongs to it, whether it is wanted itself or not.
pub fn state_kinds(sources: &[SourceHeader], wanted: &[String]) -> StateKinds {
    let mut kinds = StateKinds::new();
    for (kind, rule) in StateKeys::new(sources).rules.into_values().flatten() {
        if wanted.is_empty() || wanted.contains(&rule.of) {
            let ending = kinds.entry(rule.of).or_default();
            if rule.ends {
                ending.insert(kind);
            }
        }
    }
    kinds
}

/// Tells what a message is about.
#[derive(Debug, Default)]
pub(in crate::player) struct StateKeys {
    /// By source and kind.
    rules: HashMap<String, HashMap<String, Rule>>,
    key: Vec<u8>,
}

#[derive(Debug)]
struct Rule {
    reader: StateKeyReader,
    /// The kind whose state it is.
    of: String,
    ends: bool,
}

impl StateKeys {
    /// The built-in declarations count as they are now, others as they were when it was recorded.
    pub(in crate::player) fn new(sources: &[SourceHeader]) -> Self {
        let mut rules: HashMap<String, HashMap<String, Rule>> = HashMap::new();
        for source in sources {
            let declared: Vec<Declaration> =
                source.kinds.iter().filter_map(|kind| declaration(&source.vendor, kind)).collect();
            let rules = rules.entry(source.name.clone()).or_default();
            for owner in &declared {
                let (key, ended_by) = (owner.state_key(), owner.state_ended_by());
                let mut add = |declaration: &Declaration, ends| {
                    if let Some(reader) = StateKeyReader::new(declaration, key) {
                        let rule = Rule { reader, of: owner.kind().to_owned(), ends };
                        rules.insert(declaration.kind().to_owned(), rule);
                    }
                };
                add(owner, false);
                if let Some(end) = declared.iter().find(|other| Some(other.kind()) == ended_by) {
                    add(end, true);
                }
            }
        }
        Self { rules, key: Vec::new() }
    }

    /// What `row` does to what is known; none where it is of a kind without state, or not known what about.
    pub(in crate::player) fn change(&mut self, row: &Row) -> Option<StateChange> {
        let rule = self.rules.get_mut(&*row.source)?.get_mut(&*row.kind)?;
        self.key.clear();
        // No name holds a zero.
        for name in [&*row.source, "\0", &rule.of, "\0"] {
            self.key.extend_from_slice(name.as_bytes());
        }
        if !rule.reader.read(row.device_id.as_deref(), &row.payload, row.clear.as_deref(), &mut self.key) {
            return None;
        }
        let key = StateKey::new(&self.key);
        Some(if rule.ends { StateChange::Ends(key) } else { StateChange::Sets(key) })
    }
}

fn declaration(vendor: &str, kind: &crate::message::KindHeader) -> Option<Declaration> {
    let text = decode::declaration(vendor, &kind.name).or(kind.declaration.as_deref())?;
    match Declaration::parse(text, &kind.name) {
        Ok(declaration) => Some(declaration),
        Err(error) => {
            tracing::warn!("{vendor} {}: no state is known of this kind: {error}", kind.name);
            None
        }
    }
}

/// Says what is known where a stretch of unbroken playing begins.
pub(in crate::player) struct StateStage {
    options: StateOptions,
    keys: StateKeys,
    cuts: Cuts,
    ends: Ends,
    onset: Onset,
    /// Of the last event.
    at_ns: u64,
    /// The replay begins, or was wound to, where something may have been before.
    has_before: bool,
}

impl StateStage {
    /// `zero_ns`: where in the recording the clock starts, if not at the first message.
    pub(in crate::player) fn new(
        options: &StateOptions,
        offsets_ns: HashMap<SessionId, u64>,
        cuts: Cuts,
        zero_ns: Option<u64>,
    ) -> Self {
        Self {
            ends: Ends::new(options.ends.clone(), offsets_ns, cuts.clone()),
            at_ns: 0,
            keys: StateKeys::new(&options.sources),
            options: options.clone(),
            cuts,
            onset: Onset::new(zero_ns),
            has_before: zero_ns.is_some(),
        }
    }

    /// The last message of each thing before a moment of the recording.
    fn known_at(&mut self, recorded_ns: u64) -> StateTable {
        let mut table = StateTable::default();
        let mut read = || -> Result<(), BoxError> {
            for row in (self.options.before)(recorded_ns)? {
                let row = row?;
                if let Some(change) = self.keys.change(&row) {
                    table.apply(&change, || Arc::new(Emission::new(row, 0, None).retold()));
                }
            }
            Ok(())
        };
        // The replay itself can go on: what comes is not in doubt, only what was.
        if let Err(error) = read() {
            tracing::warn!("not all is known of the time before: {error}");
        }
        table
    }

    /// Says what is known at a place.
    fn say(&mut self, place: Place, out: &mut dyn FnMut(Planned) -> bool) -> bool {
        let Place { recorded_ns, at_ns, round } = place;
        self.ends.begin(recorded_ns);
        self.at_ns = at_ns;
        let known = match self.has_before {
            true => self.known_at(self.cuts.recorded_ns(recorded_ns)),
            false => StateTable::default(),
        };
        let what = Happening::State { known: Box::new(known) };
        out(Planned { at_ns, recorded_ns, round, index: 0, what, digest: Default::default() })
    }
}

impl Stage for StateStage {
    fn on(&mut self, event: Planned, out: &mut dyn FnMut(Planned) -> bool) -> bool {
        if let Some((recorded_ns, at_ns)) = self.onset.of(&event)
            && !self.say(Place { recorded_ns, at_ns, round: event.round }, out)
        {
            return false;
        }
        if let Happening::Message { row, .. } = &event.what {
            while let Some((recorded_ns, ended)) = self.ends.next_before(row) {
                let Some(StateChange::Ends(key)) = self.keys.change(&ended) else { continue };
                let before_ns = event.recorded_ns.saturating_sub(recorded_ns);
                let at_ns = event.at_ns.saturating_sub(before_ns).max(self.at_ns);
                let what = Happening::Ended { key };
                let (round, digest) = (event.round, Default::default());
                if !out(Planned { at_ns, recorded_ns, round, index: 0, what, digest }) {
                    return false;
                }
            }
        }
        self.at_ns = event.at_ns;
        out(event)
    }

    /// At once, and not with the first message, which may be hours away or not there.
    fn begin(&mut self, place: Place, out: &mut dyn FnMut(Planned) -> bool) -> bool {
        self.has_before = true;
        self.onset.pass(place.round);
        self.say(place, out)
    }

    fn wind(&mut self) {
        self.has_before = self.onset.zero_ns.is_some();
        self.onset = Onset::new(self.onset.zero_ns);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::message::KindHeader;
    use crate::player::event::Changes;
    use crate::player::tests::row;

    fn source(vendor: &str, kinds: &[&str]) -> SourceHeader {
        let kind = |name: &&str| KindHeader { name: (*name).into(), declaration: None };
        let kinds = kinds.iter().map(kind).collect();
        SourceHeader { name: "src".into(), vendor: vendor.into(), kinds, settings: serde_json::Value::Null }
    }

    fn shop() -> SourceHeader {
        source("delicode", &["person_position", "person_lost", "demographics", "control", "other"])
    }

    fn said(seq: u64, kind: &str, person: u64) -> Row {
        let payload = format!(r#"{{"location_id":1,"person_id":{person},"seq":{seq}}}"#);
        Row { vendor: "delicode".into(), kind: kind.into(), ..row(seq, seq * 10, &payload) }
    }

    #[test]
    fn positions_set_and_losses_end_and_guesses_do_neither() {
        let mut keys = StateKeys::new(&[shop()]);
        let Some(StateChange::Sets(here)) = keys.change(&said(0, "person_position", 7)) else { panic!() };
        assert_eq!(keys.change(&said(1, "person_lost", 7)), Some(StateChange::Ends(here)));
        assert_eq!(keys.change(&said(1, "demographics", 7)), None);
        let elsewhere = Row { source: "other".into(), ..said(0, "person_position", 7) };
        assert_eq!(keys.change(&elsewhere), None, "nothing is known of that source");
    }

    #[test]
    fn what_ends_a_state_belongs_to_it_though_it_is_not_wanted_itself() {
        let kinds = |source: SourceHeader, wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|kind| (*kind).to_owned()).collect();
            let kinds = state_kinds(&[source], &wanted);
            let names = |names: Vec<String>| names.join(" ");
            (names(kinds.keys().cloned().collect()), names(kinds.into_values().flatten().collect()))
        };
        let tracked = ("person_position".to_owned(), "person_lost".to_owned());
        assert_eq!(kinds(shop(), &[]), tracked);
        assert_eq!(kinds(shop(), &["person_position", "demographics"]), tracked);
        assert_eq!(kinds(shop(), &["person_lost"]), Default::default(), "an end of nothing");
        let fleet =
            || source("jointech", &["location", "alarm", "event", "command_response", "sublock", "status"]);
        assert_eq!(kinds(fleet(), &[]), ("location status sublock".to_owned(), String::new()));
        assert_eq!(kinds(fleet(), &["status", "alarm"]), ("status".to_owned(), String::new()));
    }

    #[test]
    fn a_users_declaration_counts_as_it_was_recorded() {
        let text = "kind = \"reading\"\nstate_key = [\"device_id\"]\n";
        let kinds = vec![KindHeader { name: "reading".into(), declaration: Some(text.into()) }];
        let mut keys = StateKeys::new(&[SourceHeader { kinds, ..source("generic", &[]) }]);
        let reading = Row { kind: "reading".into(), device_id: Some("d".into()), ..row(0, 0, "?") };
        assert!(keys.change(&reading).is_some());
        assert_eq!(keys.change(&Row { device_id: None, ..reading }), None);
    }

    /// A recording of these rows, ten nanoseconds apart.
    fn stage(rows: Vec<Row>, zero_ns: Option<u64>) -> StateStage {
        let before = move |before_ns| -> Result<RowsBefore, BoxError> {
            let rows: Vec<Row> = rows.iter().filter(|row| row.elapsed_ns < before_ns).cloned().collect();
            Ok(Box::new(rows.into_iter().map(Ok)))
        };
        StateStage::new(
            &StateOptions { sources: [shop()].into(), before: Arc::new(before), ends: None },
            HashMap::new(),
            Cuts::default(),
            zero_ns,
        )
    }

    /// What is said to be known with each event: where, and of which rows; and the messages.
    fn play(stage: &mut StateStage, rows: &[(u64, Row)], offset_ns: u64) -> Vec<String> {
        let mut events = Vec::new();
        for (round, row) in rows {
            let recorded_ns = row.elapsed_ns;
            let what = Happening::Message { row: Box::new(row.clone()), changes: Changes::default() };
            let at_ns = recorded_ns + offset_ns;
            let event =
                Planned { at_ns, recorded_ns, round: *round, index: 0, what, digest: Default::default() };
            stage.on(event, &mut |event| {
                events.push(said_by(&event));
                true
            });
        }
        events
    }

    fn said_by(event: &Planned) -> String {
        match &event.what {
            Happening::State { known } => {
                let seqs: Vec<u64> = known.iter().map(|emission| emission.row.seq).collect();
                assert!(known.iter().all(|emission| emission.is_retold()));
                format!("{}: {seqs:?}", event.at_ns)
            }
            Happening::Ended { .. } => format!("{} an end", event.at_ns),
            _ => event.at_ns.to_string(),
        }
    }

    fn recording() -> Vec<Row> {
        vec![
            said(0, "person_position", 1),
            said(1, "person_position", 2),
            said(2, "person_position", 1),
            said(3, "person_lost", 2),
            said(4, "person_position", 3),
        ]
    }

    #[test]
    fn from_its_beginning_nothing_is_known_and_from_the_middle_the_last_of_each() {
        let rows = recording();
        let from = |n: usize| -> Vec<(u64, Row)> { rows[n..].iter().map(|row| (0, row.clone())).collect() };
        assert_eq!(play(&mut stage(rows.clone(), None), &from(3), 0), ["30: []", "30", "40"]);
        assert_eq!(play(&mut stage(rows.clone(), Some(25)), &from(3), 0), ["25: [1, 2]", "30", "40"]);
        assert_eq!(play(&mut stage(rows.clone(), Some(40)), &from(4), 0), ["40: [2]", "40"]);
    }

    #[test]
    fn wound_to_another_place_it_says_what_is_known_there() {
        let mut stage = stage(recording(), None);
        let at = |n: usize| [(0, recording()[n].clone())];
        play(&mut stage, &at(0), 0);
        stage.wind();
        let mut at_once = Vec::new();
        stage.begin(Place { recorded_ns: 15, at_ns: 100, round: 0 }, &mut |event| {
            at_once.push(said_by(&event));
            true
        });
        assert_eq!(at_once, ["100: [0, 1]"], "whether or not anything follows");
        assert_eq!(play(&mut stage, &at(2), 85), ["105"]);
        // And a round begins as the replay did.
        let again = [(1, recording()[0].clone())];
        assert_eq!(play(&mut stage, &again, 200).len(), 2);
    }

    #[test]
    fn what_ends_is_heard_though_it_is_not_played_and_what_is_played_is_not_heard_twice() {
        let all = recording();
        let open = move |from_ns| -> Result<RowsBefore, BoxError> {
            let ends = |row: &Row| *row.kind == *"person_lost" && row.elapsed_ns >= from_ns;
            let rows: Vec<Row> = all.iter().filter(|row| ends(row)).cloned().collect();
            Ok(Box::new(rows.into_iter().map(Ok)))
        };
        let mut stage = stage(recording(), None);
        stage.ends = Ends::new(Some(Arc::new(open)), HashMap::new(), Cuts::default());
        let rows =
            |played: &[usize]| -> Vec<_> { played.iter().map(|n| (0, recording()[*n].clone())).collect() };
        assert_eq!(play(&mut stage, &rows(&[0, 1, 4]), 5), ["5: []", "5", "15", "35 an end", "45"]);
        stage.wind();
        assert_eq!(play(&mut stage, &rows(&[0, 3, 4]), 0), ["0: []", "0", "30", "40"]);
        stage.wind();
        let place = Place { recorded_ns: 31, at_ns: 100, round: 0 };
        stage.begin(place, &mut |_| true);
        assert_eq!(play(&mut stage, &rows(&[4]), 69), ["109"]);
    }

    #[test]
    fn a_past_that_cannot_be_read_is_no_end_of_the_replay() {
        let before = |_| -> Result<RowsBefore, BoxError> {
            let rows = vec![Ok(said(0, "person_position", 1)), Err(io::Error::other("damaged").into())];
            Ok(Box::new(rows.into_iter()))
        };
        let options = StateOptions { sources: [shop()].into(), before: Arc::new(before), ends: None };
        let mut stage = StateStage::new(&options, HashMap::new(), Cuts::default(), Some(5));
        assert_eq!(play(&mut stage, &[(0, said(4, "person_position", 9))], 0), ["5: [0]", "40"]);
    }
}
