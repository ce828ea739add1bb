//! One client's socket, shared by the client's task and the thread that keeps the time.
//!
//! The task reads and writes as it always did; each poll holds the lock, no wait does. While it has nothing to write
//! it says so ([`Wire::set_idle`]), and only then does the other thread write.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use axum::Error as SocketError;
use axum::extract::ws::{Message, WebSocket};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::Notify;

use crate::transport::fanout::{Item, Moment, Outlet, Sending};
use crate::vendors::Format;

/// Of a frame that is larger the library may write a part before it is told to flush (from 128 KiB on).
const EARLY_BYTES_MAX: usize = 32 << 10;

#[derive(Debug)]
pub(super) struct Wire {
    inner: Mutex<Inner>,
    /// Something was written that the task is to flush.
    handed: Notify,
}

#[derive(Debug)]
struct Inner {
    socket: WebSocket,
    format: Format,
    /// The task writes nothing: nothing of it waits to be flushed.
    idle: bool,
    handed: Vec<Item>,
}

impl Wire {
    pub(super) fn new(socket: WebSocket) -> Arc<Self> {
        let inner = Inner { socket, format: Format::default(), idle: false, handed: Vec::new() };
        Arc::new(Self { inner: Mutex::new(inner), handed: Notify::new() })
    }

    pub(super) fn set_format(&self, format: Format) {
        self.lock().format = format;
    }

    /// Whether messages may be written without the task.
    pub(super) fn set_idle(&self, idle: bool) {
        self.lock().idle = idle;
    }

    /// Writes `batch`, to be flushed: under one lock, since it is taken for each poll.
    pub(super) async fn feed_all(&self, batch: &[Item]) -> Result<(), SocketError> {
        let mut items = batch.iter().peekable();
        poll_fn(|context| {
            let mut inner = self.lock();
            let Inner { socket, format, .. } = &mut *inner;
            while items.peek().is_some() {
                ready!(socket.poll_ready_unpin(context))?;
                if let Some(item) = items.next() {
                    socket.start_send_unpin(frame(*format, item))?;
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// `item` as a frame.
    pub(super) fn frame(&self, item: &Item) -> Message {
        frame(self.lock().format, item)
    }

    /// Messages that were written, for the task to flush.
    pub(super) async fn handed(&self) -> Vec<Item> {
        loop {
            let handed = self.handed.notified();
            let items = self.take_handed();
            if !items.is_empty() {
                return items;
            }
            handed.await;
        }
    }

    pub(super) fn take_handed(&self) -> Vec<Item> {
        std::mem::take(&mut self.lock().handed)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet for Wire {
    fn send(&self, items: &mut Vec<Item>, moment: &Moment<'_>) -> Sending {
        let Ok(mut inner) = self.inner.try_lock() else { return Sending::Busy };
        if !inner.idle {
            return Sending::Busy;
        }
        // Where the socket takes no more, the task waits for it, with a waker of its own.
        let mut context = Context::from_waker(Waker::noop());
        let Inner { socket, format, .. } = &mut *inner;
        let (mut fed, mut bytes, mut broken) = (0, 0, false);
        for item in items.iter() {
            let frame = frame(*format, item);
            bytes += bytes_of(&frame);
            if bytes > EARLY_BYTES_MAX {
                moment.wait();
            }
            match socket.poll_ready_unpin(&mut context) {
                Poll::Ready(Ok(())) if !broken => broken = socket.start_send_unpin(frame).is_err(),
                _ => break,
            }
            fed += 1;
        }
        if fed == 0 {
            return Sending::Busy;
        }
        moment.wait();
        let flushed = !broken && matches!(socket.poll_flush_unpin(&mut context), Poll::Ready(Ok(())));
        if flushed && fed == items.len() {
            return Sending::Flushed;
        }
        // Not through, or the connection broke: the task comes to the same.
        inner.idle = false;
        inner.handed.extend(items.drain(..fed));
        self.handed.notify_one();
        Sending::Handed
    }
}

impl Stream for &Wire {
    type Item = Result<Message, SocketError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.lock().socket.poll_next_unpin(context)
    }
}

impl Sink<Message> for &Wire {
    type Error = SocketError;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.lock().socket.poll_ready_unpin(context)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), SocketError> {
        self.lock().socket.start_send_unpin(message)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.lock().socket.poll_flush_unpin(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.lock().socket.poll_close_unpin(context)
    }
}

fn bytes_of(frame: &Message) -> usize {
    match frame {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}

fn frame(format: Format, item: &Item) -> Message {
    match format {
        Format::Raw => item.emission.raw_frame(),
        Format::Envelope => item.emission.envelope_frame(),
    }
}
