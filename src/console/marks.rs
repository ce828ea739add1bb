//! `POST /api/v1/marks`: a note in the session that is being recorded.
//!
//! The body is `{"note": "light on"}`, and `"at": "2026-03-01T14:00:00Z"` where it is not now. The answer is 201 with
//! `{session_id, session, elapsed_ns, at, note}`. Guarded as everything of the console is; what is wrong is told as
//! `{"error": …, "expected": …}`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::status::Console;
use super::{body, guard};
use crate::archive::ArchiveError;
use crate::units::{Moment, format_time_us, parse_moment};

/// A sidecar is rewritten whole for each mark: notes, not documents.
const NOTE_BYTES_MAX: usize = 4_096;

const EXPECTED: &str =
    r#"{"note": "…"}, and "at": a time with offset as in "2026-03-01T14:00:00Z" where it is not now"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    note: String,
    at: Option<String>,
}

pub(super) async fn mark(State(console): State<Arc<Console>>, headers: HeaderMap, body: Body) -> Response {
    if let Err(refusal) = guard::check(console.token.as_ref(), &headers) {
        return refusal.respond(Json(json!({"error": refusal.to_string()})));
    }
    let body = match body::read(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let (note, at_us) = match read(&body) {
        Ok(read) => read,
        Err(error) => {
            let body = Json(json!({"error": error, "expected": EXPECTED}));
            return (StatusCode::BAD_REQUEST, body).into_response();
        }
    };
    let marked = tokio::task::spawn_blocking(move || console.recorder.mark(note, at_us)).await;
    match marked {
        Ok(Ok((session, mark))) => {
            let body = json!({
                "session_id": session.session_id,
                "session": session.name,
                "elapsed_ns": mark.elapsed_ns,
                "at": format_time_us(mark.at_us),
                "note": mark.note,
            });
            (StatusCode::CREATED, Json(body)).into_response()
        }
        Ok(Err(error @ ArchiveError::TooManyMarks { .. })) => {
            (StatusCode::CONFLICT, Json(json!({"error": error.to_string()}))).into_response()
        }
        Ok(Err(error)) => {
            tracing::error!("a mark could not be kept: {error}");
            let body = Json(json!({"error": error.to_string()}));
            (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The note, and when it is of, in microseconds since the Unix epoch.
fn read(body: &[u8]) -> Result<(String, Option<i64>), String> {
    let Request { note, at } = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let at_us = match at.as_deref().map(parse_moment) {
        None => None,
        Some(Ok(Moment::At(us))) => Some(us),
        Some(Ok(_)) => return Err("`at` is not a time by itself".into()),
        Some(Err(error)) => return Err(format!("`at`: {error}")),
    };
    check_note(&note)?;
    Ok((note, at_us))
}

/// Whether a note is one.
pub(crate) fn check_note(note: &str) -> Result<(), String> {
    match note.len() {
        0 => Err("the note is empty".into()),
        1..=NOTE_BYTES_MAX => Ok(()),
        bytes => Err(format!("the note has {bytes} bytes, {NOTE_BYTES_MAX} are the most")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_may_say_when_it_is_of() {
        assert_eq!(read(br#"{"note": "light on"}"#), Ok(("light on".into(), None)));
        let at = read(br#"{"note": "x", "at": "1970-01-01T00:00:01Z"}"#);
        assert_eq!(at, Ok(("x".into(), Some(1_000_000))));
        for wrong in [
            &br#"{"note": ""}"#[..],
            br#"{"note": "x", "at": "+5s"}"#,
            br#"{"note": "x", "at": "2026-03-01"}"#,
            br#"{"note": "x", "when": 3}"#,
            b"x",
            format!(r#"{{"note": "{}"}}"#, "x".repeat(NOTE_BYTES_MAX + 1)).as_bytes(),
        ] {
            assert!(read(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
