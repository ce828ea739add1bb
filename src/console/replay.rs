//! The controls of a replay, on each of its HTTP listeners:
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/v1/replays` | all of them, which is this one, with its `id` |
//! | `GET /api/v1/replays/1` | how it stands: `{state, position_ns, duration_ns, seq, session_id, speed, emitted, clients}` |
//! | `POST /api/v1/replays/1` with an action | how it stands once that is carried out |
//! | `GET /api/v1/replays/1/wait?seq=N`, `?state=paused`, either with `&timeout=10s` | the same, when it is so |
//!
//! The actions are told in [`action`]. `wait?seq=N` answers when the message that was emitted last has this
//! `seq` or a later one, or one did since it was asked, also in a loop; where it can no longer come to what is waited for, the answer is 409, after the timeout 408.
//! The state of a replay that is to play is `waiting` until the awaited clients are there; a step is refused (409)
//! until then, also where it is paused.
//! `GET /metrics`, `/livez` and `/readyz` are told in [`metrics`].
//! Whatever is wrong is told as `{"error": …, "expected": …}`.
//!
//! Pages of other sites are refused, and no header lets them ask. Where the listener can be reached from other
//! machines, a request needs the token of `[console]`; where there is none, it is refused.

pub mod action;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;

use self::action::{Action, Wrong};
use super::{body, guard};
use crate::message::{Selection, SessionId};
use crate::player::control::{Awaited, Control, Order, Place, Refused, Snapshot, State as Stand, Steps};
use crate::player::endpoints::Api;
use crate::secret::Secret;
use crate::units::parse_duration;

/// The one replay of `telereel replay`.
const ID: &str = "1";

/// How long an answer waits for an order to be carried out: the scheduler may wait for a slow client.
const OBEY_MAX: Duration = Duration::from_secs(10);

/// Requests that wait at one listener at a time.
const WAITERS_MAX: usize = if cfg!(test) { 4 } else { 1_024 };

/// How long one waits that does not say.
const WAIT: Duration = Duration::from_secs(86_400);

/// Finds, in the recording from this moment on (nanoseconds since the earliest session's start), the first
/// selected message after `after` for which the text of a `--where` holds, if there is one.
pub type Find = dyn Fn(&Search) -> Result<Option<(SessionId, u64)>, String> + Send + Sync;

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Search {
    pub condition: Option<String>,
    pub selection: Selection,
    pub from_ns: u64,
    /// The first moment that is not looked at; none: to the end.
    pub to_ns: Option<u64>,
    pub after: Option<(SessionId, u64)>,
}

struct Console {
    control: Arc<Control>,
    find: Arc<Find>,
    token: Option<Secret>,
    /// For those that wait. Whoever has gone meanwhile is not noticed.
    waiters: Semaphore,
    /// It can be reached from other machines.
    is_exposed: bool,
}

/// The API for every listener of a replay.
pub fn api(token: Option<Secret>, find: Arc<Find>) -> Api {
    Api::new(move |control, is_exposed| {
        let waiters = Semaphore::new(WAITERS_MAX);
        let console = Console { control, find: Arc::clone(&find), token: token.clone(), waiters, is_exposed };
        Router::new()
            .route("/metrics", get(metrics::metrics).fallback(not_allowed))
            .route("/livez", get(metrics::livez).fallback(not_allowed))
            .route("/readyz", get(metrics::readyz).fallback(not_allowed))
            .route("/api/v1/replays", get(list).fallback(not_allowed))
            .route("/api/v1/replays/{id}", get(stand).post(act).fallback(not_allowed))
            .route("/api/v1/replays/{id}/wait", get(wait).fallback(not_allowed))
            .route("/api/v1/{*path}", axum::routing::any(nothing))
            .with_state(Arc::new(console))
    })
}

/// An answer that says what is wrong.
fn wrong(status: StatusCode, error: impl ToString, expected: impl Serialize) -> Response {
    (status, Json(json!({"error": error.to_string(), "expected": expected}))).into_response()
}

fn answer(snapshot: &Snapshot) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(snapshot)).into_response()
}

/// Why an order is not carried out.
fn refusal(refused: Refused) -> Response {
    let (status, expected) = match refused {
        Refused::Over => (StatusCode::CONFLICT, "a replay that is not done"),
        Refused::TooMany => (StatusCode::TOO_MANY_REQUESTS, "one order after the other"),
        Refused::NoSpeed => (StatusCode::CONFLICT, "a replay at `--pace original` or `step`"),
        Refused::Waiting => (StatusCode::CONFLICT, "its clients first: `clients` tells how many there are"),
    };
    wrong(status, refused, expected)
}

impl Console {
    /// Why a request is not answered, if so.
    fn refusal(&self, headers: &HeaderMap, id: &str) -> Option<Response> {
        let token = self.token.as_ref().filter(|_| self.is_exposed);
        if let Err(refusal) = guard::check(token, headers) {
            let body = json!({"error": refusal.to_string()});
            return Some(refusal.respond(Json(body)));
        }
        if self.is_exposed && token.is_none() {
            let expected = "a [console] token in the configuration that -c names, or a request on loopback";
            let error = "beyond loopback the controls need a token, and none is configured";
            return Some(wrong(StatusCode::FORBIDDEN, error, expected));
        }
        if id != ID {
            let error = format!("there is no replay {id}");
            return Some(wrong(StatusCode::NOT_FOUND, error, format!("/api/v1/replays/{ID}")));
        }
        None
    }

    async fn order(&self, order: Order) -> Response {
        match self.carried_out(order).await {
            Ok(snapshot) => answer(&snapshot),
            Err(refused) => refusal(refused),
        }
    }

    /// How it stands when the order is carried out, or for long was not.
    async fn carried_out(&self, order: Order) -> Result<Snapshot, Refused> {
        let ticket = self.control.order(order)?;
        let obeyed = tokio::time::timeout(OBEY_MAX, self.control.obeyed(ticket)).await;
        obeyed.unwrap_or_else(|_| Ok(self.control.snapshot()))
    }

    /// Steps to the next message that meets `selection` and for which `condition` holds. It is looked for first, so
    /// that a replay does not run to its end for something that does not come.
    async fn step_to(&self, condition: Option<String>, selection: Selection) -> Response {
        // It must not run away while the recording is looked through.
        if let Err(refused) = self.carried_out(Order::Halt).await {
            return refusal(refused);
        }
        let Place { recorded_ns, after, end_ns, again_from_ns } = self.control.place();
        let search = Search { condition, selection, from_ns: recorded_ns, to_ns: end_ns, after };
        // What lies before this place comes again in the next round.
        let again = again_from_ns.map(|from_ns| {
            let to_ns = Some(recorded_ns.saturating_add(1));
            Search { from_ns, to_ns, after: None, ..search.clone() }
        });
        let find = Arc::clone(&self.find);
        let look = move || match (find(&search)?, again) {
            (None, Some(again)) => find(&again),
            (found, _) => Ok(found),
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(Ok(Some((session_id, seq)))) => {
                self.order(Order::Step(Steps::Until { session_id, seq })).await
            }
            Ok(Ok(None)) => {
                let error = "no message to come meets it; the replay is paused";
                wrong(StatusCode::CONFLICT, error, "a condition that holds for a message to come")
            }
            Ok(Err(error)) => wrong(StatusCode::BAD_REQUEST, error, "a condition as of --where"),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// The one replay there is.
async fn list(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    #[derive(Serialize)]
    struct Listed {
        id: &'static str,
        #[serde(flatten)]
        replay: Snapshot,
    }
    if let Some(refusal) = console.refusal(&headers, ID) {
        return refusal;
    }
    let listed = [Listed { id: ID, replay: console.control.snapshot() }];
    ([(header::CACHE_CONTROL, "no-store")], Json(listed)).into_response()
}

async fn stand(State(console): State<Arc<Console>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if let Some(refusal) = console.refusal(&headers, &id) {
        return refusal;
    }
    answer(&console.control.snapshot())
}

async fn act(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Some(refusal) = console.refusal(&headers, &id) {
        return refusal;
    }
    let body = match body::read(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let now_us = console.control.now().wall_us;
    match action::parse(&body, now_us) {
        Ok(Action::Order(order)) => console.order(order).await,
        Ok(Action::StepTo { condition, selection }) => console.step_to(condition, selection).await,
        Err(Wrong { error, expected }) => wrong(StatusCode::BAD_REQUEST, error, expected),
    }
}

async fn wait(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = console.refusal(&headers, &id) {
        return refusal;
    }
    let (awaited, timeout) = match awaited(query.as_deref().unwrap_or_default()) {
        Ok(awaited) => awaited,
        Err(error) => {
            let expected = "seq=N, or state=waiting|playing|paused|done; with it, if wanted, timeout=10s";
            return wrong(StatusCode::BAD_REQUEST, error, expected);
        }
    };
    let Ok(_waiting) = console.waiters.try_acquire() else {
        let expected = format!("at most {WAITERS_MAX} that wait at a time");
        return wrong(StatusCode::TOO_MANY_REQUESTS, "too many wait already", expected);
    };
    let waited = tokio::time::timeout(timeout.unwrap_or(WAIT), console.control.wait(awaited)).await.ok();
    match waited {
        Some(Ok(snapshot)) => answer(&snapshot),
        Some(Err(snapshot)) => {
            let error = "the replay is done and did not come to it";
            (StatusCode::CONFLICT, Json(json!({"error": error, "replay": snapshot}))).into_response()
        }
        None => {
            let (error, replay) = ("it did not come to it in time", console.control.snapshot());
            (StatusCode::REQUEST_TIMEOUT, Json(json!({"error": error, "replay": replay}))).into_response()
        }
    }
}

fn awaited(query: &str) -> Result<(Awaited, Option<Duration>), String> {
    let (mut awaited, mut timeout) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let twice = match key {
            "seq" => {
                let seq = value.parse().map_err(|_| format!("seq {value:?} is not a whole number"))?;
                awaited.replace(Awaited::Seq(seq)).is_some()
            }
            "state" => {
                let state = match value {
                    "waiting" => Stand::Waiting,
                    "playing" => Stand::Playing,
                    "paused" => Stand::Paused,
                    "done" => Stand::Done,
                    _ => return Err(format!("there is no state {value:?}")),
                };
                awaited.replace(Awaited::State(state)).is_some()
            }
            "timeout" => {
                let given = parse_duration(value).map_err(|why| format!("timeout {value:?}: {why}"))?;
                timeout.replace(given).is_some()
            }
            _ => return Err(format!("unknown key {key:?}")),
        };
        if twice {
            return Err("one thing at a time can be waited for".to_owned());
        }
    }
    awaited.map(|awaited| (awaited, timeout)).ok_or_else(|| "nothing to wait for".to_owned())
}

async fn not_allowed(
    State(console): State<Arc<Console>>,
    id: Option<Path<String>>,
    headers: HeaderMap,
    uri: axum::http::Uri,
) -> Response {
    if let Some(refusal) = console.refusal(&headers, id.as_ref().map_or(ID, |Path(id)| id)) {
        return refusal;
    }
    let is_order = id.is_some() && !uri.path().ends_with("/wait");
    let allowed = if is_order { "GET, HEAD, POST" } else { "GET, HEAD" };
    let mut response = wrong(StatusCode::METHOD_NOT_ALLOWED, "this method does nothing here", allowed);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

async fn nothing(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    let expected = format!("/api/v1/replays/{ID} or /api/v1/replays/{ID}/wait");
    match console.refusal(&headers, ID) {
        Some(refusal) => refusal,
        None => wrong(StatusCode::NOT_FOUND, "there is nothing here", expected),
    }
}

#[cfg(test)]
mod tests;
