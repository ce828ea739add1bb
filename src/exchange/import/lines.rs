//! JSON lines: ours, and those of `mosquitto_sub -F %j`.
//!
//! mosquitto's have `tst`, `topic`, `qos`, `retain`, `payloadlen` and `payload`. Three things are peculiar to them:
//! bytes that are no UTF-8 stand in them as they are; a payload ends at its first zero byte, which `payloadlen` tells;
//! and with `%J` in place of `%j` a payload is a JSON value, printed anew. For payloads of any bytes there is `%x`:
//! `-F '{"tst":"%U","topic":"%t","qos":%q,"retain":%r,"payload_hex":"%x"}'`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use memchr::{memchr, memmem};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::fields::{Bad, Defaults, Fields, Record, parse_time};
use super::{ImportOptions, Pass};
use crate::exchange::error::{ExchangeError, IoContext};
use crate::journal::MAX_BODY_BYTES;

/// Twice what the largest row has as JSON, all of it escaped.
const LINE_BYTES_MAX: u64 = 512 << 20;

/// A line as it may be, by either.
#[derive(Debug, Deserialize)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    vendor: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    site: Option<Text<'a>>,
    #[serde(borrow)]
    session_id: Option<Text<'a>>,
    #[serde(borrow)]
    source: Option<Text<'a>>,
    connection: Option<i32>,
    seq: Option<u64>,
    #[serde(borrow)]
    received_at: Option<&'a RawValue>,
    elapsed_ns: Option<u64>,
    #[serde(borrow)]
    channel: Option<Text<'a>>,
    qos: Option<u8>,
    #[serde(default, deserialize_with = "flag")]
    retain: Option<bool>,
    #[serde(default, deserialize_with = "flag")]
    dup: Option<bool>,
    is_binary: Option<bool>,
    headers: Option<BTreeMap<String, String>>,
    duplicate_of: Option<u64>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    payload_base64: Option<String>,
    payload_hex: Option<String>,
    clear: Option<String>,
    clear_base64: Option<String>,
    #[serde(borrow)]
    tst: Option<&'a RawValue>,
    #[serde(borrow)]
    topic: Option<Text<'a>>,
    payloadlen: Option<u64>,
}

/// Text that stands in the line as it is, unless it has an escape.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// True and false, or 1 and 0 as mosquitto has them.
fn flag<'de, D: Deserializer<'de>>(json: D) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Is(bool),
        Number(u8),
    }
    Ok(Option::<Flag>::deserialize(json)?.map(|flag| match flag {
        Flag::Is(flag) => flag,
        Flag::Number(number) => number != 0,
    }))
}

impl<'a> Line<'a> {
    /// Whether a payload is sure to be one, and nobody asks what it says: no link event's, a text, not too long, of no
    /// other escapes than those that are right wherever they stand.
    fn is_fine(&self, payload: &str) -> bool {
        let is_alone = (&self.payloadlen, &self.clear, &self.clear_base64) == (&None, &None, &None);
        is_alone
            && self.kind.as_ref().is_none_or(|kind| kind.0 != "link")
            && payload.starts_with('"')
            && payload.len() <= MAX_BODY_BYTES
            && memmem::find(payload.as_bytes(), b"\\u").is_none()
    }

    /// What a line says; `raw` undoes what had to be done to it to be read as text.
    pub(super) fn fields(self, pass: Pass, raw: &dyn Fn(String) -> Bytes) -> Result<Fields<'a>, String> {
        let is_mosquitto = self.tst.is_some();
        if is_mosquitto && self.topic.is_none() {
            return Err("it has a `tst` and no `topic`".into());
        }
        let payload = match (&self.payload, &self.payload_base64, &self.payload_hex) {
            (Some(value), None, None) if pass == Pass::Plan && self.is_fine(value.get()) => {
                Payload::Exact(Bytes::new())
            }
            (Some(value), None, None) => payload(value.get(), raw)?,
            (None, Some(base64), None) => Payload::Exact(unbase64("payload_base64", base64)?),
            (None, None, Some(hex)) => Payload::Exact(unhex(hex)?),
            // As `null` is none to serde.
            (None, None, None) if is_mosquitto && self.payloadlen == Some(0) => Payload::Exact(Bytes::new()),
            (None, None, None) => return Err("it has no payload".into()),
            _ => return Err("it has more than one of payload, payload_base64 and payload_hex".into()),
        };
        let (is_reprinted, payload) = match payload {
            Payload::Exact(bytes) => (false, bytes),
            Payload::Printed(bytes) => (is_mosquitto, bytes),
        };
        if let Some(length) = self.payloadlen.filter(|_| !is_reprinted)
            && length != payload.len() as u64
        {
            return Err(format!(
                "its payload has {} bytes, and `payloadlen` says {length}: mosquitto_sub ends %j at a zero byte; \
                 record with %x as payload_hex",
                payload.len()
            ));
        }
        let clear = match (self.clear, &self.clear_base64) {
            (Some(text), _) => Some(raw(text)),
            (None, Some(base64)) => Some(unbase64("clear_base64", base64)?),
            (None, None) => None,
        };
        let received_at_us = match (self.received_at, self.tst) {
            (Some(at), _) => Some(time("received_at", at.get(), true)?),
            (None, Some(at)) => Some(time("tst", at.get(), false)?),
            (None, None) => None,
        };
        // What came over MQTT has all three.
        let dup = self.dup.or(is_mosquitto.then_some(false));
        Ok(Fields {
            vendor: self.vendor.map(|text| text.0),
            kind: self.kind.map(|text| text.0),
            site: self.site.map(|text| text.0),
            session_id: self.session_id.map(|text| text.0),
            source: self.source.map(|text| text.0),
            connection: self.connection,
            seq: self.seq,
            received_at_us,
            elapsed_ns: self.elapsed_ns,
            channel: self.channel.or(self.topic).map(|text| text.0),
            qos: self.qos,
            retain: self.retain,
            dup,
            is_binary: self.is_binary,
            headers: self.headers.map(|headers| headers.into_iter().collect()),
            duplicate_of: self.duplicate_of,
            payload,
            clear,
            is_reprinted,
        })
    }
}

enum Payload {
    Exact(Bytes),
    /// A JSON value that is no text: as it stands in the line.
    Printed(Bytes),
}

fn payload(json: &str, raw: &dyn Fn(String) -> Bytes) -> Result<Payload, String> {
    if !json.starts_with('"') {
        return Ok(Payload::Printed(Bytes::copy_from_slice(json.as_bytes())));
    }
    let text = match unescaped(json) {
        Some(text) => text,
        None => serde_json::from_str(json).map_err(|error| format!("its payload: {error}"))?,
    };
    Ok(Payload::Exact(raw(text)))
}

/// A JSON string without its escapes; none if it has one in digits. JSON in a string has an escape every few bytes, for
/// each of which serde_json's reader starts anew: a third of an import's time.
fn unescaped(json: &str) -> Option<String> {
    let mut rest = json.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    let mut text = Vec::with_capacity(rest.len());
    while let Some(at) = memchr(b'\\', rest) {
        text.extend_from_slice(&rest[..at]);
        text.push(match rest.get(at + 1)? {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 0x08,
            b'f' => 0x0c,
            &itself @ (b'"' | b'\\' | b'/') => itself,
            _ => return None,
        });
        rest = &rest[at + 2..];
    }
    text.extend_from_slice(rest);
    String::from_utf8(text).ok()
}

fn unbase64(field: &str, text: &str) -> Result<Bytes, String> {
    STANDARD.decode(text).map(Bytes::from).map_err(|error| format!("{field} is none: {error}"))
}

fn unhex(text: &str) -> Result<Bytes, String> {
    let wrong = || "payload_hex is none: two digits of 0-9 and a-f make a byte".to_owned();
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    bytes.collect::<Result<Vec<u8>, _>>().map(Bytes::from).map_err(|_| wrong())
}

/// `is_ours`: a number is microseconds, which is how a time is written that the calendar has no year for.
fn time(field: &str, json: &str, is_ours: bool) -> Result<i64, String> {
    let text: Cow<'_, str> = match json.strip_prefix('"') {
        Some(_) => serde_json::from_str::<Text<'_>>(json).map_err(|error| format!("{field}: {error}"))?.0,
        None if is_ours && !json.contains('.') => {
            return json.parse().map_err(|_| format!("{field} is {json}, which is no time"));
        }
        None => json.into(),
    };
    parse_time(&text).ok_or_else(|| {
        format!("{field} is `{text}`, which is no time with an offset, as in `2026-03-01T14:00:00Z`")
    })
}

#[derive(Debug)]
pub(super) struct LineReader {
    path: PathBuf,
    file: BufReader<File>,
    defaults: Defaults,
    pass: Pass,
    buffer: Vec<u8>,
    /// Where the next line begins.
    pub(super) offset: u64,
    line: u64,
}

impl LineReader {
    pub(super) fn open(
        path: &Path,
        options: &ImportOptions,
        pass: Pass,
        offset: u64,
    ) -> Result<Self, ExchangeError> {
        let mut file = File::open(path).doing("open", path)?;
        file.seek(SeekFrom::Start(offset)).doing("read", path)?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(256 << 10, file),
            defaults: Defaults::new(options),
            pass,
            buffer: Vec::new(),
            offset,
            line: 0,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<Result<Record, Bad>>, ExchangeError> {
        loop {
            self.buffer.clear();
            let mut line = (&mut self.file).take(LINE_BYTES_MAX);
            let read = line.read_until(b'\n', &mut self.buffer).doing("read", &self.path)?;
            if read == 0 {
                return Ok(None);
            }
            let at = self.offset;
            self.offset += read as u64;
            self.line += 1;
            let text = self.buffer.trim_ascii();
            if !text.is_empty() {
                let line = Some(self.line);
                let disguised;
                let fields = match simdutf8::basic::from_utf8(text) {
                    Ok(text) => fields(text, self.pass, &|text| Bytes::from(text.into_bytes())),
                    Err(_) => {
                        disguised = disguise(text);
                        disguised
                            .as_ref()
                            .map_err(Clone::clone)
                            .and_then(|text| fields(text, self.pass, &undisguise))
                    }
                };
                return Ok(Some(match fields {
                    Ok(fields) => self.defaults.record(fields, line, at),
                    Err(what) => Err(Bad { line, offset: at, what }),
                }));
            }
        }
    }
}

fn fields<'a>(line: &'a str, pass: Pass, raw: &dyn Fn(String) -> Bytes) -> Result<Fields<'a>, String> {
    serde_json::from_str::<Line<'a>>(line).map_err(|error| why(&error))?.fields(pass, raw)
}

/// Without the line and column of a text that is one line of many.
fn why(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    format!("it is no row as JSON: {what} (column {})", error.column())
}

/// Bytes that are no UTF-8 stand for themselves in mosquitto's lines. They become characters that no text has, so
/// that the rest can be read, and bytes again in the payload.
const DISGUISE: u32 = 0x10_FE00;

fn disguise(line: &[u8]) -> Result<String, String> {
    let mut text = String::with_capacity(line.len() + 16);
    for chunk in line.utf8_chunks() {
        if chunk.valid().chars().any(|c| (DISGUISE..DISGUISE + 256).contains(&u32::from(c))) {
            return Err("it has bytes that are no UTF-8, and characters of a private plane as well".into());
        }
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(DISGUISE + u32::from(*byte))));
    }
    Ok(text)
}

fn undisguise(text: String) -> Bytes {
    let mut bytes = Vec::with_capacity(text.len());
    let mut utf8 = [0; 4];
    for c in text.chars() {
        match u32::from(c).checked_sub(DISGUISE).and_then(|byte| u8::try_from(byte).ok()) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
        }
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_comes_out_of_its_escapes(text in any::<String>(), json in "(\\\\[\"\\\\/bfnrt]|[a-zé€😀 {}:,0-9]){0,40}") {
            let read = |json: &str| serde_json::from_str::<String>(json).unwrap();
            let printed = serde_json::to_string(&text).unwrap();
            prop_assert!(unescaped(&printed).is_none_or(|found| found == text));
            let json = format!("\"{json}\"");
            prop_assert_eq!(unescaped(&json), Some(read(&json)));
        }
    }
}
