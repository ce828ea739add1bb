//! What the demo's vendors send: six streams from a seed, two of them Jointech's.

use std::time::Duration;

use crate::message::{Row, SessionId};
use crate::secret::Secret;
use crate::vendors::Recorded;
use crate::vendors::sensoro::cipher::Cipher;
use crate::vendors::synthetic::load::{
    self, ACCESS_KEY, APP_ID, APP_KEY, JOINTECH_PATH, Part, SENSORO_PATH, Way,
};
use crate::vendors::synthetic::{Rooms, Route, Trips};

/// The sources' names.
pub(super) const WARD: &str = "ward";
pub(super) const FLEET: &str = "fleet";
pub(super) const SHOP: &str = "shop";
pub(super) const CITY: &str = "city";
pub(super) const LOCKS: &str = "locks";
pub(super) const LOCKS_PUSH: &str = "locks-push";

pub(super) const SOURCES: [&str; 6] = [WARD, FLEET, SHOP, CITY, LOCKS, LOCKS_PUSH];

pub(super) const LOCATIONS: [i64; 2] = [1, 2];

/// Rooms under watch, each with a connection of its own.
pub(super) const ROOMS: usize = 2;

/// Clients that connect to the vendors that are served: one for each source, but for a ward's rooms.
pub(super) const CONNECTIONS: usize = 3 + ROOMS;

/// All vendors, and how much they send.
fn parts() -> anyhow::Result<Vec<Part>> {
    let topics = Route::Mqtt { access_key: ACCESS_KEY.to_owned() };
    let paths = Route::Webhook { path: JOINTECH_PATH.to_owned() };
    let app_key = Cipher::new(&Secret::new(APP_KEY));
    Ok(vec![
        Part::rooms(WARD, Rooms::serials(ROOMS)).with_rate("4".parse()?),
        Part::trips(FLEET, Trips::default()).with_rate("5".parse()?),
        Part::shop(SHOP, LOCATIONS.to_vec()),
        Part::nodes(CITY, APP_ID.to_owned(), app_key, SENSORO_PATH.to_owned()).with_rate("10".parse()?),
        Part::fleet(LOCKS, topics).with_devices(10).with_rate("20".parse()?),
        Part::fleet(LOCKS_PUSH, paths).with_devices(10).with_rate("20".parse()?),
    ])
}

/// What the vendors send within a time.
pub(super) struct Streams {
    pub(super) rows: Vec<Row>,
    /// What the imitated vendors know about themselves.
    pub(super) recorded: Recorded,
    /// The sources that are pushed; the others are connected to.
    pushed: Vec<String>,
}

impl Streams {
    /// With clocks that begin at `started_at_us`.
    pub(super) fn new(seconds: u64, session_id: SessionId, started_at_us: i64) -> anyhow::Result<Self> {
        let parts = parts()?;
        let pushed =
            parts.iter().filter(|part| part.way == Way::Pushed).map(|part| part.name.clone()).collect();
        let recorded = Recorded {
            sources: parts.iter().map(Part::header).collect(),
            device_configs: parts.iter().flat_map(Part::device_configs).collect(),
            ..Recorded::default()
        };
        let limit = Some(Duration::from_secs(seconds));
        let rows = load::rows(parts, 1, session_id, started_at_us, limit).collect();
        Ok(Self { rows, recorded, pushed })
    }

    /// The rows of the vendors that post, or of those that are connected to.
    pub(super) fn going(&self, is_pushed: bool) -> Vec<Row> {
        let is_one = |row: &&Row| self.pushed.iter().any(|name| **name == *row.source) == is_pushed;
        self.rows.iter().filter(is_one).cloned().collect()
    }
}
