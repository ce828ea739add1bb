//! The sensor's token: asked for when a connection needs one, and before it expires.

use bytes::Bytes;
use serde_json::json;

use super::{Next, Sensor, Turn, asked_to_wait_ns, nanoseconds, refused_backoff};
use crate::vendors::Effect;
use crate::vendors::lifecycle::{Backoff, SECOND_NS};
use crate::vendors::pontosense::collector::What;
use crate::vendors::pontosense::collector::api::{self, Failure};

/// A token whose life is shorter than the margin is not asked for anew in a loop.
const TOKEN_REST_NS: u64 = 60 * SECOND_NS;

impl Sensor {
    pub(super) fn ask_token(&mut self, turn: &mut Turn<'_>) {
        if self.is_asking {
            return;
        }
        self.is_asking = true;
        let request = api::ask_token(turn.config, turn.now, turn.rng, &self.sn);
        let call = turn.calls.enter(self.index, What::Token);
        turn.fx.push(Effect::Http { call, request });
    }

    pub(in super::super) fn token_came(&mut self, turn: &mut Turn<'_>, result: Result<Bytes, Failure>) {
        self.is_asking = false;
        let read = result.and_then(|body| {
            let unusable = |detail| Failure { status: None, detail, retry_after_s: None };
            api::read_token(turn.config, turn.now, &body).map_err(unusable)
        });
        let (token, data) = match read {
            Ok(read) => read,
            Err(failure) => return self.no_token(turn, &failure),
        };
        turn.fx.push(Effect::Secret(token.secret()));
        self.token_backoff = Backoff::default();
        if self.is_flowing {
            self.refused_backoff = refused_backoff();
        }
        let now_ns = turn.now.steady_ns;
        let margin_ns = nanoseconds(turn.config.token_margin);
        let due_ns = token.expires_ns.saturating_sub(margin_ns).max(now_ns.saturating_add(TOKEN_REST_NS));
        self.token_due_ns = Some(due_ns);
        self.token = Some(token);
        let conn = match (self.next, self.live) {
            (Next::Asking(conn), _) => conn,
            (_, Some(live)) => {
                let mut more = self.about();
                more.insert("what".into(), json!("token"));
                self.link(turn.fx, "renewed", live.conn, None, more);
                live.conn
            }
            // The attempt that asked is over; the next one finds it.
            _ => self.last_conn,
        };
        if data.is_some() && data != self.data {
            self.data = data;
            self.record_data(turn.now, conn, turn.fx);
        }
        if self.next == Next::Asking(conn) {
            self.dial(turn, conn);
        }
    }

    fn no_token(&mut self, turn: &mut Turn<'_>, failure: &Failure) {
        let reason = format!("no token: {}", failure.detail);
        let more = self.about_call("token", failure);
        let wait_ns = if failure.is_refusal() {
            self.refused_backoff.next_ns(turn.rng)
        } else {
            self.token_backoff.next_ns(turn.rng).max(asked_to_wait_ns(failure))
        };
        let until_ns = turn.now.steady_ns.saturating_add(wait_ns);
        if let Next::Asking(conn) = self.next {
            self.link(turn.fx, "refused", conn, Some(reason), more);
            self.next = Next::Waiting { until_ns };
        } else if let Some(live) = self.live {
            // The open connection does not depend on it.
            self.link(turn.fx, "refused", live.conn, Some(reason), more);
            self.token_due_ns = Some(until_ns);
        }
    }
}
