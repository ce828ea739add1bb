//! Collecting from any WebSocket: connect, send what the user wants sent, take every frame.

use rand::Rng;
use serde_json::Map;

use crate::clock::Now;
use crate::secret::Secret;
use crate::vendors::lifecycle::Lifecycle;
use crate::vendors::settings::path_of;
use crate::vendors::{Collector, Conn, Effect, Frame, Input, KindOf, Record, WebSocketDial};
use bytestring::ByteString;

pub(super) struct WebSocketCollector {
    dial: WebSocketDial,
    send_on_open: Vec<Secret>,
    channel: ByteString,
    kind_of: KindOf,
    life: Lifecycle,
}

impl WebSocketCollector {
    pub(super) fn new(
        url: &str,
        headers: &[(String, Secret)],
        send_on_open: &[Secret],
        kind_of: KindOf,
    ) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
        Self {
            dial: WebSocketDial { url: url.to_owned(), headers },
            send_on_open: send_on_open.to_vec(),
            channel: path_of(url).into(),
            kind_of,
            life: Lifecycle::new(),
        }
    }

    fn dial(&self, conn: Option<Conn>, fx: &mut Vec<Effect>) {
        if let Some(conn) = conn {
            fx.push(Effect::DialWebSocket { conn, dial: self.dial.clone() });
        }
    }

    fn frame(&mut self, conn: Conn, at: Now, frame: Frame, fx: &mut Vec<Effect>) {
        self.life.heard(at);
        let (payload, is_binary) = frame.into_payload();
        let record = Record {
            is_binary,
            ..Record::new((self.kind_of)(&self.channel, &payload), conn, at, self.channel.clone(), payload)
        };
        fx.push(Effect::Record { record, ack: None });
    }
}

impl Collector for WebSocketCollector {
    fn on(&mut self, now: Now, rng: &mut dyn Rng, input: Input, fx: &mut Vec<Effect>) {
        match input {
            Input::Start => {
                let conn = self.life.start(now, fx);
                self.dial(conn, fx);
            }
            Input::Tick => {
                let conn = self.life.tick(now, fx);
                self.dial(conn, fx);
            }
            Input::Opened { conn, .. } => {
                if self.life.opened(conn, Map::new(), fx) {
                    for text in &self.send_on_open {
                        fx.push(Effect::Send { conn, frame: Frame::Text(text.expose().into()) });
                    }
                    self.life.established(now, conn, None, fx);
                    fx.push(Effect::Ready { conn });
                }
            }
            Input::Frame { conn, at, frame } => self.frame(conn, at, frame, fx),
            Input::Closed { conn, why } => {
                self.life.closed(now, rng, conn, &why, fx);
            }
            Input::Stop => self.life.stop(fx),
            Input::Subscribed { .. } | Input::Pushed { .. } | Input::Response { .. } => {}
        }
    }

    fn wake_at(&self) -> Option<u64> {
        self.life.wake_at()
    }
}

#[cfg(test)]
mod tests;
