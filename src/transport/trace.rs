//! The trace of a replay: a JSON line for each message sent and for each thing a client did.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::fanout::Emission;
use crate::disk::create_private;
use crate::message::SessionId;

/// Writes the trace. A failed write ends the trace, is told by [`Trace::finish`], and does not end
/// the replay.
#[derive(Debug)]
pub struct Trace {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: BufWriter<File>,
    failed: Option<io::Error>,
}

#[derive(Serialize)]
struct Sent<'a> {
    event: &'a str,
    client: u64,
    session_id: SessionId,
    seq: u64,
    kind: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    due_ns: Option<u64>,
    sent_ns: u64,
}

#[derive(Serialize)]
struct Fault<'a, S> {
    event: &'a str,
    fault: &'a str,
    #[serde(flatten)]
    struck: &'a S,
    at_ns: u64,
}

#[derive(Serialize)]
struct Did<'a> {
    event: &'a str,
    client: u64,
    endpoint: &'a str,
    at_ns: u64,
    detail: Value,
}

impl Trace {
    /// Writes to `path` from its start. All times are steady nanoseconds (`CLOCK_BOOTTIME`).
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 16, create_private(path)?);
        Ok(Self { inner: Mutex::new(Inner { file, failed: None }) })
    }

    /// `emission` was flushed to `client` at `sent_ns`; over MQTT, on `topic`.
    pub fn sent(&self, client: u64, emission: &Emission, topic: Option<&str>, sent_ns: u64) {
        self.write(&Sent {
            event: if emission.is_retold() { "state" } else { "sent" },
            client,
            session_id: emission.row.session_id,
            seq: emission.row.seq,
            kind: &emission.row.kind,
            source: &emission.row.source,
            topic,
            index: (!emission.is_retold()).then_some(emission.index),
            due_ns: emission.due_ns,
            sent_ns,
        });
    }

    /// A fault did something to the stream.
    pub fn fault(&self, fault: &str, struck: &impl Serialize, at_ns: u64) {
        self.write(&Fault { event: "fault", fault, struck, at_ns });
    }

    /// A request was answered: a vendor's REST call, or whatever else was no upgrade.
    pub fn http(&self, method: &str, path: &str, status: u16, at_ns: u64) {
        self.write(
            &json!({"event": "http", "at_ns": at_ns, "method": method, "path": path, "status": status}),
        );
    }

    /// From `at_ns` on exactly these sources are down.
    pub fn outages(&self, down: &[Value], at_ns: u64) {
        self.write(&json!({"event": "outages", "at_ns": at_ns, "down": down}));
    }

    /// `client` sent or answered something.
    pub fn client(&self, client: u64, endpoint: &str, event: &str, detail: Value, at_ns: u64) {
        self.write(&Did { event, client, endpoint, at_ns, detail });
    }

    /// Writes out what is buffered; the first error of the whole trace, if there was one.
    pub fn finish(&self) -> io::Result<()> {
        let mut inner = self.lock();
        match inner.failed.take() {
            Some(error) => Err(error),
            None => inner.file.flush(),
        }
    }

    fn write(&self, line: &impl Serialize) {
        let mut inner = self.lock();
        if inner.failed.is_some() {
            return;
        }
        let written = serde_json::to_writer(&mut inner.file, line)
            .map_err(io::Error::from)
            .and_then(|()| inner.file.write_all(b"\n"));
        if let Err(error) = written {
            inner.failed = Some(error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of what a client says: a trace is read by people and by tests, and no copy of a stream.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// What a client's text frame says, without the values of members that carry credentials.
pub fn without_secrets(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(mut value) => {
            mask(&mut value);
            if text.len() <= TEXT_BYTES_MAX { value } else { Value::from(cut(&value.to_string())) }
        }
        Err(_) => Value::from(cut(text)),
    }
}

/// The bytes that a client sent: their number, and `payload` as text or `payload_base64`; `cut` where that is
/// not all of them. Members of JSON that carry credentials are masked.
pub fn bytes_of(payload: &[u8]) -> Map<String, Value> {
    let mut detail = Map::new();
    detail.insert("bytes".to_owned(), json!(payload.len()));
    let is_cut = match std::str::from_utf8(payload) {
        Ok(text) => {
            let text = masked(text);
            detail.insert("payload".to_owned(), Value::from(cut(&text)));
            text.len() > TEXT_BYTES_MAX
        }
        Err(_) => {
            let shown = &payload[..payload.len().min(TEXT_BYTES_MAX)];
            detail.insert("payload_base64".to_owned(), Value::from(STANDARD.encode(shown)));
            shown.len() < payload.len()
        }
    };
    if is_cut {
        detail.insert("cut".to_owned(), json!(true));
    }
    detail
}

/// A client's PUBLISH.
pub fn publication(topic: &str, qos: u8, retain: bool, payload: &[u8]) -> Value {
    let mut detail = Map::new();
    detail.insert("topic".to_owned(), json!(topic));
    detail.insert("qos".to_owned(), json!(qos));
    detail.insert("retain".to_owned(), json!(retain));
    detail.extend(bytes_of(payload));
    Value::Object(detail)
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// The text as it is, unless it is JSON with credentials in it.
fn masked(text: &str) -> Cow<'_, str> {
    if !text.trim_start().starts_with(['{', '[']) {
        return Cow::Borrowed(text);
    }
    match serde_json::from_str::<Value>(text) {
        Ok(mut value) => match mask(&mut value) {
            true => Cow::Owned(value.to_string()),
            false => Cow::Borrowed(text),
        },
        Err(_) => Cow::Borrowed(text),
    }
}

/// Whether there was something to mask.
fn mask(value: &mut Value) -> bool {
    const NAMES: [&str; 5] = ["token", "secret", "password", "key", "authorization"];
    let mut found = false;
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.to_ascii_lowercase();
                if NAMES.iter().any(|secret| name.contains(secret)) {
                    *member = Value::from("…");
                    found = true;
                } else {
                    found |= mask(member);
                }
            }
        }
        Value::Array(entries) => entries.iter_mut().for_each(|entry| found |= mask(entry)),
        Value::String(text) => {
            if let Cow::Owned(masked) = masked(text) {
                *text = masked;
                found = true;
            }
        }
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::Clock;
    use crate::message::Selection;
    use crate::transport::fanout::tests::emission;
    use crate::transport::fanout::{Fanout, Flow, Taken, Wish};

    #[test]
    fn credentials_are_masked_at_any_depth() {
        let seen =
            without_secrets(r#"{"type":"realtime_register","token":"abc","a":[{"Access_Token":"x","n":1}]}"#);
        assert_eq!(seen["token"], "…");
        assert_eq!(seen["a"][0]["Access_Token"], "…");
        assert_eq!(seen["a"][0]["n"], 1);
        assert_eq!(without_secrets("not json"), Value::from("not json"));
        let inside =
            json!({"body": json!({"data": json!({"token": "abc", "n": 1}).to_string()}).to_string()});
        let seen = without_secrets(&inside.to_string()).to_string();
        assert!(!seen.contains("abc") && seen.contains("data"), "{seen}");
        assert_eq!(
            without_secrets(r#"{"a":"{ \"n\": 1 }"}"#)["a"],
            r#"{ "n": 1 }"#,
            "nothing to mask, nothing changed"
        );
    }

    #[test]
    fn what_was_sent_is_told_with_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let trace = Arc::new(Trace::create(&dir.path().join("t")).unwrap());
        let fanout = Fanout::new(Clock::System, Some(Arc::clone(&trace)));
        let wishes = [Wish::Topics(vec![("#".into(), 0)]), Wish::Rows(Selection::default())];
        let members = wishes.map(|wish| {
            let member = fanout.join("x").unwrap();
            member.wish(wish);
            member
        });
        fanout.deliver(&emission(3, "a/b", 0, 1), Flow::Drop, &CancellationToken::new());
        for member in &members {
            let mut batch = Vec::new();
            assert_eq!(member.take(&mut batch, 1, 1).now_or_never(), Some(Taken::Some));
            member.sent(&batch);
        }
        trace.finish().unwrap();
        let lines = std::fs::read_to_string(dir.path().join("t")).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (line, topic) in lines.iter().zip([json!("a/b"), Value::Null]) {
            assert_eq!(
                (&line["kind"], &line["source"], &line["topic"]),
                (&json!("message"), &json!("src"), &topic)
            );
        }
    }

    #[test]
    fn what_a_client_publishes_is_told_as_it_is_and_bounded() {
        let told = |payload: &[u8]| Value::Object(bytes_of(payload));
        let answer = r#"{ "cmd":"unlock",  "n":1.0 }"#;
        assert_eq!(told(answer.as_bytes()), json!({"bytes": answer.len(), "payload": answer}));
        assert_eq!(told(b"\xff\0"), json!({"bytes": 2, "payload_base64": "/wA="}));
        assert_eq!(told(br#"{"password":"p","user":"u"}"#)["payload"], r#"{"password":"…","user":"u"}"#);
        let long = "ä".repeat(TEXT_BYTES_MAX);
        let told_long = told(long.as_bytes());
        assert_eq!((told_long["cut"].clone(), told_long["bytes"].clone()), (json!(true), json!(long.len())));
        assert_eq!(told_long["payload"].as_str().unwrap().len(), TEXT_BYTES_MAX);
        assert_eq!(told(&[0xff; TEXT_BYTES_MAX + 1])["cut"], true);
        assert_eq!(publication("up/1", 1, true, b"x")["topic"], "up/1");
    }

    #[test]
    fn a_long_frame_shows_no_secret_where_it_is_cut() {
        let text = json!({"a": "x".repeat(TEXT_BYTES_MAX), "token": "geheim"}).to_string();
        let told = without_secrets(&text).to_string();
        assert!(told.len() <= TEXT_BYTES_MAX + 99 && !told.contains("geheim"));
        let text = json!({"token": "geheim", "z": "x".repeat(TEXT_BYTES_MAX)}).to_string();
        assert!(!without_secrets(&text).to_string().contains("geheim"));
    }
}
