//! A new session each day (`session_roll`) while connections stay open.
//!
//! Between the last message of the old session and the first of the new one nobody appends: all
//! sources pause, the journal rolls, and each source begins with a `continued` row per connection,
//! or with the outage that it is in.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::source::Order;
use super::start::{new_header, run_blocking};
use super::status::StatusSource;
use crate::transport::dial::chain;

/// A source pauses at most a second of its own; one that takes longer is gone.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// After a session that could not begin (a full disk, say): the old one goes on meanwhile.
const RETRY: Duration = Duration::from_secs(60);

/// Begins a new session every `every`, for as long as it is polled. `base_name` is the name that the
/// user gave; without one, each session is named after its start.
pub async fn run(
    every: Duration,
    base_name: Option<String>,
    running: StatusSource,
    orders: Vec<mpsc::Sender<Order>>,
) {
    let mut wait = every;
    loop {
        tokio::time::sleep(wait).await;
        wait = match roll(base_name.as_deref(), &running, &orders).await {
            Ok(()) => every,
            Err(error) => {
                tracing::error!("a new session cannot begin, the old one goes on: {error}");
                RETRY.min(every)
            }
        };
    }
}

/// Begins a new session now.
pub async fn roll(
    base_name: Option<&str>,
    running: &StatusSource,
    orders: &[mpsc::Sender<Order>],
) -> Result<(), String> {
    let old = running.session();
    let started = running.clock().now();
    let mut header = new_header(base_name, &old.site, old.sources.clone(), started).map_err(|e| chain(&e))?;
    let archive = running.archive().clone();
    let header = run_blocking(move || archive.begin_session(&mut header).map(|()| header))
        .await
        .map_err(|e| chain(&e))?
        .map_err(|e| chain(&e))?;

    let (begin, begun) = watch::channel(false);
    let (ready, mut all_ready) = mpsc::channel::<()>(1);
    for source in orders {
        // A source that is over holds up nobody.
        let _ = source.send(Order::Roll { ready: ready.clone(), begun: begun.clone() }).await;
    }
    drop(ready);
    if tokio::time::timeout(READY_TIMEOUT, all_ready.recv()).await.is_err() {
        tracing::warn!("a source did not pause for the new session");
    }
    running.journal().roll(header.clone(), started.steady_ns).map_err(|e| chain(&e))?;
    let ended_at_us = running.clock().now().wall_us;
    running.sealing().end(old.session_id, ended_at_us, Some(header.session_id));
    tracing::info!("session {} goes on as {}", old.name, header.name);
    running.rolled(header, started.steady_ns);
    let _ = begin.send(true);
    Ok(())
}
