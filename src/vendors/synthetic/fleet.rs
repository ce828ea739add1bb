//! Vehicles that drive and locks that are opened, as Jointech reports them.

use std::time::Duration;

use bytestring::ByteString;
use chrono::{DateTime, SecondsFormat};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::body::Body;
use super::{Agenda, Timed, period_ns};
use crate::message::Mqtt;
use crate::vendors::jointech::KINDS;

/// How the messages travel. It decides the order of members too: the vendor's webhooks send them as
/// declared, its broker sorted by name.
#[derive(Clone, Debug)]
pub enum Route {
    Mqtt { access_key: String },
    Webhook { path: String },
}

/// What to imitate.
#[derive(Clone, Debug)]
pub struct Fleet {
    pub vehicles: usize,
    /// Each lock has one sub-lock.
    pub locks: usize,
    /// Between two reports of a device. The vendor's devices use 5 s to 10 min.
    pub report_every: Duration,
    /// What the clocks in the messages show at the start: microseconds since the Unix epoch.
    pub started_at_us: i64,
    pub route: Route,
    /// Whether locations carry `expandInfo`, which is half of their size.
    pub expand_info: bool,
    /// Whether there are alarms, events and command responses.
    pub alarms: bool,
    /// Whether there are messages on `…/status`: the topic is subscribed to by a third party, what it
    /// carries is not documented and made up here.
    pub status: bool,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            vehicles: 3,
            locks: 3,
            report_every: Duration::from_secs(1),
            started_at_us: 1_714_550_400_000_000,
            route: Route::Mqtt { access_key: "0123456789ABCDEF0123456789ABCDEF".into() },
            expand_info: true,
            alarms: true,
            status: false,
        }
    }
}

impl Fleet {
    /// The messages of this fleet, without end unless it is empty.
    pub fn messages(self, seed: u64) -> Drives {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut agenda = Agenda::default();
        let period_ns = period_ns(self.report_every);
        let devices: Vec<Device> =
            (0..self.vehicles + self.locks).map(|i| Device::new(i, i >= self.vehicles, &mut rng)).collect();
        for i in 0..devices.len() {
            agenda.at(rng.random_range(0..period_ns), i);
        }
        Drives { fleet: self, rng, agenda, devices }
    }
}

/// The stream of a [`Fleet`].
#[derive(Debug)]
pub struct Drives {
    fleet: Fleet,
    rng: Pcg64,
    agenda: Agenda,
    devices: Vec<Device>,
}

#[derive(Debug)]
struct Device {
    id: ByteString,
    sublock: Option<String>,
    longitude: f64,
    latitude: f64,
    speed_kmh: f64,
    heading_deg: f64,
    mileage_km: f64,
    battery_percent: f64,
    locked: bool,
    unlocks: u32,
    reports: u64,
}

/// The alarms that a device of the kind plausibly has.
const LOCK_ALARMS: [u16; 6] = [40, 41, 42, 44, 45, 46];
const VEHICLE_ALARMS: [u16; 5] = [1, 8, 48, 49, 131];

impl Iterator for Drives {
    type Item = Timed;

    fn next(&mut self) -> Option<Timed> {
        let (offset_ns, actor) = self.agenda.next()?;
        let report_ns = period_ns(self.fleet.report_every);
        let rng = &mut self.rng;
        let device = self.devices.get_mut(actor)?;
        device.reports += 1;
        let at_us = self.fleet.started_at_us.saturating_add((offset_ns / 1_000) as i64);
        let times = Times::at(at_us, rng);
        let by_broker = matches!(self.fleet.route, Route::Mqtt { .. });

        // Three in four reports say where the device is; a lock's sub-lock speaks in between.
        let (kind, level, body) = match device.reports % 12 {
            5 if self.fleet.alarms => (1, "alarm", device.alarm(&times, rng)),
            9 if self.fleet.alarms && device.sublock.is_some() => {
                (2, "event", device.event(&times, by_broker, rng))
            }
            11 if self.fleet.alarms && device.reports % 5 == 0 => {
                (3, "cmd", device.command_response(at_us, &times, rng))
            }
            7 if self.fleet.status => (5, "status", device.status()),
            3 | 6 | 10 if device.sublock.is_some() => (4, "sublock", device.sublock(&times, rng)),
            _ => {
                device.drive(report_ns, rng);
                (0, "location", device.location(&times, self.fleet.expand_info, rng))
            }
        };
        let jitter_ns = report_ns * rng.random_range(0..=40) / 1_000;
        self.agenda.at(offset_ns + report_ns - report_ns / 50 + jitter_ns, actor);

        let (channel, mqtt, body) = match &self.fleet.route {
            Route::Webhook { path } => (path.clone(), None, body),
            Route::Mqtt { access_key } => {
                let sublock = device.sublock.as_deref().filter(|_| level == "sublock");
                let middle = sublock.map(|id| format!("/{id}")).unwrap_or_default();
                let topic = format!("upload/{access_key}/{}{middle}/{level}", device.id);
                (topic, Some(Mqtt { qos: 1, retain: false, dup: false }), body.sorted())
            }
        };
        Some(Timed {
            offset_ns,
            vendor: "jointech",
            kind: KINDS[kind],
            channel: channel.into(),
            device: Some(device.id.clone()),
            mqtt,
            payload: body.into_bytes(),
        })
    }
}

/// The device's clock, in whole seconds, and the platform's, in milliseconds.
struct Times {
    gps: String,
    received: String,
    gps_ms: i64,
}

impl Times {
    fn at(at_us: i64, rng: &mut Pcg64) -> Self {
        // The platform notes it first; the device's clock is a little behind or ahead.
        let gps_us = (at_us - rng.random_range(-500_000..2_000_000)).div_euclid(1_000_000) * 1_000_000;
        Self {
            gps: iso(gps_us, SecondsFormat::Secs),
            received: iso(at_us, SecondsFormat::Millis),
            gps_ms: gps_us / 1_000,
        }
    }
}

fn iso(at_us: i64, format: SecondsFormat) -> String {
    DateTime::from_timestamp_micros(at_us).unwrap_or_default().to_rfc3339_opts(format, true)
}

impl Device {
    fn new(index: usize, is_lock: bool, rng: &mut Pcg64) -> Self {
        let id =
            if is_lock { format!("80{:08}", 10_000 + index) } else { format!("79{:010}", 20_000 + index) };
        Self {
            id: id.into(),
            sublock: is_lock.then(|| format!("{:010X}", 0x1F_0000_0000_u64 + index as u64)),
            longitude: 114.057_868 + rng.random_range(-0.1..0.1),
            latitude: 22.543_099 + rng.random_range(-0.1..0.1),
            speed_kmh: rng.random_range(0.0..60.0),
            heading_deg: rng.random_range(0.0..360.0),
            mileage_km: rng.random_range(100.0..90_000.0),
            battery_percent: rng.random_range(35.0..100.0),
            locked: true,
            unlocks: rng.random_range(0..200),
            reports: rng.random_range(0..12),
        }
    }

    fn drive(&mut self, elapsed_ns: u64, rng: &mut Pcg64) {
        let hours = elapsed_ns as f64 / 3.6e12;
        self.speed_kmh = (self.speed_kmh + rng.random_range(-9.0..9.0)).clamp(0.0, 95.0);
        self.heading_deg = (self.heading_deg + rng.random_range(-15.0..15.0)).rem_euclid(360.0);
        let km = self.speed_kmh * hours;
        let heading = self.heading_deg.to_radians();
        // A degree of latitude is 111 km; in these latitudes the other is 92 % of that.
        self.latitude += km * heading.cos() / 111.2;
        self.longitude += km * heading.sin() / 102.7;
        self.mileage_km += km;
        self.battery_percent = (self.battery_percent - 2.0 * hours).max(5.0);
    }

    /// Where and how fast, in the order in which locations and sub-locks declare it.
    fn here(&self, body: Body) -> Body {
        body.number("longitude", format!("{:.6}", self.longitude))
            .number("latitude", format!("{:.6}", self.latitude))
            .number("speed", self.speed_kmh as i64)
    }

    fn voltage(&self) -> String {
        format!("{:.2}", 3.5 + self.battery_percent / 150.0)
    }

    fn location(&self, times: &Times, expand_info: bool, rng: &mut Pcg64) -> Body {
        let status = if self.sublock.is_some() {
            Body::default()
                .number("lockRope", i32::from(!self.locked))
                .number("lockStatus", i32::from(self.locked))
        } else {
            let driving = i32::from(self.speed_kmh > 0.5);
            Body::default()
                .number("acc", driving)
                .number("fuelCut", 0)
                .number("door", 0)
                .number("engine", driving)
        };
        let body = self
            .here(Body::default().text("assetId", &*self.id))
            .number("direction", self.heading_deg as i64)
            .number("mileage", self.mileage_km as i64)
            .text("gpsTime", &*times.gps)
            .text("recvTime", &*times.received)
            .number("locType", 1)
            .number("cellSignal", rng.random_range(8..=31))
            .number("gnssSignal", rng.random_range(5..=14))
            .text(
                "cells",
                format!("460,0,{},{}", rng.random_range(9_000..9_900), rng.random_range(1_000..60_000)),
            )
            .number("battery", self.battery_percent as i64)
            .text("voltage", self.voltage())
            .nested("statusJson", status);
        if !expand_info {
            return body;
        }
        let info = Body::default()
            .text("temperature", format!("{:.1}", rng.random_range(18.0..31.0)))
            .text("humidity", rng.random_range(30..80).to_string())
            .text("fuels", "-1,-1,-1")
            .text("lux", "null")
            .text("pressure", "null")
            .text("backBattery", format!("{},{},0", self.battery_percent as i64, self.voltage()))
            .text("angle", "null")
            .text("reportType", "0")
            .text("networkType", "4");
        body.nested("expandInfo", info)
    }

    /// What alarms and events have in common after their code.
    fn incident(&self, body: Body, times: &Times) -> Body {
        self.here(body.text("dateTime", &*times.gps))
            .number("mileage", self.mileage_km as i64)
            .text("cells", "0,0,0,0")
    }

    fn alarm(&self, times: &Times, rng: &mut Pcg64) -> Body {
        let codes: &[u16] = if self.sublock.is_some() { &LOCK_ALARMS } else { &VEHICLE_ALARMS };
        let code = codes[rng.random_range(0..codes.len())];
        let body = Body::default().text("assetId", &*self.id).number("alarmType", code);
        self.incident(body, times).text("describe", "").text("fileIndex", (times.gps_ms / 1_000).to_string())
    }

    /// By the vendor's pages only its webhooks say a file in an event.
    fn event(&mut self, times: &Times, by_broker: bool, rng: &mut Pcg64) -> Body {
        self.locked = !self.locked;
        self.unlocks += u32::from(!self.locked);
        let by = if self.locked { -1 } else { rng.random_range(1..=3) };
        let card = if by == 1 { "0004728193" } else { "" };
        let body = Body::default()
            .text("assetId", &*self.id)
            .number("eventType", if self.locked { 2 } else { 1 })
            .number("unLockType", by);
        let body = self.incident(body, times).text("card", card).text("password", "").text("describe", "");
        if by_broker { body } else { body.text("fileIndex", (times.gps_ms / 1_000).to_string()) }
    }

    fn sublock(&self, times: &Times, rng: &mut Pcg64) -> Body {
        self.here(
            Body::default()
                .text("assetId", &*self.id)
                .text("subAssetID", self.sublock.clone().unwrap_or_default())
                .number("sensorType", 4),
        )
        .number("direction", self.heading_deg as i64)
        .text("gpsTime", &*times.gps)
        .text("recvTime", &*times.received)
        .text("subGpsTime", &*times.gps)
        .number("subGpsTimestamp", times.gps_ms)
        .number("battery", self.battery_percent as i64)
        .text("voltage", self.voltage())
        .number("locStatus", i32::from(self.locked))
        .number("locRope", i32::from(!self.locked))
        .number("rssi", rng.random_range(10..80))
        .number("temperature", format!("{:.1}", rng.random_range(15.0..35.0)))
        .number("humidity", rng.random_range(30..80))
        .number("locTimes", self.unlocks)
        .number("eventType", if rng.random_bool(0.8) { 6 } else { 0 })
        .nested(
            "statusJson",
            Body::default().number("lockRope", i32::from(!self.locked)).number("gateway", 0),
        )
    }

    fn command_response(&self, at_us: i64, times: &Times, rng: &mut Pcg64) -> Body {
        let body = Body::default().text("assetId", &*self.id);
        if rng.random_bool(0.2) {
            return body
                .text("commandType", "MQTT_CMD")
                .text("content", "Device not online\u{FF01}")
                .text("dateTime", &*times.received);
        }
        let clock = DateTime::from_timestamp_micros(at_us).unwrap_or_default().format("%Y%m%d%H%M%S");
        body.text("commandType", "BASE2")
            .text("content", format!(r#"["{}","8","001","BASE","2","{clock}"]"#, self.id))
            .text("dateTime", &*times.received)
    }

    fn status(&self) -> Body {
        Body::default().text("assetId", &*self.id).text("status", "online")
    }
}
