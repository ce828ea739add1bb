//! `GET /api/v1/status`: a running recorder as JSON. `POST /api/v1/marks`: see [`marks`](super::marks). `GET
//! /metrics`, `/livez` and `/readyz`: see [`metrics`](super::metrics) and [`health`](super::health).
//!
//! With a token configured (beyond loopback there must be one) a request needs
//! `Authorization: Bearer TOKEN`. A browser on another site's page gets nothing: no CORS headers, and
//! requests with a foreign `Origin` are refused, so that a page cannot reach what listens on loopback.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::guard;
use crate::recorder::StatusSource;
use crate::secret::Secret;

#[derive(Debug)]
pub(super) struct Console {
    pub(super) recorder: StatusSource,
    pub(super) token: Option<Secret>,
}

/// The routes of the `[console]` listener of a recorder.
pub fn routes(recorder: StatusSource, token: Option<Secret>) -> Router {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/metrics", get(super::metrics::metrics))
        .route("/livez", get(super::health::livez))
        .route("/readyz", get(super::health::readyz))
        .route("/api/v1/marks", post(super::marks::mark))
        .with_state(Arc::new(Console { recorder, token }))
}

async fn status(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = guard::check(console.token.as_ref(), &headers) {
        return refusal.respond(refusal.to_string());
    }
    // It asks the disk how much is free, and decodes a message per source.
    match tokio::task::spawn_blocking(move || console.recorder.status()).await {
        Ok(status) => ([(header::CACHE_CONTROL, "no-store")], Json(status)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
