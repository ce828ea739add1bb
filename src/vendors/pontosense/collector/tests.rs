use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::*;
use crate::secret::Secret;
use crate::vendors::lifecycle::SECOND_NS;
use crate::vendors::pontosense::config::{
    DEFAULT_CONNECTION_MAX_AGE, DEFAULT_RENEW_EVERY, DEFAULT_TOKEN_MARGIN,
};
use crate::vendors::testing::{Hand, source};
use crate::vendors::{CloseCause, Closed, HttpResponse, HttpSend, VendorConfig};

const DATA: &str = r#"{ "scanArea": {"left":1,"right":2,"height":3},  "zones":[], "preference":0 }"#;

/// A vendor that answers at once, unless told otherwise, and a hand on the time.
struct World {
    collector: PontosenseCollector,
    rng: Pcg64,
    now: Now,
    /// How much less the vendor's wall clock says than ours.
    vendor_behind_us: i64,
    start_ns: u64,
    lines: Vec<String>,
    dials: BTreeMap<Conn, crate::vendors::MqttDial>,
    requests: Vec<HttpSend>,
    events: Vec<crate::vendors::LinkEvent>,
    configs: Vec<(String, String)>,
    secrets: Vec<String>,
    /// What the next calls and dials are answered with, by what they begin with: taken one by one.
    answers: Vec<(&'static str, Answer)>,
}

#[derive(Clone)]
enum Answer {
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

fn config(sensors: &[&str]) -> PontosenseConfig {
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
    fn new(config: PontosenseConfig) -> Self {
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

    fn started(sensors: &[&str], answers: &[(&'static str, Answer)]) -> Self {
        let mut world = Self::new(config(sensors));
        world.answers = answers.to_vec();
        world.give(Input::Start);
        world
    }

    /// Lets time pass until `s` seconds after the start; what happened, as lines.
    fn until(&mut self, s: u64) -> Vec<String> {
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

    fn advance_to(&mut self, steady_ns: u64) {
        self.now.wall_us += ((steady_ns - self.now.steady_ns) / 1_000) as i64;
        self.now.steady_ns = steady_ns;
    }

    fn give(&mut self, input: Input) {
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

    fn report(&mut self, conn: Conn, sn: &str) {
        let frame = Frame::Publish {
            topic: format!("/location/{sn}").into(),
            mqtt: crate::message::Mqtt { qos: 0, retain: false, dup: false },
            payload: r#"{"method":"location.report","params":[]}"#.into(),
            ack: None,
        };
        self.give(Input::Frame { conn, at: self.now, frame });
    }

    fn cut(&mut self, conn: Conn) {
        let why = Closed { cause: CloseCause::Broken, detail: "cut".into() };
        self.give(Input::Closed { conn, why });
    }

    fn scripted(&mut self, what: &str) -> Option<Answer> {
        let place = self.answers.iter().position(|(begin, _)| what.starts_with(begin))?;
        Some(self.answers.remove(place).1)
    }

    fn answer(&mut self, effect: Effect) -> Vec<Input> {
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

    fn note(&mut self, effect: &Effect) {
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
                if record.kind == super::super::CONFIG {
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

fn seconds(ns: u64) -> String {
    let (s, ms) = (ns / SECOND_NS, ns % SECOND_NS / 1_000_000);
    if ms == 0 { s.to_string() } else { format!("{s}.{ms:03}") }
}

/// `token SN` or `start SN`.
fn called(request: &HttpSend) -> String {
    match request.url.strip_prefix("https://api/v1/sensors/") {
        Some(rest) => format!("start {}", rest.split('/').next().unwrap()),
        None => {
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            format!("token {}", body["sn"].as_str().unwrap())
        }
    }
}

/// The lines that begin (after the time) with one of these words.
fn only(lines: &[String], words: &[&str]) -> Vec<String> {
    let begins = |line: &&String| {
        let what = line.split_once(' ').unwrap().1;
        words.iter().any(|word| what.starts_with(word))
    };
    lines.iter().filter(begins).cloned().collect()
}

#[test]
fn a_sensor_is_asked_a_token_for_then_subscribed_to_then_started() {
    let mut world = World::started(&["A"], &[]);
    let expected = [
        "0 connecting 0",
        "0 token A",
        "0 record 0 /v1/iot/tokens?sn=A",
        "0 dial 0 /location/A",
        "0 connected 0",
        "0 subscribed 0",
        "0 start A",
        "0 renewed 0 reporting",
        "0 ready 0",
    ];
    assert_eq!(world.lines, expected);
    assert_eq!(world.configs, [("/v1/iot/tokens?sn=A".to_owned(), DATA.to_owned())], "exact bytes");
    let (token, start) = (&world.requests[0], &world.requests[1]);
    assert_eq!(
        (token.method, &*token.url, &token.body[..]),
        ("POST", "https://api/v1/iot/tokens", &br#"{"sn":"A"}"#[..])
    );
    assert_eq!((start.method, &*start.url), ("PUT", "https://api/v1/sensors/A/actions/location/start"));
    let authorizations: Vec<&String> = world.requests.iter().map(|request| &request.headers[0].1).collect();
    assert!(authorizations[0].starts_with("HMAC-SHA256 ApiKey=key, Timestamp=1738708800, Nonce="));
    assert_ne!(authorizations[0], authorizations[1], "a new nonce for each request");
    let dial = &world.dials[&0];
    let expected = format!(
        "wss://broker/mqtt?token=t%2F%2B%3D&clientId={}&x-amz-customauthorizer-name=third-party-auth",
        dial.client_id
    );
    assert_eq!((&dial.url, dial.clean_session, dial.keep_alive_s), (&expected, true, 60));
    assert_eq!((dial.username.as_ref(), dial.password.as_ref()), (None, None));
    world.report(0, "A");
    assert_eq!(world.lines.last().unwrap(), "0 record 0 /location/A");
}

/// Two hours of two sensors, call by call.
#[test]
fn reporting_tokens_and_connections_are_renewed_in_time() {
    let mut world = World::started(&["A", "B"], &[]);
    let lines = world.until(2 * 3_600);
    for sn in ["A", "B"] {
        let starts = only(&lines, &[&format!("start {sn}")]);
        let expected: Vec<String> = (0..=130).map(|n| format!("{} start {sn}", n * 55)).collect();
        assert_eq!(starts, expected, "every 55 s, whatever else happens");
        let tokens = only(&lines, &[&format!("token {sn}")]);
        let expected: Vec<String> = (0..=4).map(|n| format!("{} token {sn}", n * 25 * 60)).collect();
        assert_eq!(tokens, expected, "5 minutes before each expires");
    }
    let connections =
        only(&lines, &["connecting", "dial", "subscribed", "close", "disconnected", "reconnected"]);
    let hand_over = |s: u64, old: u32, new: u32, sn: &str| {
        vec![
            format!("{s} connecting {new} planned flowing"),
            format!("{s} dial {new} /location/{sn}"),
            format!("{s} subscribed {new} flowing"),
            format!("{s} close {old}"),
            format!("{s} disconnected {old} planned flowing ({sn}: closed by us)"),
        ]
    };
    let mut handed_over: Vec<String> = connections[6..].to_vec();
    handed_over.sort();
    let mut expected = [
        hand_over(3_300, 0, 2, "A"),
        hand_over(3_300, 1, 3, "B"),
        hand_over(6_600, 2, 4, "A"),
        hand_over(6_600, 3, 5, "B"),
    ]
    .concat();
    expected.sort();
    assert_eq!(handed_over, expected);
    // Subscribed before the old one is closed.
    let place = |what: &str| lines.iter().position(|line| line == what).unwrap();
    assert!(place("3300 subscribed 2 flowing") < place("3300 close 0"));
    let mut client_ids: Vec<&String> = world.dials.values().map(|dial| &dial.client_id).collect();
    client_ids.sort();
    client_ids.dedup();
    assert_eq!(client_ids.len(), 6, "another client id each time");
    assert_eq!(world.configs.len(), 2, "once each: it did not change");
}

#[test]
fn every_token_is_told_before_it_is_shown_to_anybody() {
    let mut world = World::started(&["A", "B"], &[]);
    assert_eq!((world.secrets.len(), world.dials.len()), (2, 2));
    world.until(40 * 60);
    assert_eq!(world.secrets, ["t/+="; 4]);
    let token = |lines: Vec<Effect>| matches!(lines[0], Effect::Secret(_));
    let reply = r#"{"token":"t","host":"broker"}"#;
    let mut hand = Hand::of(&source(VendorConfig::Pontosense(config(&["A"]))));
    hand.give(Input::Start);
    let result = Ok(HttpResponse { status: 200, retry_after_s: None, body: reply.into() });
    assert!(token(hand.effects(Input::Response { call: 0, result })));
}

#[test]
fn a_changed_configuration_is_recorded_and_again_in_each_session() {
    let mut world = World::started(&["A"], &[("token", Answer::Data(DATA))]);
    world.answers = vec![("token", Answer::Data(r#"{"zones":[1]}"#))];
    world.until(1_600);
    let recorded: Vec<&str> = world.configs.iter().map(|(_, data)| data.as_str()).collect();
    assert_eq!(recorded, [DATA, r#"{"zones":[1]}"#]);
    let mut fx = Vec::new();
    world.collector.rolled(world.now, &mut fx);
    assert!(matches!(&fx[..], [Effect::Record { record, .. }] if &record.payload[..] == br#"{"zones":[1]}"#));
}

#[test]
fn a_renewal_that_fails_is_made_again_before_the_minute_is_over() {
    let failures = [Answer::Status(500), Answer::NoResponse];
    let mut world = World::started(&["A"], &[]);
    world.answers = failures.into_iter().map(|answer| ("start", answer)).collect();
    let lines = world.until(120);
    assert_eq!(
        only(&lines[9..], &["start", "refused", "renewed", "reconnected"]),
        [
            "55 start A",
            "55 refused 0 flowing start (A: not started: HTTP status 500)",
            "56 start A",
            "56 refused 0 flowing start (A: not started: no route)",
            "58 start A",
            "58 renewed 0 flowing reporting",
            "113 start A",
            "113 renewed 0 flowing reporting",
        ]
    );
}

#[test]
fn a_renewal_that_is_not_answered_is_made_again_beside_it() {
    let mut world = World::started(&["A"], &[]);
    world.answers = vec![("start", Answer::Silence)];
    let lines = world.until(100);
    assert_eq!(
        only(&lines[9..], &["start", "re"]),
        ["55 start A", "58 start A", "58 renewed 0 flowing reporting"]
    );
}

#[test]
fn a_sensor_that_cannot_be_started_in_time_is_down_until_it_can() {
    let mut world = World::started(&["A"], &[]);
    world.until(50);
    world.report(0, "A");
    world.answers = vec![("start", Answer::Status(503)); 4];
    let lines = world.until(80);
    assert_eq!(
        only(&lines, &["start", "refused", "reconnected", "ready"]),
        [
            "55 start A",
            "55 refused 0 flowing start (A: not started: HTTP status 503)",
            "56 start A",
            "56 refused 0 flowing start (A: not started: HTTP status 503)",
            "58 start A",
            "58 refused 0 flowing start (A: not started: HTTP status 503)",
            "60 refused 0 start (A: the sensor has stopped reporting: it could not be started again in time)",
            "63 start A",
            "63 refused 0 start (A: not started: HTTP status 503)",
            "68 start A",
            "68 reconnected 0 after 18",
            "68 ready 0",
        ]
    );
}

#[test]
fn failing_token_calls_are_made_again_later_each_time_and_as_late_as_asked_for() {
    let answers = [
        ("token", Answer::Status(500)),
        ("token", Answer::NoResponse),
        ("token", Answer::RetryAfter(100)),
        ("token", Answer::Data("[")),
    ];
    let mut world = World::started(&["A"], &answers);
    let lines = world.until(300);
    let told = only(&lines, &["refused", "reconnected", "ready"]);
    let waits: Vec<f64> = only(&lines, &["token"])
        .windows(2)
        .map(|pair| {
            let at = |line: &String| line.split(' ').next().unwrap().parse::<f64>().unwrap();
            at(&pair[1]) - at(&pair[0])
        })
        .collect();
    assert_eq!(waits.len(), 4);
    assert!((0.5..=1.0).contains(&waits[0]) && (1.0..=2.0).contains(&waits[1]), "{waits:?}");
    assert!((99.9..=100.1).contains(&waits[2]) && (4.0..=8.0).contains(&waits[3]), "{waits:?}");
    assert_eq!(told.len(), 6, "{told:#?}");
    assert_eq!(told[0], "0 refused 0 token (A: no token: HTTP status 500)");
    assert!(
        told[3].contains("refused 3 token (A: no token: unreadable token reply, at line 1"),
        "{}",
        told[3]
    );
    assert!(told[4].contains("reconnected 4 after"));
}

#[test]
fn a_refused_sensor_is_tried_rarely_and_disturbs_no_other() {
    for status in [401, 403, 404] {
        let mut world = World::started(&["A", "B"], &vec![("token A", Answer::Status(status)); 9]);
        let lines = world.until(3 * 3_600);
        let asked = only(&lines, &["token A"]).len();
        assert!((7..=10).contains(&asked), "{asked} times");
        assert_eq!(only(&lines, &["start A"]), [] as [&str; 0]);
        assert_eq!(only(&lines, &["start B"]).len(), 3 * 3_600 / 55 + 1);
        let refused = world.events.iter().find(|event| event.event == "refused").unwrap();
        assert_eq!(refused.more["sn"], "A");
        assert_eq!((&refused.more["code"], &refused.more["cause"]), (&status.into(), &"http_status".into()));
    }
}

#[test]
fn a_start_that_is_refused_closes_the_sensor_s_connection_and_comes_back() {
    let mut world = World::started(&["A"], &[("start", Answer::Status(403))]);
    let lines = world.until(70);
    assert_eq!(
        only(&lines, &["refused", "close", "disconnected"]),
        ["0 close 0", "0 refused 0 start (A: not started: HTTP status 403)"]
    );
    assert_eq!(only(&lines, &["token"]).len(), 2, "with a new token");
    assert_eq!(only(&lines, &["ready"]).len(), 1);
}

#[test]
fn a_lost_connection_is_made_again_with_the_token_while_that_is_good() {
    let mut world = World::started(&["A"], &[]);
    world.until(100);
    world.report(0, "A");
    world.until(130);
    world.cut(0);
    let lines = world.until(140);
    let told = only(&lines, &["token", "disconnected", "connecting", "start", "reconnected", "ready"]);
    assert_eq!(told[0], "130 disconnected 0 (A: cut)");
    assert!(told[1].ends_with("connecting 1") && told[2].ends_with("start A"), "{told:?}");
    assert!(told[3].contains("reconnected 1 after 30.") || told[3].contains("reconnected 1 after 31"));
    assert_eq!(told.len(), 5, "{told:?}");
    // In its last five minutes a token is not used again.
    world.answers = vec![("token", Answer::RetryAfter(600))];
    world.until(26 * 60);
    world.cut(1);
    assert_eq!(only(&world.until(26 * 60 + 5), &["token"]).len(), 1);
}

#[test]
fn a_connection_that_is_not_accepted_costs_the_token() {
    let causes = [
        CloseCause::MqttRefused(5),
        CloseCause::MqttRefused(7),
        CloseCause::HttpStatus(403),
        CloseCause::Unreachable,
        CloseCause::ByPeer(None),
    ];
    for cause in causes {
        let mut world = World::started(&["A"], &[("dial", Answer::Close(cause))]);
        let lines = world.until(10);
        assert_eq!(only(&lines, &["token"]).len(), 2, "{cause:?}");
        assert_eq!(only(&lines, &["reconnected", "ready"]).len(), 2, "{cause:?}");
    }
    let mut world = World::started(&["A"], &[("dial", Answer::Close(CloseCause::HttpStatus(503)))]);
    assert_eq!(only(&world.until(10), &["token"]).len(), 1);
}

#[test]
fn a_subscription_that_is_refused_or_not_answered_is_tried_again() {
    for (answer, expected) in [
        (Answer::SubscriptionRefused, "0 refused 0 (A: the subscription was refused)"),
        (Answer::NoSuback, "20 refused 0 (A: the subscription was not answered)"),
    ] {
        let mut world = World::started(&["A"], &[("dial", answer)]);
        let lines = world.until(30);
        assert_eq!(only(&lines, &["refused", "disconnected"]), [expected]);
        assert_eq!(only(&lines, &["close"]).len(), 1);
        assert_eq!(only(&lines, &["ready"]).len(), 1);
    }
}

#[test]
fn a_hand_over_that_fails_leaves_the_old_connection() {
    let mut world = World::started(&["A"], &[]);
    world.until(3_299);
    world.answers =
        vec![("dial", Answer::Close(CloseCause::MqttRefused(3))), ("dial", Answer::SubscriptionRefused)];
    let lines = world.until(3_320);
    assert_eq!(only(&lines, &["reconnected"]), [] as [&str; 0]);
    let refused = only(&lines, &["refused"]);
    assert_eq!(refused.len(), 2, "{lines:#?}");
    assert!(refused.iter().all(|line| line.contains("flowing")), "{refused:?}");
    let closed = only(&lines, &["close", "disconnected"]);
    assert!(closed[0].ends_with("close 2") && closed[1].ends_with("close 0"), "{closed:?}");
    assert!(closed[2].contains("disconnected 0 planned flowing"), "{closed:?}");
    assert_eq!(only(&lines, &["start"]), ["3300 start A"]);
}

#[test]
fn hand_overs_that_fail_now_and_then_wait_no_longer_each_time() {
    let mut world = World::started(&["A"], &[]);
    for n in 1..=20 {
        world.until(n * 3_300 - 10);
        world.answers = vec![("dial", Answer::Close(CloseCause::MqttRefused(3)))];
        let lines = world.until(n * 3_300 + 10 * n);
        assert_eq!(only(&lines, &["refused"]).len(), 1, "{n}: {lines:?}");
        let at = |begin: &str| only(&lines, &[begin])[0].split(' ').next().unwrap().parse::<f64>().unwrap();
        assert!(at("disconnected") - at("refused") <= 1.0, "{n}: {lines:?}");
    }
}

#[test]
fn a_start_that_is_refused_during_a_hand_over_ends_both_connections_and_tells_so() {
    // While the next one is being made, and while it waits for its token.
    let margin = Duration::from_secs(1_799);
    for (answer, closed, token_margin) in
        [(("dial", Answer::Silence), 2, DEFAULT_TOKEN_MARGIN), (("token", Answer::Silence), 1, margin)]
    {
        let mut world = World::new(PontosenseConfig { token_margin, ..config(&["A"]) });
        world.give(Input::Start);
        world.until(3_299);
        world.answers = vec![answer, ("start", Answer::Status(403))];
        let lines = world.until(3_301);
        assert_eq!(only(&lines, &["connecting"]), ["3300 connecting 1 planned flowing"]);
        assert_eq!(only(&lines, &["close"]).len(), closed);
        let refused = "start (A: not started: HTTP status 403)";
        assert_eq!(
            only(&lines, &["refused", "disconnected", "ready"]),
            [format!("3300 refused 0 {refused}"), format!("3300 refused 1 {refused}")]
        );
    }
}

#[test]
fn a_connection_lost_in_the_middle_of_a_hand_over_is_replaced_by_the_new_one() {
    let mut world = World::started(&["A"], &[]);
    world.until(3_299);
    world.answers = vec![("dial", Answer::Silence)];
    world.until(3_301);
    world.cut(0);
    world.give(Input::Opened { conn: 1, session_present: false });
    world.give(Input::Subscribed { conn: 1, granted: vec![("t".into(), Some(0))] });
    assert_eq!(
        only(&world.lines, &["disconnected", "subscribed", "start", "reconnected", "ready"]),
        [
            "3301 disconnected 0 (A: cut)",
            "3301 subscribed 1",
            "3301 start A",
            "3301 reconnected 1 after 0",
            "3301 ready 1"
        ]
    );
}

#[test]
fn a_lost_connection_does_not_wait_for_what_its_successor_was_told_to_wait() {
    let mut world = World::started(&["A"], &[]);
    world.until(3_299);
    world.answers = vec![("dial", Answer::Close(CloseCause::MqttRefused(5))), ("token", Answer::Status(401))];
    let refused = only(&world.until(3_305), &["refused"]);
    assert!(refused[1].ends_with("refused 2 flowing token (A: no token: HTTP status 401)"), "{refused:?}");
    world.cut(0);
    assert_eq!(only(&world.until(3_310), &["ready"]).len(), 1);
}

#[test]
fn the_end_closes_connections_and_stops_no_sensor() {
    let mut world = World::started(&["A", "B"], &[]);
    world.until(10);
    world.give(Input::Stop);
    assert_eq!(world.lines, ["10 close 0", "10 close 1"]);
    world.lines.clear();
    world.report(0, "A");
    assert_eq!(world.lines, ["10 record 0 /location/A"], "what still comes is kept");
    assert_eq!(world.collector.wake_at(), None);
}

#[test]
fn the_tenant_form_and_another_broker_are_used_where_configured() {
    let mut tenant = config(&["A"]);
    tenant.tenant_id = Some(7);
    tenant.mqtt_url = Some("ws://127.0.0.1:9002".into());
    tenant.renew_every = Duration::from_secs(30);
    let mut rng = Pcg64::seed_from_u64(1);
    let now = Now::default();
    let start = api::start(&tenant, now, &mut rng, "A");
    assert_eq!(start.url, "https://api/v1/tenants/7/sensors/A/actions/location/start");
    let reply = br#"{"token":"t","expireTime":"2025-02-04T12:30:00Z","host":"broker"}"#;
    let (token, data) = api::read_token(&tenant, now, reply).unwrap();
    assert!(token.url("c").starts_with("ws://127.0.0.1:9002/mqtt?token=t&clientId=c&"));
    assert_eq!(data, None);
    let documented = include_bytes!("../../../../fixtures/pontosense/token_reply.json");
    let (token, data) = api::read_token(&config(&["A"]), now, documented).unwrap();
    assert!(token.url("c").starts_with("wss://iot.example.com/mqtt?token=eyJhbGci"));
    assert!(data.unwrap().ends_with(br#""preference":0}"#));
}

#[test]
fn the_host_of_a_token_reply_is_bare_or_with_a_port_or_a_url() {
    let url = |config: &PontosenseConfig, host: &str| {
        let body = format!(r#"{{"token":"t","expireTime":"2025-02-04T12:30:00Z","host":"{host}"}}"#);
        let (token, _) = api::read_token(config, Now::default(), body.as_bytes())?;
        Ok::<_, String>(token.url("c").split('?').next().unwrap().to_owned())
    };
    let https = config(&["A"]);
    let http = PontosenseConfig { api_url: "http://api".into(), ..config(&["A"]) };
    assert_eq!(url(&https, "broker.example").unwrap(), "wss://broker.example/mqtt");
    assert_eq!(url(&https, "broker:8443").unwrap(), "wss://broker:8443/mqtt");
    assert_eq!(url(&https, "wss://broker/x").unwrap(), "wss://broker/x");
    assert_eq!(url(&http, "ws://broker").unwrap(), "ws://broker/mqtt");
    for host in ["ws://broker", "", "http://broker", "wss://", "a b", "wss://u:p@broker"] {
        assert!(url(&https, host).is_err(), "{host}");
    }
}

/// With a clock that is wrong, or an `expireTime` that is none, tokens are renewed as the vendor documents it.
#[test]
fn wrong_clocks_and_unreadable_times_of_expiry_cost_no_token() {
    let hour_us = 3_600_000_000;
    for (ahead_us, tokens) in [(0, 5), (hour_us, 5), (20_000 * hour_us, 5), (-hour_us, 2)] {
        let mut world = World::new(config(&["A"]));
        let vendor_us = world.now.wall_us;
        world.vendor_behind_us = ahead_us;
        world.now.wall_us = vendor_us + ahead_us;
        world.give(Input::Start);
        let lines = world.until(2 * 3_600);
        assert_eq!(only(&lines, &["token"]).len(), tokens, "{ahead_us}");
        assert_eq!(only(&lines, &["ready"]).len(), 3, "{ahead_us}: handed over twice");
        assert_eq!(only(&lines, &["reconnected", "refused"]), [] as [&str; 0]);
    }
    // The clock is set while a token is held: its time is counted on the steady one.
    for step_us in [9 * hour_us, -9 * hour_us] {
        let mut world = World::started(&["A"], &[]);
        world.until(600);
        world.now.wall_us += step_us;
        assert_eq!(only(&world.until(1_499), &["token"]), [] as [&str; 0]);
        assert_eq!(only(&world.until(1_500), &["token"]), ["1500 token A"]);
    }

    let now = Now { wall_us: 1_738_708_800_000_000, steady_ns: 7 };
    for member in ["", r#","expireTime":"""#, r#","expireTime":1738710600"#, r#","expireTime":null"#] {
        let body = format!(r#"{{"token":"t","host":"broker"{member}}}"#);
        let (token, _) = api::read_token(&config(&["A"]), now, body.as_bytes()).unwrap();
        assert_eq!(token.expires_ns, 1_800 * SECOND_NS + 7, "{member}");
    }
    let body = br#"{"token":"t","host":"broker","expireTime":"2025-02-05T00:40:10+02:00"}"#;
    assert_eq!(api::read_token(&config(&["A"]), now, body).unwrap().0.expires_ns, 10 * SECOND_NS + 7);
}

#[test]
fn a_response_counts_once_and_only_to_its_own_call() {
    let mut hand = Hand::of(&source(VendorConfig::Pontosense(config(&["A"]))));
    let begun = hand.give(Input::Start);
    assert_eq!(begun, ["link connecting 0", "call 0 POST https://api/v1/iot/tokens"]);
    assert_eq!(hand.respond(1, 200, ""), [] as [&str; 0]);
    assert_eq!(hand.respond(0, 403, ""), ["link refused 0: A: no token: HTTP status 403"]);
    assert_eq!(hand.respond(0, 403, ""), [] as [&str; 0]);
}

fn hostile() -> impl Strategy<Value = Input> {
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        r#"\{"token":"[a-z%&/]{0,5}","expireTime":"[0-9TZ:-]{0,20}","host":".{0,9}","data":(\[\]|null|7|\{)\}"#
            .prop_map(String::into_bytes),
        Just(br#"{"token":"t","expireTime":"9999-12-31T23:59:59Z","host":"h","data":{}}"#.to_vec()),
        Just(br#"{"token":"t","expireTime":"0001-01-01T00:00:00Z","host":"h"}"#.to_vec()),
    ];
    let response = (0..20u64, prop_oneof![Just(200u16), 100..600u16], any::<Option<u32>>(), body);
    let response = response.prop_map(|(call, status, retry_after_s, body)| Input::Response {
        call,
        result: Ok(HttpResponse { status, retry_after_s, body: body.into() }),
    });
    let cause = prop_oneof![
        any::<u8>().prop_map(CloseCause::MqttRefused),
        any::<u16>().prop_map(CloseCause::HttpStatus),
        any::<Option<u16>>().prop_map(CloseCause::ByPeer),
        Just(CloseCause::Broken),
        Just(CloseCause::ByUs),
        Just(CloseCause::Unreachable),
    ];
    let closed = (0..9u32, cause)
        .prop_map(|(conn, cause)| Input::Closed { conn, why: Closed { cause, detail: String::new() } });
    let subscribed =
        (0..9u32, proptest::collection::vec(any::<Option<u8>>(), 0..3)).prop_map(|(conn, qos)| {
            Input::Subscribed { conn, granted: qos.into_iter().map(|qos| (String::new(), qos)).collect() }
        });
    prop_oneof![
        4 => response,
        1 => closed,
        2 => subscribed,
        2 => (0..9u32).prop_map(|conn| Input::Opened { conn, session_present: true }),
        1 => Just(()).prop_map(|()| Input::Tick),
        1 => (0..20u64).prop_map(|call| Input::Response { call, result: Err("no route".into()) }),
    ]
}

proptest! {
    /// Whatever comes in whatever order: no panic, no spinning, and no secret in what is told.
    #[test]
    fn nothing_that_a_vendor_sends_breaks_it(
        inputs in proptest::collection::vec((hostile(), 0..100u64), 0..60)
    ) {
        let mut collector = PontosenseCollector::new(config(&["A", "B"]));
        let mut rng = Pcg64::seed_from_u64(1);
        let mut now = Now { wall_us: 1_738_708_800_000_000, steady_ns: 5_000 * SECOND_NS };
        let mut fx = Vec::new();
        collector.on(now, &mut rng, Input::Start, &mut fx);
        for (input, wait_s) in inputs {
            collector.on(now, &mut rng, input, &mut fx);
            let end_ns = now.steady_ns + wait_s * SECOND_NS;
            let mut ticks = 0;
            while let Some(at) = collector.wake_at().filter(|at| *at <= end_ns) {
                now.steady_ns = at.max(now.steady_ns);
                collector.on(now, &mut rng, Input::Tick, &mut fx);
                ticks += 1;
                prop_assert!(ticks < 1_000, "it spins");
            }
            now.steady_ns = end_ns;
        }
        prop_assert!(collector.calls.under_way.len() < 1_000);
        let told = format!("{fx:?}");
        prop_assert!(!told.contains("secret"));
    }
}
