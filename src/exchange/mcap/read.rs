//! Reading from the front to the end: messages in the order of the file, whoever wrote it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::wire::{take_bytes, take_map, take_text, take_u16, take_u32, take_u64};
use super::{ENVELOPES, MAGIC, op};
use crate::exchange::error::{ExchangeError, IoContext};

/// A record, a chunk before it is unpacked: writers' defaults are a few MiB.
const RECORD_BYTES_MAX: u64 = 512 << 20;

/// What a chunk, and the envelopes beside it, may be unpacked: both stay until their last message is taken.
const CHUNK_BYTES_MAX: u64 = 64 << 20;
const ENVELOPES_BYTES_MAX: u64 = 256 << 20;

/// A topic and metadata: many of them are kept.
const CHANNEL_BYTES_MAX: usize = 1 << 20;

/// Those of all channels together.
const CHANNELS_BYTES_MAX: usize = 16 << 20;

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
    /// With what each took in the file.
    channels: HashMap<u16, (Arc<Channel>, usize)>,
    channels_bytes: usize,
    chunk: Option<Chunk>,
    /// The head of the record that follows a chunk, looked at already.
    ahead: Option<(u8, u64)>,
    is_over: bool,
}

/// A chunk whose messages are being taken, one at a time: there may be millions in a few KiB of the file.
#[derive(Debug)]
struct Chunk {
    at: u64,
    /// What is left of them.
    records: Bytes,
    /// A line for each message that is left, if there are.
    envelopes: Option<Bytes>,
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
            channels_bytes: 0,
            chunk: None,
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
            if let Some(message) = self.next_of_chunk()? {
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
                    if let Some(message) = self.take(op, &body.into(), at)? {
                        return Ok(Next::Message(message));
                    }
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

    /// A record that may stand in a chunk or outside one: the message, if it is one.
    fn take(&mut self, op: u8, body: &Bytes, at: u64) -> Result<Option<Message>, Broken> {
        let mut rest = &body[..];
        let rest = &mut rest;
        match op {
            op::CHANNEL => {
                self.define(body)?;
                Ok(None)
            }
            op::MESSAGE => {
                let head = (take_u16(rest), take_u32(rest), take_u64(rest), take_u64(rest));
                let (Some(id), Some(_), Some(log_time_ns), Some(_)) = head else {
                    return Err("a message record is cut short".into());
                };
                let known = self.channels.get(&id).map(|(channel, _)| Arc::clone(channel));
                let channel =
                    known.ok_or_else(|| format!("a message is of channel {id}, which is not defined"))?;
                let data = body.slice_ref(rest);
                Ok(Some(Message { offset: at, channel, log_time_ns, data, envelope: None }))
            }
            _ => Ok(None),
        }
    }

    fn define(&mut self, body: &[u8]) -> Result<(), Broken> {
        if body.len() > CHANNEL_BYTES_MAX {
            let most = format!("{CHANNEL_BYTES_MAX} are the most");
            return Err(format!("a channel record of {} bytes; {most}", body.len()));
        }
        let (id, channel) = channel(&mut &*body).ok_or("a channel record is cut short")?;
        let before = self.channels.insert(id, (Arc::new(channel), body.len()));
        self.channels_bytes += body.len();
        self.channels_bytes -= before.map_or(0, |(_, bytes)| bytes);
        if self.channels_bytes > CHANNELS_BYTES_MAX {
            return Err(format!("its channel records together; {CHANNELS_BYTES_MAX} bytes are the most"));
        }
        Ok(())
    }

    fn chunk(&mut self, at: u64, length: u64) -> Result<(), Broken> {
        let body = self.body(length)?;
        let records = Bytes::from(unpack(&body)?);
        let (mut rest, mut messages) = (records.clone(), 0);
        while !rest.is_empty() {
            let (op, _) = take_record(&mut rest).ok_or("a chunk is cut short")?;
            messages += usize::from(op == op::MESSAGE);
        }
        let envelopes = self.envelopes()?.filter(|lines| count_lines(lines) == messages);
        self.chunk = Some(Chunk { at, records, envelopes });
        Ok(())
    }

    fn next_of_chunk(&mut self) -> Result<Option<Message>, Broken> {
        while let Some(chunk) = &mut self.chunk {
            let at = chunk.at;
            let Some((op, body)) = take_record(&mut chunk.records) else {
                self.chunk = None;
                break;
            };
            if let Some(mut message) = self.take(op, &body, at)? {
                let lines = self.chunk.as_mut().and_then(|chunk| chunk.envelopes.as_mut());
                message.envelope = lines.and_then(take_line);
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// What the attachment that follows a chunk, past its indexes, holds, if it is there.
    fn envelopes(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            let (op, length) = self.head()?;
            match op {
                op::MESSAGE_INDEX => self.skip(length)?,
                op::ATTACHMENT => {
                    let body = self.body(length)?;
                    return Ok(attached(&body));
                }
                _ => {
                    self.ahead = Some((op, length));
                    return Ok(None);
                }
            }
        }
    }
}

/// The next record of a chunk; none where there is none, or where it is cut short.
fn take_record(records: &mut Bytes) -> Option<(u8, Bytes)> {
    let mut rest = &records[..];
    let op = *rest.split_off_first()?;
    let length = usize::try_from(take_u64(&mut rest)?).ok()?;
    let body = records.slice_ref(rest.get(..length)?);
    *records = records.slice_ref(&rest[length..]);
    Some((op, body))
}

fn count_lines(lines: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', lines).count()
}

fn take_line(lines: &mut Bytes) -> Option<Bytes> {
    let end = memchr::memchr(b'\n', lines)?;
    let line = lines.split_to(end);
    *lines = lines.slice(1..);
    Some(line)
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
    if size > CHUNK_BYTES_MAX {
        return Err(format!("a chunk of {size} bytes; {CHUNK_BYTES_MAX} are the most"));
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
    unpacked.take(ENVELOPES_BYTES_MAX).read_to_end(&mut lines).ok()?;
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

    /// A chunk that is not compressed, and says that it holds `size` bytes.
    fn chunk(records: &[u8], size: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        record(&mut bytes, op::CHUNK, |out| {
            out.extend_from_slice(&[0; 16]);
            out.extend_from_slice(&size.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            put_text(out, "");
            out.extend_from_slice(&(records.len() as u64).to_le_bytes());
            out.extend_from_slice(records);
        });
        bytes
    }

    fn define(out: &mut Vec<u8>, id: u16, topic: &str) {
        record(out, op::CHANNEL, |out| {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&[0; 2]);
            put_text(out, topic);
            put_text(out, "json");
            put_map(out, &[]);
        });
    }

    fn read_all(bytes: &[u8]) -> (usize, Result<(), String>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut end = Vec::new();
        record(&mut end, op::DATA_END, |out| out.extend_from_slice(&[0; 4]));
        std::fs::write(file.path(), [&MAGIC[..], bytes, &end].concat()).unwrap();
        let mut reader = McapReader::open(file.path()).unwrap();
        let mut messages = 0;
        loop {
            match reader.next() {
                Ok(Next::Message(_)) => messages += 1,
                Ok(Next::Metadata(..)) => {}
                Ok(Next::End) => return (messages, Ok(())),
                Err(said) => return (messages, Err(said)),
            }
        }
    }

    #[test]
    fn messages_of_a_chunk_are_taken_one_at_a_time() {
        let mut records = Vec::new();
        define(&mut records, 1, "t");
        for _ in 0..1_000 {
            record(&mut records, op::MESSAGE, |out| out.extend_from_slice(&[&[1][..], &[0; 21]].concat()));
        }
        assert_eq!(read_all(&chunk(&records, records.len() as u64)), (1_000, Ok(())));
        let cut = &records[..records.len() - 1];
        let (messages, said) = read_all(&chunk(cut, cut.len() as u64));
        assert!(messages == 0 && said.unwrap_err().contains("cut short"), "a cut chunk gives nothing");
    }

    #[test]
    fn what_a_chunk_unpacks_to_and_all_channels_are_bounded() {
        let (_, said) = read_all(&chunk(&[], CHUNK_BYTES_MAX + 1));
        assert!(said.unwrap_err().contains("are the most"));
        let topic = "t".repeat(CHANNEL_BYTES_MAX - 100);
        let mut again = Vec::new();
        (0..20).for_each(|_| define(&mut again, 7, &topic));
        assert_eq!(read_all(&again), (0, Ok(())), "one that is defined again counts once");
        let mut many = Vec::new();
        (0..20).for_each(|id| define(&mut many, id, &topic));
        assert!(read_all(&many).1.unwrap_err().contains("are the most"));
    }
}
