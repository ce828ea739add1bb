//! What a client is told, or made to feel, of what was before it came: the last messages of each thing, and
//! that what it came for is down. Neither costs anything unless it was asked for.
//!
//! Locks are taken in this order: what is down, what is known, a client's queue.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use serde::Serialize;
use serde_json::json;

use super::strands::{Down, Strands};
use super::{Client, Emission, Fanout, StateKey, StateTable, Wish, lock};
use crate::message::Selection;

#[derive(Debug, Default)]
pub(super) struct Past {
    known: OnceLock<Mutex<Known>>,
    strands: OnceLock<Mutex<Strands>>,
    closed: AtomicU64,
    refused: AtomicU64,
}

/// What clients that come are told.
#[derive(Debug, Default)]
struct Known {
    table: StateTable,
    /// Given up by tables that were replaced.
    forgotten: u64,
    /// The last message that was noted, by its serial: that and all before are in the table, if they belong there.
    upto: u64,
    /// Before that a client that comes is in time for everything.
    has_begun: bool,
}

/// What outages did to connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OutageCount {
    pub closed: u64,
    pub refused: u64,
}

impl Past {
    /// Whether what passes is remembered.
    pub(super) fn is_kept(&self) -> bool {
        self.known.get().is_some()
    }

    /// Before `emission` is handed out: from here on, whoever comes is told of it as the past.
    pub(super) fn note(&self, emission: &Emission) {
        let Some(known) = self.known.get() else { return };
        let mut known = lock(known);
        if let Some(change) = &emission.state {
            known.table.apply(change, || Arc::new(emission.retold()));
        }
        known.upto += 1;
        known.has_begun = true;
        emission.number(known.upto);
    }

    /// Gives a client its wish, and what is known of it that it was not told before.
    pub(super) fn wish(&self, client: &Client, wish: Wish) {
        let strands = self.strands();
        let known = self.known.get().map(lock);
        let mut queue = lock(&client.queue);
        if strands.is_some_and(|strands| strands.has_left(&wish)) && queue.cut() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            client.readable.notify_one();
        }
        match known.as_deref().filter(|_| !client.is_target) {
            Some(Known { table, upto, has_begun: true, .. }) => {
                queue.wish_from(*upto, wish, table.iter());
                client.readable.notify_one();
            }
            _ => queue.wish(wish),
        }
    }

    /// A client is back, of whose messages `unsent` are still to be flushed; if that is in vain, it is sent away.
    pub(super) fn come_back(&self, client: &Client, unsent: usize) {
        let strands = self.strands();
        let mut queue = lock(&client.queue);
        queue.come_back(unsent);
        let is_down = |wish| strands.is_some_and(|strands| strands.has_left(wish));
        if queue.current_wish().is_some_and(is_down) && queue.turn_away() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            client.readable.notify_one();
        }
    }

    fn strands(&self) -> Option<MutexGuard<'_, Strands>> {
        self.strands.get().map(lock)
    }
}

impl Fanout {
    /// From now on the last message of each thing is remembered, for clients that come late.
    pub fn keep_state(&self) {
        self.past.known.get_or_init(Mutex::default);
    }

    /// From now on what is down is down for clients as well.
    pub fn reproduce_outages(&self, strands: Strands) {
        let _ = self.past.strands.set(Mutex::new(strands));
    }

    /// The replay is being wound: whoever comes before [`Fanout::restate`] is in time for what that tells.
    pub fn forget_state(&self) {
        if let Some(known) = self.past.known.get() {
            let mut known = lock(known);
            known.forgotten += known.table.forgotten();
            (known.table, known.has_begun) = (StateTable::default(), false);
        }
    }

    /// The clock starts, or has been moved: `table` is what is known at that place, and all clients are told of
    /// it; without `tells` only those who come from now on.
    pub fn restate(&self, table: StateTable, tells: bool) {
        let Some(known) = self.past.known.get() else { return };
        let members = Arc::clone(&lock(&self.room).members);
        let mut known = lock(known);
        known.forgotten += known.table.forgotten();
        (known.table, known.has_begun) = (table, true);
        for client in members.iter().filter(|client| tells && !client.is_target) {
            lock(&client.queue).tell_anew(known.table.iter());
            client.readable.notify_one();
        }
    }

    /// Nothing is known of this thing any more, though no message said so to anybody.
    pub fn end_state(&self, key: &StateKey) {
        if let Some(known) = self.past.known.get() {
            lock(known).table.remove(key);
        }
    }

    /// Things whose last message was given up because there were too many.
    pub fn forgotten_states(&self) -> u64 {
        self.past.known.get().map_or(0, |known| {
            let known = lock(known);
            known.forgotten + known.table.forgotten()
        })
    }

    /// From now on exactly these are down: whoever is served by nothing else loses its connection once it has
    /// what was sent before.
    pub fn set_down(&self, down: &[Down]) {
        let Some(mut strands) = self.past.strands() else { return };
        strands.set(down);
        if let Some(trace) = &self.trace {
            let down: Vec<_> =
                down.iter().map(|down| json!({"source": down.source, "device": down.device})).collect();
            trace.outages(&down, self.clock.now().steady_ns);
        }
        let members = Arc::clone(&lock(&self.room).members);
        for client in members.iter() {
            let mut queue = lock(&client.queue);
            if queue.current_wish().is_some_and(|wish| strands.has_left(wish)) && queue.cut() {
                self.past.closed.fetch_add(1, Ordering::Relaxed);
                client.readable.notify_one();
            }
        }
    }

    /// Somebody came for what is down, and was sent away.
    pub fn refuse(&self) {
        self.past.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// What outages did so far; none where they are not reproduced.
    pub fn outages(&self) -> Option<OutageCount> {
        self.past.strands.get()?;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(OutageCount { closed: count(&self.past.closed), refused: count(&self.past.refused) })
    }

    /// Notes in the trace, if there is one, how a request that was no upgrade was answered.
    pub fn trace_http(&self, method: &str, path: &str, status: u16) {
        if let Some(trace) = &self.trace {
            trace.http(method, path, status, self.clock.now().steady_ns);
        }
    }

    /// Whether all that can give rows of `selection` is down now: nobody is there to connect to.
    pub fn is_down(&self, selection: &Selection) -> bool {
        self.past.strands().is_some_and(|strands| strands.is_down(selection))
    }

    /// The same for a client that subscribes to topics.
    pub fn plain_mqtt_is_down(&self) -> bool {
        self.past.strands().is_some_and(|strands| strands.plain_mqtt_is_down())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::{emission, everything, fanout, stop, take_all};
    use super::super::{Flow, Item, Member, StateChange, Taken};
    use super::*;
    use crate::message::SourceHeader;

    fn of(index: u64, channel: &str, change: Option<StateChange>) -> Arc<Emission> {
        let mut emission = Emission::new(emission(index, channel, 1, 1).row.clone(), index, Some(0));
        emission.state = change;
        Arc::new(emission)
    }

    fn sets(index: u64, channel: &str) -> Arc<Emission> {
        of(index, channel, Some(StateChange::Sets(StateKey::new(channel.as_bytes()))))
    }

    fn topics(filters: &[&str]) -> Wish {
        Wish::Topics(filters.iter().map(|filter| ((*filter).to_owned(), 1)).collect())
    }

    fn deliver(fanout: &Fanout, emissions: &[Arc<Emission>]) {
        emissions.iter().for_each(|emission| fanout.deliver(emission, Flow::Drop, &stop()));
    }

    #[test]
    fn who_comes_late_is_told_the_last_of_each_thing_first() {
        let fanout = fanout(10);
        fanout.keep_state();
        let early = fanout.join("early").unwrap();
        early.wish(everything());
        let alarm = of(2, "alarm", None);
        deliver(&fanout, &[sets(0, "a"), sets(1, "b"), alarm, sets(3, "a")]);
        let late = fanout.join("late").unwrap();
        late.wish(everything());
        deliver(&fanout, &[sets(4, "b")]);
        assert_eq!(take_all(&early).0, [0, 1, 2, 3, 4], "who was there is told nothing again");
        assert_eq!(take_all(&late).0, [1, 3, 4]);
        drop((early, late));
        let told: Vec<_> = fanout.summaries().iter().map(|s| (s.messages, s.states)).collect();
        assert_eq!(told, [(5, 0), (1, 2)]);
    }

    #[test]
    fn in_lockstep_what_is_told_again_may_be_acknowledged_and_is_not_waited_for() {
        let fanout = fanout(10);
        fanout.keep_state();
        fanout.play(Arc::default(), true);
        deliver(&fanout, &[sets(5, "a"), sets(6, "b")]);
        let late = fanout.join("envelope").unwrap();
        late.wish(everything());
        late.acknowledges();
        deliver(&fanout, &[sets(7, "b")]);
        assert_eq!(take_all(&late).0, [5, 6, 7]);
        assert!([5, 6].map(|seq| late.settled_seq(seq, None)).into_iter().all(|is_known| is_known));
        assert!(!fanout.is_settled());
        assert!(late.settled_seq(7, None) && fanout.is_settled());
        assert!(!late.settled_seq(5, None), "each once");
    }

    #[test]
    fn a_wider_wish_brings_what_is_new_in_it() {
        let fanout = fanout(10);
        fanout.keep_state();
        let client = fanout.join("mqtt").unwrap();
        client.wish(topics(&["a"]));
        deliver(&fanout, &[sets(0, "a"), sets(1, "b")]);
        client.wish(topics(&["a", "b"]));
        client.wish(topics(&["b"]));
        client.wish(topics(&["b", "a"]));
        assert_eq!(take_all(&client).0, [0, 1, 0], "what it gave up and wants again is new");
    }

    #[test]
    fn what_is_being_handed_out_comes_once() {
        let fanout = fanout(10);
        fanout.keep_state();
        let client = fanout.join("mqtt").unwrap();
        client.wish(topics(&["a"]));
        deliver(&fanout, &[sets(0, "a")]);
        // Noted, and not offered yet: in between the client asks for more.
        let (of_a, of_b) = (sets(1, "a"), sets(2, "b"));
        fanout.past.note(&of_a);
        fanout.past.note(&of_b);
        client.wish(topics(&["#"]));
        for emission in [&of_a, &of_b] {
            client.client.offer(emission, &stop());
        }
        deliver(&fanout, &[sets(3, "b")]);
        assert_eq!(take_all(&client).0, [0, 2, 1, 3]);
    }

    #[test]
    fn what_is_being_handed_out_comes_once_whatever_is_wished_for_meanwhile() {
        let fanout = fanout(10);
        fanout.keep_state();
        let client = fanout.join("mqtt").unwrap();
        client.wish(topics(&["a"]));
        deliver(&fanout, &[sets(0, "a")]);
        let of_b = sets(1, "b");
        fanout.past.note(&of_b);
        client.wish(topics(&["a", "b"]));
        client.wish(topics(&["a", "b", "c"]));
        client.client.offer(&of_b, &stop());
        deliver(&fanout, &[sets(2, "c")]);
        assert_eq!(take_all(&client).0, [0, 1, 2]);
    }

    #[test]
    fn who_does_not_read_is_not_told_the_same_over_and_over() {
        let fanout = fanout(10);
        fanout.keep_state();
        deliver(&fanout, &[sets(0, "a"), sets(1, "b")]);
        let client = fanout.join("mqtt").unwrap();
        for _ in 0..3 {
            client.wish(topics(&["a"]));
            client.wish(topics(&["b"]));
        }
        assert_eq!(take_all(&client).0, [1], "what it does not want any more it is spared");
        let mut table = StateTable::default();
        let change = StateChange::Sets(StateKey::new(b"b"));
        table.apply(&change, || Arc::new(sets(7, "b").retold()));
        (0..3).for_each(|_| fanout.restate(table.clone(), true));
        assert_eq!(take_all(&client).0, [7], "what was told of another place is nothing now");
    }

    #[test]
    fn who_is_away_is_told_at_its_return_what_has_qos_1_or_2() {
        let fanout = fanout(10);
        fanout.keep_state();
        let client = fanout.join("mqtt").unwrap();
        client.wish(Wish::Topics(vec![("a".into(), 0), ("b".into(), 1)]));
        client.go_away();
        let mut table = StateTable::default();
        for (index, channel) in [(0, "a"), (1, "b")] {
            let change = StateChange::Sets(StateKey::new(channel.as_bytes()));
            table.apply(&change, || Arc::new(sets(index, channel).retold()));
        }
        fanout.restate(table, true);
        client.come_back(0);
        assert_eq!(take_all(&client).0, [1]);
    }

    #[test]
    fn before_the_start_everybody_is_in_time() {
        let fanout = fanout(10);
        fanout.keep_state();
        let (client, target) =
            (fanout.join("ws").unwrap(), fanout.join_target("push", Wish::Everything).unwrap());
        client.wish(everything());
        let mut table = StateTable::default();
        let change = StateChange::Sets(StateKey::new(b"a"));
        table.apply(&change, || Arc::new(sets(0, "a").retold()));
        fanout.restate(table, true);
        deliver(&fanout, &[sets(0, "x")]);
        assert_eq!(take_all(&client).0, [0, 0]);
        assert_eq!(take_all(&target).0, [0], "what we go to is told nothing twice");
    }

    #[test]
    fn what_is_told_again_does_not_count_against_a_slow_client() {
        let fanout = fanout(1);
        fanout.keep_state();
        deliver(&fanout, &[sets(0, "a"), sets(1, "b"), sets(2, "c")]);
        let late = fanout.join("late").unwrap();
        late.wish(everything());
        deliver(&fanout, &[sets(3, "d")]);
        assert_eq!(take_all(&late), (vec![0, 1, 2, 3], Taken::Nothing));
    }

    #[test]
    fn it_is_marked_where_the_protocol_can() {
        let row = emission(0, "t", 1, 1);
        let retold = row.retold();
        let head = |emission: &Emission| emission.publish_head(1).unwrap()[0];
        assert_eq!((head(&row), head(&retold)), (0x32, 0x33));
        let item = Item { emission: Arc::new(retold), qos: 1, topic: Some("other".into()), is_held: false };
        assert_eq!(item.publish_head().unwrap()[0], 0x33);
        let json = |emission: &Emission| -> Value {
            serde_json::from_str(emission.envelope_frame().to_text().unwrap()).unwrap()
        };
        let mut marked = json(&item.emission);
        assert_eq!(marked.as_object_mut().unwrap().remove("replayed_state"), Some(Value::Bool(true)));
        assert_eq!(marked, json(&row));
        assert_eq!(item.emission.raw_frame(), row.raw_frame());
    }

    fn one_source(fanout: &Fanout) -> [Down; 1] {
        let source = SourceHeader {
            name: "src".into(),
            vendor: "generic".into(),
            kinds: Vec::new(),
            settings: Value::Null,
        };
        fanout.reproduce_outages(Strands::new(&[source], &Selection::default()));
        [Down { source: "src".into(), device: None }]
    }

    #[test]
    fn a_connection_breaks_behind_what_was_sent_before_and_whoever_comes_is_cut_at_once() {
        let fanout = fanout(10);
        let down = one_source(&fanout);
        let join = |name| -> Member {
            let member = fanout.join(name).unwrap();
            member.wish(everything());
            member
        };
        let there = join("there");
        let target = fanout.join_target("push", Wish::Everything).unwrap();
        deliver(&fanout, &[sets(0, "a")]);
        fanout.set_down(&down);
        fanout.set_down(&down);
        assert_eq!(fanout.outages(), Some(OutageCount { closed: 1, refused: 0 }), "once");
        assert!(fanout.is_down(&Selection::default()) && fanout.plain_mqtt_is_down());
        deliver(&fanout, &[sets(1, "a")]);
        assert_eq!(take_all(&there), (vec![0], Taken::Cut));
        assert_eq!(take_all(&join("meanwhile")), (vec![], Taken::Cut));
        assert_eq!(fanout.outages(), Some(OutageCount { closed: 1, refused: 1 }));
        assert_eq!(take_all(&target), (vec![0, 1], Taken::Nothing));
        fanout.set_down(&[]);
        assert!(!fanout.is_down(&Selection::default()));
        let back = join("back");
        deliver(&fanout, &[sets(2, "a")]);
        assert_eq!(take_all(&back), (vec![2], Taken::Nothing));
        drop(there);
        let summary = &fanout.summaries()[1];
        assert_eq!((summary.cut, summary.dropped, summary.reason), (true, 0, None), "an outage is no loss");
    }
    #[test]
    fn a_session_that_persists_loses_nothing_of_what_comes_while_its_connection_breaks() {
        let fanout = fanout(10);
        let down = one_source(&fanout);
        let member = fanout.join("mqtt").unwrap();
        member.persists();
        member.wish(topics(&["#"]));
        deliver(&fanout, &[sets(0, "a")]);
        fanout.set_down(&down);
        deliver(&fanout, &[sets(1, "a")]);
        assert_eq!(take_all(&member), (vec![0], Taken::Cut));
        member.go_away();
        // It comes back before it could be told that it need not try.
        member.come_back(0);
        assert_eq!(take_all(&member), (vec![], Taken::Cut));
        assert_eq!(fanout.outages(), Some(OutageCount { closed: 1, refused: 1 }));
        member.go_away();
        fanout.set_down(&[]);
        member.come_back(0);
        deliver(&fanout, &[sets(2, "a")]);
        fanout.disconnect("asked for");
        deliver(&fanout, &[sets(3, "a")]);
        assert_eq!(take_all(&member), (vec![1, 2], Taken::Dropped("asked for")));
        deliver(&fanout, &[sets(4, "a")]);
        member.go_away();
        member.come_back(0);
        assert_eq!(take_all(&member), (vec![3, 4], Taken::Nothing));
        drop(member);
        let summary = &fanout.summaries()[0];
        assert_eq!((summary.messages, summary.dropped, summary.reason), (5, 0, None));
    }
}
