//! A receiver of webhooks that takes everything.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::http::Uri;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Received;
use crate::transport::http_server;

/// Listens until it is dropped.
pub(crate) struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
    _stop: DropGuard,
}

impl Receiver {
    pub(crate) async fn listen() -> Result<Self> {
        let listener = http_server::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let notes = Arc::clone(&received);
        let router = Router::new().fallback(async move |uri: Uri, body: Bytes| {
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push((Some(uri.to_string().into()), body));
        });
        let stop = CancellationToken::new();
        tokio::spawn(http_server::serve(listener, None, router, stop.clone()));
        Ok(Self { url, received, _stop: stop.drop_guard() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What came so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
