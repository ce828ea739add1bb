//! Rows of kind `link`, and the state, outages and silences that a source is seen in.
//!
//! A source is `connected` when data can come, whatever its transport: registered, subscribed,
//! listening. Only then can it be silent for too long, and each silence is told once.

use bytestring::ByteString;
use serde_json::{Map, Value, json};

use super::Source;
use super::strands::Strand;
use crate::clock::Now;
use crate::message::{Message, SourceHeader};
use crate::recorder::stats::State;
use crate::units::human_duration;
use crate::vendors::{Conn, HttpReply, LinkEvent};

impl Source {
    /// Writes a row of kind `link`, and keeps the status in step with it. False if it could not be stored.
    pub(super) fn link(&mut self, mut event: LinkEvent) -> bool {
        let now = self.task.clock.now();
        event.reason = event.reason.map(|reason| self.task.redaction.words(reason));
        for member in event.more.values_mut() {
            if let Value::String(words) = member {
                *words = self.task.redaction.words(std::mem::take(words));
            }
        }
        if matches!(event.event, "connecting" | "continued") {
            // Under one name for all vendors, and the same as in the session's header.
            event.more.insert("options".to_owned(), self.task.header.settings.clone());
        }
        self.note(&event, now);
        let conn = event.conn;
        let has_failed = matches!(event.event, "refused" | "disconnected");
        let is_over = has_failed && !self.conns.contains_key(&conn);
        let is_stored = self.store(event, now);
        if is_over {
            // It was never dialled: nothing else will tell of its end.
            self.strands.closed(conn);
        }
        is_stored
    }

    /// At the start of a session: the outages that last, as the refusals that they are. No news of them.
    pub(super) fn still_down(&mut self) {
        let now = self.task.clock.now();
        for strand in self.strands.down() {
            let mut more = strand.about();
            let down_ns = strand.down_since_ns.map(|since_ns| now.steady_ns.saturating_sub(since_ns));
            more.insert("cause".to_owned(), json!("continued"));
            more.insert("down_ns".to_owned(), json!(down_ns));
            more.insert("options".to_owned(), self.task.header.settings.clone());
            let reason = strand.last_error.clone();
            let reason = reason.or_else(|| Some("not connected since before this session".to_owned()));
            let event = LinkEvent { event: "refused", conn: self.first_conn, reason, gap_ns: None, more };
            self.store(event, now);
        }
    }

    fn store(&self, event: LinkEvent, now: Now) -> bool {
        let kind = kind_index(&self.task.header, "link");
        if self.task.excluded.get(usize::from(kind)).copied().unwrap_or(false) {
            return true;
        }
        let connection = event.conn.saturating_sub(self.first_conn);
        let message = Message {
            source: self.task.index,
            kind,
            connection,
            at: now,
            channel: ByteString::from_static("link"),
            mqtt: None,
            is_binary: false,
            headers: None,
            duplicate_of: None,
            payload: link_payload(event, connection).into(),
            clear: None,
        };
        let stored = self.task.journal.append_reserved(message);
        if let Err(error) = &stored {
            tracing::warn!("{}: a link event could not be stored: {error}", self.task.header.name);
        }
        stored.is_ok()
    }

    /// Data can come on a connection from now on, and an outage is over.
    pub(super) fn ready(&mut self, conn: Conn) {
        let now_ns = self.task.clock.now().steady_ns;
        let strand = self.strands.by_conn(conn);
        let is_first = !strand.was_up;
        let of = if strand.name.is_empty() { String::new() } else { format!("{}: ", strand.name) };
        let down_since_ns = self.strands.ready(conn, now_ns);
        let all_up = self.strands.down().next().is_none();
        let mut stats = self.task.stats.lock();
        let name = &self.task.header.name;
        match down_since_ns {
            Some(since_ns) => {
                let out = human_duration(now_ns.saturating_sub(since_ns));
                tracing::info!("{name}: {of}connected, after {out} without");
            }
            None if is_first => tracing::info!("{name}: {of}connected"),
            // It took over from another.
            None => return,
        }
        if all_up {
            stats.state = State::Connected;
            stats.gap_ns = stats.gap_ns_at(now_ns);
            stats.down_since_ns = None;
        } else {
            stats.state = State::Waiting;
        }
    }

    fn note(&mut self, event: &LinkEvent, now: Now) {
        let name = &self.task.header.name;
        let reason = event.reason.as_deref().unwrap_or_default();
        if event.event == "connecting" {
            self.last_conn = self.last_conn.max(event.conn);
            self.strands.begin(event, |conn| self.conns.contains_key(&conn));
        }
        let mut stats = self.task.stats.lock();
        match event.event {
            "connecting" if !says(event, "flowing") => stats.state = State::Connecting,
            "stalled" => stats.state = State::Stalled,
            _ => {}
        }
        let is_down = ends_stream(event);
        if event.event == "disconnected" && !says(event, "planned") {
            stats.disconnects += 1;
        }
        let mut is_news = true;
        if matches!(event.event, "refused" | "disconnected") {
            let strand = self.strands.of(event);
            if is_down {
                stats.state = State::Waiting;
                // A source that is refused before it ever was connected has been out since the start.
                let since_ns = if strand.was_up { now.steady_ns } else { self.started_ns };
                let since_ns = *strand.down_since_ns.get_or_insert(since_ns);
                stats.down_since_ns.get_or_insert(since_ns);
                strand.heard_ns = None;
                strand.is_stalled = false;
                strand.last_error = event.reason.clone();
            }
            is_news = !says(event, "planned") && strand.complaints.is_news(reason, now.steady_ns);
        }
        match event.event {
            "refused" | "disconnected" if !is_news => {
                tracing::debug!("{name}: {}: {reason}", event.event);
            }
            "disconnected" | "refused" | "overflow" | "stalled" | "warning" => {
                tracing::warn!("{name}: {}: {reason}", event.event);
            }
            _ => {}
        }
        if matches!(event.event, "disconnected" | "refused" | "overflow" | "warning")
            && !reason.is_empty()
            && !says(event, "planned")
        {
            stats.last_error = Some(reason.to_owned());
        }
    }

    /// A push did not show the credentials that are configured: by mistake, most of the time, and then
    /// all of them do so. No row: whoever can reach the listener could write as many as he likes.
    pub(super) fn turned_away(&mut self, reply: &HttpReply) {
        let reason = format!("a push was answered with 401: {}", String::from_utf8_lossy(&reply.body));
        if self.complaints.is_news(&reason, self.task.clock.now().steady_ns) {
            tracing::warn!("{}: {reason}", self.task.header.name);
        }
        self.task.stats.lock().last_error = Some(reason);
    }

    pub(super) fn tell_overflow(&mut self, over: bool) {
        let now = self.task.clock.now();
        if let Some(event) = self.gate.tell_overflow(now, self.last_conn, over)
            && !self.link(event)
        {
            self.gate.untold(now);
        }
    }

    /// A message has come.
    pub(super) fn heard(&mut self, conn: Conn, at: Now) {
        if self.strands.heard(conn, at) {
            let all_up = self.strands.down().next().is_none();
            self.task.stats.lock().state = if all_up { State::Connected } else { State::Waiting };
        }
    }

    /// When a silence will have been too long, unless that has been told.
    pub(super) fn stalls_at(&self) -> Option<u64> {
        self.strands.stalls_at(self.task.stall_after_ns?)
    }

    /// Tells of silences.
    pub(super) fn stalled(&mut self, now: Now) {
        let Some(stall_after_ns) = self.task.stall_after_ns else { return };
        let last_conn = self.last_conn;
        let event = |strand: &Strand| {
            let mut more = strand.about();
            let silent_ns = strand.heard_ns.map_or(0, |heard_ns| now.steady_ns.saturating_sub(heard_ns));
            more.insert("silent_ns".to_owned(), json!(silent_ns));
            let mut reason = "no message for longer than stall_after".to_owned();
            if !strand.name.is_empty() {
                reason = format!("{}: {reason}", strand.name);
            }
            let conn = if strand.name.is_empty() { last_conn } else { strand.conn };
            LinkEvent { event: "stalled", conn, reason: Some(reason), gap_ns: None, more }
        };
        let stalled = self.strands.stalled(stall_after_ns, now.steady_ns);
        let events: Vec<LinkEvent> = stalled.into_iter().map(event).collect();
        for event in events {
            self.link(event);
        }
    }
}

/// Whether nothing can come after `event`. What happens beside a connection that data can come on anyway ends
/// nothing, nor does the refusal of a topic on a connection that goes on.
fn ends_stream(event: &LinkEvent) -> bool {
    matches!(event.event, "disconnected" | "refused")
        && !says(event, "flowing")
        && !event.more.contains_key("topics")
}

fn says(event: &LinkEvent, member: &str) -> bool {
    event.more.get(member).and_then(Value::as_bool).unwrap_or(false)
}

/// What an outage has been complained about: an attempt a minute for days is no news each time.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    latest: Option<(String, u64)>,
}

impl Complaints {
    const AGAIN_NS: u64 = 3_600_000_000_000;

    /// Whether to say it: the first time, when the reason is another, and once an hour.
    fn is_news(&mut self, reason: &str, now_ns: u64) -> bool {
        let is_known = self.latest.as_ref().is_some_and(|(known, said_ns)| {
            known == reason && now_ns.saturating_sub(*said_ns) < Self::AGAIN_NS
        });
        if !is_known {
            self.latest = Some((reason.to_owned(), now_ns));
        }
        !is_known
    }
}

/// The index of a kind that every vendor has.
fn kind_index(header: &SourceHeader, name: &str) -> u16 {
    let found = header.kinds.iter().rposition(|kind| kind.name == name);
    found.and_then(|index| u16::try_from(index).ok()).unwrap_or(0)
}

fn link_payload(event: LinkEvent, connection: u32) -> Vec<u8> {
    let mut payload = Map::new();
    payload.insert("event".to_owned(), Value::from(event.event));
    payload.insert("connection".to_owned(), Value::from(connection));
    if let Some(reason) = event.reason {
        payload.insert("reason".to_owned(), Value::from(reason));
    }
    if let Some(gap_ns) = event.gap_ns {
        payload.insert("gap_ns".to_owned(), Value::from(gap_ns));
    }
    for (name, value) in event.more {
        payload.entry(name).or_insert(value);
    }
    Value::Object(payload).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_over_and_a_refused_topic_end_no_stream() {
        let with = |event, more: Value| LinkEvent {
            event,
            conn: 1,
            reason: None,
            gap_ns: None,
            more: more.as_object().cloned().unwrap_or_default(),
        };
        for event in ["disconnected", "refused"] {
            assert!(ends_stream(&with(event, json!({"cause": "broken"}))));
            assert!(!ends_stream(&with(event, json!({"flowing": true, "planned": true}))));
            assert!(ends_stream(&with(event, json!({"flowing": false}))));
        }
        assert!(!ends_stream(&with("refused", json!({"topics": ["a/#"]}))));
        assert!(!ends_stream(&with("renewed", json!({}))));
    }

    #[test]
    fn a_complaint_is_made_once_and_again_each_hour_or_when_it_is_another() {
        const HOUR_NS: u64 = 3_600_000_000_000;
        let mut complaints = Complaints::default();
        assert!(complaints.is_news("no route", 5));
        assert!(!complaints.is_news("no route", 45_000_000_000));
        assert!(!complaints.is_news("no route", HOUR_NS + 4));
        assert!(complaints.is_news("no route", HOUR_NS + 5));
        assert!(complaints.is_news("401", HOUR_NS + 6));
        assert!(!complaints.is_news("401", HOUR_NS + 7));
    }
}
