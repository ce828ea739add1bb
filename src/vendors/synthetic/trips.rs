//! Drivers whose phones Damoov follows: a position each second while they drive, nothing while they are parked.

use std::time::Duration;

use bytestring::ByteString;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use uuid::Builder;

use super::body::Body;
use super::{Agenda, Timed, period_ns};
use crate::vendors::damoov::{KINDS, PATH};

/// The instance of a simulation.
pub const INSTANCE_ID: &str = "3f2b1f0e-5d4c-4b3a-8291-70615243f4e5";

/// What to imitate.
#[derive(Clone, Debug)]
pub struct Trips {
    pub drivers: usize,
    pub instance_id: String,
    /// The first driver's device; none: made up, as the others' are.
    pub device: Option<String>,
    /// Between two positions of a driver.
    pub report_every: Duration,
    /// What the phones' clocks show at the start: microseconds since the Unix epoch.
    pub started_at_us: i64,
}

impl Default for Trips {
    fn default() -> Self {
        Self {
            drivers: 3,
            instance_id: INSTANCE_ID.to_owned(),
            device: None,
            report_every: Duration::from_secs(1),
            started_at_us: 1_714_550_400_000_000,
        }
    }
}

impl Trips {
    /// The positions of these drivers, without end unless there are none.
    pub fn messages(self, seed: u64) -> Positions {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut agenda = Agenda::default();
        let period_ns = period_ns(self.report_every);
        let mut drivers: Vec<Driver> = (0..self.drivers).map(|_| Driver::new(&mut rng)).collect();
        if let (Some(driver), Some(device)) = (drivers.first_mut(), &self.device) {
            driver.device = device.as_str().into();
        }
        for i in 0..drivers.len() {
            // The first two drive from the start, so that there is something to see.
            let wait_ns = if i < 2 { 0 } else { rng.random_range(0..60) * 1_000_000_000 };
            agenda.at(wait_ns + rng.random_range(0..period_ns), i);
        }
        Positions { trips: self, rng, agenda, drivers }
    }
}

/// The stream of some [`Trips`].
#[derive(Debug)]
pub struct Positions {
    trips: Trips,
    rng: Pcg64,
    agenda: Agenda,
    drivers: Vec<Driver>,
}

#[derive(Debug)]
struct Driver {
    /// The phone, for ever.
    device: ByteString,
    /// The trip; upper case, as in the vendor's example.
    track: String,
    latitude: f64,
    longitude: f64,
    speed_mps: f64,
    /// What the driver is heading for: traffic lights, open roads.
    wanted_mps: f64,
    heading_deg: f64,
    left_s: f64,
}

impl Iterator for Positions {
    type Item = Timed;

    fn next(&mut self) -> Option<Timed> {
        let (offset_ns, actor) = self.agenda.next()?;
        let period_ns = period_ns(self.trips.report_every);
        let driver = self.drivers.get_mut(actor)?;
        driver.drive(period_ns as f64 / 1e9, &mut self.rng);
        let at_us = self.trips.started_at_us.saturating_add((offset_ns / 1_000) as i64);
        let payload = driver.update(at_us, &mut self.rng);
        let mut wait_ns = period_ns * self.rng.random_range(97..=103) / 100;
        if driver.left_s <= 0.0 {
            driver.set_off(&mut self.rng);
            wait_ns += self.rng.random_range(30..300) * 1_000_000_000;
        }
        self.agenda.at(offset_ns + wait_ns, actor);
        Some(Timed {
            offset_ns,
            vendor: "damoov",
            kind: KINDS[0],
            channel: PATH.into(),
            device: Some(driver.device.clone()),
            mqtt: None,
            payload: payload.into_bytes(),
        })
    }
}

impl Driver {
    fn new(rng: &mut Pcg64) -> Self {
        let mut driver = Self {
            device: uuid(rng).into(),
            track: String::new(),
            latitude: 52.52 + rng.random_range(-0.1..0.1),
            longitude: 13.405 + rng.random_range(-0.1..0.1),
            speed_mps: 0.0,
            wanted_mps: 0.0,
            heading_deg: 0.0,
            left_s: 0.0,
        };
        driver.set_off(rng);
        driver
    }

    /// A new trip from where the last one ended.
    fn set_off(&mut self, rng: &mut Pcg64) {
        self.track = uuid(rng).to_uppercase();
        self.speed_mps = 0.0;
        self.wanted_mps = 9.0;
        self.heading_deg = rng.random_range(0.0..360.0);
        self.left_s = rng.random_range(300.0..2_400.0);
    }

    fn drive(&mut self, seconds: f64, rng: &mut Pcg64) {
        self.left_s -= seconds;
        if rng.random_bool((0.06 * seconds).min(1.0)) {
            self.wanted_mps = [0.0, 8.3, 13.9, 13.9, 22.0][rng.random_range(0..5_usize)];
            self.heading_deg += rng.random_range(-95.0..95.0);
        }
        let change = (self.wanted_mps - self.speed_mps).clamp(-3.0 * seconds, 2.0 * seconds);
        self.speed_mps = (self.speed_mps + change).max(0.0);
        self.heading_deg = (self.heading_deg + rng.random_range(-2.0..2.0)).rem_euclid(360.0);
        let metres = self.speed_mps * seconds;
        let heading = self.heading_deg.to_radians();
        // A degree of latitude is 111.2 km, one of longitude in these latitudes 67.7 km.
        self.latitude += metres * heading.cos() / 111_200.0;
        self.longitude += metres * heading.sin() / 67_700.0;
    }

    fn update(&self, at_us: i64, rng: &mut Pcg64) -> Body {
        let position = Body::default()
            .number("Latitude", format!("{:.6}", self.latitude))
            .number("Longitude", format!("{:.6}", self.longitude))
            .number("Speed", format!("{:.1}", self.speed_mps))
            .number("Accuracy", format!("{:.1}", rng.random_range(3.0..14.0)))
            .number("Timestamp", at_us.div_euclid(1_000_000))
            .number("Heading", format!("{:.1}", self.heading_deg));
        Body::default()
            .text("type", "device_update")
            .text("device_token", &*self.device)
            .text("track_token", &*self.track)
            .object("position", position)
    }
}

fn uuid(rng: &mut Pcg64) -> String {
    Builder::from_random_bytes(rng.random()).into_uuid().to_string()
}
