//! What flows through Telereel: a message on its way into the journal, the description of the
//! session it belongs to, and the row that an archive gives back.
//!
//! A payload is `Bytes` from the socket to the disk and is never parsed and printed again. Names
//! (sources, kinds) are spelled once, in [`SessionHeader`]; a [`Message`] carries indices.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Now;

/// The kinds that every vendor has after its own, in this order.
pub const COMMON_KINDS: [&str; 3] = ["control", "link", "other"];

/// The time part of an id has 48 bits.
const MILLIS_MAX: i64 = (1 << 48) - 1;

/// One recording's identity: a UUIDv7, so that ids sort by when their sessions began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Uuid);

impl SessionId {
    /// A new id whose time part is `wall_us` (microseconds since the Unix epoch).
    pub fn new(wall_us: i64, random: [u8; 10]) -> Self {
        let millis = u64::try_from(wall_us / 1_000).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// The same for a session that begins after another: its id is the later one, whatever the wall clock says by now.
    pub fn after(before: Option<Self>, wall_us: i64, random: [u8; 10]) -> Self {
        let later_us = before.map_or(0, |Self(before)| {
            let millis = before.as_bytes()[..6].iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte));
            (millis + 1).min(MILLIS_MAX) * 1_000
        });
        Self::new(wall_us.max(later_us), random)
    }

    /// Whether it tells when its session began, as ours do (UUIDv7): others sort by chance.
    pub fn is_timed(&self) -> bool {
        self.0.get_version_num() == 7
    }

    /// The 16 bytes in the order in which they are printed.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SessionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// The MQTT flags of a PUBLISH as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mqtt {
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
}

/// Webhook headers: lower-case unique names in sorted order, repeats joined by `, `, secrets left out.
pub type Headers = Vec<(String, String)>;

/// One accepted input, before the journal has given it a place (`seq`) in its session.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Index into [`SessionHeader::sources`].
    pub source: u16,
    /// Index into that source's [`SourceHeader::kinds`].
    pub kind: u16,
    /// The n-th connection of the source in this session, from 0; 0 for webhooks.
    pub connection: u32,
    /// When it arrived, on both clocks.
    pub at: Now,
    /// MQTT topic, webhook path and query (redacted), WebSocket path without query, `link`.
    pub channel: ByteString,
    /// Present for MQTT only.
    pub mqtt: Option<Mqtt>,
    /// A binary WebSocket frame.
    pub is_binary: bool,
    /// Present for webhooks only.
    pub headers: Option<Headers>,
    /// The journal's ticket of the first delivery, where an id of the vendor's proves that this is one more;
    /// the journal makes it a `seq`, if that is one of the same session.
    pub duplicate_of: Option<u64>,
    /// The exact bytes.
    pub payload: Bytes,
    /// The decrypted content, where the vendor encrypts.
    pub clear: Option<Bytes>,
}

/// What recovery needs to know about a session without its configuration: kept as JSON at the head
/// of every journal part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionHeader {
    pub session_id: SessionId,
    pub name: String,
    /// From the configuration, "" by default.
    pub site: String,
    /// Wall clock at the session's start, microseconds since the Unix epoch.
    pub started_at_us: i64,
    pub sources: Vec<SourceHeader>,
}

/// One source as the session knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceHeader {
    pub name: String,
    pub vendor: String,
    /// The vendor's kinds in the order of its declarations, then [`COMMON_KINDS`].
    pub kinds: Vec<KindHeader>,
    /// The effective options, without secrets.
    pub settings: serde_json::Value,
}

/// One kind, with the declaration that its typed columns are decoded by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindHeader {
    pub name: String,
    /// The declaration's text (TOML); none for kinds that have the envelope only.
    pub declaration: Option<String>,
}

/// One archived message: the envelope of the archive's files, with the folder names.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub vendor: Arc<str>,
    pub kind: Arc<str>,
    pub site: Arc<str>,
    pub session_id: SessionId,
    pub source: Arc<str>,
    pub connection: i32,
    pub seq: u64,
    /// Microseconds since the Unix epoch.
    pub received_at_us: i64,
    /// Steady nanoseconds since the session's start.
    pub elapsed_ns: u64,
    pub channel: ByteString,
    pub device_id: Option<ByteString>,
    /// Microseconds since the Unix epoch.
    pub event_at_us: Option<i64>,
    pub mqtt: Option<Mqtt>,
    pub is_binary: bool,
    pub headers: Option<Headers>,
    pub duplicate_of: Option<u64>,
    pub payload: Bytes,
    pub clear: Option<Bytes>,
    pub decode_error: Option<ByteString>,
}

impl Row {
    /// The same in memory of its own, for who keeps it for long: rows of an archive share theirs with a few others.
    pub fn detached(&self) -> Self {
        Self {
            channel: ByteString::from(&*self.channel),
            device_id: self.device_id.as_deref().map(ByteString::from),
            payload: Bytes::copy_from_slice(&self.payload),
            clear: self.clear.as_deref().map(Bytes::copy_from_slice),
            ..self.clone()
        }
    }
}

/// Which rows are wanted: an empty list means all. Lists are joined by AND, their entries by OR.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    pub vendors: Vec<String>,
    pub sources: Vec<String>,
    pub kinds: Vec<String>,
    pub devices: Vec<String>,
    /// Patterns with `*` (any run of characters) and `?` (one character).
    pub channels: Vec<String>,
}

impl Selection {
    /// Whether `row` is selected.
    pub fn matches(&self, row: &Row) -> bool {
        has(&self.vendors, &row.vendor)
            && has(&self.sources, &row.source)
            && has(&self.kinds, &row.kind)
            && (self.devices.is_empty() || row.device_id.as_ref().is_some_and(|d| has(&self.devices, d)))
            && (self.channels.is_empty()
                || self.channels.iter().any(|p| glob(p.as_bytes(), row.channel.as_bytes())))
    }
}

fn has(wanted: &[String], value: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|w| w == value)
}

/// Matches `*` and `?`; works on bytes, where `?` takes one whole UTF-8 character.
pub(crate) fn glob(mut pattern: &[u8], mut text: &[u8]) -> bool {
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (Some((b'*', rest)), _) => {
                retry = Some((rest, text));
                pattern = rest;
                continue;
            }
            (Some((b'?', rest)), Some(_)) => {
                pattern = rest;
                text = &text[char_len(text)..];
                continue;
            }
            (Some((p, p_rest)), Some((t, t_rest))) if p == t => {
                pattern = p_rest;
                text = t_rest;
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        match retry {
            Some((after_star, from)) if !from.is_empty() => {
                text = &from[1..];
                pattern = after_star;
                retry = Some((after_star, text));
            }
            _ => return false,
        }
    }
}

fn char_len(text: &[u8]) -> usize {
    1 + text[1..].iter().take_while(|b| **b & 0xC0 == 0x80).count()
}

/// Whether a segment of this URL path is `.` or `..`, or may become one on its way: with `%2e` for a dot, `%2f` or `\`
/// for a slash, or parameters after a `;`. Such a path leads elsewhere than it begins.
pub fn has_dot_segment(path: &str) -> bool {
    let plain = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    let mut segments = plain.split(['/', '\\']).map(|segment| segment.split(';').next().unwrap_or(segment));
    segments.any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_a_shell_does() {
        let yes =
            [("*", ""), ("a*c", "abbc"), ("a*c", "ac"), ("*/42/*", "up/42/location"), ("?b", "äb"), ("", "")];
        let no = [("a", ""), ("a*c", "ab"), ("?", "ab"), ("a*b*c", "acb"), ("", "a")];
        for (pattern, text) in yes {
            assert!(glob(pattern.as_bytes(), text.as_bytes()), "{pattern} should match {text}");
        }
        for (pattern, text) in no {
            assert!(!glob(pattern.as_bytes(), text.as_bytes()), "{pattern} should not match {text}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_known() {
        for path in [
            "/..",
            "/a/../b",
            "/./a",
            "/a/%2E%2e/b",
            "/a/.%2e",
            "/a%2F..%2fb",
            "/a\\..\\b",
            "/a/..;x=1/b",
            "..%5ca",
        ] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in ["/", "", "/a.b/...", "/v1.2/..a", "/a%252e", "/;/a", "/a..b"] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }

    #[test]
    fn session_ids_sort_by_time() {
        let early = SessionId::new(1_000_000, [0xFF; 10]);
        let late = SessionId::new(2_000_000, [0; 10]);
        assert!(early < late);
        assert_eq!(early.to_string().parse::<SessionId>().unwrap(), early);
    }

    #[test]
    fn an_id_sorts_behind_the_one_before_it_by_whatever_clock() {
        let first = SessionId::after(None, 5_000_999, [0xFF; 10]);
        assert_eq!(first, SessionId::new(5_000_000, [0xFF; 10]));
        for wall_us in [i64::MIN, 0, 5_000_000, 5_001_000] {
            assert!(SessionId::after(Some(first), wall_us, [0; 10]) > first, "{wall_us}");
        }
        assert_eq!(SessionId::after(Some(first), 9_000_000, [7; 10]), SessionId::new(9_000_000, [7; 10]));
        // Somebody's who has come to the end of time.
        let last = SessionId::new(MILLIS_MAX * 1_000, [0; 10]);
        assert!(SessionId::after(Some(last), 0, [1; 10]) > last);
    }
}
