//! A server's WebSocket frames cut into short ones, each a message of its own.
//!
//! A WebSocket's library gives a message out when it is whole, and refuses one that is too long. For MQTT the borders
//! of frames mean nothing (MQTT 3.1.1, section 6), so a broker may put a packet of any length into one: cut up, its
//! bytes are looked at as they come, and never lie in memory twice.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Read at a time, and at most in a frame.
const PIECE_BYTES: usize = 8 << 10;

/// Two bytes, eight of the length, four of a mask, which only a faulty server has.
const HEAD_BYTES_MAX: usize = 14;

/// Ends the answer to the upgrade.
const BLANK_LINE: &[u8] = b"\r\n\r\n";

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const FIN: u8 = 0x80;

#[derive(Debug)]
pub(super) struct Pieces<S> {
    stream: S,
    read: Box<[u8]>,
    unread: std::ops::Range<usize>,
    at: At,
    /// A head that goes on before anything else.
    head: Vec<u8>,
}

#[derive(Debug)]
enum At {
    /// Before the frames; so much of the blank line was seen.
    Answer(usize),
    Head,
    /// So much of a data frame is left, of which so much is in the piece that was begun.
    Data {
        left: u64,
        piece: usize,
    },
    /// So much of another frame, or of one that is not allowed.
    Other(u64),
}

impl<S> Pieces<S> {
    pub(super) fn of(stream: S) -> Self {
        Self {
            stream,
            read: vec![0; PIECE_BYTES].into(),
            unread: 0..0,
            at: At::Answer(0),
            head: Vec::with_capacity(HEAD_BYTES_MAX),
        }
    }

    /// Passes on what there is; false if there is nothing more.
    fn pass(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let unread = &self.read[self.unread.clone()];
        let room = buffer.remaining();
        match &mut self.at {
            At::Answer(seen) => {
                let mut gone = 0;
                while gone < unread.len().min(room) && *seen < BLANK_LINE.len() {
                    let byte = unread[gone];
                    *seen = if byte == BLANK_LINE[*seen] { *seen + 1 } else { usize::from(byte == b'\r') };
                    gone += 1;
                }
                buffer.put_slice(&unread[..gone]);
                self.unread.start += gone;
                if *seen == BLANK_LINE.len() {
                    self.at = At::Head;
                }
                gone > 0
            }
            At::Head => {
                let Some(byte) = unread.first() else { return false };
                self.head.push(*byte);
                self.unread.start += 1;
                if let Some(at) = begun(&mut self.head) {
                    self.at = at;
                }
                true
            }
            At::Data { left: 0, piece: 0 } | At::Other(0) if self.head.is_empty() => {
                self.at = At::Head;
                true
            }
            _ if !self.head.is_empty() => {
                let gone = self.head.len().min(room);
                buffer.put_slice(&self.head[..gone]);
                self.head.drain(..gone);
                gone > 0
            }
            At::Data { left, piece: 0 } => {
                let piece = usize::try_from(*left).unwrap_or(usize::MAX).min(PIECE_BYTES);
                self.head.extend([FIN | BINARY, 126, (piece >> 8) as u8, piece as u8]);
                self.at = At::Data { left: *left - piece as u64, piece };
                true
            }
            At::Data { piece, .. } => {
                let gone = unread.len().min(*piece).min(room);
                buffer.put_slice(&unread[..gone]);
                self.unread.start += gone;
                *piece -= gone;
                gone > 0
            }
            At::Other(left) => {
                let gone = unread.len().min(room).min(usize::try_from(*left).unwrap_or(usize::MAX));
                buffer.put_slice(&unread[..gone]);
                self.unread.start += gone;
                *left -= gone as u64;
                gone > 0
            }
        }
    }
}

/// What comes after `head`, once it is whole. That of a data frame is taken out of it: its pieces have their own.
fn begun(head: &mut Vec<u8>) -> Option<At> {
    let [first, second, rest @ ..] = &head[..] else { return None };
    let (digits, short) = match second & 0x7F {
        126 => (2, None),
        127 => (8, None),
        short => (0, Some(u64::from(short))),
    };
    let masked = second & 0x80 != 0;
    let number = rest.get(..digits)?.iter().fold(0, |number: u64, digit| number << 8 | u64::from(*digit));
    let length = short.unwrap_or(number);
    let is_data = matches!(first & 0x0F, CONTINUATION | BINARY) && first & 0x70 == 0 && !masked;
    if is_data {
        head.clear();
        return Some(At::Data { left: length, piece: 0 });
    }
    Some(At::Other(length.saturating_add(if masked { 4 } else { 0 })))
}

impl<S: AsyncRead + Unpin> AsyncRead for Pieces<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        loop {
            while this.pass(buffer) {}
            if buffer.filled().len() > before || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut read = ReadBuf::new(&mut this.read);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut read))?;
            this.unread = 0..read.filled().len();
            if this.unread.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
