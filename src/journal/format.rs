//! Bytes to fields and back, as the essay in the [module](super) says.

use std::str;

use crc32fast::Hasher;
use serde::{Deserialize, Serialize};

use super::JournalError;
use crate::message::{Headers, Message, Mqtt, SessionHeader, SessionId};

pub(super) const MAGIC: [u8; 8] = *b"\x89TRJ\r\n\x1a\n";
pub(super) const VERSION: u16 = 1;
pub const FILE_HEAD_BYTES: usize = 20;
/// Far more than any set of sources and declarations; a bound for what a damaged length may ask.
pub(super) const MAX_HEADER_BYTES: usize = 64 << 20;

pub(super) const MARKER: [u8; 4] = *b"\xF5rec";
pub(super) const RECORD_HEAD_BYTES: usize = 60;
/// The longest channel, headers, clear text and payload together: four times what the largest MQTT
/// broker lets through in practice, and a bound for what a damaged length may ask.
pub const MAX_BODY_BYTES: usize = 64 << 20;

const IS_BINARY: u16 = 1;
const IS_MQTT: u16 = 1 << 1;
const RETAIN: u16 = 1 << 2;
const DUP: u16 = 1 << 3;
const QOS_SHIFT: u16 = 4;
const HAS_HEADERS: u16 = 1 << 6;
const HAS_DUPLICATE_OF: u16 = 1 << 7;
const HAS_CLEAR: u16 = 1 << 8;
const KNOWN_FLAGS: u16 = (1 << 9) - 1;

/// What stands at the head of a part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartHeader {
    pub session: SessionHeader,
    /// From 0 within the session.
    pub part: u32,
    /// The `seq` of the part's first record.
    pub first_seq: u64,
}

/// One record of a part; borrows the reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordRef<'a> {
    pub seq: u64,
    /// Microseconds since the Unix epoch.
    pub received_at_us: i64,
    /// Steady nanoseconds since the session's start.
    pub elapsed_ns: u64,
    /// Index into the session's sources. The journal does not check that there is such a source.
    pub source: u16,
    /// Index into that source's kinds, unchecked as well.
    pub kind: u16,
    pub connection: u32,
    pub channel: &'a str,
    pub mqtt: Option<Mqtt>,
    pub is_binary: bool,
    pub headers: Option<HeadersRef<'a>>,
    pub duplicate_of: Option<u64>,
    pub payload: &'a [u8],
    pub clear: Option<&'a [u8]>,
}

/// Webhook headers as they lie in a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadersRef<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> HeadersRef<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Names and values, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || Some((take_str(&mut rest)?, take_str(&mut rest)?)))
    }

    pub fn to_headers(&self) -> Headers {
        self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Writes headers to `block`, in place of what is there, and gives them as they lie in a record.
    pub fn write(headers: &Headers, block: &'a mut Vec<u8>) -> Self {
        block.clear();
        for (name, value) in headers {
            put_slice(block, name.as_bytes());
            put_slice(block, value.as_bytes());
        }
        Self { count: headers.len() as u32, bytes: block }
    }

    /// A block whose count is its own, with nothing behind the last header.
    fn parse(mut block: &'a [u8]) -> Option<Self> {
        let count = take_u32(&mut block)?;
        let bytes = block;
        for _ in 0..count {
            take_str(&mut block)?;
            take_str(&mut block)?;
        }
        block.is_empty().then_some(Self { count, bytes })
    }
}

/// What a head's checksum starts from: the file that it belongs to.
pub(super) fn salt(session: SessionId, part: u32) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(session.as_bytes());
    hasher.update(&part.to_le_bytes());
    hasher.finalize()
}

/// Appends the file header of a part.
pub(super) fn encode_file_header(out: &mut Vec<u8>, header: &PartHeader) -> Result<(), JournalError> {
    let session = header.session.session_id;
    let json =
        serde_json::to_vec(header).map_err(|source| JournalError::HeaderUnwritable { session, source })?;
    let too_large = || JournalError::HeaderTooLarge { session, bytes: json.len() };
    if json.len() > MAX_HEADER_BYTES {
        return Err(too_large());
    }
    let json_len = u32::try_from(json.len()).map_err(|_| too_large())?;
    let mut head = [0; FILE_HEAD_BYTES];
    head[..8].copy_from_slice(&MAGIC);
    head[8..10].copy_from_slice(&VERSION.to_le_bytes());
    head[12..16].copy_from_slice(&json_len.to_le_bytes());
    let crc = file_header_crc(&head, &json);
    head[16..].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(&json);
    Ok(())
}

pub(super) fn file_header_crc(head: &[u8; FILE_HEAD_BYTES], json: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&head[..16]);
    hasher.update(json);
    hasher.finalize()
}

/// How long a message's body will be at the most: `duplicate_of` may turn out to be none.
pub(super) fn body_bytes(message: &Message) -> usize {
    message.channel.len()
        + message.payload.len()
        + message.duplicate_of.map_or(0, |_| 8)
        + message.headers.as_ref().map_or(0, |h| 4 + headers_block_bytes(h))
        + message.clear.as_ref().map_or(0, |c| 4 + c.len())
}

fn headers_block_bytes(headers: &Headers) -> usize {
    4 + headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum::<usize>()
}

/// What the writer adds to a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) salt: u32,
    pub(super) seq: u64,
    /// All before this `seq` is known to be on disk.
    pub(super) durable_seq: u64,
    pub(super) elapsed_ns: u64,
    /// The `seq` that the message's `duplicate_of` stands for.
    pub(super) duplicate_of: Option<u64>,
}

/// Appends a record. The message's body must not be longer than [`MAX_BODY_BYTES`], which is
/// checked when it is accepted.
pub(super) fn encode_record(out: &mut Vec<u8>, place: Place, message: &Message) {
    let Place { salt, seq, durable_seq, elapsed_ns, duplicate_of } = place;
    let start = out.len();
    out.reserve(RECORD_HEAD_BYTES + body_bytes(message));
    out.extend_from_slice(&[0; RECORD_HEAD_BYTES]);
    out.extend_from_slice(message.channel.as_bytes());
    let mut flags = if message.is_binary { IS_BINARY } else { 0 };
    if let Some(mqtt) = message.mqtt {
        flags |= IS_MQTT | (u16::from(mqtt.qos & 3) << QOS_SHIFT);
        flags |= if mqtt.retain { RETAIN } else { 0 } | if mqtt.dup { DUP } else { 0 };
    }
    if let Some(first) = duplicate_of {
        flags |= HAS_DUPLICATE_OF;
        out.extend_from_slice(&first.to_le_bytes());
    }
    if let Some(headers) = &message.headers {
        flags |= HAS_HEADERS;
        put_len(out, headers_block_bytes(headers));
        put_len(out, headers.len());
        for (name, value) in headers {
            put_slice(out, name.as_bytes());
            put_slice(out, value.as_bytes());
        }
    }
    if let Some(clear) = &message.clear {
        flags |= HAS_CLEAR;
        put_slice(out, clear);
    }
    out.extend_from_slice(&message.payload);

    let (head, body) = out[start..].split_at_mut(RECORD_HEAD_BYTES);
    head[..4].copy_from_slice(&MARKER);
    head[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[12..16].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    head[16..24].copy_from_slice(&seq.to_le_bytes());
    head[24..32].copy_from_slice(&message.at.wall_us.to_le_bytes());
    head[32..40].copy_from_slice(&elapsed_ns.to_le_bytes());
    head[40..44].copy_from_slice(&message.connection.to_le_bytes());
    head[44..46].copy_from_slice(&message.source.to_le_bytes());
    head[46..48].copy_from_slice(&message.kind.to_le_bytes());
    head[48..50].copy_from_slice(&flags.to_le_bytes());
    head[52..56].copy_from_slice(&(message.channel.len() as u32).to_le_bytes());
    let unsynced = u32::try_from(seq.saturating_sub(durable_seq)).unwrap_or(u32::MAX);
    head[56..60].copy_from_slice(&unsynced.to_le_bytes());
    let crc = head_crc(salt, head);
    head[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&(len as u32).to_le_bytes());
}

fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn head_crc(salt: u32, head: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(&head[8..RECORD_HEAD_BYTES]);
    hasher.finalize()
}

/// A record's head whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHead {
    pub(super) body_len: usize,
    body_crc: u32,
    pub(super) seq: u64,
    received_at_us: i64,
    elapsed_ns: u64,
    connection: u32,
    source: u16,
    kind: u16,
    flags: u16,
    channel_len: usize,
    unsynced: u32,
}

impl RecordHead {
    /// `None` if this is not a head of the file that `salt` stands for.
    pub(super) fn parse(salt: u32, head: &[u8]) -> Option<Self> {
        let sum = take_u32(&mut head.get(4..)?)?;
        Self::of_any_file(head).filter(|_| sum == head_crc(salt, head))
    }

    /// What looks like a head, of whichever file: whether it is right, only its body can say.
    pub(super) fn of_any_file(head: &[u8]) -> Option<Self> {
        let mut rest = head;
        let rest = &mut rest;
        if head.len() < RECORD_HEAD_BYTES || take::<4>(rest)? != MARKER {
            return None;
        }
        take_u32(rest)?;
        let body_len = usize::try_from(take_u32(rest)?).ok().filter(|len| *len <= MAX_BODY_BYTES)?;
        let body_crc = take_u32(rest)?;
        let seq = u64::from_le_bytes(take(rest)?);
        let received_at_us = i64::from_le_bytes(take(rest)?);
        let elapsed_ns = u64::from_le_bytes(take(rest)?);
        let connection = take_u32(rest)?;
        let source = u16::from_le_bytes(take(rest)?);
        let kind = u16::from_le_bytes(take(rest)?);
        let flags = u16::from_le_bytes(take(rest)?);
        let reserved = u16::from_le_bytes(take(rest)?);
        let channel_len = usize::try_from(take_u32(rest)?).ok()?;
        let unsynced = take_u32(rest)?;
        (flags & !KNOWN_FLAGS == 0 && reserved == 0).then_some(Self {
            body_len,
            body_crc,
            seq,
            received_at_us,
            elapsed_ns,
            connection,
            source,
            kind,
            flags,
            channel_len,
            unsynced,
        })
    }

    /// All before this `seq` had been synced when the record was written. Where the distance did not
    /// fit, this errs on the side of a promise.
    pub(super) fn durable_seq(&self) -> u64 {
        self.seq.saturating_sub(u64::from(self.unsynced))
    }

    pub(super) fn record_bytes(&self) -> usize {
        RECORD_HEAD_BYTES + self.body_len
    }

    /// Whether this is the body that the head was written with.
    pub(super) fn vouches_for(&self, body: &[u8]) -> bool {
        crc32fast::hash(body) == self.body_crc
    }

    /// The record, or `None` if the body is not laid out as the head says.
    pub(super) fn decode<'a>(&self, body: &'a [u8]) -> Option<RecordRef<'a>> {
        let mut rest = body;
        let channel = str::from_utf8(rest.split_off(..self.channel_len)?).ok()?;
        let has = |flag| self.flags & flag != 0;
        let duplicate_of =
            if has(HAS_DUPLICATE_OF) { Some(u64::from_le_bytes(take(&mut rest)?)) } else { None };
        let headers = if has(HAS_HEADERS) { Some(HeadersRef::parse(take_slice(&mut rest)?)?) } else { None };
        let clear = if has(HAS_CLEAR) { Some(take_slice(&mut rest)?) } else { None };
        let qos = ((self.flags >> QOS_SHIFT) & 3) as u8;
        Some(RecordRef {
            seq: self.seq,
            received_at_us: self.received_at_us,
            elapsed_ns: self.elapsed_ns,
            source: self.source,
            kind: self.kind,
            connection: self.connection,
            channel,
            mqtt: has(IS_MQTT).then_some(Mqtt { qos, retain: has(RETAIN), dup: has(DUP) }),
            is_binary: has(IS_BINARY),
            headers,
            duplicate_of,
            payload: rest,
            clear,
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    rest.split_off(..N)?.try_into().ok()
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_le_bytes)
}

fn take_slice<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_u32(rest)?).ok()?;
    rest.split_off(..len)
}

fn take_str<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    str::from_utf8(take_slice(rest)?).ok()
}
