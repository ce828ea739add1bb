//! What the archive holds of what was sent: read once from each session, and compared with what the senders know.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::Value;

use crate::bus::Bus;
use crate::load::Poster;
use crate::support::telereel;

/// How often each message is in the archive, over all sessions.
#[derive(Debug, Default)]
pub struct Tally {
    read: HashSet<String>,
    /// By poster and number.
    hooks: BTreeMap<(u64, u64), u64>,
    bus: BTreeMap<u64, u64>,
    /// The next number of each WebSocket connection.
    streams: BTreeMap<u64, u64>,
}

impl Tally {
    /// Reads the sessions that are new since the last time; the names of those that hold something.
    pub fn read(&mut self, folder: &Path) -> Vec<String> {
        let list: Value = serde_json::from_str(&telereel(folder, &["list", "--json"], 0)).unwrap();
        let sessions = list.as_array().or_else(|| list["sessions"].as_array()).unwrap();
        let id = |session: &Value| session["session_id"].as_str().unwrap().to_owned();
        let is_new = |session: &&Value| !self.read.contains(&id(session));
        // Ids are in the order of time, and a stream goes on from one session in the next.
        let mut new: Vec<_> = sessions.iter().filter(is_new).collect();
        new.sort_by_key(|session| id(session));
        let mut holding = Vec::new();
        for session in new {
            let (id, rows) = (id(session), session["messages"].as_u64().unwrap());
            if rows > 0 {
                holding.push(id.clone());
                self.note(
                    &id,
                    &telereel(
                        folder,
                        &["cat", &id, "--kind", "link", "--kind", "control", "--kind", "message"],
                        0,
                    ),
                );
            }
            self.read.insert(id);
        }
        holding
    }

    fn note(&mut self, session: &str, rows: &str) {
        for (seq, line) in rows.lines().enumerate() {
            let row: Value = serde_json::from_str(line).unwrap();
            assert_eq!(row["seq"], seq, "{session}: seq has a gap");
            if row["kind"] != "message" {
                assert!(!row["payload"].as_str().unwrap().contains("overflow"), "{session}: {row}");
                continue;
            }
            let body: Value = serde_json::from_str(row["payload"].as_str().unwrap()).unwrap();
            let number = |value: &Value| value.as_u64().unwrap();
            match row["source"].as_str().unwrap() {
                "hooks" => *self.hooks.entry((number(&body["poster"]), number(&body["n"]))).or_default() += 1,
                "bus" => *self.bus.entry(number(&body["bus"])).or_default() += 1,
                "stream" => {
                    let next = self.streams.entry(number(&body[0])).or_default();
                    assert_eq!(number(&body[1]), *next, "{session}: the stream is not what was sent");
                    *next += 1;
                }
                source => panic!("{session}: {source}"),
            }
        }
    }

    /// Nothing acknowledged is missing, nothing is there more often than it was delivered.
    pub fn check(&self, posters: &[Poster], bus: &Bus) {
        for (id, poster) in (0_u64..).zip(posters) {
            for n in 0..poster.acknowledged {
                assert!(self.hooks.contains_key(&(id, n)), "body {n} of poster {id} was acknowledged");
            }
        }
        for (&(id, n), &times) in &self.hooks {
            let delivered = posters[id as usize].delivered(n);
            assert!(times <= delivered, "body {n} of poster {id}: delivered {delivered}, stored {times}");
        }
        bus.passed(|passed| {
            for n in &passed.acknowledged {
                assert!(self.bus.contains_key(n), "message {n} of the bus was acknowledged");
            }
            for (n, &times) in &self.bus {
                let delivered = passed.delivered[n];
                assert!(times <= delivered, "message {n} of the bus: delivered {delivered}, stored {times}");
            }
        });
    }

    pub fn has_all_of_bus(&self, published: u64) -> bool {
        self.bus.keys().copied().eq(0..published)
    }

    /// What was stored, over all rounds: webhooks, messages of the bus and of streams, and of the first two those
    /// that came twice.
    pub fn summary(&self) -> String {
        let twice = |times: &&u64| **times > 1;
        format!(
            "{} webhooks ({} of them twice), {} by MQTT ({} of them twice), {} by WebSocket",
            self.hooks.len(),
            self.hooks.values().filter(twice).count(),
            self.bus.len(),
            self.bus.values().filter(twice).count(),
            self.streams.values().sum::<u64>()
        )
    }
}
