//! The stream of bytes below a connection that misbehaves.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::{CUT, CUT_INSIDE, Conduct, SILENT};

/// How long a silence lasts before the connection breaks: a watch-dog of a second sees it.
const SILENCE: Duration = Duration::from_secs(3);

/// How often a slow reader reads.
const READ_EVERY: Duration = Duration::from_millis(100);

/// A stream of bytes whose type does not matter, with or without misbehaviour.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug> Duplex for S {}

/// `stream`, behaving as `conduct` says; none: well.
pub fn wired<S: Duplex + 'static>(stream: S, conduct: Option<&Arc<Conduct>>) -> Box<dyn Duplex> {
    match conduct {
        None => Box::new(stream),
        Some(conduct) => Box::new(Wire::new(stream, Arc::clone(conduct))),
    }
}

/// A stream that ends, falls silent or reads slowly when its [`Conduct`] says so.
#[derive(Debug)]
pub struct Wire<S> {
    inner: S,
    conduct: Arc<Conduct>,
    silence: Option<Pin<Box<Sleep>>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    pub fn new(inner: S, conduct: Arc<Conduct>) -> Self {
        Self { inner, conduct, silence: None, pause: None }
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "cut on purpose")
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// What becomes of a write, where that is not left to the stream below.
    fn misbehave(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Option<Poll<io::Result<usize>>> {
        match self.conduct.wire.load(Ordering::Acquire) {
            CUT => Some(self.cut(context)),
            CUT_INSIDE => {
                let hold_back = self.conduct.hold_back.load(Ordering::Relaxed);
                let first = bytes.len().saturating_sub(hold_back).max(bytes.len() / 2);
                let Some(first) = bytes.get(..first).filter(|first| !first.is_empty()) else {
                    self.conduct.wire.store(CUT, Ordering::Release);
                    return Some(self.cut(context));
                };
                let written = Pin::new(&mut self.inner).poll_write(context, first);
                if written.is_ready() {
                    self.conduct.wire.store(CUT, Ordering::Release);
                }
                Some(written)
            }
            SILENT => {
                let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(SILENCE)));
                if silence.as_mut().poll(context).is_pending() {
                    return Some(Poll::Pending);
                }
                self.conduct.wire.store(CUT, Ordering::Release);
                Some(self.cut(context))
            }
            _ => None,
        }
    }

    /// Ends the stream in order, so that what was written before arrives.
    fn cut(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let _ = ready!(Pin::new(&mut self.inner).poll_shutdown(context));
        Poll::Ready(Err(broken()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(done) = self.misbehave(context, bytes) {
            return done;
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(bytes_per_s) = self.conduct.read_bytes_per_s else {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        };
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let most = (bytes_per_s as usize / 10).clamp(1, buffer.remaining());
        let mut part = vec![0; most];
        let mut part = ReadBuf::new(&mut part);
        ready!(Pin::new(&mut self.inner).poll_read(context, &mut part))?;
        if !part.filled().is_empty() {
            buffer.put_slice(part.filled());
            self.pause = Some(Box::pin(sleep(READ_EVERY)));
        }
        Poll::Ready(Ok(()))
    }
}
