//! One WebSocket client of a replay: its emulator speaks the vendor's protocol, its queue gives the
//! messages.
//!
//! Reading goes on while a flush waits for the client, so heartbeats are heard and a slow reader is
//! not taken for a silent one. Several messages are written and flushed as one; each one's lateness is
//! taken after that flush.

use std::collections::VecDeque;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use axum::Error as SocketError;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use crate::transport::fanout::{Item, Member, Taken, Wish};
use crate::transport::misbehave::{Conduct, Next};
use crate::transport::trace;
use crate::vendors::{ClientInput, Emulator, Format, ServerEffect};

/// Of one client's frame: registrations and heartbeats are far below.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// The library's default, 128 KiB for each connection, is for clients that send.
pub const READ_BUFFER_BYTES: usize = 4 << 10;

/// Written and flushed as one.
const BATCH_BYTES: usize = 64 << 10;
const BATCH_ITEMS: usize = 512;

/// Answers of the emulator that wait for a flush: more is a client that asks without reading.
const ANSWERS_MAX: usize = 64;

/// How long a goodbye may take: the client may have much to read before it comes to it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for a client that is dropped because it does not read.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);

/// RFC 6455 has no code for a slow client; this registered one says "try again later".
const CLOSE_TRY_AGAIN: u16 = 1013;

/// How a connection ends.
enum End {
    /// The peer closed or the connection broke: nothing more to say.
    Gone,
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
    let (sink, stream) = socket.split();
    let mut client = Client {
        sink,
        stream,
        emulator,
        format: Format::default(),
        member,
        conduct,
        answers: VecDeque::new(),
        effects: Vec::new(),
    };
    client.tell(ClientInput::Opened { query });
    let end = client.run().await.unwrap_or(End::Gone);
    client.member.end();
    if let End::Close { code, reason } = end {
        let limit = if code == CLOSE_TRY_AGAIN { DROP_TIMEOUT } else { CLOSE_TIMEOUT };
        // A client that does not answer the goodbye is left: what was sent was flushed before.
        let _ = timeout(limit, client.close(code, &reason)).await;
    }
}

/// Closes a socket that was only just opened, without a word.
pub async fn close(mut socket: WebSocket) {
    let _ = timeout(CLOSE_TIMEOUT, async {
        if socket.send(Message::Close(None)).await.is_ok() {
            // What the client says meanwhile is read, or its end would become a reset.
            while let Some(Ok(_)) = socket.next().await {}
        }
    })
    .await;
}

struct Client {
    sink: SplitSink<WebSocket, Message>,
    stream: SplitStream<WebSocket>,
    emulator: Box<dyn Emulator>,
    format: Format,
    member: Member,
    conduct: Option<Arc<Conduct>>,
    /// Live frames that wait to be written.
    answers: VecDeque<Message>,
    effects: Vec<ServerEffect>,
}

impl Client {
    async fn run(&mut self) -> Result<End, SocketError> {
        let mut batch: Vec<Item> = Vec::new();
        let mut flushing = false;
        loop {
            let closing = self.carry_out();
            if self.answers.len() > ANSWERS_MAX {
                return Ok(end(close_code::POLICY, "too many requests without reading the answers"));
            }
            // Fed only where nothing is being flushed, so that feeding never waits.
            if !flushing {
                for answer in self.answers.drain(..) {
                    self.sink.feed(answer).await?;
                    flushing = true;
                }
            }
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
                flushed = self.sink.flush(), if flushing => {
                    flushed?;
                    flushing = false;
                    self.member.sent(&batch);
                    batch.clear();
                }
                taken = self.member.take(&mut batch, BATCH_ITEMS, BATCH_BYTES), if !flushing => match taken {
                    Taken::Some | Taken::Nothing => {
                        self.feed(&mut batch).await?;
                        flushing = true;
                    }
                    Taken::Finished => return Ok(end(close_code::NORMAL, "the replay is over")),
                    Taken::Cut => {
                        self.hear_out();
                        return Ok(End::Gone);
                    }
                    Taken::Dropped(why) => return Ok(end(CLOSE_TRY_AGAIN, why)),
                },
                message = self.stream.next() => match message.transpose()? {
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
                        return Ok(End::Gone);
                    }
                    None => return Ok(End::Gone),
                },
                () = at(wake), if wake.is_some() => self.tell(ClientInput::Tick),
            }
        }
    }

    /// Takes what has come from the client already: unread, it would turn the end of the connection into a
    /// reset, which may overtake what was sent.
    fn hear_out(&mut self) {
        while let Some(Some(Ok(_))) = self.stream.next().now_or_never() {}
    }

    /// Feeds all of `batch`, or as much of it as the server's conduct has left over.
    async fn feed(&mut self, batch: &mut Vec<Item>) -> Result<(), SocketError> {
        let mut fed = 0;
        for item in batch.iter() {
            match self.conduct.as_ref().map(|c| c.before_message(item.emission.payload().len())) {
                None | Some(Next::Send) => {}
                Some(Next::Noise(noise)) => self.sink.feed(noise_frame(noise)).await?,
                Some(Next::Last) => {
                    self.sink.feed(self.frame(item)).await?;
                    break;
                }
                Some(Next::Expire) => {
                    self.emulator.expire(&mut self.effects);
                    break;
                }
            }
            self.sink.feed(self.frame(item)).await?;
            fed += 1;
        }
        // What was not fed whole is not counted as sent.
        batch.truncate(fed);
        Ok(())
    }

    fn frame(&self, item: &Item) -> Message {
        match self.format {
            Format::Raw => item.emission.raw_frame(),
            Format::Envelope => item.emission.envelope_frame(),
        }
    }

    fn tell(&mut self, input: ClientInput) {
        let now = self.member.clock().now();
        self.emulator.on(now, input, &mut self.effects);
    }

    /// Carries out what the emulator asked for; the end, if it asked for that.
    fn carry_out(&mut self) -> Option<End> {
        for effect in self.effects.drain(..) {
            match effect {
                ServerEffect::Send(text) => self.answers.push_back(Message::Text(text.to_string().into())),
                ServerEffect::Ready { selection, format } => {
                    self.format = format;
                    if format == Format::Envelope {
                        self.member.acknowledges();
                    }
                    self.member.wish(Wish::Rows(selection));
                }
                ServerEffect::Acknowledged { seq } => self.member.settled(seq),
                ServerEffect::Close { code, reason } => return Some(End::Close { code, reason }),
            }
        }
        None
    }

    async fn close(&mut self, code: u16, reason: &str) -> Result<(), SocketError> {
        for answer in self.answers.drain(..) {
            self.sink.feed(answer).await?;
        }
        // A control frame holds 125 bytes, two of them the code.
        let reason = &reason[..reason.floor_char_boundary(123)];
        self.sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
        while let Some(message) = self.stream.next().await {
            message?;
        }
        Ok(())
    }
}

fn end(code: u16, reason: &str) -> End {
    End::Close { code, reason: reason.to_owned() }
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
