//! One sensor: its token, its connection and the next one, and its reporting. It knows nothing of the
//! others; what is a source's own (numbers of connections and calls) comes with a [`Turn`].

mod credential;
mod reporting;

use bytes::Bytes;
use bytestring::ByteString;
use rand::{Rng, RngExt};
use serde_json::{Map, Value, json};

use self::reporting::Reporting;
use super::Calls;
use super::api::{Failure, Token};
use crate::clock::Now;
use crate::vendors::lifecycle::{Backoff, HEALTHY_AFTER_NS, SECOND_NS, cause_of, link, reason_of};
use crate::vendors::mqtt::KEEP_ALIVE_S;
use crate::vendors::pontosense::config::PontosenseConfig;
use crate::vendors::pontosense::{CONFIG, TOKENS_PATH, topic};
use crate::vendors::{CloseCause, Closed, Conn, Effect, LinkEvent, MqttDial, Record};

/// A sensor that is refused (401, 403, 404) is tried again after a minute, then twice as long, up to an
/// hour: only a person can end it, and may do so any time.
const REFUSED_WAIT_NS: u64 = 60 * SECOND_NS;
const REFUSED_WAIT_MAX_NS: u64 = 3_600 * SECOND_NS;

/// Beyond it a vendor's wish to wait is not believed.
const RETRY_AFTER_MAX_S: u32 = 3_600;

/// A broker that does not answer a SUBSCRIBE (AWS does not answer some that it refuses).
const SUBACK_PATIENCE_NS: u64 = 20 * SECOND_NS;

/// What one input is answered with.
pub(super) struct Turn<'a> {
    pub(super) config: &'a PontosenseConfig,
    pub(super) now: Now,
    pub(super) rng: &'a mut dyn Rng,
    pub(super) calls: &'a mut Calls,
    pub(super) fx: &'a mut Vec<Effect>,
}

#[derive(Debug)]
pub(super) struct Sensor {
    index: usize,
    sn: String,
    topic: ByteString,
    token: Option<Token>,
    is_asking: bool,
    /// When a new token is to be asked for beside the connection that is open.
    token_due_ns: Option<u64>,
    /// The connection that the broker has granted the subscription on.
    live: Option<Live>,
    /// The one that is to be the next.
    next: Next,
    /// Being closed: taken over from, or of no use.
    retiring: Vec<Retiring>,
    /// The latest that was begun.
    last_conn: Conn,
    reporting: Reporting,
    /// Data can come: subscribed, and started within the last minute.
    is_flowing: bool,
    /// An event has said that no data can come.
    is_told: bool,
    /// Attempts since data last could come.
    attempts: u32,
    backoff: Backoff,
    token_backoff: Backoff,
    refused_backoff: Backoff,
    started_ns: u64,
    last_heard_ns: Option<u64>,
    outage: Option<Outage>,
    /// The `data` of the latest token reply that had any.
    data: Option<Bytes>,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    conn: Conn,
    opened_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Retiring {
    conn: Conn,
    /// Its end is worth telling; that of a refused one was told with the refusal.
    taken_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    None,
    Waiting { until_ns: u64 },
    Asking(Conn),
    Dialling(Conn),
    Opened { conn: Conn, at_ns: u64 },
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    lost_ns: u64,
    silent_since_ns: u64,
}

impl Sensor {
    pub(super) fn new(index: usize, sn: &str) -> Self {
        Self {
            index,
            sn: sn.to_owned(),
            topic: topic(sn).into(),
            token: None,
            is_asking: false,
            token_due_ns: None,
            live: None,
            next: Next::None,
            retiring: Vec::new(),
            last_conn: 0,
            reporting: Reporting::default(),
            is_flowing: false,
            is_told: false,
            attempts: 0,
            backoff: Backoff::default(),
            token_backoff: Backoff::default(),
            refused_backoff: refused_backoff(),
            started_ns: 0,
            last_heard_ns: None,
            outage: None,
            data: None,
        }
    }

    pub(super) fn start(&mut self, turn: &mut Turn<'_>) {
        self.started_ns = turn.now.steady_ns;
        self.begin(turn);
    }

    pub(super) fn tick(&mut self, turn: &mut Turn<'_>) {
        let now_ns = turn.now.steady_ns;
        if self.lapses_at().is_some_and(|at| now_ns >= at) {
            self.lapse(turn);
        }
        if self.reporting.due_ns.is_some_and(|due| now_ns >= due) {
            self.call_start(turn);
        }
        if self.token_due_at().is_some_and(|due| now_ns >= due) {
            self.token_due_ns = None;
            self.ask_token(turn);
        }
        match self.next {
            Next::Waiting { until_ns } if now_ns >= until_ns => self.begin(turn),
            Next::None if self.hands_over_at(turn.config).is_some_and(|at| now_ns >= at) => self.begin(turn),
            Next::Opened { conn, at_ns } if now_ns >= at_ns.saturating_add(SUBACK_PATIENCE_NS) => {
                self.refuse_next(turn, conn, "the subscription was not answered".into());
            }
            _ => {}
        }
    }

    pub(super) fn wake_at(&self, config: &PontosenseConfig) -> Option<u64> {
        let next = match self.next {
            Next::Waiting { until_ns } => Some(until_ns),
            Next::None => self.hands_over_at(config),
            Next::Opened { at_ns, .. } => Some(at_ns.saturating_add(SUBACK_PATIENCE_NS)),
            Next::Asking(_) | Next::Dialling(_) => None,
        };
        [next, self.reporting.due_ns, self.token_due_at(), self.lapses_at()].into_iter().flatten().min()
    }

    /// Begins an attempt: a first one, one after an outage, or one that is to take over.
    fn begin(&mut self, turn: &mut Turn<'_>) {
        let conn = turn.calls.next_conn();
        self.last_conn = conn;
        self.attempts = self.attempts.saturating_add(1);
        let mut more = self.about();
        more.insert("attempt".into(), json!(self.attempts));
        if self.is_flowing {
            more.insert("planned".into(), json!(true));
        }
        self.link(turn.fx, "connecting", conn, None, more);
        let margin_ns = nanoseconds(turn.config.token_margin);
        let good_until_ns = turn.now.steady_ns.saturating_add(margin_ns);
        if self.token.as_ref().is_some_and(|token| token.expires_ns >= good_until_ns) {
            return self.dial(turn, conn);
        }
        self.next = Next::Asking(conn);
        self.ask_token(turn);
    }

    fn dial(&mut self, turn: &mut Turn<'_>, conn: Conn) {
        let Some(token) = &self.token else { return };
        self.next = Next::Dialling(conn);
        // Another one each time: the same would evict the connection that is to be taken over from.
        let client_id = format!("telereel-{:016x}", turn.rng.random::<u64>());
        let dial = MqttDial {
            url: token.url(&client_id),
            client_id,
            username: None,
            password: None,
            clean_session: true,
            keep_alive_s: KEEP_ALIVE_S,
            subscriptions: vec![(self.topic.to_string(), 0)],
        };
        turn.fx.push(Effect::DialMqtt { conn, dial });
    }

    pub(super) fn opened(&mut self, turn: &mut Turn<'_>, conn: Conn) {
        if self.next == Next::Dialling(conn) {
            self.next = Next::Opened { conn, at_ns: turn.now.steady_ns };
            let about = self.about();
            self.link(turn.fx, "connected", conn, None, about);
        }
    }

    pub(super) fn subscribed(&mut self, turn: &mut Turn<'_>, conn: Conn, granted: &[(String, Option<u8>)]) {
        let Next::Opened { conn: next, at_ns } = self.next else { return };
        if next != conn {
            return;
        }
        let Some(qos) = granted.first().and_then(|(_, qos)| *qos) else {
            return self.refuse_next(turn, conn, "the subscription was refused".into());
        };
        let mut more = self.about();
        more.insert("granted_qos".into(), json!({ &*self.topic: qos }));
        self.link(turn.fx, "subscribed", conn, None, more);
        self.next = Next::None;
        let before = self.live.replace(Live { conn, opened_ns: at_ns });
        if let Some(before) = before {
            self.retire(before.conn, true, turn.fx);
            self.heal(turn.now, before);
        }
        if self.is_flowing {
            // The sensor reports already: to both connections, until the old one is closed.
            self.attempts = 0;
            turn.fx.push(Effect::Ready { conn });
        } else {
            self.call_start(turn);
        }
    }

    /// Data can come from now on.
    fn flow(&mut self, turn: &mut Turn<'_>, conn: Conn) {
        let now_ns = turn.now.steady_ns;
        if self.is_told {
            let from_start = Outage { lost_ns: self.started_ns, silent_since_ns: self.started_ns };
            let outage = self.outage.unwrap_or(from_start);
            let mut more = self.about();
            more.insert("down_ns".into(), json!(now_ns.saturating_sub(outage.lost_ns)));
            turn.fx.push(Effect::Link(LinkEvent {
                event: "reconnected",
                conn,
                reason: None,
                gap_ns: Some(now_ns.saturating_sub(outage.silent_since_ns)),
                more,
            }));
        }
        self.is_flowing = true;
        self.is_told = false;
        self.attempts = 0;
        self.outage = None;
        self.last_heard_ns = None;
        self.refused_backoff = refused_backoff();
        turn.fx.push(Effect::Ready { conn });
    }

    /// No data can come from now on; what is written next says so.
    fn ebb(&mut self, now: Now) {
        if self.is_flowing {
            let lost_ns = now.steady_ns;
            let silent_since_ns = self.last_heard_ns.unwrap_or(lost_ns);
            self.outage = Some(Outage { lost_ns, silent_since_ns });
        }
        self.is_flowing = false;
    }

    pub(super) fn closed(&mut self, turn: &mut Turn<'_>, conn: Conn, why: &Closed) {
        let mut more = cause_of(why.cause);
        if let Some(place) = self.retiring.iter().position(|retiring| retiring.conn == conn) {
            if !self.retiring.remove(place).taken_over {
                return;
            }
            more.append(&mut self.about());
            more.insert("planned".into(), json!(true));
            return self.link(turn.fx, "disconnected", conn, Some(reason_of(why)), more);
        }
        if let Some(live) = self.live.filter(|live| live.conn == conn) {
            self.ebb(turn.now);
            self.live = None;
            self.reporting = Reporting { under_way: self.reporting.under_way, ..Reporting::default() };
            more.append(&mut self.about());
            self.link(turn.fx, "disconnected", conn, Some(reason_of(why)), more);
            self.heal(turn.now, live);
            // One that was to take over anyway does so now.
            if matches!(self.next, Next::None | Next::Waiting { .. }) {
                self.wait(turn);
            }
            return;
        }
        if !matches!(self.next, Next::Dialling(next) | Next::Opened { conn: next, .. } if next == conn) {
            return;
        }
        // The vendor's broker lets a bad token in and closes then, so that any such end may be due to it.
        if !matches!(why.cause, CloseCause::ByUs | CloseCause::HttpStatus(429 | 500..)) {
            self.token = None;
        }
        more.append(&mut self.about());
        self.link(turn.fx, "refused", conn, Some(reason_of(why)), more);
        self.wait(turn);
    }

    /// The vendor refused us on an open connection that was to be the next.
    fn refuse_next(&mut self, turn: &mut Turn<'_>, conn: Conn, reason: String) {
        let mut more = self.about();
        more.insert("cause".into(), json!("refused_by_vendor"));
        self.link(turn.fx, "refused", conn, Some(reason), more);
        self.retire(conn, false, turn.fx);
        self.token = None;
        self.wait(turn);
    }

    fn retire(&mut self, conn: Conn, taken_over: bool, fx: &mut Vec<Effect>) {
        self.retiring.push(Retiring { conn, taken_over });
        fx.push(Effect::Close { conn });
    }

    /// A connection that held was worth an attempt: waits begin anew.
    fn heal(&mut self, now: Now, held: Live) {
        if now.steady_ns.saturating_sub(held.opened_ns) >= HEALTHY_AFTER_NS {
            self.backoff = Backoff::default();
        }
    }

    fn wait(&mut self, turn: &mut Turn<'_>) {
        let until_ns = turn.now.steady_ns.saturating_add(self.backoff.next_ns(turn.rng));
        self.next = Next::Waiting { until_ns };
    }

    /// Something has come on one of its connections.
    pub(super) fn heard(&mut self, at: Now) {
        self.last_heard_ns = Some(at.steady_ns);
    }

    /// A session has begun: it is to hold what the sensor is set up with.
    pub(super) fn rolled(&self, now: Now, fx: &mut Vec<Effect>) {
        self.record_data(now, self.live.map_or(self.last_conn, |live| live.conn), fx);
    }

    fn record_data(&self, now: Now, conn: Conn, fx: &mut Vec<Effect>) {
        let Some(data) = &self.data else { return };
        // The request's path; the sensor is said in its body only, and so here in the manner of a query.
        let channel = format!("{TOKENS_PATH}?sn={}", self.sn);
        let record = Record::new(CONFIG, conn, now, channel.into(), data.clone());
        fx.push(Effect::Record { record, ack: None });
    }

    pub(super) fn is(&self, index: usize) -> bool {
        self.index == index
    }

    pub(super) fn stop(&self, fx: &mut Vec<Effect>) {
        if let Some(live) = self.live {
            fx.push(Effect::Close { conn: live.conn });
        }
        if let Next::Dialling(conn) | Next::Opened { conn, .. } = self.next {
            fx.push(Effect::Close { conn });
        }
    }

    pub(super) fn has(&self, conn: Conn) -> bool {
        let is_next = match self.next {
            Next::Dialling(next) | Next::Opened { conn: next, .. } => next == conn,
            _ => false,
        };
        is_next
            || self.live.is_some_and(|live| live.conn == conn)
            || self.retiring.iter().any(|retiring| retiring.conn == conn)
    }

    fn hands_over_at(&self, config: &PontosenseConfig) -> Option<u64> {
        Some(self.live?.opened_ns.saturating_add(nanoseconds(config.connection_max_age)))
    }

    fn token_due_at(&self) -> Option<u64> {
        self.token_due_ns.filter(|_| self.live.is_some() && !self.is_asking)
    }

    /// What every event says.
    fn about(&self) -> Map<String, Value> {
        let mut more = Map::new();
        more.insert("sn".into(), json!(self.sn));
        if self.is_flowing {
            more.insert("flowing".into(), json!(true));
        }
        more
    }

    fn about_call(&self, call: &str, failure: &Failure) -> Map<String, Value> {
        let mut more = self.about();
        more.append(&mut failure.cause());
        more.insert("call".into(), json!(call));
        more
    }

    fn link(
        &mut self,
        fx: &mut Vec<Effect>,
        event: &'static str,
        conn: Conn,
        reason: Option<String>,
        more: Map<String, Value>,
    ) {
        if matches!(event, "refused" | "disconnected") && !self.is_flowing {
            self.is_told = true;
        }
        // Said first: it is what a log's reader looks for.
        let reason = reason.map(|reason| format!("{}: {reason}", self.sn));
        link(fx, event, conn, reason, more);
    }
}

fn refused_backoff() -> Backoff {
    Backoff::new(REFUSED_WAIT_NS, REFUSED_WAIT_MAX_NS)
}

fn asked_to_wait_ns(failure: &Failure) -> u64 {
    u64::from(failure.retry_after_s.unwrap_or(0).min(RETRY_AFTER_MAX_S)) * SECOND_NS
}

pub(super) fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
