//! What one record of a file says, and the row that it makes.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::{ImportOptions, no_id};
use crate::config::is_source_name;
use crate::journal::MAX_BODY_BYTES;
use crate::message::{Headers, Mqtt, Row, SessionId};
use crate::vendors::VENDORS;

/// The source of rows that name none.
const SOURCE: &str = "import";

/// A record that cannot be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    /// From 1; none in a file without lines.
    pub line: Option<u64>,
    pub offset: u64,
    pub what: String,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "{line}")?;
        }
        write!(f, " (byte {}): {}", self.offset, self.what)
    }
}

/// A record and the row that it makes; `seq`, `elapsed_ns` and session of the row are given later.
#[derive(Debug)]
pub(super) struct Record {
    pub line: Option<u64>,
    pub offset: u64,
    pub session_id: Option<SessionId>,
    pub seq: Option<u64>,
    pub elapsed_ns: Option<u64>,
    /// The payload is not what was received, but the same value printed anew.
    pub is_reprinted: bool,
    pub row: Row,
}

impl Record {
    pub(super) fn bad(&self, what: String) -> Bad {
        Bad { line: self.line, offset: self.offset, what }
    }
}

/// What may be said of a row, by any format.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub vendor: Option<Cow<'a, str>>,
    pub kind: Option<Cow<'a, str>>,
    pub site: Option<Cow<'a, str>>,
    pub session_id: Option<Cow<'a, str>>,
    pub source: Option<Cow<'a, str>>,
    pub connection: Option<i32>,
    pub seq: Option<u64>,
    pub received_at_us: Option<i64>,
    pub elapsed_ns: Option<u64>,
    pub channel: Option<Cow<'a, str>>,
    pub qos: Option<u8>,
    pub retain: Option<bool>,
    pub dup: Option<bool>,
    pub is_binary: Option<bool>,
    pub headers: Option<Headers>,
    pub duplicate_of: Option<u64>,
    pub payload: Bytes,
    pub clear: Option<Bytes>,
    pub is_reprinted: bool,
}

/// Fills in what records leave out, and spells each name once.
#[derive(Debug)]
pub(super) struct Defaults {
    source: Arc<str>,
    vendor: Arc<str>,
    kind: Arc<str>,
    names: Vec<Arc<str>>,
    /// The last row's, most often the next one's as well.
    channel: ByteString,
}

/// Names that are remembered: those of a site's sources and kinds, not of a hostile file's.
const NAMES_MAX: usize = 512;

impl Defaults {
    pub(super) fn new(options: &ImportOptions) -> Self {
        let or = |given: &Option<String>, default: &str| given.as_deref().unwrap_or(default).into();
        let vendor: Arc<str> = or(&options.vendor, "generic");
        // What a generic source does not declare is a message; what a vendor's rows are, only who has them knows.
        let kind = if &*vendor == "generic" { "message" } else { "other" };
        Self {
            source: or(&options.source, SOURCE),
            kind: or(&options.kind, kind),
            vendor,
            names: Vec::new(),
            channel: ByteString::new(),
        }
    }

    fn name(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.names.iter().find(|known| ***known == *text) {
            return Arc::clone(known);
        }
        let name: Arc<str> = text.into();
        if self.names.len() < NAMES_MAX {
            self.names.push(Arc::clone(&name));
        }
        name
    }

    /// The record that fields at this place make.
    pub(super) fn record(
        &mut self,
        fields: Fields<'_>,
        line: Option<u64>,
        offset: u64,
    ) -> Result<Record, Bad> {
        self.make(fields, line, offset).map_err(|what| Bad { line, offset, what })
    }

    fn make(&mut self, fields: Fields<'_>, line: Option<u64>, offset: u64) -> Result<Record, String> {
        let or = |this: &mut Self, given: &Option<Cow<'_, str>>, default: fn(&Self) -> &Arc<str>| match given
        {
            Some(given) => this.name(given),
            None => Arc::clone(default(this)),
        };
        let vendor = or(self, &fields.vendor, |this| &this.vendor);
        let kind = or(self, &fields.kind, |this| &this.kind);
        let source = or(self, &fields.source, |this| &this.source);
        check_names(&source, &vendor, &kind)?;
        let session_id = match &fields.session_id {
            None => None,
            Some(id) => Some(id.parse().map_err(|_| format!("session_id is `{id}`, which is no UUID"))?),
        };
        let received_at_us =
            fields.received_at_us.ok_or("it does not say when it was received (received_at)")?;
        let mqtt = match (fields.qos, fields.retain, fields.dup) {
            (Some(qos @ 3..), ..) => return Err(format!("qos is {qos}; 0, 1 and 2 there are")),
            (None, None, None) => None,
            (qos, retain, dup) => Some(Mqtt {
                qos: qos.unwrap_or(0),
                retain: retain.unwrap_or(false),
                dup: dup.unwrap_or(false),
            }),
        };
        if fields.connection.is_some_and(|connection| connection < 0) {
            return Err("connection is below 0".into());
        }
        let bytes = fields.payload.len() + fields.clear.as_ref().map_or(0, Bytes::len);
        if bytes > MAX_BODY_BYTES {
            return Err(format!("it has {bytes} bytes of payload; {MAX_BODY_BYTES} are the most"));
        }
        let site = self.name(fields.site.as_deref().unwrap_or_default());
        let channel = fields.channel.unwrap_or_default();
        if *self.channel != *channel {
            self.channel = channel.into_owned().into();
        }
        Ok(Record {
            line,
            offset,
            session_id,
            seq: fields.seq,
            elapsed_ns: fields.elapsed_ns,
            is_reprinted: fields.is_reprinted,
            row: Row {
                vendor,
                kind,
                site,
                session_id: no_id(),
                source,
                connection: fields.connection.unwrap_or(0),
                seq: 0,
                received_at_us,
                elapsed_ns: 0,
                channel: self.channel.clone(),
                device_id: None,
                event_at_us: None,
                mqtt,
                is_binary: fields.is_binary.unwrap_or(false),
                headers: fields.headers,
                duplicate_of: fields.duplicate_of,
                payload: fields.payload,
                clear: fields.clear,
                decode_error: None,
            },
        })
    }
}

/// Vendors and kinds become folders, and sources stand in topics: none may be anything else than a name.
pub(super) fn check_names(source: &str, vendor: &str, kind: &str) -> Result<(), String> {
    if !VENDORS.contains(&vendor) {
        return Err(format!("there is no vendor `{vendor}`: {} there are", VENDORS.join(", ")));
    }
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !(1..=64).contains(&kind.len()) || !kind.bytes().all(is_word) {
        return Err(format!(
            "the kind `{kind}` is no name: small letters, digits and _ make one, 64 at most"
        ));
    }
    if !is_source_name(source) {
        return Err(format!("the source `{source}` is no name: letters, digits, _ . - make one, 64 at most"));
    }
    Ok(())
}

/// A time as people and programs write it, in microseconds since the Unix epoch: RFC 3339, mosquitto's
/// `2026-11-22T11:37:20.851978Z+0000` (local time and offset), or a number since the epoch, whose size tells whether
/// it counts seconds, milli-, micro- or nanoseconds.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    let with_offset = match text.split_once('Z') {
        Some((time, offset)) if !offset.is_empty() => format!("{time}{offset}"),
        _ => text.to_owned(),
    };
    if let Ok(time) = chrono::DateTime::parse_from_str(&with_offset, "%Y-%m-%dT%H:%M:%S%.f%z") {
        return Some(time.timestamp_micros());
    }
    since_epoch_us(text)
}

/// No float: a time with nine decimals has more digits than one holds.
fn since_epoch_us(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 19 || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    // Nanoseconds in one unit.
    let unit_ns: i128 = match whole.len() {
        ..=11 => 1_000_000_000,
        12..=14 => 1_000_000,
        15..=17 => 1_000,
        _ => 1,
    };
    let fraction = &fraction[..fraction.len().min(12)];
    let parts = 10_i128.pow(fraction.len() as u32);
    let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let ns = whole.parse::<i128>().ok()? * unit_ns + fraction * unit_ns / parts;
    i64::try_from(sign * ns / 1_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        let expected = Some(1_795_347_440_851_978);
        for text in [
            "2026-11-22T11:37:20.851978Z",
            "2026-11-22T13:37:20.851978+02:00",
            "2026-11-22T11:37:20.851978Z+0000",
            "2026-11-22T13:37:20.851978+0200",
            "1795347440.851978000",
            "1795347440851.978",
            "1795347440851978",
            "1795347440851978000",
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
        assert_eq!(parse_time("1554139867"), Some(1_554_139_867_000_000));
        assert_eq!(parse_time("-1.5"), Some(-1_500_000));
        for text in ["", "yesterday", "2026-11-22T11:37:20", "1e9", "--1", "1.2.3", "99999999999999999999"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn names_lead_nowhere() {
        assert_eq!(check_names("ward-3", "generic", "hfp_v2"), Ok(()));
        for (source, vendor, kind) in [
            ("a", "generic", "../x"),
            ("a", "../generic", "x"),
            ("a/b", "generic", "x"),
            ("", "generic", "x"),
            ("a", "generic", ""),
            ("a", "acme", "x"),
        ] {
            assert!(check_names(source, vendor, kind).is_err(), "{source} {vendor} {kind}");
        }
    }
}
