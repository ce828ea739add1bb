//! The streams of a source that are told apart: one, or one per sensor where a vendor has a connection
//! for each. Each has silences and outages of its own; that one is down neither hides in the others'
//! flow nor counts as theirs. Of the source it is said that it is down while any of them is.

use serde_json::{Map, Value};

use super::link::Complaints;
use crate::clock::Now;
use crate::vendors::{Conn, LinkEvent};

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Strand {
    /// The `sn` of its link events; "" where the source has one stream only.
    pub(super) name: String,
    pub(super) was_up: bool,
    /// Since when nothing can come, as far as an event has said so.
    pub(super) down_since_ns: Option<u64>,
    pub(super) last_error: Option<String>,
    /// While data can come: when the latest did, or when it began to be so.
    pub(super) heard_ns: Option<u64>,
    pub(super) is_stalled: bool,
    /// The latest connection.
    pub(super) conn: Conn,
    pub(super) complaints: Complaints,
}

/// All streams of a source, and whose its connections are.
#[derive(Debug, Default)]
pub(super) struct Strands {
    all: Vec<Strand>,
    conns: Vec<(Conn, usize)>,
}

impl Strand {
    /// What events about it say besides.
    pub(super) fn about(&self) -> Map<String, Value> {
        let mut more = Map::new();
        if !self.name.is_empty() {
            more.insert("sn".to_owned(), Value::from(self.name.as_str()));
        }
        more
    }
}

impl Strands {
    /// The strand that an event is about.
    pub(super) fn of(&mut self, event: &LinkEvent) -> &mut Strand {
        let index = match event.more.get("sn").and_then(|sn| sn.as_str()) {
            Some(sn) => self.named(sn),
            None => self.of_conn(event.conn),
        };
        &mut self.all[index]
    }

    /// A connection begins; those of the same strand that are not `open` have led nowhere.
    pub(super) fn begin(&mut self, event: &LinkEvent, open: impl Fn(Conn) -> bool) {
        let conn = event.conn;
        self.of(event).conn = conn;
        let sn = event.more.get("sn").and_then(|sn| sn.as_str()).unwrap_or_default();
        let index = self.named(sn);
        self.conns.retain(|(known, of)| *known != conn && (*of != index || open(*known)));
        self.conns.push((conn, index));
    }

    /// The connections that have begun and not ended.
    pub(super) fn begun(&self) -> impl Iterator<Item = Conn> {
        self.conns.iter().map(|(conn, _)| *conn)
    }

    pub(super) fn closed(&mut self, conn: Conn) {
        self.conns.retain(|(known, _)| *known != conn);
    }

    /// Data can come on `conn`. Since when it could not, if an event has said so.
    pub(super) fn ready(&mut self, conn: Conn, now_ns: u64) -> Option<u64> {
        let strand = self.by_conn(conn);
        // A connection that takes over from another ends no silence.
        if strand.heard_ns.is_none() {
            strand.heard_ns = Some(now_ns);
            strand.is_stalled = false;
        }
        strand.was_up = true;
        strand.last_error = None;
        strand.complaints = Complaints::default();
        strand.down_since_ns.take()
    }

    /// A message has come; true if that ends a silence that was told.
    pub(super) fn heard(&mut self, conn: Conn, at: Now) -> bool {
        let strand = self.by_conn(conn);
        strand.heard_ns = strand.heard_ns.map(|heard_ns| heard_ns.max(at.steady_ns));
        std::mem::take(&mut strand.is_stalled)
    }

    /// When the first of the silences that have not been told will have been too long.
    pub(super) fn stalls_at(&self, stall_after_ns: u64) -> Option<u64> {
        let waiting = self.all.iter().filter(|strand| !strand.is_stalled);
        Some(waiting.filter_map(|strand| strand.heard_ns).min()?.saturating_add(stall_after_ns))
    }

    /// Those whose silence has been too long, each once.
    pub(super) fn stalled(&mut self, stall_after_ns: u64, now_ns: u64) -> Vec<&Strand> {
        let mut stalled = Vec::new();
        for strand in self.all.iter_mut().filter(|strand| !strand.is_stalled) {
            if strand.heard_ns.is_some_and(|heard_ns| now_ns >= heard_ns.saturating_add(stall_after_ns)) {
                strand.is_stalled = true;
                stalled.push(&*strand);
            }
        }
        stalled
    }

    pub(super) fn down(&self) -> impl Iterator<Item = &Strand> {
        self.all.iter().filter(|strand| strand.down_since_ns.is_some())
    }

    pub(super) fn by_conn(&mut self, conn: Conn) -> &mut Strand {
        let index = self.of_conn(conn);
        &mut self.all[index]
    }

    fn of_conn(&mut self, conn: Conn) -> usize {
        match self.conns.iter().find(|(known, _)| *known == conn) {
            Some((_, index)) => *index,
            None => self.named(""),
        }
    }

    fn named(&mut self, name: &str) -> usize {
        let known = self.all.iter().position(|strand| strand.name == name);
        known.unwrap_or_else(|| {
            self.all.push(Strand { name: name.to_owned(), ..Strand::default() });
            self.all.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn connecting(conn: Conn, sn: &str) -> LinkEvent {
        let mut more = Map::new();
        if !sn.is_empty() {
            more.insert("sn".to_owned(), json!(sn));
        }
        LinkEvent { event: "connecting", conn, reason: None, gap_ns: None, more }
    }

    fn at(steady_ns: u64) -> Now {
        Now { wall_us: 0, steady_ns }
    }

    #[test]
    fn one_sensor_s_outage_and_silence_are_not_the_other_s() {
        let mut strands = Strands::default();
        strands.begin(&connecting(0, "A"), |_| true);
        strands.begin(&connecting(1, "B"), |_| true);
        assert_eq!((strands.ready(0, 10), strands.ready(1, 10)), (None, None));
        strands.of(&connecting(0, "A")).down_since_ns = Some(20);
        strands.of(&connecting(0, "A")).heard_ns = None;
        strands.heard(1, at(30));
        let down: Vec<&str> = strands.down().map(|strand| strand.name.as_str()).collect();
        assert_eq!(down, ["A"], "that B flows hides nothing");
        assert_eq!(strands.stalls_at(5), Some(35), "and one that is down is not silent");
        let stalled: Vec<&str> = strands.stalled(5, 35).iter().map(|strand| strand.name.as_str()).collect();
        assert_eq!(stalled, ["B"]);
        assert_eq!(strands.stalls_at(5), None, "told once");
        assert!(strands.heard(1, at(40)) && !strands.heard(1, at(41)));
        strands.begin(&connecting(2, "A"), |conn| conn == 1);
        assert_eq!(strands.ready(2, 50), Some(20));
        assert_eq!(strands.down().count(), 0);
    }

    #[test]
    fn a_connection_that_takes_over_ends_no_silence() {
        let mut strands = Strands::default();
        strands.begin(&connecting(0, "A"), |_| true);
        strands.ready(0, 10);
        strands.begin(&connecting(1, "A"), |_| true);
        strands.ready(1, 90);
        assert_eq!(strands.stalls_at(100), Some(110), "since 10");
        strands.heard(0, at(91));
        strands.heard(1, at(92));
        assert_eq!(strands.stalls_at(100), Some(192), "both connections are the sensor's");
        strands.closed(0);
        assert_eq!(strands.conns, [(1, 0)]);
    }

    #[test]
    fn attempts_that_led_nowhere_are_forgotten() {
        let mut strands = Strands::default();
        (0..1_000).for_each(|conn| strands.begin(&connecting(conn, "A"), |_| false));
        assert_eq!((strands.conns.len(), strands.all.len()), (1, 1));
    }

    #[test]
    fn a_source_without_sensors_is_one_strand() {
        let mut strands = Strands::default();
        assert_eq!(strands.ready(0, 1), None, "a webhook connects to nothing");
        strands.begin(&connecting(0, ""), |_| true);
        strands.begin(&connecting(1, ""), |_| false);
        strands.heard(1, at(7));
        assert_eq!((strands.all.len(), strands.by_conn(1).heard_ns), (1, Some(7)));
        assert!(strands.by_conn(1).about().is_empty());
    }
}
