//! The vendor's broker, where a replay's MQTT endpoint stands for it: whose topics a user may subscribe to, and the
//! answers to commands that clients publish.
//!
//! It answers only on access keys under which something is replayed. Which devices there are is learnt from what is
//! replayed: one that has not been seen is not registered, one that has been silent for longer than the vendor's
//! longest interval of reports is not online. What it answers is no part of the replay, of its report and digest.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::command::{self, Device};
use crate::clock::Now;
use crate::message::Row;
use crate::vendors::Recorded;
use crate::vendors::service::{Answer, MqttVendor};

/// How long the way to a device and back takes. Not documented.
const ANSWER_AFTER_NS: u64 = 1_000_000_000;

/// Devices report every 5 to 600 s; twice that, and nobody would wait for one more.
const OFFLINE_AFTER_US: i64 = 1_200_000_000;

/// Answers that wait at a time; what is asked beyond it is not answered.
const WAITING_MAX: usize = 1_024;

/// Devices that are known at a time: far more than one access key has.
const DEVICES_MAX: usize = 100_000;

#[derive(Debug)]
pub(in crate::vendors) struct Platform {
    /// Under which something is replayed.
    access_keys: Vec<String>,
    /// Where credentials are required: the access keys of each user who is this vendor's.
    users: Option<HashMap<String, Vec<String>>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By `{access key}/{device}`: when the latest was recorded, in microseconds since the Unix epoch.
    devices: HashMap<Box<str>, i64>,
    /// What the recording's clock showed last.
    latest_us: i64,
    /// The earliest first: all take the same time.
    waiting: VecDeque<(u64, Answer)>,
}

impl Platform {
    /// None where nothing from the vendor's broker is replayed.
    pub(in crate::vendors) fn of(recorded: &Recorded) -> Option<Self> {
        let keys = || {
            recorded.sources.iter().filter(|source| source.vendor == "jointech").filter_map(|source| {
                let is_mqtt = source.settings.get("transport")?.as_str()? == "mqtt";
                Some((&source.name, source.settings.get("access_key")?.as_str()?)).filter(|_| is_mqtt)
            })
        };
        let mut access_keys: Vec<String> = keys().map(|(_, key)| key.to_owned()).collect();
        access_keys.sort();
        access_keys.dedup();
        if access_keys.is_empty() {
            return None;
        }
        let users = || {
            let mut users: HashMap<String, Vec<String>> = HashMap::new();
            let named = |credential: &&crate::vendors::Credential| credential.username.is_some();
            let (own, others): (Vec<_>, Vec<_>) =
                recorded.credentials.iter().filter(named).partition(|c| c.vendor == "jointech");
            for credential in own {
                let known = keys().filter(|(name, _)| **name == credential.source);
                let mut known: Vec<String> = known.map(|(_, key)| key.to_owned()).collect();
                if known.is_empty() {
                    // The source was called otherwise when it was recorded.
                    known.clone_from(&access_keys);
                }
                users.entry(credential.username.clone().unwrap_or_default()).or_default().extend(known);
            }
            // Who is somebody else's as well is under nobody's rules.
            others.iter().filter_map(|other| other.username.as_ref()).for_each(|name| {
                users.remove(name);
            });
            users
        };
        let users = (!recorded.any_credentials).then(users);
        Some(Self { access_keys, users, state: Mutex::default() })
    }

    /// Whose a user is said to be; none: anybody's.
    fn keys_of(&self, username: Option<&str>) -> Option<&[String]> {
        self.users.as_ref()?.get(username?).map(Vec::as_slice)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn device(&self, key_and_device: &str) -> Device {
        match self.devices.get(key_and_device) {
            None => Device::Unknown,
            Some(seen_us) if self.latest_us.saturating_sub(*seen_us) > OFFLINE_AFTER_US => Device::Offline,
            Some(_) => Device::Online,
        }
    }
}

/// `{access key}/{device}` of a topic `upload/{access key}/{device}/…`.
fn key_and_device(topic: &str) -> Option<&str> {
    let rest = topic.strip_prefix("upload/")?;
    let mut slashes = rest.match_indices('/').map(|(at, _)| at);
    let (_, end) = (slashes.next()?, slashes.next()?);
    rest.get(..end)
}

impl MqttVendor for Platform {
    fn passes(&self, row: &Row) {
        let State { devices, latest_us, .. } = &mut *self.state();
        // Not the latest of all: a replay may go round, or back.
        *latest_us = row.received_at_us;
        if row.mqtt.is_none() || &*row.vendor != "jointech" {
            return;
        }
        let Some(device) = key_and_device(&row.channel) else { return };
        if let Some(seen_us) = devices.get_mut(device) {
            *seen_us = row.received_at_us;
        } else if devices.len() < DEVICES_MAX {
            devices.insert(device.into(), row.received_at_us);
        }
    }

    /// A foreign access key is refused, and a wildcard in its place.
    fn grants(&self, username: Option<&str>, filter: &str) -> bool {
        let Some(keys) = self.keys_of(username) else { return true };
        let mut levels = filter.split('/');
        match (levels.next(), levels.next()) {
            (Some("#"), _) => false,
            (Some("upload" | "download" | "+"), Some(key)) => keys.iter().any(|own| own == key),
            // Nothing of the vendor's.
            _ => true,
        }
    }

    fn published(&self, now: Now, username: Option<&str>, topic: &str, payload: &[u8]) {
        let mut levels = topic.split('/');
        let (Some("download"), Some(key), Some(device_id), Some("cmd"), None) =
            (levels.next(), levels.next(), levels.next(), levels.next(), levels.next())
        else {
            return;
        };
        let is_known = self.access_keys.iter().any(|known| known == key);
        if !is_known || self.keys_of(username).is_some_and(|keys| !keys.iter().any(|own| own == key)) {
            return;
        }
        let mut state = self.state();
        let device = state.device(&format!("{key}/{device_id}"));
        let at_us = now.wall_us.saturating_add((ANSWER_AFTER_NS / 1_000) as i64);
        match command::answer(device_id, device, payload, at_us) {
            Err(why) => tracing::info!("jointech: a command to {device_id:?} is not answered: {why}"),
            Ok(_) if state.waiting.len() >= WAITING_MAX => {
                tracing::info!("jointech: a command to {device_id:?} is not answered: too many wait");
            }
            Ok(payload) => {
                let topic = format!("upload/{key}/{device_id}/cmd");
                let due_ns = now.steady_ns.saturating_add(ANSWER_AFTER_NS);
                state.waiting.push_back((due_ns, Answer { topic, payload, qos: 1 }));
            }
        }
    }

    fn due(&self, now: Now) -> Vec<Answer> {
        let waiting = &mut self.state().waiting;
        let due = waiting.iter().take_while(|(due_ns, _)| *due_ns <= now.steady_ns).count();
        waiting.drain(..due).map(|(_, answer)| answer).collect()
    }

    fn wake_at(&self) -> Option<u64> {
        self.state().waiting.front().map(|(due_ns, _)| *due_ns)
    }
}

#[cfg(test)]
mod tests;
