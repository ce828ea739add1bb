//! Collecting what a vendor posts to us, whosever it is: check, take, answer once durable.

use bytes::Bytes;
use rand::Rng;
use serde_json::Map;

use super::lifecycle::link;
use super::settings::is_below;
use super::{Ack, Collector, Effect, HttpReply, HttpRequest, Inbound, Input, KindOf, Record};
use crate::clock::Now;
use crate::secret::Secret;

pub(super) struct WebhookCollector {
    /// Requests to this path and to what is below it are ours.
    path: String,
    /// A header (lower-case name) that every request must have.
    header: Option<(String, Secret)>,
    /// The body of the answer to what was taken, JSON.
    accepted: &'static str,
    kind_of: KindOf,
}

impl WebhookCollector {
    pub(super) fn new(
        path: String,
        header: Option<(String, Secret)>,
        accepted: &'static str,
        kind_of: KindOf,
    ) -> Self {
        Self { path, header, accepted, kind_of }
    }

    fn pushed(&mut self, inbound: Inbound, at: Now, request: HttpRequest, fx: &mut Vec<Effect>) {
        if let Some(reply) = turned_away(&self.path, &request) {
            return fx.push(Effect::Refuse { inbound, reply });
        }
        let mut headers = request.headers;
        if let Some((name, secret)) = &self.header {
            let sent = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            if !sent.is_some_and(|(_, value)| secret.matches(value)) {
                let reply = plain(401, "the configured header is missing or wrong");
                return fx.push(Effect::Refuse { inbound, reply });
            }
            headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        }
        let record = Record {
            kind: (self.kind_of)(&request.path_and_query, &request.body),
            conn: 0,
            at,
            channel: request.path_and_query.into(),
            mqtt: None,
            is_binary: false,
            headers: Some(headers),
            delivery_id: None,
            payload: request.body,
            clear: None,
        };
        fx.push(Effect::Record { record, ack: Some(Ack::Http { inbound, reply: taken(self.accepted) }) });
    }
}

/// There is no connection to speak of, but the options are to be found where all others' are.
pub(super) fn listening(fx: &mut Vec<Effect>) {
    link(fx, "connecting", 0, None, Map::new());
    link(fx, "connected", 0, Some("listening".into()), Map::new());
    fx.push(Effect::Ready { conn: 0 });
}

/// The answer to a request that is not for the source at `path`, whoever sent it.
pub(super) fn turned_away(path: &str, request: &HttpRequest) -> Option<HttpReply> {
    if !is_below(path, &request.path_and_query) {
        Some(plain(404, "no source receives on this path"))
    } else if !request.method.eq_ignore_ascii_case("POST") {
        Some(plain(405, "only POST is received here"))
    } else {
        None
    }
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
