//! When each device was heard last, for `/metrics`: bounded, and never at the recording's cost.
//!
//! A device's id is in the payload, so it takes decoding to know it. At the most [`DECODED_MAX`] messages and
//! [`DECODED_BYTES_MAX`] of a source are decoded for that in a second; of a faster source it is a sample. Of each source
//! the [`DEVICES_MAX`] devices that were heard last are kept; which ones had to be forgotten is counted.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::decode::{Declaration, Decoder};
use crate::message::{Message, SourceHeader};

/// Devices of one source: each is a time series for whoever scrapes.
pub const DEVICES_MAX: usize = 500;

/// Messages that are decoded per second and source: at some microseconds each no burden on a core.
const DECODED_MAX: u32 = 256;
const DECODED_BYTES_MAX: usize = 1 << 20;

/// An id is a short text; a longer one is no label.
const ID_BYTES_MAX: usize = 128;

const SECOND_NS: u64 = 1_000_000_000;

/// The devices of one source.
#[derive(Debug)]
pub struct Devices(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    /// By kind; none for those in which no device is named.
    decoders: Vec<Option<Decoder>>,
    /// Wall clock, microseconds.
    last_us: HashMap<String, i64>,
    forgotten: u64,
    second: u64,
    decoded: u32,
    decoded_bytes: usize,
}

/// What is known at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicesSeen {
    /// By id: when it was heard last, microseconds since the Unix epoch.
    pub last_us: Vec<(String, i64)>,
    /// How often one had to make room for another.
    pub forgotten: u64,
}

impl Devices {
    pub fn new(header: &SourceHeader) -> Self {
        let decoder = |text: &String| {
            let declaration = Declaration::parse(text, &header.name).ok()?;
            declaration.names_devices().then(|| Decoder::new(Some(&declaration)))
        };
        let decoders = header.kinds.iter().map(|kind| kind.declaration.as_ref().and_then(decoder)).collect();
        Self(Mutex::new(Seen {
            decoders,
            last_us: HashMap::new(),
            forgotten: 0,
            second: 0,
            decoded: 0,
            decoded_bytes: 0,
        }))
    }

    /// A message has come.
    pub fn note(&self, message: &Message) {
        self.lock().note(message);
    }

    pub fn seen(&self) -> DevicesSeen {
        let seen = self.lock();
        let mut last_us: Vec<_> = seen.last_us.iter().map(|(id, us)| (id.clone(), *us)).collect();
        last_us.sort_unstable();
        DevicesSeen { last_us, forgotten: seen.forgotten }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn note(&mut self, message: &Message) {
        let second = message.at.steady_ns / SECOND_NS;
        if self.second != second {
            self.second = second;
            (self.decoded, self.decoded_bytes) = (0, 0);
            // Their columns are of no use, and grow with each message.
            for decoder in self.decoders.iter_mut().flatten() {
                drop(decoder.finish());
            }
        }
        if self.decoded >= DECODED_MAX || self.decoded_bytes + message.payload.len() > DECODED_BYTES_MAX {
            return;
        }
        let Some(Some(decoder)) = self.decoders.get_mut(usize::from(message.kind)) else { return };
        self.decoded += 1;
        self.decoded_bytes += message.payload.len();
        let decoded = decoder.push_decrypted(&message.channel, &message.payload, message.clear.as_deref());
        let Some(id) = decoded.device_id.filter(|id| id.len() <= ID_BYTES_MAX) else { return };
        if let Some(last_us) = self.last_us.get_mut(id) {
            *last_us = message.at.wall_us;
            return;
        }
        let id = id.to_owned();
        if self.last_us.len() >= DEVICES_MAX {
            let oldest = self.last_us.iter().min_by_key(|(_, us)| **us).map(|(id, _)| id.clone());
            if let Some(oldest) = oldest {
                self.last_us.remove(&oldest);
                self.forgotten += 1;
            }
        }
        self.last_us.insert(id, message.at.wall_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::message::KindHeader;

    const DECLARATION: &str = r#"
kind = "reading"
meaning = "A reading."
device_id = ["sensor"]

[[field]]
name = "sensor"
id = 100
type = "string"
path = "id"
role = "identifier"
meaning = "The sensor."
"#;

    fn devices() -> Devices {
        let declared = KindHeader { name: "reading".into(), declaration: Some(DECLARATION.into()) };
        let plain = KindHeader { name: "link".into(), declaration: None };
        let (kinds, settings) = (vec![declared, plain], serde_json::Value::Null);
        let header = SourceHeader { name: "s".into(), vendor: "generic".into(), kinds, settings };
        Devices::new(&header)
    }

    fn message(kind: u16, id: &str, millis: u64) -> Message {
        Message {
            source: 0,
            kind,
            connection: 0,
            at: Now { wall_us: (millis * 1_000) as i64, steady_ns: millis * 1_000_000 },
            channel: "c".into(),
            mqtt: None,
            is_binary: false,
            headers: None,
            duplicate_of: None,
            payload: format!(r#"{{"id": "{id}"}}"#).into(),
            clear: None,
        }
    }

    #[test]
    fn the_devices_that_were_heard_last_are_kept() {
        let devices = devices();
        devices.note(&message(1, "in a kind that names none", 0));
        for n in 0..=DEVICES_MAX as u64 {
            devices.note(&message(0, &format!("d{n}"), 10 * n));
            // One that is heard all the time is never the one to go.
            devices.note(&message(0, "d0", 10 * n + 1));
        }
        let seen = devices.seen();
        assert_eq!((seen.last_us.len(), seen.forgotten), (DEVICES_MAX, 1));
        let last = |id: &str| seen.last_us.iter().find(|(known, _)| known == id).map(|(_, us)| *us);
        assert_eq!(last("d0"), Some((10 * DEVICES_MAX as i64 + 1) * 1_000));
        assert_eq!((last("d1"), last("d2")), (None, Some(20_000)));
    }

    #[test]
    fn a_fast_source_is_sampled_and_what_is_no_id_is_no_label() {
        let devices = devices();
        for n in 0..10_000 {
            devices.note(&message(0, &format!("d{}", n % 400), 5));
        }
        assert_eq!(devices.seen().last_us.len(), DECODED_MAX as usize);
        devices.note(&message(0, "next second", 1_000));
        devices.note(&message(0, &"x".repeat(ID_BYTES_MAX + 1), 1_000));
        assert_eq!(devices.seen().last_us.len(), DECODED_MAX as usize + 1);
    }
}
