//! People in a shop, as Delicode tracks them: they come in, wander at a walking pace, stand before a
//! shelf, and leave.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::body::Body;
use super::{Agenda, Timed, period_ns};
use crate::vendors::delicode::{KINDS, PATH};

const MILLISECOND_NS: u64 = 1_000_000;

/// Half the shop's sides in centimetres; the origin is in its middle.
const HALF_WIDTH_CM: f64 = 900.0;
const HALF_DEPTH_CM: f64 = 600.0;

/// An unhurried adult.
const WALK_CM_PER_S: f64 = 130.0;

/// What to imitate.
#[derive(Clone, Debug)]
pub struct Shop {
    pub locations: Vec<i64>,
    /// The most people in one location at a time.
    pub people: usize,
    /// Between two points of a person.
    pub point_every: Duration,
    /// Whether positions carry `confidence`, as they do since October 2019.
    pub confidence: bool,
}

impl Default for Shop {
    fn default() -> Self {
        Self { locations: vec![1, 2], people: 4, point_every: Duration::from_millis(125), confidence: true }
    }
}

impl Shop {
    /// The messages of this shop, without end unless it is empty.
    pub fn messages(self, seed: u64) -> Walks {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut agenda = Agenda::default();
        let mut slots = Vec::new();
        for _ in 0..self.people {
            for location in &self.locations {
                // The first comes at once, so that there is something to see from the start.
                let delay_ms = if slots.is_empty() { 0 } else { rng.random_range(0..15_000) };
                agenda.at(delay_ms * MILLISECOND_NS, slots.len());
                slots.push(Slot { location: *location, person: None });
            }
        }
        Walks { shop: self, rng, agenda, slots, next_person_id: 1 }
    }
}

/// The stream of a [`Shop`].
#[derive(Debug)]
pub struct Walks {
    shop: Shop,
    rng: Pcg64,
    agenda: Agenda,
    slots: Vec<Slot>,
    next_person_id: u64,
}

/// Room for one person in a location.
#[derive(Debug)]
struct Slot {
    location: i64,
    person: Option<Person>,
}

#[derive(Debug)]
struct Person {
    id: u64,
    x_cm: f64,
    y_cm: f64,
    heading: f64,
    /// Points until they stop or go on.
    points_to_turn: u32,
    standing: bool,
    points_left: u32,
    /// Points left when an estimate comes; more than `points_left` ever was: never.
    estimate_at: u32,
}

impl Iterator for Walks {
    type Item = Timed;

    fn next(&mut self) -> Option<Timed> {
        let (offset_ns, actor) = self.agenda.next()?;
        let period_ns = period_ns(self.shop.point_every);
        let slot = self.slots.get_mut(actor)?;
        let location = slot.location;
        // A camera's frames come regularly, their processing takes a little more or less.
        let step_ns = period_ns * self.rng.random_range(95..=105) / 100;

        let person = match &mut slot.person {
            Some(person) => person,
            empty => {
                let id = self.next_person_id;
                self.next_person_id += 1;
                empty.insert(Person::entering(id, period_ns, &mut self.rng))
            }
        };
        let (kind, body, wait_ns) = if person.points_left == 0 {
            let body = Body::default()
                .text("type", "realtime_person_lost")
                .number("person_id", person.id)
                .number("location_id", location);
            slot.person = None;
            (1, body, self.rng.random_range(1_000..20_000) * MILLISECOND_NS)
        } else if person.points_left == person.estimate_at {
            person.estimate_at = u32::MAX;
            let body = Body::default()
                .text("type", "realtime_demographics")
                .number("person_id", person.id)
                .number("location_id", location)
                .number("gender", self.rng.random_range(1..=2))
                .number("age", self.rng.random_range(14..80));
            (2, body, MILLISECOND_NS)
        } else {
            person.walk(period_ns, &mut self.rng);
            let position = format!("{{\"x\":{:.1},\"y\":{:.1}}}", person.x_cm, person.y_cm);
            let mut body = Body::default()
                .text("type", "realtime_person_position")
                .number("person_id", person.id)
                .number("location_id", location)
                .number("position", position);
            if self.shop.confidence {
                body = body.number("confidence", format!("{:.2}", self.rng.random_range(0.55..=1.0)));
            }
            (0, body, step_ns)
        };
        self.agenda.at(offset_ns + wait_ns, actor);
        Some(Timed {
            offset_ns,
            vendor: "delicode",
            kind: KINDS[kind],
            channel: PATH.into(),
            device: Some(location.to_string().into()),
            mqtt: None,
            payload: body.into_bytes(),
        })
    }
}

impl Person {
    /// At the door, in the middle of the near side.
    fn entering(id: u64, period_ns: u64, rng: &mut Pcg64) -> Self {
        let points_left = points(rng.random_range(10..60), period_ns);
        Self {
            id,
            x_cm: rng.random_range(-80.0..80.0),
            y_cm: -HALF_DEPTH_CM,
            heading: rng.random_range(0.8..2.3),
            points_to_turn: points(rng.random_range(2..6), period_ns),
            standing: false,
            points_left,
            estimate_at: if rng.random_bool(0.6) { points_left / 2 } else { u32::MAX },
        }
    }

    fn walk(&mut self, period_ns: u64, rng: &mut Pcg64) {
        self.points_left -= 1;
        if self.points_to_turn == 0 {
            self.standing = !self.standing && rng.random_bool(0.4);
            self.heading += rng.random_range(-1.5..1.5);
            self.points_to_turn = points(rng.random_range(1..6), period_ns);
        }
        self.points_to_turn -= 1;
        let speed = if self.standing { 4.0 } else { WALK_CM_PER_S * rng.random_range(0.85..1.15) };
        let step_cm = speed * period_ns as f64 / 1e9;
        self.heading += rng.random_range(-0.08..0.08);
        self.x_cm += step_cm * self.heading.cos();
        self.y_cm += step_cm * self.heading.sin();
        if self.x_cm.abs() > HALF_WIDTH_CM {
            self.x_cm = self.x_cm.clamp(-HALF_WIDTH_CM, HALF_WIDTH_CM);
            self.heading = std::f64::consts::PI - self.heading;
        }
        if self.y_cm.abs() > HALF_DEPTH_CM {
            self.y_cm = self.y_cm.clamp(-HALF_DEPTH_CM, HALF_DEPTH_CM);
            self.heading = -self.heading;
        }
    }
}

/// How many points so many seconds are; never none.
fn points(seconds: u64, period_ns: u64) -> u32 {
    u32::try_from(seconds * 1_000_000_000 / period_ns).unwrap_or(u32::MAX).max(1)
}
