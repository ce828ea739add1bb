//! Collecting what a vendor posts to us, whosever it is: check, take, answer once durable. Only what is posted
//! to its path comes to a source: the recorder turns other paths and methods away.

use bytes::Bytes;
use rand::Rng;
use serde_json::Map;

use super::lifecycle::link;
use super::{Ack, Collector, Effect, HttpReply, HttpRequest, Inbound, Input, KindOf, Record};
use crate::clock::Now;
use crate::secret::Secret;

pub(super) struct WebhookCollector {
    /// A header (lower-case name) that every request must have.
    header: Option<(String, Secret)>,
    /// The body of the answer to what was taken, JSON.
    accepted: &'static str,
    kind_of: KindOf,
}

impl WebhookCollector {
    pub(super) fn new(header: Option<(String, Secret)>, accepted: &'static str, kind_of: KindOf) -> Self {
        Self { header, accepted, kind_of }
    }

    fn pushed(&mut self, inbound: Inbound, at: Now, request: HttpRequest, fx: &mut Vec<Effect>) {
        let mut headers = request.headers;
        if let Some((name, secret)) = &self.header {
            let sent = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            if !sent.is_some_and(|(_, value)| secret.matches(value)) {
                let reply = plain(401, "the configured header is missing or wrong");
                return fx.push(Effect::Refuse { inbound, reply });
            }
            headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        }
        let kind = (self.kind_of)(&request.path_and_query, &request.body);
        let message = Record::new(kind, 0, at, request.path_and_query.into(), request.body);
        let record = Record { headers: Some(headers), ..message };
        fx.push(Effect::Record { record, ack: Some(Ack::Http { inbound, reply: taken(self.accepted) }) });
    }
}

/// There is no connection to speak of, but the options are to be found where all others' are.
pub(super) fn listening(fx: &mut Vec<Effect>) {
    link(fx, "connecting", 0, None, Map::new());
    link(fx, "connected", 0, Some("listening".into()), Map::new());
    fx.push(Effect::Ready { conn: 0 });
}

/// The answer to what was taken; `body` is JSON.
pub(super) fn taken(body: &'static str) -> HttpReply {
    HttpReply { status: 200, content_type: "application/json", body: Bytes::from_static(body.as_bytes()) }
}

pub(super) fn plain(status: u16, reason: &'static str) -> HttpReply {
    HttpReply {
        status,
        content_type: "text/plain; charset=utf-8",
        body: Bytes::from_static(reason.as_bytes()),
    }
}

impl Collector for WebhookCollector {
    fn on(&mut self, _: Now, _: &mut dyn Rng, input: Input, fx: &mut Vec<Effect>) {
        match input {
            Input::Start => listening(fx),
            Input::Pushed { inbound, at, request } => self.pushed(inbound, at, request, fx),
            _ => {}
        }
    }

    fn wake_at(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests;
