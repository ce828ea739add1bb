//! `GET /livez` and `GET /readyz` of a recorder.
//!
//! | request | 200 | 503 |
//! |---|---|---|
//! | `/livez` | the process works: this answer, and the journal's writer gets on | the writer has been at one write for half a minute, or the journal has failed |
//! | `/readyz` | what comes is kept | data is at risk: see [`health`](crate::recorder::health) |
//!
//! Both answer anybody, since probes have no token. The reasons in words may name sources: with a token configured, only
//! who shows it gets them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::guard;
use super::status::Console;

/// A disk that does not say within so long how much is free is hung, and what it holds at risk.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn livez(State(console): State<Arc<Console>>) -> Response {
    let is_alive = console.recorder.is_alive();
    respond(is_alive, json!({"alive": is_alive}))
}

pub(super) async fn readyz(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    let may_know = guard::check(console.token.as_ref(), &headers).is_ok();
    let asked = tokio::task::spawn_blocking(move || console.recorder.risks());
    let (is_ready, reasons) = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(risks)) => (risks.is_empty(), json!(risks)),
        _ => (false, json!([{"risk": "disk_slow", "detail": "the disk does not answer"}])),
    };
    let mut body = json!({"ready": is_ready});
    if may_know {
        body["reasons"] = reasons;
    }
    respond(is_ready, body)
}

/// The answer to a probe.
pub(super) fn respond(is_well: bool, body: Value) -> Response {
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
