//! People at home, as Pontosense's sensors track them: they walk about, lie in bed, sit on the couch, leave
//! through the door, and now and then fall.

use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::{Agenda, Timed, period_ns};
use crate::message::Mqtt;
use crate::vendors::pontosense::KINDS;

/// Codes of `state`, from the vendor's page.
const OCCUPIED: u8 = 40;
const ON_COUCH: u8 = 80;
const IN_BED: u8 = 90;
const SUSPECTED_FALL: u8 = 99;
const FALL: u8 = 100;

/// An old person at home.
const WALK_CM_PER_S: f64 = 70.0;

/// Where the door is, in centimetres from the sensor.
const DOOR: (f64, f64) = (160.0, 390.0);

/// Zones in the order of the configuration: `zoneId` counts them from 1.
const ZONES: [Zone; 2] = [
    Zone { name: "Bed", x_cm: -190, y_cm: 230, width_cm: 110, height_cm: 160, state: IN_BED, z_cm: 62 },
    Zone { name: "Couch", x_cm: 70, y_cm: 60, width_cm: 120, height_cm: 80, state: ON_COUCH, z_cm: 104 },
];

struct Zone {
    name: &'static str,
    /// The corner with the smallest coordinates.
    x_cm: i32,
    y_cm: i32,
    width_cm: i32,
    height_cm: i32,
    /// Of somebody who rests there, and how high they then are.
    state: u8,
    z_cm: i32,
}

impl Zone {
    fn holds(&self, x_cm: i32, y_cm: i32) -> bool {
        let across = self.x_cm..self.x_cm + self.width_cm;
        across.contains(&x_cm) && (self.y_cm..self.y_cm + self.height_cm).contains(&y_cm)
    }

    fn middle(&self) -> (f64, f64) {
        (f64::from(self.x_cm + self.width_cm / 2), f64::from(self.y_cm + self.height_cm / 2))
    }
}

/// What to imitate.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// Serial numbers; one room each.
    pub sensors: Vec<String>,
    /// The most people in one room at a time.
    pub people: usize,
    /// Between two reports of a sensor.
    pub report_every: Duration,
    /// Of so many walks, one ends in a fall; 0: none does.
    pub walks_per_fall: u32,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            sensors: Self::serials(2),
            people: 2,
            report_every: Duration::from_secs(1),
            walks_per_fall: 40,
        }
    }
}

impl Rooms {
    /// Serial numbers in the vendor's form; the first is that of its sample program.
    pub fn serials(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("ATR_GN_P4-250120-{:05}", 9_527 + i)).collect()
    }

    /// What the vendor's token reply holds about each of these rooms in `data`.
    pub fn configuration() -> Bytes {
        let mut text = String::from(r#"{"scanArea":{"left":200,"right":200,"height":400},"zones":["#);
        for (i, Zone { name, x_cm, y_cm, width_cm, height_cm, .. }) in ZONES.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let _ = write!(
                text,
                r#"{comma}{{"name":"{name}","x":{x_cm},"y":{y_cm},"width":{width_cm},"height":{height_cm}}}"#
            );
        }
        text.push_str(r#"],"preference":0}"#);
        text.into()
    }

    /// The reports of these rooms, without end unless there are none.
    pub fn messages(self, seed: u64) -> Reports {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut agenda = Agenda::default();
        let period_ns = period_ns(self.report_every);
        let rooms: Vec<Room> = (0..self.sensors.len()).map(|_| Room::new(self.people, &mut rng)).collect();
        for i in 0..rooms.len() {
            agenda.at(if i == 0 { 0 } else { rng.random_range(0..period_ns) }, i);
        }
        Reports { options: self, rng, agenda, rooms }
    }
}

/// The stream of some [`Rooms`].
#[derive(Debug)]
pub struct Reports {
    options: Rooms,
    rng: Pcg64,
    agenda: Agenda,
    rooms: Vec<Room>,
}

#[derive(Debug)]
struct Room {
    next_id: u32,
    people: Vec<Person>,
}

#[derive(Debug)]
struct Person {
    id: u32,
    x_cm: f64,
    y_cm: f64,
    z_cm: f64,
    doing: Doing,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    Away {
        left_s: f64,
    },
    Walking {
        to: Goal,
        falls_in_s: Option<f64>,
    },
    Standing {
        left_s: f64,
    },
    /// In the n-th of [`ZONES`].
    Resting {
        zone: usize,
        left_s: f64,
    },
    Suspected {
        left_s: f64,
        is_fall: bool,
    },
    Lying {
        left_s: f64,
    },
}

#[derive(Clone, Copy, Debug)]
enum Goal {
    Zone(usize),
    Spot(f64, f64),
    Door,
}

impl Goal {
    fn place(self) -> (f64, f64) {
        match self {
            Goal::Zone(zone) => ZONES.get(zone).map_or(DOOR, Zone::middle),
            Goal::Spot(x_cm, y_cm) => (x_cm, y_cm),
            Goal::Door => DOOR,
        }
    }
}

impl Iterator for Reports {
    type Item = Timed;

    fn next(&mut self) -> Option<Timed> {
        let (offset_ns, actor) = self.agenda.next()?;
        let period_ns = period_ns(self.options.report_every);
        // A sensor's clock is even; the network is less so.
        self.agenda.at(offset_ns + period_ns * self.rng.random_range(98..=102) / 100, actor);
        let (room, sensor) = (self.rooms.get_mut(actor)?, self.options.sensors.get(actor)?);
        room.pass(period_ns as f64 / 1e9, self.options.walks_per_fall, &mut self.rng);
        let topic = ByteString::from(format!("/location/{sensor}"));
        Some(Timed {
            offset_ns,
            vendor: "pontosense",
            kind: KINDS[0],
            channel: topic,
            device: Some(sensor.as_str().into()),
            mqtt: Some(Mqtt { qos: 0, retain: false, dup: false }),
            payload: room.report(),
        })
    }
}

impl Room {
    fn new(people: usize, rng: &mut Pcg64) -> Self {
        let mut room = Self { next_id: 1, people: Vec::with_capacity(people) };
        for i in 0..people {
            // The first is at home from the start, so that there is something to see.
            let left_s = if i == 0 { 0.0 } else { rng.random_range(5.0..120.0) };
            let (x_cm, y_cm) = DOOR;
            room.people.push(Person { id: 0, x_cm, y_cm, z_cm: 168.0, doing: Doing::Away { left_s } });
        }
        room
    }

    fn pass(&mut self, seconds: f64, walks_per_fall: u32, rng: &mut Pcg64) {
        for person in &mut self.people {
            let was_away = matches!(person.doing, Doing::Away { .. });
            person.pass(seconds, walks_per_fall, rng);
            if was_away && !matches!(person.doing, Doing::Away { .. }) {
                person.id = self.next_id;
                self.next_id += 1;
            }
        }
    }

    fn report(&self) -> Bytes {
        let mut text = String::with_capacity(160);
        text.push_str(r#"{"method":"location.report","params":["#);
        let mut comma = "";
        for person in self.people.iter().filter(|person| !matches!(person.doing, Doing::Away { .. })) {
            let (id, z_cm) = (person.id, person.z_cm as i32);
            let (x_cm, y_cm) = (person.x_cm as i32, person.y_cm as i32);
            let zone = ZONES.iter().position(|zone| zone.holds(x_cm, y_cm)).map_or(0, |i| i + 1);
            let _ = write!(
                text,
                r#"{comma}{{"id":{id},"x":{x_cm},"y":{y_cm},"z":{z_cm},"state":{},"zoneId":{zone}}}"#,
                person.state()
            );
            comma = ",";
        }
        text.push_str("]}");
        text.into()
    }
}

impl Person {
    fn state(&self) -> u8 {
        match self.doing {
            Doing::Away { .. } | Doing::Walking { .. } | Doing::Standing { .. } => OCCUPIED,
            Doing::Resting { zone, .. } => ZONES.get(zone).map_or(OCCUPIED, |zone| zone.state),
            Doing::Suspected { .. } => SUSPECTED_FALL,
            Doing::Lying { .. } => FALL,
        }
    }

    /// Lets time pass.
    fn pass(&mut self, seconds: f64, walks_per_fall: u32, rng: &mut Pcg64) {
        let after = |left_s: f64| (left_s > seconds).then_some(left_s - seconds);
        self.doing = match self.doing {
            Doing::Away { left_s } => match after(left_s) {
                Some(left_s) => Doing::Away { left_s },
                None => {
                    (self.x_cm, self.y_cm, self.z_cm) = (DOOR.0, DOOR.1, rng.random_range(150.0..182.0));
                    walk(walks_per_fall, rng)
                }
            },
            Doing::Walking { falls_in_s: Some(left_s), .. } if after(left_s).is_none() => {
                self.z_cm = rng.random_range(25.0..45.0);
                Doing::Suspected { left_s: rng.random_range(4.0..12.0), is_fall: rng.random_bool(0.7) }
            }
            Doing::Walking { to, falls_in_s } => {
                let falls_in_s = falls_in_s.map(|left_s| left_s - seconds);
                if self.step(to.place(), seconds, rng) {
                    self.arrive(to, rng)
                } else {
                    Doing::Walking { to, falls_in_s }
                }
            }
            Doing::Standing { left_s } => match after(left_s) {
                Some(left_s) => Doing::Standing { left_s },
                None => walk(walks_per_fall, rng),
            },
            Doing::Resting { zone, left_s } => match after(left_s) {
                Some(left_s) => {
                    self.sway(4.0, rng);
                    Doing::Resting { zone, left_s }
                }
                None => self.get_up(walks_per_fall, rng),
            },
            Doing::Suspected { left_s, is_fall } => match after(left_s) {
                Some(left_s) => Doing::Suspected { left_s, is_fall },
                None if is_fall => Doing::Lying { left_s: rng.random_range(20.0..90.0) },
                None => self.get_up(walks_per_fall, rng),
            },
            Doing::Lying { left_s } => match after(left_s) {
                Some(left_s) => Doing::Lying { left_s },
                None => self.get_up(walks_per_fall, rng),
            },
        };
    }

    /// One stretch of a walk; true on arrival.
    fn step(&mut self, (x_cm, y_cm): (f64, f64), seconds: f64, rng: &mut Pcg64) -> bool {
        let (dx, dy) = (x_cm - self.x_cm, y_cm - self.y_cm);
        let left_cm = dx.hypot(dy);
        let step_cm = WALK_CM_PER_S * rng.random_range(0.8..1.2) * seconds;
        if left_cm <= step_cm {
            (self.x_cm, self.y_cm) = (x_cm, y_cm);
            return true;
        }
        self.x_cm += dx * step_cm / left_cm;
        self.y_cm += dy * step_cm / left_cm;
        self.sway(3.0, rng);
        false
    }

    fn sway(&mut self, most_cm: f64, rng: &mut Pcg64) {
        let (angle, by_cm) = (rng.random_range(0.0..TAU), rng.random_range(0.0..most_cm));
        self.x_cm = (self.x_cm + by_cm * angle.cos()).clamp(-200.0, 200.0);
        self.y_cm = (self.y_cm + by_cm * angle.sin()).clamp(0.0, 400.0);
    }

    fn arrive(&mut self, at: Goal, rng: &mut Pcg64) -> Doing {
        match at {
            Goal::Zone(zone) => {
                self.z_cm = ZONES.get(zone).map_or(self.z_cm, |zone| f64::from(zone.z_cm));
                Doing::Resting { zone, left_s: rng.random_range(15.0..240.0) }
            }
            Goal::Spot(..) => Doing::Standing { left_s: rng.random_range(2.0..30.0) },
            Goal::Door => Doing::Away { left_s: rng.random_range(20.0..400.0) },
        }
    }

    fn get_up(&mut self, walks_per_fall: u32, rng: &mut Pcg64) -> Doing {
        self.z_cm = rng.random_range(150.0..182.0);
        walk(walks_per_fall, rng)
    }
}

fn walk(walks_per_fall: u32, rng: &mut Pcg64) -> Doing {
    let to = match rng.random_range(0..10) {
        0..2 => Goal::Zone(0),
        2..5 => Goal::Zone(1),
        5..8 => Goal::Spot(rng.random_range(-180.0..180.0), rng.random_range(40.0..360.0)),
        _ => Goal::Door,
    };
    let falls = walks_per_fall > 0 && rng.random_range(0..walks_per_fall) == 0;
    let falls_in_s = falls.then(|| rng.random_range(0.5..3.0));
    Doing::Walking { to, falls_in_s }
}
