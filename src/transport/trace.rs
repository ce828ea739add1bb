//! The trace of a replay: a JSON line for each message sent and for each thing a client did.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};

use super::fanout::Emission;
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
    index: u64,
    due_ns: Option<u64>,
    sent_ns: u64,
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
        let file = BufWriter::with_capacity(1 << 16, File::create(path)?);
        Ok(Self { inner: Mutex::new(Inner { file, failed: None }) })
    }

    /// `emission` was flushed to `client` at `sent_ns`.
    pub fn sent(&self, client: u64, emission: &Emission, sent_ns: u64) {
        self.write(&Sent {
            event: if emission.is_retold() { "state" } else { "sent" },
            client,
            session_id: emission.row.session_id,
            seq: emission.row.seq,
            index: emission.index,
            due_ns: emission.due_ns,
            sent_ns,
        });
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

/// What a client's text frame says, without the values of members that carry credentials.
pub fn without_secrets(text: &str) -> Value {
    /// Longer frames are cut: a trace is read by people.
    const TEXT_CHARS_MAX: usize = 2_048;
    match serde_json::from_str(text) {
        Ok(mut value) => {
            mask(&mut value);
            value
        }
        Err(_) => Value::String(text.chars().take(TEXT_CHARS_MAX).collect()),
    }
}

fn mask(value: &mut Value) {
    const NAMES: [&str; 5] = ["token", "secret", "password", "key", "authorization"];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.to_ascii_lowercase();
                if NAMES.iter().any(|secret| name.contains(secret)) {
                    *member = Value::from("…");
                } else {
                    mask(member);
                }
            }
        }
        Value::Array(entries) => entries.iter_mut().for_each(mask),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_masked_at_any_depth() {
        let seen =
            without_secrets(r#"{"type":"realtime_register","token":"abc","a":[{"Access_Token":"x","n":1}]}"#);
        assert_eq!(seen["token"], "…");
        assert_eq!(seen["a"][0]["Access_Token"], "…");
        assert_eq!(seen["a"][0]["n"], 1);
        assert_eq!(without_secrets("not json"), Value::from("not json"));
    }
}
