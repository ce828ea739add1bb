//! The recording side: authenticate, answer pings, come back, and keep the token fresh.
//!
//! The order of `authenticated`, `welcome` and `subscribed` is the vendor's habit and no promise: none of
//! them is waited for. What the server says in `error` messages decides what is done:
//!
//! | code | reaction |
//! |---|---|
//! | 401 | get another token and connect again, after three in a row once a minute; without a way to one, give up: at once if the token says that it has ended, else after three refusals |
//! | 403, 404 | give up: only a person can mend it |
//! | 408 | connect again |
//! | 500, 503, unknown before authentication | close, back off, connect again |
//! | 400, unknown afterwards | reported; the stream goes on |
//!
//! An upgrade that is answered with an HTTP status says nothing about the token, which has not been shown
//! by then, even if that status is 401 or 403: back off, connect again.
//!
//! A token that is renewed ahead of its end gets a connection of its own. The old one is closed when the
//! new one has been subscribed, so that nothing is lost; what both deliver meanwhile is recorded twice,
//! told apart by `connection`. Rows about the new one, and about whatever fails while the stream flows,
//! say `"flowing": true`: they begin no outage.

use bytestring::ByteString;
use rand::Rng;
use serde::Serialize;
use serde_json::{Map, json};

use super::config::DamoovConfig;
use super::tokens::{Outcome, Tokens, Wish};
use super::{Message, recognise};
use crate::clock::Now;
use crate::vendors::lifecycle::{Lifecycle, Reached, SECOND_NS, flowing, flows_on, link};
use crate::vendors::settings::path_of;
use crate::vendors::{
    Call, CloseCause, Closed, Collector, Conn, Effect, Frame, HttpResponse, Input, Record, WebSocketDial,
};

/// The server pings every 30 s: two were missed, and some.
const SILENCE_MAX_NS: u64 = 75 * SECOND_NS;

/// A server that has not subscribed us by then, nor sent an error, is not going to.
const HANDSHAKE_MAX_NS: u64 = 30 * SECOND_NS;

/// Authenticated, and this long without `subscribed` or data: there may just be no trip.
const SILENCE_IS_CONSENT_NS: u64 = 10 * SECOND_NS;

/// Refusals of tokens that were never accepted: that many in a row are believed.
const REFUSALS_MAX: u32 = 3;

/// After a new connection failed beside one that flows.
const TAKE_OVER_AGAIN_NS: u64 = 60 * SECOND_NS;

/// So much of a server's words goes into a reason.
const WORDS_BYTES_MAX: usize = 200;

#[derive(Debug)]
pub struct DamoovCollector {
    config: DamoovConfig,
    channel: ByteString,
    life: Lifecycle,
    tokens: Tokens,
    /// The connections whose handshake is done: one, or two while one takes over.
    lines: Vec<Line>,
    /// The connection whose dial waits for a token.
    waiting: Option<Conn>,
    /// No attempt before: there will be no token.
    resume_ns: u64,
    /// While the stream flows: when to see to the token.
    look_ns: Option<u64>,
    /// While the stream flows: when to open the connection of the new token.
    take_over_ns: Option<u64>,
    refusals_in_a_row: u32,
}

/// An open connection.
#[derive(Clone, Copy, Debug)]
struct Line {
    conn: Conn,
    generation: u32,
    opened_ns: u64,
    heard_ns: u64,
    /// Since when it is authenticated, while nobody has said `subscribed`.
    agreed_ns: Option<u64>,
    is_established: bool,
}

impl Line {
    /// When it is looked after next.
    fn wake_at(&self) -> u64 {
        let silent_ns = self.heard_ns + SILENCE_MAX_NS;
        if self.is_established {
            return silent_ns;
        }
        let consent_ns = self.agreed_ns.map_or(u64::MAX, |since| since + SILENCE_IS_CONSENT_NS);
        silent_ns.min(self.opened_ns + HANDSHAKE_MAX_NS).min(consent_ns)
    }
}

/// The first message of a connection: the members that are set, in the order of the documentation.
#[derive(Serialize)]
struct Authenticate<'a> {
    r#type: &'a str,
    access_token: &'a str,
    instance_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    units: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    date_format: Option<&'a str>,
}

impl DamoovCollector {
    pub fn new(config: DamoovConfig) -> Self {
        Self {
            channel: path_of(&config.url).into(),
            tokens: Tokens::new(&config),
            config,
            life: Lifecycle::new(),
            lines: Vec::new(),
            waiting: None,
            resume_ns: 0,
            look_ns: None,
            take_over_ns: None,
            refusals_in_a_row: 0,
        }
    }

    /// Dials, or gets a token first.
    fn attempt(&mut self, now: Now, rng: &mut dyn Rng, conn: Conn, fx: &mut Vec<Effect>) {
        if self.tokens.usable(now).is_some() {
            return self.dial(conn, fx);
        }
        match self.tokens.renew(now, fx) {
            Wish::UnderWay => self.waiting = Some(conn),
            Wish::Later { why, .. } => self.no_token(now, rng, conn, why, fx),
            Wish::Impossible => self.give_up("there is no access token", fx),
        }
    }

    fn dial(&self, conn: Conn, fx: &mut Vec<Effect>) {
        let dial = WebSocketDial { url: self.config.url.clone(), headers: Vec::new() };
        fx.push(Effect::DialWebSocket { conn, dial });
    }

    /// An attempt ends before it was dialled.
    fn no_token(&mut self, now: Now, rng: &mut dyn Rng, conn: Conn, detail: String, fx: &mut Vec<Effect>) {
        let why = Closed { cause: CloseCause::Unreachable, detail };
        self.life.closed(now, rng, conn, &why, fx);
        self.resume_ns = self.tokens.not_before(now);
    }

    fn opened(&mut self, now: Now, conn: Conn, fx: &mut Vec<Effect>) {
        if self.waiting == Some(conn) || !self.life.opened(conn, Map::new(), fx) {
            return;
        }
        let Some((token, generation)) = self.tokens.any() else { return };
        let authenticate = Authenticate {
            r#type: "authenticate",
            access_token: token.expose(),
            instance_id: &self.config.instance_id,
            client_id: self.config.client_id.as_deref(),
            device_token: self.config.device_token.as_deref(),
            units: self.config.units.as_deref(),
            timezone: self.config.timezone.as_deref(),
            date_format: self.config.date_format.as_deref(),
        };
        // Strings only: it cannot fail.
        send(conn, serde_json::to_string(&authenticate).unwrap_or_default(), fx);
        let now_ns = now.steady_ns;
        let is_established = false;
        let line =
            Line { conn, generation, opened_ns: now_ns, heard_ns: now_ns, agreed_ns: None, is_established };
        self.lines.push(line);
    }

    fn frame(
        &mut self,
        now: Now,
        conn: Conn,
        at: Now,
        frame: Frame,
        rng: &mut dyn Rng,
        fx: &mut Vec<Effect>,
    ) {
        let (payload, is_binary) = frame.into_payload();
        let message = recognise(&payload);
        let record =
            Record { is_binary, ..Record::new(message.kind(), conn, at, self.channel.clone(), payload) };
        fx.push(Effect::Record { record, ack: None });
        let Some(line) = self.lines.iter_mut().find(|line| line.conn == conn) else { return };
        line.heard_ns = line.heard_ns.max(at.steady_ns);
        let seen = *line;
        match message {
            Message::Authenticated | Message::Welcome => {
                line.agreed_ns.get_or_insert(now.steady_ns);
                self.refusals_in_a_row = 0;
            }
            Message::Subscribed { topic } => self.established(now, conn, "subscribed", topic, fx),
            Message::Update => self.established(now, conn, "data", None, fx),
            Message::Ping => {
                let timestamp = now.wall_us / 1_000;
                send(conn, format!(r#"{{"type":"pong","timestamp":{timestamp}}}"#), fx);
            }
            Message::Error { code, message } => self.error(now, rng, seen, code, &message, fx),
            Message::Other => {}
        }
        if self.life.established_conn() == Some(conn) {
            self.life.heard(at);
        }
    }

    /// Data comes, or will.
    fn established(&mut self, now: Now, conn: Conn, by: &str, topic: Option<String>, fx: &mut Vec<Effect>) {
        let Some(line) = self.lines.iter_mut().find(|line| line.conn == conn && !line.is_established) else {
            return;
        };
        line.is_established = true;
        self.refusals_in_a_row = 0;
        let mut more = Map::new();
        more.insert("by".into(), json!(by));
        if let Some(topic) = topic {
            more.insert("topic".into(), json!(topic));
        }
        if let Some(old) = self.life.take_over(now, conn, &more, fx) {
            self.lines.retain(|line| line.conn != old);
        } else if self.life.established(now, conn, Some(more), fx) {
            fx.push(Effect::Ready { conn });
        }
        self.look_ns = self.tokens.look_at(now);
    }

    fn error(
        &mut self,
        now: Now,
        rng: &mut dyn Rng,
        line: Line,
        code: Option<i64>,
        words: &str,
        fx: &mut Vec<Effect>,
    ) {
        let mut words = self.tokens.without_secrets(words);
        words.truncate(words.floor_char_boundary(WORDS_BYTES_MAX));
        let code_text = code.map_or_else(|| "without a code".to_owned(), |code| code.to_string());
        let reason = format!("error {code_text}: {words}");
        let ends_it = matches!(code, Some(401 | 403 | 404 | 408 | 500 | 503));
        if line.is_established && !ends_it {
            return flows_on(line.conn, reason, Map::new(), fx);
        }
        let refusal = match code {
            Some(401) => Refusal::Token,
            Some(403 | 404) => Refusal::Access,
            _ => Refusal::None,
        };
        let why = Closed { cause: CloseCause::ByPeer(None), detail: reason };
        self.ended(now, rng, line.conn, &why, refusal, fx);
        fx.push(Effect::Close { conn: line.conn });
    }

    /// The transport says that a connection ended.
    fn closed(&mut self, now: Now, rng: &mut dyn Rng, conn: Conn, why: &Closed, fx: &mut Vec<Effect>) {
        let is_fresh = self.lines.iter().any(|line| line.conn == conn && !line.is_established);
        let refusal = match why.cause {
            // "Policy violation", where the error that should come before it did not.
            CloseCause::ByPeer(Some(1008)) if is_fresh => Refusal::Token,
            _ => Refusal::None,
        };
        self.ended(now, rng, conn, why, refusal, fx);
    }

    /// A connection is over, and what follows from that.
    fn ended(
        &mut self,
        now: Now,
        rng: &mut dyn Rng,
        conn: Conn,
        why: &Closed,
        refusal: Refusal,
        fx: &mut Vec<Effect>,
    ) {
        let was_beside = self.life.is_successor(conn);
        let Some(reached) = self.life.closed(now, rng, conn, why, fx) else { return };
        self.waiting.take_if(|waiting| *waiting == conn);
        let generation = self.lines.iter().find(|line| line.conn == conn).map(|line| line.generation);
        self.lines.retain(|line| line.conn != conn);
        if was_beside {
            // The old connection goes on. Refused rights will be refused again when it ends.
            self.take_over_ns =
                (refusal != Refusal::Access).then(|| now.steady_ns.saturating_add(TAKE_OVER_AGAIN_NS));
            return;
        }
        self.look_ns = None;
        self.take_over_ns = None;
        match refusal {
            Refusal::None => {
                if reached != Reached::Nothing {
                    self.refusals_in_a_row = 0;
                }
            }
            Refusal::Access => {
                self.forget();
                return self.life.give_up(why.detail.clone(), fx);
            }
            Refusal::Token => {
                self.refusals_in_a_row += 1;
                let replaceable = self.tokens.discard(generation.unwrap_or(self.tokens.generation()));
                let believed = self.refusals_in_a_row >= REFUSALS_MAX;
                if !replaceable && (believed || self.tokens.has_ended(now)) {
                    return self.give_up(&format!("the access token was refused ({})", why.detail), fx);
                }
                // Where fresh tokens are refused too, the vendor is in trouble: that passes.
                if !replaceable || believed {
                    self.life.wait_longest(now, rng);
                }
            }
        }
        if self.life.is_waiting() && self.tokens.usable(now).is_none() {
            // At once: the token comes while we wait anyway.
            let _ = self.tokens.renew(now, fx);
            self.resume_ns = self.tokens.not_before(now);
        }
    }

    fn give_up(&mut self, what: &str, fx: &mut Vec<Effect>) {
        self.forget();
        self.life.give_up(format!("{what}; {}", self.tokens.advice()), fx);
    }

    fn response(
        &mut self,
        now: Now,
        rng: &mut dyn Rng,
        call_number: Call,
        result: Result<HttpResponse, String>,
        fx: &mut Vec<Effect>,
    ) {
        let call_name = self.tokens.way_of(call_number);
        let call = || Map::from_iter(call_name.map(|name| ("call".to_owned(), json!(name))));
        match self.tokens.response(now, call_number, result, fx) {
            Outcome::Unknown | Outcome::Another => {}
            Outcome::Renewed { by } => {
                self.resume_ns = 0;
                let flows = self.life.established_conn();
                let mut more = if flows.is_some() { flowing() } else { Map::new() };
                more.insert("what".into(), json!("token"));
                more.insert("by".into(), json!(by));
                if let Some(conn) = self.waiting.or(flows) {
                    link(fx, "renewed", conn, None, more);
                }
                match self.waiting.take() {
                    Some(conn) => self.dial(conn, fx),
                    None => self.take_over(fx),
                }
            }
            Outcome::Failed { reason } => {
                if let Some(conn) = self.waiting.take() {
                    self.no_token(now, rng, conn, reason, fx);
                } else if let Some(conn) = self.life.established_conn() {
                    flows_on(conn, reason, call(), fx);
                    self.look_ns = Some(self.tokens.not_before(now));
                } else {
                    self.resume_ns = self.tokens.not_before(now);
                }
            }
            Outcome::Hopeless { reason } => match self.life.established_conn() {
                // As long as it lasts.
                Some(conn) => flows_on(conn, reason, call(), fx),
                None if self.waiting.is_some() || self.tokens.usable(now).is_none() => {
                    if let Some(conn) = self.waiting.take() {
                        self.no_token(now, rng, conn, reason, fx);
                    }
                    self.give_up("no access token can be had", fx);
                }
                None => {}
            },
        }
    }

    /// Opens the connection of the new token beside the one that flows.
    fn take_over(&mut self, fx: &mut Vec<Effect>) {
        self.take_over_ns = None;
        if let Some(conn) = self.life.succeed(fx) {
            self.dial(conn, fx);
        }
    }

    fn tick(&mut self, now: Now, rng: &mut dyn Rng, fx: &mut Vec<Effect>) {
        if now.steady_ns >= self.resume_ns
            && let Some(conn) = self.life.tick(now, fx)
        {
            self.attempt(now, rng, conn, fx);
        }
        for line in self.lines.clone() {
            if line.wake_at() <= now.steady_ns {
                self.overdue(now, rng, line, fx);
            }
        }
        if self.take_over_ns.is_some_and(|at| at <= now.steady_ns) {
            self.take_over(fx);
        }
        if self.look_ns.is_some_and(|at| at <= now.steady_ns) {
            self.look_ns = None;
            if !self.tokens.is_due(now) {
                self.look_ns = self.tokens.look_at(now);
            } else if let Wish::Later { until_ns, .. } = self.tokens.renew(now, fx) {
                self.look_ns = Some(until_ns);
            }
        }
    }

    /// A connection has been silent for too long, in one way or another.
    fn overdue(&mut self, now: Now, rng: &mut dyn Rng, line: Line, fx: &mut Vec<Effect>) {
        let is_silent = line.heard_ns + SILENCE_MAX_NS <= now.steady_ns;
        let has_agreed = line.agreed_ns.is_some_and(|at| at + SILENCE_IS_CONSENT_NS <= now.steady_ns);
        if has_agreed && !line.is_established && !is_silent {
            return self.established(now, line.conn, "silence", None, fx);
        }
        let detail = match is_silent {
            true => format!("no ping and no data for {} s", SILENCE_MAX_NS / SECOND_NS),
            false => format!("no answer to authenticate within {} s", HANDSHAKE_MAX_NS / SECOND_NS),
        };
        let why = Closed { cause: CloseCause::ByUs, detail };
        self.ended(now, rng, line.conn, &why, Refusal::None, fx);
        fx.push(Effect::Close { conn: line.conn });
    }

    fn forget(&mut self) {
        self.lines.clear();
        self.waiting = None;
        self.look_ns = None;
        self.take_over_ns = None;
    }
}

/// What the end of a connection says about our right to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    None,
    Token,
    Access,
}

fn send(conn: Conn, text: String, fx: &mut Vec<Effect>) {
    fx.push(Effect::Send { conn, frame: Frame::Text(text.into()) });
}

impl Collector for DamoovCollector {
    fn on(&mut self, now: Now, rng: &mut dyn Rng, input: Input, fx: &mut Vec<Effect>) {
        match input {
            Input::Start => {
                self.tokens.start(now);
                if let Some(conn) = self.life.start(now, fx) {
                    self.attempt(now, rng, conn, fx);
                }
            }
            Input::Tick => self.tick(now, rng, fx),
            Input::Opened { conn, .. } => self.opened(now, conn, fx),
            Input::Frame { conn, at, frame } => self.frame(now, conn, at, frame, rng, fx),
            Input::Closed { conn, why } => self.closed(now, rng, conn, &why, fx),
            // After the end no token is wanted, and why it came to that has been said.
            Input::Response { .. } if self.life.is_over() => {}
            Input::Response { call, result } => self.response(now, rng, call, result, fx),
            Input::Stop => {
                self.forget();
                self.life.stop(fx);
            }
            Input::Subscribed { .. } | Input::Pushed { .. } => {}
        }
    }

    fn wake_at(&self) -> Option<u64> {
        let lines = self.lines.iter().map(Line::wake_at);
        let attempt = self.life.wake_at().map(|at| at.max(self.resume_ns));
        lines.chain(attempt).chain(self.look_ns).chain(self.take_over_ns).min()
    }
}

#[cfg(test)]
mod tests;
