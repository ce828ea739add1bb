//! A new session while connections stay open: each day (`session_roll`), and when sources change.
//!
//! Between the last message of the old session and the first of the new one nobody appends: all
//! sources pause, the journal rolls, and each source begins with a `continued` row per connection,
//! or with the outage that it is in.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};

use super::begin::new_header;
use super::source::Order;
use super::start::{RecordError, run_blocking};
use super::status::StatusSource;
use crate::message::{SessionHeader, SourceHeader};

/// A source pauses at most a second of its own; one that takes longer is gone.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// A session that has its sidecar, and no message yet.
#[derive(Debug)]
pub struct Begun {
    header: SessionHeader,
    /// Its start on the steady clock.
    started_ns: u64,
}

/// Begins a session of these sources in the archive.
pub async fn begin(
    name: Option<&str>,
    running: &StatusSource,
    sources: Vec<SourceHeader>,
) -> Result<Begun, RecordError> {
    let started = running.clock().now();
    let old = running.session();
    let mut header = new_header(name, &old.site, sources, started, Some(old.session_id))?;
    let archive = running.archive().clone();
    let header = run_blocking(move || archive.begin_session(&mut header).map(|()| header)).await??;
    Ok(Begun { header, started_ns: started.steady_ns })
}

/// Lets the sources behind `orders` go over to the session that was begun.
pub async fn cross(
    running: &StatusSource,
    orders: Vec<mpsc::Sender<Order>>,
    Begun { header, started_ns }: Begun,
) -> Result<(), RecordError> {
    let old = running.session();
    let (begin, begun) = watch::channel(false);
    let (ready, mut all_ready) = mpsc::channel::<()>(1);
    let pause = async {
        // All at once: one that takes no order holds up nobody, nor does one that is over.
        let order = |source: mpsc::Sender<Order>| {
            let order = Order::Roll { ready: ready.clone(), begun: begun.clone() };
            async move { source.send(order).await.is_ok() }
        };
        join_all(orders.into_iter().map(order)).await;
        drop(ready);
        all_ready.recv().await
    };
    if tokio::time::timeout(READY_TIMEOUT, pause).await.is_err() {
        tracing::warn!("a source did not pause for the new session");
    }
    let rolled = running.journal().roll(header.clone(), started_ns);
    rolled.map_err(|source| RecordError::Journal { source })?;
    let ended_at_us = running.clock().now().wall_us;
    running.sealing().end(old.session_id, ended_at_us, Some(header.session_id));
    tracing::info!("session {} goes on as {}", old.name, header.name);
    running.rolled(header, started_ns);
    let _ = begin.send(true);
    Ok(())
}
