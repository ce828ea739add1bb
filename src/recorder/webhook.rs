//! Receiving webhooks: which source a path belongs to, what is refused at the door, and the wait for
//! the answer.
//!
//! | request | answer |
//! |---|---|
//! | a path of no source | 404 |
//! | another method than POST | 405, `Allow: POST` |
//! | a body beyond `max_body` | 413 |
//! | a body that does not come | 408 |
//! | a path that could be read in two ways (`/../`, `%2e`) | 404 |
//! | a missing or wrong fixed header | the collector's 401, before the body is read |
//! | more requests, or more in their bodies, than the recorder can hold | 503, `Retry-After` |
//! | taken | the collector's answer, once the message is durable |
//!
//! A request that has been handed to its source is recorded even if the client does not wait.

mod body;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use self::body::Refused;
pub use self::body::{Held, Patience, Room, read_off};
use super::stats::SourceStats;
use crate::clock::{Clock, Now};
use crate::message::{Headers, has_dot_segment};
use crate::secret::Secret;
use crate::vendors::{HttpReply, HttpRequest};

/// Requests under way to one source. Each holds a body of up to `max_body`.
pub const PUSHES_MAX: usize = 64;

/// A disk that does not sync for so long is in trouble; the vendor may push again. Less than the least patient of them
/// waits for an answer, which is five seconds (SENSORO).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// A request on its way to its source, and where its answer is awaited.
#[derive(Debug)]
pub struct Push {
    pub at: Now,
    pub request: HttpRequest,
    pub answer: oneshot::Sender<Answer>,
    /// What the body takes of the room for all, also once its sender is told to come again.
    pub held: Held,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Reply(HttpReply),
    /// Nothing can be taken now: 503, to be tried again after so many seconds.
    Busy {
        retry_after_s: u32,
    },
    /// The body is longer than a message may be: 413.
    TooLarge,
}

/// A source's path, and the way to it.
#[derive(Clone, Debug)]
pub struct Route {
    /// Requests to it and to everything below it.
    pub path: String,
    /// A header (lower-case name) without which no body is read.
    pub header: Option<(String, Secret)>,
    /// For the bodies under way to it.
    pub room: Room,
    pub pushes: mpsc::Sender<Push>,
    pub stats: Arc<SourceStats>,
}

/// Which source receives where. Exchanged while requests come.
#[derive(Clone, Debug, Default)]
pub struct Doors(Arc<RwLock<Arc<[Route]>>>);

impl Doors {
    /// From now on these receive.
    pub fn exchange(&self, mut routes: Vec<Route>) {
        // The longest prefix wins.
        routes.sort_by_key(|route| std::cmp::Reverse(route.path.trim_end_matches('/').len()));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = routes.into();
    }

    fn find(&self, path: &str) -> Option<Route> {
        let routes = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        routes.iter().find(|route| is_below(&route.path, path)).cloned()
    }

    /// Hands a request to the source of its path: to the one that has taken over, if the one of before is gone.
    /// False if it cannot take the request now.
    fn hand_in(&self, route: &Route, path: &str, push: Push) -> bool {
        match route.pushes.try_send(push) {
            Err(TrySendError::Closed(push)) => {
                self.find(path).is_some_and(|route| route.pushes.try_send(push).is_ok())
            }
            handed => handed.is_ok(),
        }
    }
}

#[derive(Debug)]
struct Webhooks {
    doors: Doors,
    max_body: usize,
    room: Room,
    patience: Patience,
    clock: Clock,
}

/// The receiving side of all webhook sources.
pub fn router(doors: Doors, max_body: u64, room: Room, clock: Clock) -> Router {
    let max_body = usize::try_from(max_body).unwrap_or(usize::MAX);
    Router::new().fallback(receive).with_state(Arc::new(Webhooks {
        doors,
        max_body,
        room,
        patience: Patience::default(),
        clock,
    }))
}

/// Whether `path` is `prefix` or below it; borders of segments count.
fn is_below(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

async fn receive(State(webhooks): State<Arc<Webhooks>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    // What comes back on such a path in a replay could leave the URL that the operator named.
    let route = if has_dot_segment(path) { None } else { webhooks.doors.find(path) };
    let Some(route) = route else {
        return webhooks
            .turn_away(body, plain(StatusCode::NOT_FOUND, "no source receives on this path"))
            .await;
    };
    if head.method != Method::POST {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only POST is received here");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return webhooks.turn_away(body, answer).await;
    }
    if !route.admits(&head.headers) {
        let unread = webhooks.pass_on(&route, head, None).await;
        return webhooks.turn_away(body, unread).await;
    }
    match webhooks.body(&route, &head.headers, body).await {
        Ok(read) => webhooks.pass_on(&route, head, Some(read)).await,
        Err(refusal) => closing(refusal),
    }
}

impl Webhooks {
    /// Hands a request to its source and waits for the answer. Without a body, only to the one that has to refuse it.
    async fn pass_on(&self, route: &Route, head: Parts, body: Option<(Bytes, Held)>) -> Response {
        let at = self.clock.now();
        let path_and_query = head.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let is_whole = body.is_some();
        let (body, held) = body.unwrap_or_default();
        let request = HttpRequest {
            method: head.method.as_str().to_owned(),
            path_and_query,
            headers: joined(&head.headers),
            body,
        };
        let (answer, answered) = oneshot::channel();
        let push = Push { at, request, answer, held };
        let is_taken = if is_whole {
            self.doors.hand_in(route, head.uri.path(), push)
        } else {
            route.pushes.try_send(push).is_ok()
        };
        if !is_taken {
            route.stats.lock().refuse_one(at.steady_ns);
            return respond(Answer::Busy { retry_after_s: 1 });
        }
        match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
            Ok(Ok(answer)) => respond(answer),
            // The source has stopped, or the disk is slow: without durability there is no 200. The message may be stored
            // all the same; that it is sent again costs a duplicate.
            Ok(Err(_)) | Err(_) => {
                route.stats.lock().refuse_one(self.clock.now().steady_ns);
                respond(Answer::Busy { retry_after_s: 5 })
            }
        }
    }

    async fn body(&self, route: &Route, headers: &HeaderMap, body: Body) -> Result<(Bytes, Held), Response> {
        let max = self.max_body;
        let read = if announced(headers).is_some_and(|length| length > max as u64) {
            Err(Refused::TooLarge)
        } else {
            body::whole(body, max, (&self.room, &route.room), self.patience).await
        };
        // Whatever the reason, it is not recorded, and whoever pushed it may not come again.
        if read.is_err() {
            route.stats.lock().refuse_one(self.clock.now().steady_ns);
        }
        read.map_err(|refused| match refused {
            Refused::NoRoom => respond(Answer::Busy { retry_after_s: 1 }),
            Refused::TooLarge => {
                let words = format!("the body is longer than {max} bytes (webhooks.max_body)");
                (StatusCode::PAYLOAD_TOO_LARGE, words).into_response()
            }
            Refused::TooSlow => plain(StatusCode::REQUEST_TIMEOUT, "the body did not come"),
            Refused::NotWhole => plain(StatusCode::BAD_REQUEST, "the body is not whole"),
        })
    }

    /// Answers without the body, which is read off if it is small, so that its connection can carry the next request.
    async fn turn_away(&self, body: Body, refusal: Response) -> Response {
        if body::read_off(body, self.patience).await { refusal } else { closing(refusal) }
    }
}

impl Route {
    /// Whether the request has the fixed header, where there is one. The collector says what is wrong, and counts it.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some((name, secret)) = &self.header else { return true };
        // As it will be joined: a header that is sent twice is not the configured one.
        let sent: Vec<_> =
            headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
        secret.matches(&sent.join(", "))
    }
}

/// Says that the connection ends here: the rest of the body is not read.
fn closing(mut refusal: Response) -> Response {
    refusal.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    refusal
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Lower-case unique names in sorted order, repeats joined. A value that is not UTF-8 keeps what is.
fn joined(headers: &HeaderMap) -> Headers {
    let mut joined: Headers = headers
        .keys()
        .map(|name| {
            let values: Vec<_> =
                headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
            (name.as_str().to_owned(), values.join(", "))
        })
        .collect();
    joined.sort_unstable();
    joined
}

fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Reply(reply) => {
            let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type))];
            (status, content_type, reply.body).into_response()
        }
        Answer::Busy { retry_after_s } => {
            let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, "nothing can be stored now, try again");
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
            answer
        }
        Answer::TooLarge => plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than a message may be"),
    }
}

fn plain(status: StatusCode, words: &'static str) -> Response {
    (status, words).into_response()
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests {
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    #[tokio::test]
    async fn endless_requests_are_refused_once_as_many_wait_as_a_source_takes() {
        let (pushes, mut waiting) = mpsc::channel(PUSHES_MAX);
        let stats = Arc::new(SourceStats::new("hook", "generic"));
        let room = Room::of(1 << 20);
        let route = Route { path: "/".to_owned(), header: None, room, pushes, stats: Arc::clone(&stats) };
        let doors = Doors::default();
        doors.exchange(vec![route]);
        let router = router(doors, 1_000, Room::of(1 << 20), Clock::System);
        let (told, mut answers) = mpsc::channel(PUSHES_MAX + 10);
        for _ in 0..PUSHES_MAX + 10 {
            let (service, told) = (TowerToHyperService::new(router.clone()), told.clone());
            tokio::spawn(async move {
                let request = axum::http::Request::post("/").body(Body::from("{}")).unwrap();
                let answer = service.call(request).await.unwrap();
                told.send(answer.status()).await.unwrap();
            });
        }
        // The source takes none meanwhile.
        for _ in 0..10 {
            assert_eq!(answers.recv().await, Some(StatusCode::SERVICE_UNAVAILABLE));
        }
        assert_eq!(stats.lock().refused, 10);
        waiting.close();
        while let Some(push) = waiting.recv().await {
            push.answer.send(Answer::TooLarge).unwrap();
        }
        for _ in 0..PUSHES_MAX {
            assert_eq!(answers.recv().await, Some(StatusCode::PAYLOAD_TOO_LARGE));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_that_is_given_up_keeps_its_room_as_long_as_its_body_waits() {
        let (pushes, mut waiting) = mpsc::channel(PUSHES_MAX);
        let stats = Arc::new(SourceStats::new("hook", "generic"));
        let room = Room::of(1_000);
        let route = Route { path: "/".to_owned(), header: None, room: Room::of(1 << 20), pushes, stats };
        let doors = Doors::default();
        doors.exchange(vec![route]);
        let service = TowerToHyperService::new(router(doors, 1_000, room, Clock::System));
        let pushed = async || {
            let request = axum::http::Request::post("/").body(Body::from(vec![b'x'; 600])).unwrap();
            let begun = tokio::time::Instant::now();
            assert_eq!(service.call(request).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
            begun.elapsed()
        };
        assert_eq!(pushed().await, ANSWER_TIMEOUT);
        assert_eq!(pushed().await, Duration::ZERO, "there is no room");
        let push = waiting.recv().await.unwrap();
        assert_eq!(push.request.body.len(), 600);
        drop(push);
        assert_eq!(pushed().await, ANSWER_TIMEOUT);
    }

    #[test]
    fn borders_of_segments_count() {
        let below = [
            ("/hooks/locks", "/hooks/locks"),
            ("/hooks/locks", "/hooks/locks/"),
            ("/hooks/locks/", "/hooks/locks"),
            ("/hooks/locks/", "/hooks/locks/a/b"),
            ("/", "/x"),
        ];
        let beside = [("/hooks/locks", "/hooks/locksmith"), ("/hooks/locks", "/hooks"), ("/a", "/")];
        for (prefix, path) in below {
            assert!(is_below(prefix, path), "{path} is below {prefix}");
        }
        for (prefix, path) in beside {
            assert!(!is_below(prefix, path), "{path} is not below {prefix}");
        }
    }

    #[test]
    fn repeated_headers_are_joined_under_lower_case_names() {
        let mut headers = HeaderMap::new();
        headers.append("X-Tag", HeaderValue::from_static("b"));
        headers.append("Accept", HeaderValue::from_static("*/*"));
        headers.append("x-tag", HeaderValue::from_static("a"));
        let expected = [("accept", "*/*"), ("x-tag", "b, a")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(joined(&headers), expected);
    }
}
