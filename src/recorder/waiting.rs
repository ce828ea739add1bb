//! A recording that cannot begin yet, since its disk is full or read-only: it listens all the same, so that whoever pushes
//! is told to come again and a probe sees it, and begins when it can.
//!
//! | request | answer |
//! |---|---|
//! | `/livez` of the console | 200 |
//! | `/readyz` of the console | 503 |
//! | all else, webhooks above all | 503, `Retry-After` |
//!
//! Between two attempts nobody has the archive's lock, so that `prune` can make room.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::start::Bound;
use super::webhook::{Patience, read_off};
use crate::transport::http_server::{self, Places, ServerTls};

/// How long until it is tried again, at first and at the most: what is left to recover may be much work each time.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(8);

/// How long a vendor is asked to wait.
const RETRY_AFTER_S: u16 = 30;

/// What answers until the recording begins.
pub(super) struct Waiting {
    servers: TaskTracker,
    stop: CancellationToken,
    retry: Duration,
}

impl Waiting {
    /// Answers on these listeners, which stay open for the recording.
    pub(super) fn answer<'b>(
        webhooks: impl IntoIterator<Item = &'b Bound>,
        console: impl IntoIterator<Item = &'b Bound>,
        places: &Places,
    ) -> io::Result<Self> {
        let (servers, stop) = (TaskTracker::new(), CancellationToken::new());
        let serve = |bound: &Bound, router: Router| {
            let listener = bound.another()?;
            let tls = ServerTls::from(bound.tls.clone());
            servers.spawn(http_server::serve_within(listener, tls, router, stop.clone(), places.clone()));
            io::Result::Ok(())
        };
        let refusing = || Router::new().fallback(refuse);
        webhooks.into_iter().try_for_each(|bound| serve(bound, refusing()))?;
        let probed = || refusing().route("/livez", get(alive)).route("/readyz", get(not_ready));
        console.into_iter().try_for_each(|bound| serve(bound, probed()))?;
        Ok(Self { servers, stop, retry: RETRY })
    }

    /// Until it is to be tried again; false if nobody wants it any more.
    pub(super) async fn wait(&mut self, give_up: &CancellationToken) -> bool {
        let retry = self.retry;
        self.retry = (retry * 2).min(RETRY_MAX);
        tokio::select! {
            () = tokio::time::sleep(retry) => true,
            () = give_up.cancelled() => false,
        }
    }

    /// Leaves the listeners to the recording.
    pub(super) async fn end(self) {
        self.stop.cancel();
        self.servers.close();
        self.servers.wait().await;
    }
}

async fn refuse(request: Request) -> Response {
    let mut answer =
        (StatusCode::SERVICE_UNAVAILABLE, "nothing can be stored now, try again").into_response();
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    if !read_off(request.into_body(), Patience::default()).await {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

async fn alive() -> Response {
    axum::Json(serde_json::json!({"alive": true})).into_response()
}

async fn not_ready() -> Response {
    let detail = "the disk is full or read-only: the recording begins when it can be written to";
    let body = serde_json::json!({"ready": false, "reasons": [{"risk": "disk_low", "detail": detail}]});
    (StatusCode::SERVICE_UNAVAILABLE, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}
