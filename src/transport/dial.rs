//! From a URL to a byte stream: name, TCP, TLS, each with its own words for what went wrong.
//!
//! WebSocket, MQTT and HTTP clients all begin here, so that certificates, time-outs and the notice of
//! a dead line are the same for all of them.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use url::{Host, Url};

use super::quota::Meter;

/// DNS, TCP and TLS together; a handshake on top has its own limit.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);

/// One address of several.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// A stream may be silent for hours, and a line that died without a word must still be noticed: after
/// 30 s of silence the kernel probes, and gives the line up after 30 s without an answer.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

/// Why no byte stream came about. Holds the host and port, never more of the URL.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("not a usable address: {reason}")]
    BadUrl { reason: String },
    #[error("{target} cannot be reached")]
    Unreachable {
        target: Target,
        #[source]
        source: io::Error,
    },
    #[error("{target} did not answer within {DIAL_TIMEOUT:?}")]
    TimedOut { target: Target },
    #[error("the TLS handshake with {target} failed")]
    Tls {
        target: Target,
        #[source]
        source: io::Error,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Target {
    /// Reads the part of a URL that says where; `plain` and `secure` are the schemes with their ports.
    pub fn of(url: &Url, plain: &[(&str, u16)], secure: &[(&str, u16)]) -> Result<Self, DialError> {
        let find = |schemes: &[(&str, u16)]| {
            schemes.iter().find(|(name, _)| *name == url.scheme()).map(|(_, port)| *port)
        };
        let (default_port, tls) = match (find(plain), find(secure)) {
            (Some(port), _) => (port, false),
            (None, Some(port)) => (port, true),
            (None, None) => {
                let known: Vec<&str> = plain.iter().chain(secure).map(|(name, _)| *name).collect();
                let reason = format!("scheme `{}`, expected one of {}", url.scheme(), known.join(", "));
                return Err(DialError::BadUrl { reason });
            }
        };
        // For schemes it does not know, the parser leaves an IPv4 address a domain: the same to us.
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(DialError::BadUrl { reason: "no host".to_owned() }),
        };
        Ok(Self { host, port: url.port().unwrap_or(default_port), tls })
    }
}

/// Connects to `target`, with TLS where it asks for it.
pub async fn dial(target: &Target, tls: &Arc<ClientConfig>) -> Result<Stream, DialError> {
    let timed_out = |_| DialError::TimedOut { target: target.clone() };
    tokio::time::timeout(DIAL_TIMEOUT, connect(target, tls)).await.map_err(timed_out)?
}

async fn connect(target: &Target, tls: &Arc<ClientConfig>) -> Result<Stream, DialError> {
    let unreachable = |source| DialError::Unreachable { target: target.clone(), source };
    let tcp = connect_to_any(target).await.map_err(unreachable)?;
    // Heartbeats and acknowledgements are small and awaited.
    tcp.set_nodelay(true).map_err(unreachable)?;
    watch_the_line(&tcp).map_err(unreachable)?;
    if !target.tls {
        return Ok(Stream::new(Line::Plain(tcp)));
    }
    let name = ServerName::try_from(target.host.clone())
        .map_err(|e| DialError::BadUrl { reason: format!("host for TLS: {e}") })?;
    let connector = TlsConnector::from(Arc::clone(tls));
    match connector.connect(name, tcp).await {
        Ok(stream) => Ok(Stream::new(Line::Tls(Box::new(stream)))),
        Err(source) => Err(DialError::Tls { target: target.clone(), source }),
    }
}

/// Tries the name's addresses in turn. One that does not answer, as those of a broken IPv6, must not
/// use up the time of the others.
async fn connect_to_any(target: &Target) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((target.host.as_str(), target.port)).await? {
        match tokio::time::timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}

fn watch_the_line(tcp: &TcpStream) -> io::Result<()> {
    notice_the_end(tcp)?;
    expect_to_be_read(tcp)
}

/// Ends a connection whose peer has vanished without a word, also one that was accepted.
pub(crate) fn notice_the_end(tcp: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(tcp, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(tcp, KEEPALIVE_PROBES)?;
    Ok(())
}

/// The same limit where bytes of ours stay unacknowledged, for which no probes are sent, or unread.
pub(super) fn expect_to_be_read(tcp: &TcpStream) -> io::Result<()> {
    let limit = KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES;
    sockopt::set_tcp_user_timeout(tcp, limit.as_millis() as u32)?;
    Ok(())
}

/// A byte stream to a server.
///
/// A write that fails is not told by the write but by the reading, once it has given out all that
/// had arrived. Else a heartbeat or a pong, sent to a peer that has just gone, would end a
/// connection whose last messages lie unread in the socket, and they would be lost.
#[derive(Debug)]
pub struct Stream {
    line: Line,
    /// Why writing failed. From then on what is written goes nowhere.
    write_error: Option<io::Error>,
    /// Whether and how much may be read; none: always.
    meter: Option<Meter>,
}

#[derive(Debug)]
enum Line {
    Plain(TcpStream),
    /// Boxed: its buffers and state are some ten times the size of the other variant.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Line {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }

    /// Reads no more than `meter` has room for.
    fn poll_metered(
        &mut self,
        meter: &Meter,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = ready!(meter.poll_room(cx))?.min(buf.remaining());
        // A WebSocket's buffer has been written to before: nothing is zeroed here.
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        let read = self.poll_read(cx, &mut part);
        let bytes = part.filled().len();
        buf.advance(bytes);
        meter.read(bytes);
        read
    }
}

impl Stream {
    fn new(line: Line) -> Self {
        Self { line, write_error: None, meter: None }
    }

    /// Reads only what `meter` has room for.
    pub(super) fn metered(self, meter: Meter) -> Self {
        Self { meter: Some(meter), ..self }
    }

    /// `written`, or `instead` where that is an error: the reading will tell it.
    fn unless_failed<T>(&mut self, written: Poll<io::Result<T>>, instead: T) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(error)) => {
                self.write_error.get_or_insert(error);
                Poll::Ready(Ok(instead))
            }
            written => written,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = match &this.meter {
            Some(meter) => this.line.poll_metered(meter, cx, buf),
            None => this.line.poll_read(cx, buf),
        };
        // The system tells a broken line once, be it to a write: the reading would seem to end in order.
        let is_end = matches!(read, Poll::Ready(Ok(()))) && buf.filled().len() == before;
        match this.write_error.take_if(|_| is_end && buf.remaining() > 0) {
            Some(error) => Poll::Ready(Err(error)),
            None => read,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.write_error.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = match &mut this.line {
            Line::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Line::Tls(s) => Pin::new(s).poll_write(cx, buf),
        };
        this.unless_failed(written, buf.len())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.write_error.is_some() {
            return Poll::Ready(Ok(()));
        }
        let flushed = match &mut this.line {
            Line::Plain(s) => Pin::new(s).poll_flush(cx),
            Line::Tls(s) => Pin::new(s).poll_flush(cx),
        };
        this.unless_failed(flushed, ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().line {
            Line::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Line::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

/// An error and its causes in one line: what a link event and the status show.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        // Some libraries repeat their cause in their own words.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_had_arrived_is_read_though_writing_fails() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.write_all(b"the last words").await.unwrap();
        sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
        drop(peer);
        tcp.ready(Interest::ERROR).await.unwrap();

        let mut stream = Stream::new(Line::Plain(tcp));
        for _ in 0..3 {
            stream.write_all(b"heartbeat").await.unwrap();
            stream.flush().await.unwrap();
        }
        let mut read = Vec::new();
        assert!(stream.read_to_end(&mut read).await.is_err(), "the line is known to be broken");
        assert_eq!(read, b"the last words");
    }

    fn target(url: &str) -> Result<Target, DialError> {
        Target::of(&Url::parse(url).unwrap(), &[("ws", 80), ("mqtt", 1883)], &[("wss", 443), ("mqtts", 8883)])
    }

    #[test]
    fn a_url_says_where_to_connect() {
        let cases = [
            ("ws://example.com/x?token=1", "example.com:80", false),
            ("wss://example.com", "example.com:443", true),
            ("wss://example.com:8443/", "example.com:8443", true),
            ("mqtt://127.0.0.1", "127.0.0.1:1883", false),
            ("mqtts://[::1]:99", "[::1]:99", true),
        ];
        for (url, expected, tls) in cases {
            let target = target(url).unwrap();
            assert_eq!((target.to_string().as_str(), target.tls), (expected, tls), "{url}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_used_says_why_without_its_query() {
        for url in ["http://example.com/?token=geheim", "mqtt:///x?token=geheim"] {
            let message = target(url).unwrap_err().to_string();
            assert!(message.starts_with("not a usable address") && !message.contains("geheim"), "{message}");
        }
    }
}
