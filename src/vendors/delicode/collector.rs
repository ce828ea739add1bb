//! The recording side: register, stay alive, sort what comes.

use bytestring::ByteString;
use rand::Rng;
use serde_json::{Map, json};

use super::config::DelicodeConfig;
use super::{HEARTBEAT, Message, REGISTER, recognise};
use crate::clock::Now;
use crate::vendors::lifecycle::{Lifecycle, Reached, SECOND_NS};
use crate::vendors::settings::path_of;
use crate::vendors::{CloseCause, Closed, Collector, Conn, Effect, Frame, Input, Record, WebSocketDial};

/// A token that the server does not accept is answered by a close, like many passing troubles are:
/// only several in a row are believed.
const REFUSALS_MAX: u32 = 3;

/// So much of a server's words goes into a reason.
const WORDS_BYTES_MAX: usize = 200;

/// The newer revision of the vendor's document does not promise a reply to every request. Whoever is
/// still connected after this time is taken for registered.
const SILENCE_IS_CONSENT_NS: u64 = 10 * SECOND_NS;

#[derive(Debug)]
pub struct DelicodeCollector {
    config: DelicodeConfig,
    channel: ByteString,
    life: Lifecycle,
    refusals_in_a_row: u32,
    /// Of the connection that is open.
    open: Option<Open>,
    /// What the server said before it closes a connection.
    farewell: Option<(Conn, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    conn: Conn,
    heartbeat_ns: u64,
    /// When silence counts as registered; none once registered.
    consent_ns: Option<u64>,
}

impl DelicodeCollector {
    pub fn new(config: DelicodeConfig) -> Self {
        Self {
            channel: path_of(&config.url).into(),
            config,
            life: Lifecycle::new(),
            refusals_in_a_row: 0,
            open: None,
            farewell: None,
        }
    }

    fn dial(&self, conn: Option<Conn>, fx: &mut Vec<Effect>) {
        if let Some(conn) = conn {
            let dial = WebSocketDial { url: self.config.url.clone(), headers: Vec::new() };
            fx.push(Effect::DialWebSocket { conn, dial });
        }
    }

    fn opened(&mut self, now: Now, conn: Conn, fx: &mut Vec<Effect>) {
        if !self.life.opened(conn, Map::new(), fx) {
            return;
        }
        self.open = Some(Open {
            conn,
            heartbeat_ns: now.steady_ns.saturating_add(self.heartbeat_ns()),
            consent_ns: Some(now.steady_ns.saturating_add(SILENCE_IS_CONSENT_NS)),
        });
        let register = json!({"type": REGISTER, "token": self.config.token.expose(), "locations": self.config.locations});
        send(conn, register.to_string(), fx);
    }

    fn tick(&mut self, now: Now, fx: &mut Vec<Effect>) {
        let conn = self.life.tick(now, fx);
        self.dial(conn, fx);
        let heartbeat_ns = self.heartbeat_ns();
        let Some(open) = &mut self.open else { return };
        let conn = open.conn;
        if now.steady_ns >= open.heartbeat_ns {
            // From now, not from when it was due: after a suspend one heartbeat is enough.
            open.heartbeat_ns = now.steady_ns.saturating_add(heartbeat_ns);
            send(conn, json!({"type": HEARTBEAT}).to_string(), fx);
        }
        if open.consent_ns.is_some_and(|at| now.steady_ns >= at) {
            self.registered(now, conn, "no_reply", fx);
        }
    }

    fn registered(&mut self, now: Now, conn: Conn, by: &str, fx: &mut Vec<Effect>) {
        if !self.life.is_opened(conn) {
            return;
        }
        self.refusals_in_a_row = 0;
        if let Some(open) = &mut self.open {
            open.consent_ns = None;
        }
        let mut more = Map::new();
        more.insert("locations".into(), json!(self.config.locations));
        more.insert("by".into(), json!(by));
        self.life.established(now, conn, Some(more), fx);
        fx.push(Effect::Ready { conn });
    }

    fn frame(&mut self, conn: Conn, at: Now, frame: Frame, rng: &mut dyn Rng, fx: &mut Vec<Effect>) {
        let (payload, is_binary) = frame.into_payload();
        let message = recognise(&payload);
        let record =
            Record { is_binary, ..Record::new(message.kind(), conn, at, self.channel.clone(), payload) };
        fx.push(Effect::Record { record, ack: None });
        match message {
            Message::Registered { result } if self.life.is_opened(conn) => match result.as_deref() {
                Some("success") => self.registered(at, conn, "reply", fx),
                result => {
                    let result = result.unwrap_or("no result").to_owned();
                    self.refusals_in_a_row = 0;
                    self.open = None;
                    self.life.refused(at, rng, conn, format!("registration refused: {result}"), fx);
                }
            },
            Message::Closing { words } if self.life.is_current(conn) => {
                let words = words.unwrap_or_else(|| "without a reason".to_owned());
                let mut words = words.replace(self.config.token.expose(), "…");
                words.truncate(words.floor_char_boundary(WORDS_BYTES_MAX));
                self.farewell = Some((conn, words));
            }
            // Data without a reply: registered all the same.
            Message::Data(_) => self.registered(at, conn, "data", fx),
            _ => {}
        }
        self.life.heard(at);
    }

    fn closed(&mut self, now: Now, rng: &mut dyn Rng, conn: Conn, why: &Closed, fx: &mut Vec<Effect>) {
        let farewell = self.farewell.take_if(|(closing, _)| *closing == conn).map(|(_, words)| words);
        let why = match &farewell {
            Some(words) => &Closed { cause: why.cause, detail: format!("close_connection: {words}") },
            None => why,
        };
        let Some(reached) = self.life.closed(now, rng, conn, why, fx) else { return };
        self.open = None;
        // A close that is explained by something else is no refusal of the token.
        let is_other = farewell.is_some_and(|words| !words.to_ascii_lowercase().contains("token"));
        match (reached, why.cause) {
            (Reached::Opened, cause) if refuses_token(cause) && !is_other => self.refusals_in_a_row += 1,
            (Reached::Nothing, CloseCause::HttpStatus(401 | 403)) => self.refusals_in_a_row += 1,
            // An unreachable server says nothing about the token.
            (Reached::Nothing, _) => {}
            _ => self.refusals_in_a_row = 0,
        }
        if self.refusals_in_a_row >= REFUSALS_MAX {
            let reason = format!("the token was refused {REFUSALS_MAX} times in a row");
            self.life.give_up(reason, fx);
        }
    }

    fn heartbeat_ns(&self) -> u64 {
        u64::try_from(self.config.heartbeat.as_nanos()).unwrap_or(u64::MAX).max(SECOND_NS)
    }
}

/// Whether a close before the register reply says that the token was refused. Codes by which a server
/// says that it has troubles of its own do not, nor does a connection that breaks.
fn refuses_token(cause: CloseCause) -> bool {
    match cause {
        CloseCause::ByPeer(Some(code)) => !matches!(code, 1001 | 1011..=1014),
        CloseCause::ByPeer(None) => true,
        _ => false,
    }
}

fn send(conn: Conn, text: String, fx: &mut Vec<Effect>) {
    fx.push(Effect::Send { conn, frame: Frame::Text(text.into()) });
}

impl Collector for DelicodeCollector {
    fn on(&mut self, now: Now, rng: &mut dyn Rng, input: Input, fx: &mut Vec<Effect>) {
        match input {
            Input::Start => {
                let conn = self.life.start(now, fx);
                self.dial(conn, fx);
            }
            Input::Tick => self.tick(now, fx),
            Input::Opened { conn, .. } => self.opened(now, conn, fx),
            Input::Frame { conn, at, frame } => self.frame(conn, at, frame, rng, fx),
            Input::Closed { conn, why } => self.closed(now, rng, conn, &why, fx),
            Input::Stop => {
                self.open = None;
                self.life.stop(fx);
            }
            Input::Subscribed { .. } | Input::Pushed { .. } | Input::Response { .. } => {}
        }
    }

    fn wake_at(&self) -> Option<u64> {
        let open = self.open.map(|open| open.heartbeat_ns.min(open.consent_ns.unwrap_or(u64::MAX)));
        open.or_else(|| self.life.wake_at())
    }
}

#[cfg(test)]
mod tests;
