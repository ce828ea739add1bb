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
        let refuse = |status, reason: &'static str| Effect::Refuse { inbound, reply: plain(status, reason) };
        if !is_below(&self.path, &request.path_and_query) {
            return fx.push(refuse(404, "no source receives on this path"));
        }
        if !request.method.eq_ignore_ascii_case("POST") {
            return fx.push(refuse(405, "only POST is received here"));
        }
        let mut headers = request.headers;
        if let Some((name, secret)) = &self.header {
            let sent = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            if !sent.is_some_and(|(_, value)| secret.matches(value)) {
                return fx.push(refuse(401, "the configured header is missing or wrong"));
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
            duplicate_of: None,
            payload: request.body,
            clear: None,
        };
        let reply = HttpReply {
            status: 200,
            content_type: "application/json",
            body: Bytes::from_static(self.accepted.as_bytes()),
        };
        fx.push(Effect::Record { record, ack: Some(Ack::Http { inbound, reply }) });
    }
}

fn plain(status: u16, reason: &'static str) -> HttpReply {
    HttpReply {
        status,
        content_type: "text/plain; charset=utf-8",
        body: Bytes::from_static(reason.as_bytes()),
    }
}

impl Collector for WebhookCollector {
    fn on(&mut self, _: Now, _: &mut dyn Rng, input: Input, fx: &mut Vec<Effect>) {
        match input {
            // There is no connection to speak of, but the options are to be found where all others' are.
            Input::Start => {
                link(fx, "connecting", 0, None, Map::new());
                link(fx, "connected", 0, Some("listening".into()), Map::new());
                fx.push(Effect::Ready { conn: 0 });
            }
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
