//! A vendor that answers at once, unless told otherwise, and a hand on the time.

use super::*;

pub(super) const DATA: &str =
    r#"{ "scanArea": {"left":1,"right":2,"height":3},  "zones":[], "preference":0 }"#;

pub(super) struct World {
    pub(super) collector: PontosenseCollector,
    pub(super) rng: Pcg64,
    pub(super) now: Now,
    /// How much less the vendor's wall clock says than ours.
    pub(super) vendor_behind_us: i64,
    pub(super) start_ns: u64,
    pub(super) lines: Vec<String>,
    pub(super) dials: BTreeMap<Conn, crate::vendors::MqttDial>,
    pub(super) requests: Vec<HttpSend>,
    pub(super) events: Vec<crate::vendors::LinkEvent>,
    pub(super) configs: Vec<(String, String)>,
    pub(super) secrets: Vec<String>,
    /// What the next calls and dials are answered with, by what they begin with: taken one by one.
    pub(super) answers: Vec<(&'static str, Answer)>,
}

#[derive(Clone)]
pub(super) enum Answer {
    Status(u16),
    RetryAfter(u32),
    NoResponse,
    /// No answer ever comes.
    Silence,
    Close(CloseCause),
    NoSuback,
    SubscriptionRefused,
    Data(&'static str),
}

pub(super) fn config(sensors: &[&str]) -> PontosenseConfig {
    PontosenseConfig {
        api_url: "https://api".into(),
        api_key: "key".into(),
        secret: Secret::new("secret"),
        sensors: sensors.iter().map(|sn| (*sn).to_owned()).collect(),
        tenant_id: None,
        mqtt_url: None,
        renew_every: DEFAULT_RENEW_EVERY,
        token_margin: DEFAULT_TOKEN_MARGIN,
        connection_max_age: DEFAULT_CONNECTION_MAX_AGE,
    }
}

impl World {
    pub(super) fn new(config: PontosenseConfig) -> Self {
        let now = Now { wall_us: 1_738_708_800_000_000, steady_ns: 5_000 * SECOND_NS };
        Self {
            collector: PontosenseCollector::new(config),
            rng: Pcg64::seed_from_u64(1),
            now,
            vendor_behind_us: 0,
            start_ns: now.steady_ns,
            lines: Vec::new(),
            dials: BTreeMap::new(),
            requests: Vec::new(),
            events: Vec::new(),
            configs: Vec::new(),
            secrets: Vec::new(),
            answers: Vec::new(),
        }
    }

    pub(super) fn started(sensors: &[&str], answers: &[(&'static str, Answer)]) -> Self {
        let mut world = Self::new(config(sensors));
        world.answers = answers.to_vec();
        world.give(Input::Start);
        world
    }

    /// Lets time pass until `s` seconds after the start; what happened, as lines.
    pub(super) fn until(&mut self, s: u64) -> Vec<String> {
        let end = self.start_ns + s * SECOND_NS;
        let mut ticks = 0;
        while let Some(at) = self.collector.wake_at().filter(|at| *at <= end) {
            self.advance_to(at.max(self.now.steady_ns));
            self.give(Input::Tick);
            ticks += 1;
            assert!(ticks < 100_000, "it spins");
        }
        self.advance_to(end);
        std::mem::take(&mut self.lines)
    }

    pub(super) fn advance_to(&mut self, steady_ns: u64) {
        self.now.wall_us += ((steady_ns - self.now.steady_ns) / 1_000) as i64;
        self.now.steady_ns = steady_ns;
    }

    pub(super) fn give(&mut self, input: Input) {
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut fx = Vec::new();
            self.collector.on(self.now, &mut self.rng, input, &mut fx);
            for effect in fx {
                self.note(&effect);
                inputs.extend(self.answer(effect));
            }
        }
    }

    pub(super) fn report(&mut self, conn: Conn, sn: &str) {
        let frame = Frame::Publish {
            topic: format!("/location/{sn}").into(),
            mqtt: crate::message::Mqtt { qos: 0, retain: false, dup: false },
            payload: r#"{"method":"location.report","params":[]}"#.into(),
            ack: None,
        };
        self.give(Input::Frame { conn, at: self.now, frame });
    }

    pub(super) fn cut(&mut self, conn: Conn) {
        let why = Closed { cause: CloseCause::Broken, detail: "cut".into() };
        self.give(Input::Closed { conn, why });
    }

    pub(super) fn scripted(&mut self, what: &str) -> Option<Answer> {
        let place = self.answers.iter().position(|(begin, _)| what.starts_with(begin))?;
        Some(self.answers.remove(place).1)
    }

    pub(super) fn answer(&mut self, effect: Effect) -> Vec<Input> {
        let closed = |conn, cause| Input::Closed { conn, why: Closed { cause, detail: String::new() } };
        match effect {
            Effect::Http { call, request } => {
                let what = called(&request);
                let ok = |status, body: String| {
                    Ok(HttpResponse { status, retry_after_s: None, body: body.into() })
                };
                let vendor_us = self.now.wall_us - self.vendor_behind_us;
                let reply = |data: &str| {
                    let expires_s = vendor_us / 1_000_000 + 30 * 60;
                    let expires = chrono::DateTime::from_timestamp(expires_s, 0).unwrap();
                    format!(
                        r#"{{"token":"t/+=","expireTime":"{}","host":"broker","data":{data}}}"#,
                        expires.format("%Y-%m-%dT%H:%M:%SZ")
                    )
                };
                let result = match self.scripted(&what) {
                    None if what.starts_with("token") => ok(200, reply(DATA)),
                    None => ok(204, String::new()),
                    Some(Answer::Data(data)) => ok(200, reply(data)),
                    Some(Answer::Status(status)) => ok(status, String::new()),
                    Some(Answer::RetryAfter(s)) => {
                        Ok(HttpResponse { status: 429, retry_after_s: Some(s), body: Default::default() })
                    }
                    Some(Answer::NoResponse) => Err("no route".into()),
                    Some(_) => return Vec::new(),
                };
                vec![Input::Response { call, result }]
            }
            Effect::DialMqtt { conn, .. } => {
                let granted = |qos| vec![("topic".to_owned(), qos)];
                let opened = Input::Opened { conn, session_present: false };
                match self.scripted("dial") {
                    None => vec![opened, Input::Subscribed { conn, granted: granted(Some(0)) }],
                    Some(Answer::Close(cause)) => vec![closed(conn, cause)],
                    Some(Answer::NoSuback) => vec![opened],
                    Some(Answer::SubscriptionRefused) => {
                        vec![opened, Input::Subscribed { conn, granted: granted(None) }]
                    }
                    Some(_) => Vec::new(),
                }
            }
            Effect::Close { conn } => vec![closed(conn, CloseCause::ByUs)],
            _ => Vec::new(),
        }
    }

    pub(super) fn note(&mut self, effect: &Effect) {
        let line = match effect {
            Effect::Http { request, .. } => {
                self.requests.push(request.clone());
                called(request)
            }
            Effect::DialMqtt { conn, dial } => {
                let line = format!("dial {conn} {}", dial.subscriptions[0].0);
                self.dials.insert(*conn, dial.clone());
                line
            }
            Effect::Close { conn } => format!("close {conn}"),
            Effect::Link(event) => {
                self.events.push(event.clone());
                let mut line = format!("{} {}", event.event, event.conn);
                for member in ["planned", "flowing"] {
                    if event.more.get(member).is_some() {
                        line += &format!(" {member}");
                    }
                }
                if let Some(what) = event.more.get("what").or(event.more.get("call")) {
                    line += &format!(" {}", what.as_str().unwrap());
                }
                if let Some(gap_ns) = event.gap_ns {
                    line += &format!(" after {}", seconds(gap_ns));
                }
                if let Some(reason) = &event.reason {
                    line += &format!(" ({reason})");
                }
                line
            }
            Effect::Record { record, .. } => {
                if record.kind == crate::vendors::pontosense::CONFIG {
                    let payload = String::from_utf8(record.payload.to_vec()).unwrap();
                    self.configs.push((record.channel.to_string(), payload));
                }
                format!("record {} {}", record.conn, record.channel)
            }
            Effect::Ready { conn } => format!("ready {conn}"),
            Effect::Secret(secret) => return self.secrets.push(secret.expose().to_owned()),
            other => panic!("{other:?}"),
        };
        self.lines.push(format!("{} {line}", seconds(self.now.steady_ns - self.start_ns)));
    }
}

pub(super) fn seconds(ns: u64) -> String {
    let (s, ms) = (ns / SECOND_NS, ns % SECOND_NS / 1_000_000);
    if ms == 0 { s.to_string() } else { format!("{s}.{ms:03}") }
}

/// `token SN` or `start SN`.
pub(super) fn called(request: &HttpSend) -> String {
    match request.url.strip_prefix("https://api/v1/sensors/") {
        Some(rest) => format!("start {}", rest.split('/').next().unwrap()),
        None => {
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            format!("token {}", body["sn"].as_str().unwrap())
        }
    }
}

/// The lines that begin (after the time) with one of these words.
pub(super) fn only(lines: &[String], words: &[&str]) -> Vec<String> {
    let begins = |line: &&String| {
        let what = line.split_once(' ').unwrap().1;
        words.iter().any(|word| what.starts_with(word))
    };
    lines.iter().filter(begins).cloned().collect()
}
