//! A connection to a receiver that is kept from one push to the next.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::ClientConfig;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::request::Push;
use crate::clock::Clock;
use crate::transport::dial::{Target, chain, dial};
use crate::transport::misbehave::{Conduct, Duplex, Misbehaviour, wired};

/// An answer's body is read off so that the connection can be used again; of a longer one it cannot.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The way to one receiver, open or not.
#[derive(Debug)]
pub(super) struct Connection {
    target: Target,
    tls: Arc<ClientConfig>,
    misbehaviour: Option<Arc<Misbehaviour>>,
    open: Option<Open>,
}

/// What became of an attempt.
#[derive(Debug)]
pub(super) struct Sent {
    /// When the request's last byte was given to the socket; none if that did not come about.
    pub(super) left_ns: Option<u64>,
    /// The answer's status, or why there is none.
    pub(super) status: Result<u16, String>,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Body>,
    /// When something was last flushed to the socket; 0 for never.
    flushed_ns: Arc<AtomicU64>,
    is_used: bool,
    conduct: Option<Arc<Conduct>>,
    /// Ends the task that moves the bytes.
    _task: DropGuard,
}

impl Connection {
    pub(super) fn new(target: Target, tls: Arc<ClientConfig>) -> Self {
        Self { target, tls, misbehaviour: None, open: None }
    }

    /// Takes effect with the next connection.
    pub(super) fn misbehave(&mut self, misbehaviour: Option<Arc<Misbehaviour>>) {
        self.misbehaviour = misbehaviour;
    }

    /// How to behave on the connection that is open; none: well.
    pub(super) fn conduct(&self) -> Option<&Conduct> {
        self.open.as_ref()?.conduct.as_deref()
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Connects, if it is not.
    pub(super) async fn open(&mut self, clock: &Clock) -> Result<(), String> {
        if self.open.as_ref().is_some_and(|open| !open.sender.is_closed()) {
            return Ok(());
        }
        self.open = None;
        let conduct = self.misbehaviour.as_ref().map(Misbehaviour::connection);
        if conduct.as_ref().is_some_and(|conduct| conduct.refuses()) {
            return Err("it was not connected, as was asked for".to_owned());
        }
        let stream = dial(&self.target, &self.tls).await.map_err(|error| chain(&error))?;
        let flushed_ns = Arc::new(AtomicU64::new(0));
        let stream = wired(stream, conduct.as_ref());
        let stamped =
            Stamped { stream, clock: clock.clone(), flushed_ns: Arc::clone(&flushed_ns), is_dirty: false };
        let handshake = http1::Builder::new().title_case_headers(true).handshake(TokioIo::new(stamped)).await;
        let (sender, connection) = handshake.map_err(|error| chain(&error))?;
        let ended = CancellationToken::new();
        let task = ended.clone().drop_guard();
        tokio::spawn(async move { ended.run_until_cancelled(connection).await });
        self.open = Some(Open { sender, flushed_ns, is_used: false, conduct, _task: task });
        Ok(())
    }

    /// Makes one attempt. Where a connection that was used before turns out to have been closed in the
    /// meantime, the attempt is made over a new one: that is no failure of the receiver's.
    pub(super) async fn send(&mut self, push: &Push, clock: &Clock) -> Sent {
        loop {
            if let Err(why) = self.open(clock).await {
                return Sent { left_ns: None, status: Err(why) };
            }
            let Some(open) = &mut self.open else {
                return Sent { left_ns: None, status: Err("not connected".to_owned()) };
            };
            let was_used = std::mem::replace(&mut open.is_used, true);
            open.flushed_ns.store(0, Ordering::Relaxed);
            let answer = match open.sender.ready().await {
                Ok(()) => open.sender.send_request(push.request()).await,
                Err(error) => Err(error),
            };
            let left_ns = Some(open.flushed_ns.load(Ordering::Acquire)).filter(|ns| *ns > 0);
            match answer {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    let body = axum::body::to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await;
                    if body.is_err() {
                        self.open = None;
                    }
                    return Sent { left_ns, status: Ok(status) };
                }
                Err(error) => {
                    self.open = None;
                    let was_closed =
                        error.is_canceled() || error.is_closed() || error.is_incomplete_message();
                    if !(was_used && was_closed) {
                        return Sent { left_ns, status: Err(chain(&error)) };
                    }
                }
            }
        }
    }
}

/// A stream that remembers when it was last flushed after a write.
#[derive(Debug)]
struct Stamped {
    stream: Box<dyn Duplex>,
    clock: Clock,
    flushed_ns: Arc<AtomicU64>,
    is_dirty: bool,
}

impl AsyncRead for Stamped {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stamped {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.is_dirty |= written > 0;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        if std::mem::take(&mut this.is_dirty) {
            this.flushed_ns.store(this.clock.now().steady_ns, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
