//! Several vendors' sides at once: what each source of a simulation sends, as one stream of rows in order
//! of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::nodes::Mode;
use super::{Fleet, Nodes, Rooms, Route, Shop, Timed, Trips};
use crate::message::{Headers, Row, SessionId, SourceHeader};
use crate::secret::Secret;
use crate::vendors::jointech::config::JointechConfig;
use crate::vendors::sensoro::cipher::Cipher;
use crate::vendors::sensoro::config::SensoroConfig;
use crate::vendors::variant::Variant;
use crate::vendors::{DeviceConfig, Source, VendorConfig};

/// Jointech's access key of a simulation: a level of its topics.
pub const ACCESS_KEY: &str = "DE300000000000000000000000000001";

/// SENSORO's application.
pub const APP_ID: &str = "123456";
pub const APP_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
pub const APP_SECRET: &str = "simulated-app-secret";

/// Where webhooks go if nothing else is known.
pub const SENSORO_PATH: &str = "/hooks/city";
pub const JOINTECH_PATH: &str = "/hooks/locks";

/// How a vendor's messages reach their receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Clients connect to the vendor's own endpoint.
    Served,
    /// Clients subscribe at a broker.
    Brokered,
    /// The vendor posts them.
    Pushed,
}

/// One source of a simulation.
#[derive(Clone, Debug)]
pub struct Part {
    /// What a recorder of it calls it.
    pub name: String,
    pub way: Way,
    model: Model,
}

#[derive(Clone, Debug)]
enum Model {
    Shop(Shop),
    Trips(Trips),
    Rooms(Rooms),
    Nodes(Nodes),
    Fleet(Fleet),
}

/// Messages per second, to a thousandth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_1000_s: NonZeroU64,
}

/// A text that is no [`Rate`].
#[derive(Debug, thiserror::Error)]
#[error("expected messages per second, from 0.001 to 1000000, as in 20 or 0.5")]
pub struct NotARate;

impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 3 {
            return Err(NotARate);
        }
        let whole: u64 = whole.parse().map_err(|_| NotARate)?;
        let part: u64 = format!("{part:0<3}").parse().map_err(|_| NotARate)?;
        let per_1000_s = whole.checked_mul(1_000).and_then(|n| n.checked_add(part)).ok_or(NotARate)?;
        match NonZeroU64::new(per_1000_s) {
            Some(per_1000_s) if per_1000_s.get() <= 1_000_000_000 => Ok(Self { per_1000_s }),
            _ => Err(NotARate),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.per_1000_s.get() / 1_000, self.per_1000_s.get() % 1_000);
        match part {
            0 => write!(f, "{whole}"),
            part => write!(f, "{whole}.{}", format!("{part:03}").trim_end_matches('0')),
        }
    }
}

impl Rate {
    /// How often each of `actors` sends, so that all of them together keep this rate.
    fn period_of(self, actors: usize) -> Duration {
        let ns = actors as u128 * 1_000_000_000_000 / u128::from(self.per_1000_s.get());
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

impl Part {
    /// One of each vendor and way, at about the vendors' own rates.
    pub fn all() -> Vec<Self> {
        vec![
            Self::shop("delicode", vec![1, 2]),
            Self::trips("damoov", Trips::default()),
            Self::rooms("pontosense", Rooms::serials(2)),
            Self::nodes(
                "sensoro",
                APP_ID.to_owned(),
                Cipher::new(&Secret::new(APP_KEY)),
                SENSORO_PATH.to_owned(),
            ),
            Self::fleet("jointech", Route::Mqtt { access_key: ACCESS_KEY.to_owned() }),
            Self::fleet("jointech-push", Route::Webhook { path: JOINTECH_PATH.to_owned() }),
        ]
    }

    pub fn shop(name: &str, locations: Vec<i64>) -> Self {
        Self::new(name, Way::Served, Model::Shop(Shop { locations, ..Shop::default() }))
    }

    pub fn trips(name: &str, trips: Trips) -> Self {
        Self::new(name, Way::Served, Model::Trips(trips))
    }

    pub fn rooms(name: &str, sensors: Vec<String>) -> Self {
        Self::new(name, Way::Served, Model::Rooms(Rooms { sensors, ..Rooms::default() }))
    }

    /// In both modes where there is a key, else in plain mode.
    pub fn nodes(name: &str, app_id: String, app_key: Option<Cipher>, path: String) -> Self {
        // Ten times as often as the vendor's devices, so that there is something to see.
        let report_every = Duration::from_secs(6);
        let mode = app_key.map_or(Mode::Plain, Mode::Both);
        let nodes = Nodes { app_id, path, report_every, mode, ..Nodes::default() };
        Self::new(name, Way::Pushed, Model::Nodes(nodes))
    }

    pub fn fleet(name: &str, route: Route) -> Self {
        let way = match route {
            Route::Mqtt { .. } => Way::Brokered,
            Route::Webhook { .. } => Way::Pushed,
        };
        let report_every = Duration::from_secs(5);
        Self::new(name, way, Model::Fleet(Fleet { route, report_every, ..Fleet::default() }))
    }

    /// What a configured source would receive; none for a generic one, whose content nobody knows.
    pub fn of(source: &Source) -> Option<Self> {
        let name = &source.name;
        match &source.vendor {
            VendorConfig::Delicode(delicode) => Some(Self::shop(name, delicode.locations.clone())),
            VendorConfig::Damoov(damoov) => {
                let (instance_id, device) = (damoov.instance_id.clone(), damoov.device_token.clone());
                let drivers = if device.is_some() { 1 } else { Trips::default().drivers };
                Some(Self::trips(name, Trips { instance_id, device, drivers, ..Trips::default() }))
            }
            VendorConfig::Pontosense(pontosense) => Some(Self::rooms(name, pontosense.sensors.clone())),
            VendorConfig::Jointech(JointechConfig::Mqtt(mqtt)) => {
                Some(Self::fleet(name, Route::Mqtt { access_key: mqtt.access_key.clone() }))
            }
            VendorConfig::Jointech(JointechConfig::Webhook(hook)) => {
                Some(Self::fleet(name, Route::Webhook { path: hook.path.clone() }))
            }
            VendorConfig::Sensoro(sensoro) => {
                let (app_id, app_key) = (sensoro.app_id.clone(), sensoro.app_key.clone());
                Some(Self::nodes(name, app_id, app_key, sensoro.path.clone()))
            }
            VendorConfig::Generic(_) => None,
        }
    }

    fn new(name: &str, way: Way, model: Model) -> Self {
        Self { name: name.to_owned(), way, model }
    }

    pub fn vendor(&self) -> &'static str {
        match &self.model {
            Model::Shop(_) => "delicode",
            Model::Trips(_) => "damoov",
            Model::Rooms(_) => "pontosense",
            Model::Nodes(_) => "sensoro",
            Model::Fleet(_) => "jointech",
        }
    }

    /// With what its vendor pushes it, where that takes credentials: the simulator's own.
    pub fn credentials(&self) -> Option<VendorConfig> {
        let Model::Nodes(nodes) = &self.model else { return None };
        Some(VendorConfig::Sensoro(SensoroConfig {
            path: nodes.path.clone(),
            app_id: nodes.app_id.clone(),
            app_key: Cipher::new(&Secret::new(APP_KEY)),
            app_secret: Secret::new(APP_SECRET),
            public_url: None,
            verify_signature: true,
            signature_max_age: None,
        }))
    }

    /// Where a webhook of this source is posted to; none if it is no webhook.
    pub fn path(&self) -> Option<&str> {
        match &self.model {
            Model::Nodes(nodes) => Some(&nodes.path),
            Model::Fleet(Fleet { route: Route::Webhook { path }, .. }) => Some(path),
            _ => None,
        }
    }

    /// Sets how many devices there are: locations, drivers, sensors, vehicles with locks.
    #[must_use]
    pub fn with_devices(mut self, devices: usize) -> Self {
        match &mut self.model {
            Model::Shop(shop) => shop.locations = (1..).take(devices).collect(),
            Model::Trips(trips) => trips.drivers = devices,
            Model::Rooms(rooms) => rooms.sensors = Rooms::serials(devices),
            Model::Nodes(nodes) => nodes.devices = devices,
            Model::Fleet(fleet) => (fleet.vehicles, fleet.locks) = (devices.div_ceil(2), devices / 2),
        }
        self
    }

    /// Sets how much all devices together send, on average and as long as nobody parks, sleeps out or leaves.
    #[must_use]
    pub fn with_rate(mut self, rate: Rate) -> Self {
        match &mut self.model {
            // Somebody is there for three quarters of the time.
            Model::Shop(shop) => {
                let people = shop.locations.len() * shop.people;
                shop.point_every = rate.period_of(people * 3) / 4;
            }
            Model::Trips(trips) => trips.report_every = rate.period_of(trips.drivers),
            Model::Rooms(rooms) => rooms.report_every = rate.period_of(rooms.sensors.len()),
            Model::Nodes(nodes) => nodes.report_every = rate.period_of(nodes.devices),
            Model::Fleet(fleet) => fleet.report_every = rate.period_of(fleet.vehicles + fleet.locks),
        }
        self
    }

    /// Does otherwise what the vendor's pages leave open.
    #[must_use]
    pub fn varied(mut self, variants: &[Variant]) -> Self {
        if let Model::Nodes(nodes) = &mut self.model {
            nodes.flat_events = variants.contains(&Variant::SensoroFlatEvents);
        }
        self
    }

    /// What an emulator wants to know about the source that it imitates.
    pub fn header(&self) -> SourceHeader {
        let settings = match &self.model {
            Model::Shop(shop) => json!({"locations": shop.locations}),
            Model::Trips(trips) => {
                let mut settings = json!({"instance_id": trips.instance_id});
                if let Some(device) = &trips.device {
                    settings["device_token"] = json!(device);
                }
                settings
            }
            Model::Rooms(rooms) => json!({"sensors": rooms.sensors}),
            Model::Nodes(nodes) => json!({"path": nodes.path, "app_id": nodes.app_id}),
            Model::Fleet(fleet) => match &fleet.route {
                Route::Mqtt { access_key } => json!({"transport": "mqtt", "access_key": access_key}),
                Route::Webhook { path } => json!({"transport": "webhook", "path": path}),
            },
        };
        let vendor = self.vendor().to_owned();
        SourceHeader { name: self.name.clone(), vendor, kinds: Vec::new(), settings }
    }

    /// What devices say about themselves, where an emulator wants to know it.
    pub fn device_configs(&self) -> Vec<DeviceConfig> {
        let Model::Rooms(rooms) = &self.model else { return Vec::new() };
        let config = |sensor: &String| DeviceConfig {
            vendor: "pontosense".to_owned(),
            device_id: sensor.clone(),
            payload: Rooms::configuration(),
        };
        rooms.sensors.iter().map(config).collect()
    }

    /// The headers of its requests, where it is pushed.
    fn headers(&self) -> Option<Headers> {
        let json = match &self.model {
            Model::Fleet(_) => "application/json;charset=UTF-8",
            _ => "application/json",
        };
        (self.way == Way::Pushed).then(|| vec![("content-type".to_owned(), json.to_owned())])
    }

    /// What the source sends, from a start at which its clocks show `started_at_us`.
    pub fn messages(self, seed: u64, started_at_us: i64) -> Box<dyn Iterator<Item = Timed> + Send> {
        match self.model {
            Model::Shop(shop) => Box::new(shop.messages(seed)),
            Model::Trips(trips) => Box::new(Trips { started_at_us, ..trips }.messages(seed)),
            Model::Rooms(rooms) => Box::new(rooms.messages(seed)),
            Model::Nodes(nodes) => Box::new(Nodes { started_at_us, ..nodes }.messages(seed)),
            Model::Fleet(fleet) => Box::new(Fleet { started_at_us, ..fleet }.messages(seed)),
        }
    }
}

/// What all `parts` send, in order of time, from a start at which their clocks show `started_at_us`; until
/// `limit`, if there is one. Each has a seed of its own, made from `seed`.
pub fn rows(
    parts: Vec<Part>,
    seed: u64,
    session_id: SessionId,
    started_at_us: i64,
    limit: Option<Duration>,
) -> Rows {
    let limit_ns = limit.map_or(u64::MAX, |limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
    let mut rows = Rows {
        session_id,
        started_at_us,
        limit_ns,
        seq: 0,
        streams: Vec::with_capacity(parts.len()),
        next: BinaryHeap::with_capacity(parts.len()),
    };
    for (i, part) in parts.into_iter().enumerate() {
        let name = Arc::from(&*part.name);
        let headers = part.headers();
        let messages = part.messages(seed.wrapping_mul(1_000).wrapping_add(i as u64), started_at_us);
        rows.streams.push(Stream { name, headers, messages, waiting: None });
        rows.refill(i);
    }
    rows
}

/// The stream of several [`Part`]s.
pub struct Rows {
    session_id: SessionId,
    started_at_us: i64,
    limit_ns: u64,
    seq: u64,
    streams: Vec<Stream>,
    /// Whose next message comes when; ties go to the lower number.
    next: BinaryHeap<Reverse<(u64, usize)>>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("seq", &self.seq).finish_non_exhaustive()
    }
}

struct Stream {
    name: Arc<str>,
    headers: Option<Headers>,
    messages: Box<dyn Iterator<Item = Timed> + Send>,
    waiting: Option<Timed>,
}

impl Rows {
    fn refill(&mut self, i: usize) {
        let Some(stream) = self.streams.get_mut(i) else { return };
        stream.waiting = stream.messages.next().filter(|message| message.offset_ns < self.limit_ns);
        if let Some(message) = &stream.waiting {
            self.next.push(Reverse((message.offset_ns, i)));
        }
    }
}

impl Iterator for Rows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let Reverse((_, i)) = self.next.pop()?;
        let stream = self.streams.get_mut(i)?;
        let message = stream.waiting.take()?;
        let mut row = message.into_row(&stream.name, self.session_id, self.seq, self.started_at_us);
        row.headers.clone_from(&stream.headers);
        self.seq += 1;
        self.refill(i);
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn all(limit_s: u64, change: impl Fn(Part) -> Part) -> Vec<Row> {
        let parts = Part::all().into_iter().map(change).collect();
        let session = SessionId::new(0, [0; 10]);
        rows(parts, 1, session, 1_714_550_400_000_000, Some(Duration::from_secs(limit_s))).collect()
    }

    #[test]
    fn all_vendors_are_one_stream_in_order_of_time() {
        let rows = all(60, |part| part);
        assert!(rows.is_sorted_by_key(|row| row.elapsed_ns));
        assert!(rows.iter().enumerate().all(|(i, row)| row.seq == i as u64));
        assert!(rows.iter().all(|row| row.elapsed_ns < 60_000_000_000));
        let mut sources = BTreeMap::new();
        rows.iter().for_each(|row| *sources.entry(row.source.to_string()).or_insert(0) += 1);
        assert_eq!(sources.len(), 6, "{sources:?}");
        assert_eq!(rows, all(60, |part| part), "the same again");
    }

    #[test]
    fn every_vendor_keeps_the_rate_that_was_asked_for() {
        for (rate, expected) in [("2", 2_000), ("50", 50_000)] {
            let mut sources = BTreeMap::new();
            for row in all(1_000, |part| part.with_rate(rate.parse().unwrap())) {
                *sources.entry(row.source.to_string()).or_insert(0) += 1;
            }
            for (source, messages) in sources {
                let share = messages * 100 / expected;
                assert!((60..=135).contains(&share), "{source} at {rate}/s: {messages} in 1,000 s");
            }
        }
    }

    #[test]
    fn there_are_as_many_devices_as_were_asked_for() {
        let mut devices: BTreeMap<String, std::collections::BTreeSet<String>> = BTreeMap::new();
        for row in all(600, |part| part.with_devices(5)) {
            if let Some(device) = row.device_id {
                devices.entry(row.source.to_string()).or_default().insert(device.to_string());
            }
        }
        for (source, devices) in devices {
            assert_eq!(devices.len(), 5, "{source}: {devices:?}");
        }
    }

    #[test]
    fn rates_are_read_to_a_thousandth() {
        for text in ["1", "20", "0.5", "0.001", "1000000", "3.125"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "0", "0.0", "-1", "1.", ".5", "0.0001", "1e3", "1000001", "x"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
        assert_eq!("0.5".parse::<Rate>().unwrap().period_of(2), Duration::from_secs(4));
    }
}
