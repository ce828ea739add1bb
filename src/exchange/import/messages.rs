//! MCAP: ours by the envelopes beside the messages, others' by their topics.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::fields::{Bad, Defaults, Fields, Record};
use super::lines::Line;
use super::{ImportOptions, Pass};
use crate::archive::Sidecar;
use crate::exchange::error::ExchangeError;
use crate::exchange::mcap::{Channel, McapReader, Message, Next, SESSION};
use crate::message::SessionId;

#[derive(Debug)]
pub(super) struct MessageReader {
    path: PathBuf,
    file: McapReader,
    defaults: Defaults,
    sidecars: HashMap<SessionId, Sidecar>,
}

impl MessageReader {
    pub(super) fn open(path: &Path, options: &ImportOptions) -> Result<Self, ExchangeError> {
        let file = McapReader::open(path)?;
        Ok(Self { path: path.to_owned(), file, defaults: Defaults::new(options), sidecars: HashMap::new() })
    }

    pub(super) fn offset(&self) -> u64 {
        self.file.offset()
    }

    pub(super) fn sidecar(&self, session_id: SessionId) -> Option<Sidecar> {
        self.sidecars.get(&session_id).cloned()
    }

    pub(super) fn next(&mut self) -> Result<Option<Result<Record, Bad>>, ExchangeError> {
        loop {
            let at = self.file.offset();
            match self.file.next() {
                Ok(Next::End) => return Ok(None),
                Ok(Next::Metadata(name, map)) => {
                    let sidecar = map.get("sidecar").filter(|_| name == SESSION);
                    let sidecar = sidecar.and_then(|json| serde_json::from_str::<Sidecar>(json).ok());
                    self.sidecars.extend(sidecar.map(|sidecar| (sidecar.session_id, sidecar)));
                }
                Ok(Next::Message(message)) => {
                    let offset = message.offset;
                    return Ok(Some(match fields(&message) {
                        Ok(fields) => self.defaults.record(fields, None, offset),
                        Err(what) => Err(Bad { line: None, offset, what }),
                    }));
                }
                Err(what) => {
                    let place = format!("byte {at}");
                    return Err(ExchangeError::Bad { path: self.path.clone(), place, what });
                }
            }
        }
    }
}

fn fields(message: &Message) -> Result<Fields<'_>, String> {
    let Message { channel, log_time_ns, data, envelope, .. } = message;
    if let Some(envelope) = envelope {
        let text = std::str::from_utf8(envelope).map_err(|_| "its envelope is no text")?;
        let line: Line<'_> = serde_json::from_str(text).map_err(|error| format!("its envelope: {error}"))?;
        let fields = line.fields(Pass::Take, &|text| Bytes::from(text.into_bytes()))?;
        return Ok(Fields { payload: data.clone(), is_reprinted: false, ..fields });
    }
    let Channel { topic, encoding, metadata } = &**channel;
    let named =
        |name: &str| metadata.get(&format!("telereel.{name}")).map(|text| Cow::Borrowed(text.as_str()));
    Ok(Fields {
        vendor: named("vendor"),
        kind: named("kind"),
        source: named("source"),
        site: named("site"),
        // The rows that are left of a session are no longer it: they come in as a new one.
        channel: named("channel").or_else(|| Some(topic.into())),
        received_at_us: i64::try_from(log_time_ns / 1_000).ok(),
        is_binary: Some(named("vendor").is_none() && encoding != "json"),
        payload: data.clone(),
        ..Fields::default()
    })
}
