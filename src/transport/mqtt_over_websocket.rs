//! MQTT over WebSocket, of a client or a server: the binary frames as one stream of bytes, in which packets may be split
//! over frames or joined in one (MQTT 3.1.1, section 6). A text frame is an error there, as the standard has it.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::ws as server;
use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::{self as client, frame::coding::CloseCode};

/// The sub-protocol that client and server agree on.
pub const SUBPROTOCOL: &str = "mqtt";

/// What MQTT makes of a message of a WebSocket, of which each library has a type of its own.
pub trait WebSocketMessage: Sized {
    fn binary(bytes: Bytes) -> Self;
    /// Closes where nothing is wrong.
    fn goodbye() -> Self;
    fn content(self) -> Content;
}

/// See [`WebSocketMessage::content`].
#[derive(Debug)]
pub enum Content {
    Bytes(Bytes),
    Text,
    Close,
    /// What the library answers by itself.
    Control,
}

impl WebSocketMessage for server::Message {
    fn binary(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }

    fn goodbye() -> Self {
        let reason = server::Utf8Bytes::from_static("");
        Self::Close(Some(server::CloseFrame { code: server::close_code::NORMAL, reason }))
    }

    fn content(self) -> Content {
        match self {
            Self::Binary(bytes) => Content::Bytes(bytes),
            Self::Text(_) => Content::Text,
            Self::Close(_) => Content::Close,
            Self::Ping(_) | Self::Pong(_) => Content::Control,
        }
    }
}

impl WebSocketMessage for client::Message {
    fn binary(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }

    fn goodbye() -> Self {
        Self::Close(Some(client::CloseFrame { code: CloseCode::Normal, reason: "".into() }))
    }

    fn content(self) -> Content {
        match self {
            Self::Binary(bytes) => Content::Bytes(bytes),
            Self::Text(_) => Content::Text,
            Self::Close(_) => Content::Close,
            Self::Ping(_) | Self::Pong(_) | Self::Frame(_) => Content::Control,
        }
    }
}

/// A WebSocket as a stream of bytes.
#[derive(Debug)]
pub struct WebSocketBytes<W> {
    socket: W,
    received: Bytes,
    is_closing: bool,
}

impl<W> WebSocketBytes<W> {
    pub fn new(socket: W) -> Self {
        Self { socket, received: Bytes::new(), is_closing: false }
    }
}

impl<W, M, E> AsyncRead for WebSocketBytes<W>
where
    W: Stream<Item = Result<M, E>> + Unpin,
    M: WebSocketMessage,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.received.is_empty() {
            let next = ready!(Pin::new(&mut self.socket).poll_next(context));
            match next.transpose().map_err(io::Error::other)?.map(M::content) {
                Some(Content::Bytes(bytes)) => self.received = bytes,
                Some(Content::Control) => {}
                Some(Content::Text) => {
                    let words = "a text frame where MQTT needs binary ones";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, words)));
                }
                Some(Content::Close) | None => return Poll::Ready(Ok(())),
            }
        }
        let bytes = self.received.len().min(buffer.remaining());
        buffer.put_slice(&self.received[..bytes]);
        self.received.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl<W, M, E> AsyncWrite for WebSocketBytes<W>
where
    W: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    M: WebSocketMessage,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = Pin::new(&mut self.socket);
        ready!(socket.as_mut().poll_ready(context)).map_err(io::Error::other)?;
        socket.start_send(M::binary(Bytes::copy_from_slice(bytes))).map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_closing {
            let mut socket = Pin::new(&mut self.socket);
            ready!(socket.as_mut().poll_ready(context)).map_err(io::Error::other)?;
            socket.start_send(M::goodbye()).map_err(io::Error::other)?;
            self.is_closing = true;
        }
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What comes, and what was sent; each flush takes a moment.
    struct Socket<M> {
        comes: VecDeque<M>,
        sent: Vec<M>,
        has_flushed: bool,
    }

    impl<M> Socket<M> {
        fn of(comes: impl Into<VecDeque<M>>) -> WebSocketBytes<Self> {
            WebSocketBytes::new(Self { comes: comes.into(), sent: Vec::new(), has_flushed: false })
        }
    }

    impl<M: Unpin> Stream for Socket<M> {
        type Item = io::Result<M>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.comes.pop_front().map(Ok))
        }
    }

    impl<M: Unpin> Sink<M> for Socket<M> {
        type Error = io::Error;

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn start_send(mut self: Pin<&mut Self>, message: M) -> io::Result<()> {
            self.sent.push(message);
            Ok(())
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.has_flushed = !self.has_flushed;
            context.waker().wake_by_ref();
            if self.has_flushed { Poll::Pending } else { Poll::Ready(Ok(())) }
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// One side or the other: `control` and `text` are messages of its library.
    async fn check<M>(control: M, text: M, goodbye: M)
    where
        M: WebSocketMessage + Clone + PartialEq + std::fmt::Debug + Unpin,
    {
        let part = |bytes: &'static [u8]| M::binary(Bytes::from_static(bytes));
        let mut stream = Socket::of([
            part(b"\x10"),
            control.clone(),
            part(b""),
            part(b"\x02ab"),
            goodbye.clone(),
            part(b"x"),
        ]);
        let mut piece = [0; 2];
        stream.read_exact(&mut piece).await.unwrap();
        assert_eq!(&piece, b"\x10\x02");
        assert_eq!(stream.read(&mut piece[..1]).await.unwrap(), 1);
        assert_eq!(stream.read(&mut piece).await.unwrap(), 1, "what is left of a frame");
        assert_eq!(stream.read(&mut piece).await.unwrap(), 0, "the goodbye is the end");

        let mut stream = Socket::of([text]);
        let error = stream.read(&mut piece).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let mut stream = Socket::<M>::of([]);
        assert_eq!(stream.read(&mut piece).await.unwrap(), 0);

        stream.write_all(b"\xC0\x00").await.unwrap();
        stream.flush().await.unwrap();
        stream.shutdown().await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.socket.sent, [part(b"\xC0\x00"), goodbye]);
    }

    #[tokio::test]
    async fn frames_of_either_side_are_one_stream_of_bytes() {
        let goodbye = client::CloseFrame { code: 1000.into(), reason: "".into() };
        check(
            client::Message::Ping(Bytes::new()),
            client::Message::text("x"),
            client::Message::Close(Some(goodbye)),
        )
        .await;
        let goodbye = server::CloseFrame { code: 1000, reason: "".into() };
        check(
            server::Message::Pong(Bytes::new()),
            server::Message::Text("x".into()),
            server::Message::Close(Some(goodbye)),
        )
        .await;
    }
}
