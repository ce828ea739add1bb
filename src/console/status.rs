//! `GET /api/v1/status`: a running recorder as JSON.
//!
//! With a token configured (beyond loopback there must be one) a request needs
//! `Authorization: Bearer TOKEN`. A browser on another site's page gets nothing: no CORS headers, and
//! requests with a foreign `Origin` are refused, so that a page cannot reach what listens on loopback.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::recorder::StatusSource;
use crate::secret::Secret;

#[derive(Debug)]
struct Console {
    recorder: StatusSource,
    token: Option<Secret>,
}

/// The routes of the `[console]` listener of a recorder.
pub fn routes(recorder: StatusSource, token: Option<Secret>) -> Router {
    Router::new().route("/api/v1/status", get(status)).with_state(Arc::new(Console { recorder, token }))
}

async fn status(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = admit(console.token.as_ref(), &headers) {
        return refusal;
    }
    // It asks the disk how much is free, and decodes a message per source.
    match tokio::task::spawn_blocking(move || console.recorder.status()).await {
        Ok(status) => ([(header::CACHE_CONTROL, "no-store")], Json(status)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn admit(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Response> {
    if !is_own_origin(headers) {
        return Err((StatusCode::FORBIDDEN, "another site's page may not ask").into_response());
    }
    let Some(token) = token else { return Ok(()) };
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if sent.and_then(|sent| sent.strip_prefix("Bearer ")).is_some_and(|sent| token.matches(sent)) {
        return Ok(());
    }
    let mut refusal = (StatusCode::UNAUTHORIZED, "the token of [console] is needed").into_response();
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Err(refusal)
}

/// Whether the request comes from a page of this very listener, or from no page at all.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    matches!((origin, host), (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_token_is_asked_for_where_one_is_set() {
        let token = Secret::new("geheim");
        assert!(admit(None, &headers(&[])).is_ok());
        assert!(admit(Some(&token), &headers(&[(header::AUTHORIZATION, "Bearer geheim")])).is_ok());
        for wrong in ["Bearer x", "geheim", "Bearer geheim "] {
            let refusal = admit(Some(&token), &headers(&[(header::AUTHORIZATION, wrong)])).unwrap_err();
            assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED, "{wrong}");
        }
        assert_eq!(admit(Some(&token), &headers(&[])).unwrap_err().status(), StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let host = (header::HOST, "127.0.0.1:7080");
        for own in ["http://127.0.0.1:7080", "https://127.0.0.1:7080"] {
            assert!(is_own_origin(&headers(&[host.clone(), (header::ORIGIN, own)])), "{own}");
        }
        for foreign in ["http://evil.example", "null", "http://127.0.0.1:9999"] {
            assert!(!is_own_origin(&headers(&[host.clone(), (header::ORIGIN, foreign)])), "{foreign}");
        }
    }
}
