//! What the demo's vendors send: three streams from a seed, and the rows that serve two of them.

use std::sync::Arc;
use std::time::Duration;

use crate::message::{Row, SessionId};
use crate::vendors::synthetic::{Fleet, Route, Shop, Timed};

/// One imitated vendor, by the name of the source that records it.
pub(super) struct Stream {
    pub(super) source: &'static str,
    pub(super) messages: Vec<Timed>,
}

pub(super) const SHOP: &str = "shop";
pub(super) const LOCKS: &str = "locks";
pub(super) const LOCKS_PUSH: &str = "locks-push";

pub(super) const LOCATIONS: [i64; 2] = [1, 2];
pub(super) const ACCESS_KEY: &str = "DE300000000000000000000000000001";
pub(super) const PUSH_PATH: &str = "/hooks/locks";

/// What all vendors send within `seconds`, whose clocks begin at `started_at_us`.
pub(super) fn streams(seconds: u64, started_at_us: i64) -> Vec<Stream> {
    let until = |messages: &mut dyn Iterator<Item = Timed>| -> Vec<Timed> {
        messages.take_while(|message| message.offset_ns < seconds * 1_000_000_000).collect()
    };
    let fleet = |route| Fleet {
        vehicles: 6,
        locks: 4,
        report_every: Duration::from_millis(500),
        started_at_us,
        route,
        ..Fleet::default()
    };
    let topics = Route::Mqtt { access_key: ACCESS_KEY.to_owned() };
    let paths = Route::Webhook { path: PUSH_PATH.to_owned() };
    let shop = Shop { locations: LOCATIONS.to_vec(), ..Shop::default() };
    vec![
        Stream { source: SHOP, messages: until(&mut shop.messages(1)) },
        Stream { source: LOCKS, messages: until(&mut fleet(topics).messages(2)) },
        Stream { source: LOCKS_PUSH, messages: until(&mut fleet(paths).messages(3)) },
    ]
}

/// The rows that make a player send these streams, in order of time.
pub(super) fn rows(streams: &[&Stream], session_id: SessionId, started_at_us: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    for stream in streams {
        let source = Arc::from(stream.source);
        rows.extend(
            stream.messages.iter().map(|m| m.clone().into_row(&source, session_id, 0, started_at_us)),
        );
    }
    rows.sort_by_key(|row| row.elapsed_ns);
    for (seq, row) in rows.iter_mut().enumerate() {
        row.seq = seq as u64;
    }
    rows
}
