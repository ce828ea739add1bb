//! Reading from the front to the end: messages in the order of the file, whoever wrote it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::wire::{take_bytes, take_map, take_text, take_u16, take_u32, take_u64};
use super::{ENVELOPES, MAGIC, op};
use crate::exchange::error::{ExchangeError, IoContext};

/// A record, a chunk before and after it is unpacked: writers' defaults are a few MiB.
const RECORD_BYTES_MAX: u64 = 512 << 20;

/// A topic and metadata: many of them are kept.
const CHANNEL_BYTES_MAX: usize = 1 << 20;

/// A channel as the file defines it.
#[derive(Debug, Default)]
pub(in crate::exchange) struct Channel {
    pub topic: String,
    pub encoding: String,
    pub metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(in crate::exchange) struct Message {
    /// Where in the file it is, or the chunk that holds it.
    pub offset: u64,
    pub channel: Arc<Channel>,
    pub log_time_ns: u64,
    pub data: Bytes,
    /// The envelope that was written beside it, as JSON.
    pub envelope: Option<Bytes>,
}

/// What comes next.
#[derive(Debug)]
pub(in crate::exchange) enum Next {
    Message(Message),
    Metadata(String, BTreeMap<String, String>),
    End,
}

#[derive(Debug)]
pub(in crate::exchange) struct McapReader {
    file: BufReader<File>,
    length: u64,
    offset: u64,
    channels: HashMap<u16, Arc<Channel>>,
    ready: VecDeque<Message>,
    /// The head of the record that follows a chunk, looked at already.
    ahead: Option<(u8, u64)>,
    is_over: bool,
}

/// Why reading cannot go on; the place is the reader's.
type Broken = String;

impl McapReader {
    pub(in crate::exchange) fn open(path: &Path) -> Result<Self, ExchangeError> {
        let file = File::open(path).doing("open", path)?;
        let length = file.metadata().doing("read", path)?.len();
        let mut file = BufReader::with_capacity(256 << 10, file);
        let mut magic = [0; 8];
        let is_ours = file.read_exact(&mut magic).is_ok() && magic == MAGIC;
        if !is_ours {
            let (place, what) = ("byte 0".to_owned(), "it does not begin as an MCAP file does".to_owned());
            return Err(ExchangeError::Bad { path: path.to_owned(), place, what });
        }
        Ok(Self {
            file,
            length,
            offset: 8,
            channels: HashMap::new(),
            ready: VecDeque::new(),
            ahead: None,
            is_over: false,
        })
    }

    /// How much of the file has been read.
    pub(in crate::exchange) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next message, or an error after which there is nothing more.
    pub(in crate::exchange) fn next(&mut self) -> Result<Next, Broken> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Next::Message(message));
            }
            if self.is_over {
                return Ok(Next::End);
            }
            let at = self.offset;
            let (op, length) = match self.ahead.take() {
                Some(head) => head,
                None => self.head()?,
            };
            match op {
                op::DATA_END | op::FOOTER => self.is_over = true,
                op::CHUNK => self.chunk(at, length)?,
                op::CHANNEL | op::MESSAGE | op::METADATA => {
                    let body = self.body(length)?;
                    if op == op::METADATA {
                        let mut rest = &body[..];
                        let name = take_text(&mut rest).map(str::to_owned);
                        if let (Some(name), Some(map)) = (name, take_map(&mut rest)) {
                            return Ok(Next::Metadata(name, map));
                        }
                        return Err("a metadata record is cut short".into());
                    }
                    self.take(op, &body, at)?;
                }
                _ => self.skip(length)?,
            }
        }
    }

    fn head(&mut self) -> Result<(u8, u64), Broken> {
        let mut head = [0; 9];
        self.read(&mut head)?;
        let [op, length @ ..] = head;
        let length = u64::from_le_bytes(length);
        if length > self.length.saturating_sub(self.offset) {
            return Err(format!("a record claims {length} bytes, more than the file has: it is cut short"));
        }
        Ok((op, length))
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), Broken> {
        self.file.read_exact(into).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the file ends before its end: it is cut short".to_owned(),
            _ => error.to_string(),
        })?;
        self.offset += into.len() as u64;
        Ok(())
    }

    fn body(&mut self, length: u64) -> Result<Vec<u8>, Broken> {
        if length > RECORD_BYTES_MAX {
            return Err(format!("a record of {length} bytes; {RECORD_BYTES_MAX} are the most"));
        }
        let mut body = vec![0; length as usize];
        self.read(&mut body)?;
        Ok(body)
    }

    fn skip(&mut self, length: u64) -> Result<(), Broken> {
        let step = i64::try_from(length).map_err(|error| error.to_string())?;
        self.file.seek_relative(step).map_err(|error| error.to_string())?;
        self.offset += length;
        Ok(())
    }

    /// A record that may stand in a chunk or outside one.
    fn take(&mut self, op: u8, body: &[u8], at: u64) -> Result<(), Broken> {
        let mut rest = body;
        let rest = &mut rest;
        match op {
            op::CHANNEL => {
                if body.len() > CHANNEL_BYTES_MAX {
                    return Err(format!(
                        "a channel record of {} bytes; {CHANNEL_BYTES_MAX} are the most",
                        body.len()
                    ));
                }
                let (id, channel) = channel(rest).ok_or("a channel record is cut short")?;
                self.channels.insert(id, Arc::new(channel));
            }
            op::MESSAGE => {
                let head = (take_u16(rest), take_u32(rest), take_u64(rest), take_u64(rest));
                let (Some(id), Some(_), Some(log_time_ns), Some(_)) = head else {
                    return Err("a message record is cut short".into());
                };
                let channel = self.channels.get(&id).cloned();
                let channel =
                    channel.ok_or_else(|| format!("a message is of channel {id}, which is not defined"))?;
                let data = Bytes::copy_from_slice(rest);
                self.ready.push_back(Message { offset: at, channel, log_time_ns, data, envelope: None });
            }
            _ => {}
        }
        Ok(())
    }

    fn chunk(&mut self, at: u64, length: u64) -> Result<(), Broken> {
        let body = self.body(length)?;
        let records = unpack(&body)?;
        let mut rest = &records[..];
        while !rest.is_empty() {
            let cut = || "a chunk is cut short".to_owned();
            let op = *rest.split_off_first().ok_or_else(cut)?;
            let length =
                take_u64(&mut rest).and_then(|length| usize::try_from(length).ok()).ok_or_else(cut)?;
            let body = rest.split_off(..length).ok_or_else(cut)?;
            self.take(op, body, at)?;
        }
        self.envelopes()
    }

    /// The attachment that follows a chunk, past its indexes, if it is there and of as many messages.
    fn envelopes(&mut self) -> Result<(), Broken> {
        loop {
            let (op, length) = self.head()?;
            match op {
                op::MESSAGE_INDEX => self.skip(length)?,
                op::ATTACHMENT => {
                    let body = self.body(length)?;
                    if let Some(lines) = attached(&body) {
                        self.give(&lines);
                    }
                    return Ok(());
                }
                _ => {
                    self.ahead = Some((op, length));
                    return Ok(());
                }
            }
        }
    }

    fn give(&mut self, lines: &Bytes) {
        let mut envelopes = Vec::with_capacity(self.ready.len());
        let mut from = 0;
        for (at, byte) in lines.iter().enumerate() {
            if *byte == b'\n' {
                if envelopes.len() == self.ready.len() {
                    return;
                }
                envelopes.push(lines.slice(from..at));
                from = at + 1;
            }
        }
        if envelopes.len() == self.ready.len() {
            for (message, envelope) in self.ready.iter_mut().zip(envelopes) {
                message.envelope = Some(envelope);
            }
        }
    }
}

fn channel(rest: &mut &[u8]) -> Option<(u16, Channel)> {
    let (id, _schema) = (take_u16(rest)?, take_u16(rest)?);
    let (topic, encoding) = (take_text(rest)?.to_owned(), take_text(rest)?.to_owned());
    Some((id, Channel { topic, encoding, metadata: take_map(rest)? }))
}

/// The records of a chunk.
fn unpack(body: &[u8]) -> Result<Vec<u8>, Broken> {
    let mut rest = body;
    let rest = &mut rest;
    let parse = |rest: &mut &[u8]| {
        let _times = (take_u64(rest)?, take_u64(rest)?);
        let (size, crc) = (take_u64(rest)?, take_u32(rest)?);
        let compression = take_text(rest)?.to_owned();
        let length = usize::try_from(take_u64(rest)?).ok()?;
        Some((size, crc, compression, length))
    };
    let (size, crc, compression, length) = parse(rest).ok_or("a chunk is cut short")?;
    let packed = rest.get(..length).ok_or("a chunk is cut short")?;
    if size > RECORD_BYTES_MAX {
        return Err(format!("a chunk of {size} bytes; {RECORD_BYTES_MAX} are the most"));
    }
    let records = match compression.as_str() {
        "" => packed.to_vec(),
        "zstd" => {
            zstd::bulk::decompress(packed, size as usize).map_err(|error| format!("a chunk: {error}"))?
        }
        other => {
            return Err(format!(
                "its chunks are compressed with {other}: `mcap compress --compression zstd` makes one that is not"
            ));
        }
    };
    if records.len() as u64 != size || (crc != 0 && crc32fast::hash(&records) != crc) {
        return Err("a chunk is not what its checksum says".into());
    }
    Ok(records)
}

/// The lines of an attachment of ours.
fn attached(body: &[u8]) -> Option<Bytes> {
    let mut rest = body;
    let rest = &mut rest;
    let _times = (take_u64(rest)?, take_u64(rest)?);
    if take_text(rest)? != ENVELOPES {
        return None;
    }
    let _media_type = take_bytes(rest)?;
    let length = usize::try_from(take_u64(rest)?).ok()?;
    let data = rest.split_off(..length)?;
    let crc = take_u32(rest)?;
    if crc != 0 && crc != crc32fast::hash(&body[..body.len() - 4]) {
        return None;
    }
    let mut lines = Vec::new();
    let unpacked = zstd::stream::read::Decoder::new(data).ok()?;
    unpacked.take(RECORD_BYTES_MAX).read_to_end(&mut lines).ok()?;
    Some(lines.into())
}

#[cfg(test)]
mod tests {
    use super::super::wire::{put_map, put_text, record};
    use super::*;

    #[test]
    fn what_a_channel_says_is_bounded() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (topic_bytes, is_read) in [(1_000, true), (CHANNEL_BYTES_MAX, false)] {
            let mut bytes = MAGIC.to_vec();
            record(&mut bytes, op::CHANNEL, |out| {
                out.extend_from_slice(&[1, 0, 0, 0]);
                put_text(out, &"t".repeat(topic_bytes));
                put_text(out, "json");
                put_map(out, &[]);
            });
            record(&mut bytes, op::MESSAGE, |out| {
                out.extend_from_slice(&[&[1][..], &[0; 21], b"{}"].concat())
            });
            std::fs::write(file.path(), bytes).unwrap();
            let mut reader = McapReader::open(file.path()).unwrap();
            match reader.next() {
                Ok(Next::Message(message)) => assert!(is_read && message.data == "{}"),
                Err(said) => assert!(!is_read && said.contains("are the most"), "{said}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
