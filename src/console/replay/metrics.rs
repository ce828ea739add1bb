//! `GET /metrics`, `/livez` and `/readyz` of a replay.
//!
//! The metrics are guarded as the controls are; the other two answer anybody. A replay is ready from the moment that it
//! can be connected to until it is done: there is no data of its own that could be at risk.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::json;

use super::{Console, ID};
use crate::console::exposition::Type::{Counter, Gauge, Summary};
use crate::console::exposition::{Exposition, Value, of_process};
use crate::console::health::respond;
use crate::player::control::{Control, State as Stand};

/// As in the report, in thousandths.
const QUANTILES: [(&str, u32); 5] = [("0.5", 500), ("0.9", 900), ("0.99", 990), ("0.999", 999), ("1", 1_000)];

const STATES: [(Stand, &str); 4] = [
    (Stand::Waiting, "waiting"),
    (Stand::Playing, "playing"),
    (Stand::Paused, "paused"),
    (Stand::Done, "done"),
];

pub(super) async fn metrics(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    match console.refusal(&headers, ID) {
        Some(refusal) => refusal,
        None => page(&console.control).respond(),
    }
}

/// The answer itself: whoever gets it knows that the runtime works.
pub(super) async fn livez() -> Response {
    respond(true, json!({"alive": true}))
}

pub(super) async fn readyz(State(console): State<Arc<Console>>) -> Response {
    let is_ready = console.control.snapshot().state != Stand::Done;
    respond(is_ready, json!({"ready": is_ready}))
}

fn page(control: &Control) -> Exposition {
    let (snapshot, totals) = (control.snapshot(), control.totals());
    let mut page = Exposition::default();
    of_process(&mut page);
    let family = page.family(Gauge, "telereel_replay_state", "1 for the state that the replay is in.");
    for (state, name) in STATES {
        family.sample(&[("state", name)], snapshot.state == state);
    }
    let emitted = "Messages of the recording that were given out, loops included.";
    page.single(Counter, "telereel_replay_emitted_messages_total", emitted, snapshot.emitted);
    let sent = "Messages that were flushed to clients, each client's counted.";
    page.single(Counter, "telereel_replay_sent_messages_total", sent, totals.messages);
    let bytes = "Bytes of the payloads of these.";
    page.single(Counter, "telereel_replay_sent_bytes_total", bytes, totals.bytes);
    let dropped = "Messages that were not sent, because a client was too slow.";
    page.single(Counter, "telereel_replay_dropped_messages_total", dropped, totals.dropped);
    let refused = "Messages that a receiver that is pushed to has refused for good.";
    page.single(Counter, "telereel_replay_refused_messages_total", refused, totals.refused);
    let clients = "Clients that are ready to receive.";
    page.single(Gauge, "telereel_replay_clients", clients, snapshot.clients as u64);
    let disconnected = "Clients that were disconnected with a reason.";
    page.single(Counter, "telereel_replay_clients_disconnected_total", disconnected, totals.disconnected);
    let position = "Where in the recording the replay is.";
    page.single(Gauge, "telereel_replay_position_seconds", position, Value::Ns(snapshot.position_ns));
    if let Some(duration_ns) = snapshot.duration_ns {
        let help = "Where its last message is.";
        page.single(Gauge, "telereel_replay_duration_seconds", help, Value::Ns(duration_ns));
    }
    let speed = "Recorded seconds per second.";
    page.single(Gauge, "telereel_replay_speed_ratio", speed, Value::Ratio(snapshot.speed.as_f64()));
    let lateness = "Flushed to the socket, minus due: over all messages to all clients since the start.";
    let family = page.family(Summary, "telereel_replay_lateness_seconds", lateness);
    let us = |us: u64| Value::Us(i64::try_from(us).unwrap_or(i64::MAX));
    for (quantile, per_mille) in QUANTILES {
        family.sample(&[("quantile", quantile)], us(totals.lateness.at_per_mille(per_mille)));
    }
    family.part("_sum", &[], us(totals.lateness.sum()));
    family.part("_count", &[], totals.lateness.count());
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_called_as_in_the_snapshot() {
        for (state, name) in STATES {
            assert_eq!(serde_json::to_value(state).unwrap(), name);
        }
    }
}
