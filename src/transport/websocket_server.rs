//! One WebSocket client of a replay: its emulator speaks the vendor's protocol, its queue gives the
//! messages.
//!
//! Reading goes on while a flush waits for the client, so heartbeats are heard and a slow reader is
//! not taken for a silent one. Several messages are written and flushed as one; each one's lateness is
//! taken after that flush.
//!
//! RFC 6455 is the library's, but for what it leaves to its user: what a client gets wrong is answered with the
//! code of section 7.4.1 before the connection is failed, its goodbye is answered, and a client of which nothing
//! is heard is asked for a sign of life.

mod close;
#[cfg(any(test, feature = "conformance"))]
pub mod echo;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::VecDeque;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use axum::Error as SocketError;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};

pub use self::close::close;
use self::close::{CLOSE_TIMEOUT, bye, fail, fault};
use self::wire::Wire;
use crate::transport::fanout::{Item, Member, Outlet, STALLED, Taken, Wish};
use crate::transport::misbehave::{Conduct, Next};
use crate::transport::trace;
use crate::vendors::{ClientInput, Emulator, Format, ServerEffect};

/// Of one client's frame: registrations and heartbeats are far below.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// The library's default, 128 KiB for each connection, is for clients that send.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// Written and flushed as one: by what they cost in a queue, where most messages are smaller than what they take
/// beside their bytes.
const BATCH_BYTES: usize = 160 << 10;
const BATCH_ITEMS: usize = 512;

/// Answers of the emulator that wait for a flush: more is a client that asks without reading.
const ANSWERS_MAX: usize = 64;

/// How long the goodbye to a client may take that is dropped because it does not read.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);

/// A client of which nothing was heard for so long is pinged: below the minute after which proxies cut a silent
/// connection, above the vendors' own heartbeats (22 s), so that those who send them see none of ours.
const PING_EVERY: Duration = Duration::from_secs(25);

/// So many pings without an answer, and nothing taken from a socket that was full: nobody is there.
const PINGS_MAX: u32 = 3;

/// A client that takes nothing of what is written for this long is gone, whatever it says itself.
const STALL_MAX: Duration = Duration::from_secs(30);

/// The reason given to a client that answered no ping.
pub const SILENT: &str = "silent: it answered no ping for 75 s";

/// RFC 6455 has no code for a slow client; this registered one says "try again later".
const CLOSE_TRY_AGAIN: u16 = 1013;

/// The endpoints' bounds on what a client may send.
pub fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
}

/// What is answered to a request at `path` that is no handshake of the version spoken here (section 4.4).
pub fn upgrade_required(path: &str) -> Response {
    let text = format!("{path} is a WebSocket endpoint: connect with ws:// or wss://\n");
    let headers = [(header::UPGRADE, "websocket"), (header::SEC_WEBSOCKET_VERSION, "13")];
    (StatusCode::UPGRADE_REQUIRED, headers, text).into_response()
}

/// How a connection ends.
enum End {
    /// The peer closed or the connection broke: nothing more to say.
    Gone,
    /// The peer broke the rules: nothing more is read.
    Fail {
        code: u16,
        reason: String,
    },
    Close {
        code: u16,
        reason: String,
    },
}

/// Serves one client until it leaves, is dropped, or the replay is over. `query` is the raw query
/// string of the upgrade.
pub async fn serve(
    socket: WebSocket,
    emulator: Box<dyn Emulator>,
    query: String,
    member: Member,
    conduct: Option<Arc<Conduct>>,
) {
    let wire = Wire::new(socket);
    // What a server does wrong is done by its task, message by message.
    if conduct.is_none() {
        member.set_outlet(Arc::clone(&wire) as Arc<dyn Outlet>);
    }
    member.trace("connect", || asked_for(&query));
    let mut client = Client {
        wire,
        emulator,
        member,
        conduct,
        answers: VecDeque::new(),
        effects: Vec::new(),
        was_ready: false,
        has_complained: false,
    };
    client.tell(ClientInput::Opened { query });
    let end = client.run().await.unwrap_or_else(|error| match fault(&error) {
        Some((code, reason)) => End::Fail { code, reason },
        None => End::Gone,
    });
    client.member.end();
    match end {
        End::Gone => {}
        End::Fail { code, reason } => fail(&mut &*client.wire, code, &reason).await,
        End::Close { code, reason } => {
            let limit = if code == CLOSE_TRY_AGAIN { DROP_TIMEOUT } else { CLOSE_TIMEOUT };
            // A client that does not answer the goodbye is left: what was sent was flushed before.
            let _ = timeout(limit, client.close(code, &reason)).await;
        }
    }
}

struct Client {
    wire: Arc<Wire>,
    emulator: Box<dyn Emulator>,
    member: Member,
    conduct: Option<Arc<Conduct>>,
    /// Live frames that wait to be written.
    answers: VecDeque<Message>,
    effects: Vec<ServerEffect>,
    /// It got what it came for.
    was_ready: bool,
    /// Once is enough for the log.
    has_complained: bool,
}

impl Client {
    async fn run(&mut self) -> Result<End, SocketError> {
        let wire = Arc::clone(&self.wire);
        let (mut sink, mut stream) = (&*wire, &*wire);
        let mut batch: Vec<Item> = Vec::new();
        let mut flushing = false;
        let mut pulse = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Pings since something was heard; none is sent where there was something.
        let mut unanswered = 0;
        let mut heard = false;
        // A flush was waiting at a ping: its end is a sign of life as well.
        let mut full = false;
        loop {
            // A wish may be carried out, whose answer goes before the first message.
            wire.set_idle(false);
            let closing = self.carry_out();
            if self.answers.len() > ANSWERS_MAX {
                return Ok(end(close_code::POLICY, "too many requests without reading the answers"));
            }
            // Fed only where nothing is being flushed, so that feeding never waits.
            if !flushing {
                for answer in self.answers.drain(..) {
                    sink.feed(answer).await?;
                    flushing = true;
                }
            }
            wire.set_idle(!flushing);
            if let Some(end) = closing {
                return Ok(end);
            }
            let wake = self.emulator.wake_at().map(|at_ns| {
                let now_ns = self.member.clock().now().steady_ns;
                Instant::now() + Duration::from_nanos(at_ns.saturating_sub(now_ns))
            });
            tokio::select! {
                biased;
                why = self.member.dropped() => return Ok(end(CLOSE_TRY_AGAIN, why)),
                flushed = sink.flush(), if flushing => {
                    flushed?;
                    flushing = false;
                    heard |= std::mem::take(&mut full);
                    self.member.sent(&batch);
                    batch.clear();
                }
                mut items = wire.handed(), if !flushing => {
                    batch.append(&mut items);
                    flushing = true;
                }
                taken = self.member.take(&mut batch, BATCH_ITEMS, BATCH_BYTES), if !flushing => match taken {
                    Taken::Some | Taken::Nothing => {
                        if let Some(why) = self.feed(&mut batch).await? {
                            return Ok(end(CLOSE_TRY_AGAIN, why));
                        }
                        flushing = true;
                    }
                    over => match wire.take_handed() {
                        none if none.is_empty() => return Ok(self.over(over)),
                        // Written between the look at what is handed and the one at the queue: first that.
                        mut items => {
                            batch.append(&mut items);
                            flushing = true;
                        }
                    },
                },
                message = stream.next() => {
                    heard = true;
                    match message.transpose()? {
                        Some(Message::Text(text)) => {
                            self.member.trace("text", || trace::without_secrets(&text));
                            self.tell(ClientInput::Text(ByteString::from(text.as_str())));
                        }
                        Some(Message::Binary(bytes)) => {
                            self.member.trace("binary", || Value::Object(trace::bytes_of(&bytes)));
                            self.tell(ClientInput::Binary(bytes));
                        }
                        // The library answers pings itself, with the next read or flush.
                        Some(Message::Ping(_) | Message::Pong(_)) => {}
                        Some(Message::Close(frame)) => {
                            self.member.trace("close", || match &frame {
                                Some(frame) => json!({"code": frame.code, "reason": frame.reason.as_str()}),
                                None => json!({}),
                            });
                            // The answer that the library has made.
                            let _ = timeout(CLOSE_TIMEOUT, sink.flush()).await;
                            return Ok(End::Gone);
                        }
                        None => return Ok(End::Gone),
                    }
                }
                () = at(wake), if wake.is_some() => self.tell(ClientInput::Tick),
                _ = pulse.tick() => {
                    full = flushing;
                    unanswered = if std::mem::take(&mut heard) { 0 } else { unanswered + 1 };
                    if unanswered > PINGS_MAX {
                        return Ok(end(CLOSE_TRY_AGAIN, self.member.give_up(SILENT)));
                    }
                    if unanswered > 0 && self.answers.len() < ANSWERS_MAX {
                        self.answers.push_back(Message::Ping(Bytes::new()));
                    }
                }
            }
        }
    }

    /// How a connection ends for which nothing more is in the queue.
    fn over(&mut self, taken: Taken) -> End {
        match taken {
            Taken::Cut => {
                self.hear_out();
                End::Gone
            }
            Taken::Dropped(why) => end(CLOSE_TRY_AGAIN, why),
            Taken::Finished | Taken::Some | Taken::Nothing => end(close_code::NORMAL, "the replay is over"),
        }
    }

    /// Takes what has come from the client already: unread, it would turn the end of the connection into a
    /// reset, which may overtake what was sent.
    fn hear_out(&mut self) {
        let mut stream = &*self.wire;
        while let Some(Some(Ok(_))) = stream.next().now_or_never() {}
    }

    /// Feeds all of `batch`, or as much of it as the server's conduct has left over; or says why the client is given up
    /// meanwhile. A large batch is written before it is flushed, and waits for whoever does not read.
    async fn feed(&mut self, batch: &mut Vec<Item>) -> Result<Option<&'static str>, SocketError> {
        let Some(conduct) = &self.conduct else {
            return tokio::select! {
                biased;
                why = self.member.dropped() => Ok(Some(why)),
                fed = self.wire.feed_all(batch) => fed.map(|()| None),
                () = sleep(STALL_MAX) => Ok(Some(self.member.give_up(STALLED))),
            };
        };
        let mut sink = &*self.wire;
        let mut fed = 0;
        for item in batch.iter() {
            match conduct.before_message(item.emission.payload().len()) {
                Next::Send => {}
                Next::Noise(noise) => sink.feed(noise_frame(noise)).await?,
                Next::Last => {
                    sink.feed(self.wire.frame(item)).await?;
                    break;
                }
                Next::Expire => {
                    self.emulator.expire(&mut self.effects);
                    break;
                }
            }
            sink.feed(self.wire.frame(item)).await?;
            fed += 1;
        }
        // What was not fed whole is not counted as sent.
        batch.truncate(fed);
        Ok(None)
    }

    fn tell(&mut self, input: ClientInput) {
        let now = self.member.clock().now();
        self.emulator.on(now, input, &mut self.effects);
    }

    /// Carries out what the emulator asked for; the end, if it asked for that.
    fn carry_out(&mut self) -> Option<End> {
        let (mut end, mut wrong) = (None, Vec::new());
        for effect in self.effects.drain(..) {
            match effect {
                ServerEffect::Send(text) => self.answers.push_back(Message::Text(text.to_string().into())),
                ServerEffect::Ready { selection, format } => {
                    self.was_ready = true;
                    self.wire.set_format(format);
                    if format == Format::Envelope {
                        self.member.acknowledges();
                    }
                    self.member.wish(Wish::Rows(selection));
                }
                ServerEffect::Acknowledged { seq, session_id } => {
                    if !self.member.settled_seq(seq, session_id) {
                        wrong.push("an acknowledgement of a message that does not wait for one".to_owned());
                    }
                }
                ServerEffect::Wrong { what } => wrong.push(what),
                ServerEffect::Close { code, reason } => {
                    if !self.was_ready {
                        wrong.push(format!("its connection is closed before it was ready: {reason}"));
                    }
                    end = Some(End::Close { code, reason });
                    break;
                }
            }
        }
        wrong.into_iter().for_each(|what| self.complain(&what));
        end
    }

    /// What its user should know, and the client may not say.
    fn complain(&mut self, what: &str) {
        self.member.trace("wrong", || json!({"what": what}));
        if !std::mem::replace(&mut self.has_complained, true) {
            tracing::warn!("client {} ({}): {what}", self.member.id(), self.member.endpoint());
        }
    }

    async fn close(&mut self, code: u16, reason: &str) -> Result<(), SocketError> {
        let (mut sink, mut stream) = (&*self.wire, &*self.wire);
        for answer in self.answers.drain(..) {
            sink.feed(answer).await?;
        }
        bye(&mut sink, &mut stream, code, reason).await
    }
}

fn end(code: u16, reason: &str) -> End {
    End::Close { code, reason: reason.to_owned() }
}

/// What of the query of an upgrade is no credential, as the client wrote it.
fn asked_for(query: &str) -> Value {
    const KEYS: [&str; 7] = ["vendor", "kind", "source", "device", "channel", "format", "discriminator"];
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let known = pairs.filter(|(key, _)| KEYS.contains(key));
    Value::Object(known.map(|(key, value)| (key.to_owned(), Value::from(value))).collect())
}

fn noise_frame(noise: Bytes) -> Message {
    match Utf8Bytes::try_from(noise.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(noise),
    }
}

async fn at(wake: Option<Instant>) {
    match wake {
        Some(instant) => sleep_until(instant).await,
        None => future::pending().await,
    }
}
