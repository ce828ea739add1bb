//! A session's way out, shared by its connection's writer and the thread that keeps the time.
//!
//! The writer writes as it always did; each poll holds the lock, no wait does. While it has nothing to write it says so
//! ([`Wire::set_idle`]), and only then does the other thread write. What did not go through whole is handed to the
//! writer, which sends that before anything else ([`Wire::take_over`]).
//!
//! Locks are taken in this order: a client's queue, this, and then the session, for which the thread that keeps the
//! time does not wait: whoever has it may be waiting for the queue.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;
use tokio::sync::Notify;

use super::session::State;
use crate::transport::fanout::{Item, Moment, Outlet, Sending};

type Stream = Box<dyn AsyncWrite + Send + Unpin>;

pub struct Wire {
    inner: Mutex<Inner>,
    state: Arc<Mutex<State>>,
    is_persistent: bool,
    /// Something was written that the writer is to flush.
    pub handed: Notify,
}

#[derive(Default)]
struct Inner {
    /// None while there is no connection.
    stream: Option<Stream>,
    /// The writer writes nothing: nothing of it waits to be flushed.
    is_idle: bool,
    /// What is being written by the thread that keeps the time.
    out: BytesMut,
    handed: Handed,
}

/// What the writer is to send and flush before anything else.
#[derive(Debug, Default)]
pub struct Handed {
    pub out: BytesMut,
    pub items: Vec<Item>,
}

impl Wire {
    pub fn new(state: Arc<Mutex<State>>, is_persistent: bool) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), state, is_persistent, handed: Notify::new() })
    }

    /// A connection has the session.
    pub fn open(&self, stream: Stream) {
        *self.lock() = Inner { stream: Some(stream), ..Inner::default() };
    }

    /// The connection gives the session up; its stream, to be closed.
    pub fn close(&self) -> Option<Stream> {
        std::mem::take(&mut *self.lock()).stream
    }

    /// Whether messages may be written without the writer.
    pub fn set_idle(&self, is_idle: bool) {
        self.lock().is_idle = is_idle;
    }

    /// From here on the writer writes, and this first.
    pub fn take_over(&self) -> Option<Handed> {
        let mut inner = self.lock();
        inner.is_idle = false;
        (!inner.handed.items.is_empty()).then(|| std::mem::take(&mut inner.handed))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet for Wire {
    fn send(&self, items: &mut Vec<Item>, moment: &Moment<'_>) -> Sending {
        let (Some(mut inner), Some(mut state)) = (try_lock(&self.inner), try_lock(&self.state)) else {
            return Sending::Busy;
        };
        let Inner { stream: Some(stream), is_idle: true, out, .. } = &mut *inner else {
            return Sending::Busy;
        };
        let acknowledged = items.iter().filter(|item| item.qos > 0).count();
        // What outlives a connection is the writer's, which knows what was sent.
        if acknowledged > 0 && (self.is_persistent || acknowledged > state.window.room()) {
            return Sending::Busy;
        }
        for item in items.iter() {
            state.encode(item, false, out);
        }
        moment.wait();
        if is_written(stream, out) {
            out.clear();
            return Sending::Flushed;
        }
        // Not through, or the connection broke: the writer comes to the same.
        inner.is_idle = false;
        inner.handed = Handed { out: inner.out.split(), items: std::mem::take(items) };
        self.handed.notify_one();
        Sending::Handed
    }
}

/// Writes and flushes as much of `out` as is taken at once; whether that is all. Where it is not, the writer waits,
/// with a waker of its own.
fn is_written(stream: &mut Stream, out: &mut BytesMut) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    while !out.is_empty() {
        match Pin::new(&mut *stream).poll_write(&mut context, out) {
            Poll::Ready(Ok(bytes)) if bytes > 0 => out.advance(bytes),
            _ => return false,
        }
    }
    matches!(Pin::new(stream).poll_flush(&mut context), Poll::Ready(Ok(())))
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Wire {
    fn poll<T>(
        &self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.lock().stream {
            Some(stream) => poll(Pin::new(stream), context),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for &Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, |stream, context| stream.poll_shutdown(context))
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}
