//! A city's sensors, as SENSORO pushes what they report, and the tasks that they were given and finished.

use std::time::Duration;

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::body::Body;
use super::{Agenda, Timed, period_ns};
use crate::vendors::sensoro::cipher::Cipher;

/// Of so many messages of a device, one is about a finished task.
const REPORTS_PER_TASK: u32 = 20;

/// In which mode the application's developer has its messages pushed, who may change it at any time.
#[derive(Clone, Debug)]
pub enum Mode {
    Plain,
    Safe(Cipher),
    /// Now this, now that.
    Both(Cipher),
}

/// What to imitate.
#[derive(Clone, Debug)]
pub struct Nodes {
    pub devices: usize,
    pub app_id: String,
    /// Where the application's messages are pushed to.
    pub path: String,
    /// Between two reports of a device.
    pub report_every: Duration,
    /// What the platform's clock shows at the start: microseconds since the Unix epoch.
    pub started_at_us: i64,
    pub mode: Mode,
    /// The result of a plain event stands at its top, in place of in `data`: the vendor's pages show both.
    pub flat_events: bool,
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            devices: 10,
            app_id: "123456".to_owned(),
            path: "/hooks/city".to_owned(),
            report_every: Duration::from_secs(60),
            started_at_us: 1_714_550_400_000_000,
            mode: Mode::Plain,
            flat_events: false,
        }
    }
}

impl Nodes {
    /// The messages about these devices, without end unless there are none.
    pub fn messages(self, seed: u64) -> Pushes {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut agenda = Agenda::default();
        let period_ns = period_ns(self.report_every);
        let devices: Vec<Node> = (0..self.devices).map(|i| Node::new(i, &mut rng)).collect();
        for i in 0..devices.len() {
            agenda.at(if i == 0 { 0 } else { rng.random_range(0..period_ns) }, i);
        }
        // Increasing from run to run too: a receiver takes an id that it has seen for a repetition.
        let next_id = self.started_at_us.div_euclid(1_000_000).saturating_mul(10_000);
        Pushes { nodes: self, rng, agenda, devices, next_id }
    }
}

/// The stream of some [`Nodes`].
#[derive(Debug)]
pub struct Pushes {
    nodes: Nodes,
    rng: Pcg64,
    agenda: Agenda,
    devices: Vec<Node>,
    next_id: i64,
}

#[derive(Debug)]
struct Node {
    sn: String,
    senses: Sense,
    battery_percent: f64,
    /// What is measured, between 0 and 1 of what is usual.
    level: f64,
    reports: u32,
}

/// A standard device has one sensor.
#[derive(Clone, Copy, Debug)]
enum Sense {
    Climate,
    Light,
    Leak,
    Smoke,
    Methane,
    Dust,
    Magnet,
    Motion,
    Place,
    Custom,
}

const SENSES: [Sense; 10] = [
    Sense::Climate,
    Sense::Leak,
    Sense::Smoke,
    Sense::Dust,
    Sense::Light,
    Sense::Methane,
    Sense::Magnet,
    Sense::Place,
    Sense::Motion,
    Sense::Custom,
];

impl Iterator for Pushes {
    type Item = Timed;

    fn next(&mut self) -> Option<Timed> {
        let (offset_ns, actor) = self.agenda.next()?;
        let period_ns = period_ns(self.nodes.report_every);
        self.agenda.at(offset_ns + period_ns * self.rng.random_range(98..=103) / 100, actor);
        let node = self.devices.get_mut(actor)?;
        node.reports += 1;
        let created_ms =
            self.nodes.started_at_us.saturating_add((offset_ns / 1_000) as i64).div_euclid(1_000);
        let id = self.next_id;
        self.next_id += 1;
        let is_task = node.reports.is_multiple_of(REPORTS_PER_TASK);
        let head = Body::default().text("appId", &*self.nodes.app_id);
        let (head, content) = if is_task {
            let task = self.rng.random_range(100..100_000).to_string();
            (head.text("taskId", task).text("type", "event"), node.task(&mut self.rng))
        } else {
            let head = head.text("sn", &*node.sn).text("type", "text").text("deviceType", "node");
            (head, node.measure(&mut self.rng))
        };
        let head = head.number("createdTime", created_ms).number("msgId", id);
        let (random, is_safe) = (self.rng.random(), self.rng.random_bool(0.5));
        let cipher = match &self.nodes.mode {
            Mode::Safe(cipher) => Some(cipher),
            Mode::Both(cipher) if is_safe => Some(cipher),
            Mode::Plain | Mode::Both(_) => None,
        };
        let body = match cipher {
            None if is_task && self.nodes.flat_events => head.and(content),
            None => head.object("data", content),
            Some(cipher) => {
                head.text("encryptData", cipher.seal(random, &content.into_bytes(), &self.nodes.app_id))
            }
        };
        let payload: Bytes = body.into_bytes();
        Some(Timed {
            offset_ns,
            vendor: "sensoro",
            kind: if is_task { "event" } else { "telemetry" },
            channel: self.nodes.path.as_str().into(),
            device: (!is_task).then(|| node.sn.as_str().into()),
            mqtt: None,
            payload,
        })
    }
}

impl Node {
    fn new(index: usize, rng: &mut Pcg64) -> Self {
        Self {
            sn: format!("0117C9{:010X}", 0x5F_0000_u64 + index as u64),
            senses: SENSES[index % SENSES.len()],
            battery_percent: rng.random_range(40.0..100.0),
            level: rng.random_range(0.2..0.8),
            reports: rng.random_range(0..REPORTS_PER_TASK),
        }
    }

    fn measure(&mut self, rng: &mut Pcg64) -> Body {
        self.level = (self.level + rng.random_range(-0.03..0.03)).clamp(0.0, 1.0);
        self.battery_percent = (self.battery_percent - 0.001).max(5.0);
        let level = self.level;
        let body = Body::default().number("battery", self.battery_percent as i64).number("interval", 60);
        let axes = |x: f64, y: f64, z: f64| {
            Body::default()
                .number("x", format!("{x:.3}"))
                .number("y", format!("{y:.3}"))
                .number("z", format!("{z:.3}"))
        };
        match self.senses {
            Sense::Climate => body
                .number("temperature", format!("{:.1}", 12.0 + 16.0 * level))
                .number("humidity", format!("{:.1}", 70.0 - 35.0 * level)),
            Sense::Light => body.number("light", format!("{:.1}", 800.0 * level)),
            Sense::Leak => body.number("leak", rng.random_bool(0.01)),
            Sense::Smoke => body.number("smoke", i32::from(rng.random_bool(0.005))),
            Sense::Methane => body.number("ch4", (6.0 * level) as i64),
            Sense::Dust => body.number("pm2_5", 8 + (90.0 * level) as i64),
            Sense::Magnet => body.object("magnetic", axes(20.0 + level, -4.5 * level, 43.0 - level)),
            Sense::Motion => body
                .object("accelerometer", axes(0.02 * level, -0.01, 0.98 + 0.02 * level))
                .object("gyro", axes(level - 0.5, 0.1 * level, -0.2)),
            Sense::Place => {
                // Longitude first.
                let (longitude, latitude) = (116.397 + 0.01 * level, 39.908 + rng.random_range(0.0..0.0001));
                body.number("lonlat", format!("[{longitude:.6},{latitude:.6}]"))
            }
            Sense::Custom => body.text("customer", format!("{:08x}", rng.random::<u32>())),
        }
    }

    fn task(&self, rng: &mut Pcg64) -> Body {
        if rng.random_bool(0.9) {
            Body::default()
                .number("resultCode", 0)
                .object("resultData", Body::default().number("interval", 60))
        } else {
            Body::default().number("resultCode", 1)
        }
    }
}
