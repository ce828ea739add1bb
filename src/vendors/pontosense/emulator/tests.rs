use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::*;
use crate::message::SourceHeader;
use crate::secret::Secret;
use crate::vendors::pontosense::signature::authorization;
use crate::vendors::service::{Grant, MqttPolicy, Standing};
use crate::vendors::{Credential, DeviceConfig};

const WALL_US: i64 = 1_738_708_800_000_000;

fn at(s: u64) -> Now {
    Now { wall_us: WALL_US + s as i64 * 1_000_000, steady_ns: (7_000 + s) * SECOND_NS }
}

fn service(any_credentials: bool) -> Pontosense {
    varied(any_credentials, &[])
}

fn varied(any_credentials: bool, variants: &[Variant]) -> Pontosense {
    let source = |name: &str, sensors: &[&str]| SourceHeader {
        name: name.into(),
        vendor: "pontosense".into(),
        kinds: Vec::new(),
        settings: json!({"sensors": sensors}),
    };
    let credential = |source: &str, key: &str| Credential {
        source: source.into(),
        vendor: "pontosense".into(),
        username: Some(key.into()),
        secret: format!("secret of {key}"),
    };
    let recorded = Recorded {
        sources: vec![source("ward", &["A", "B"]), source("home", &["C"])],
        any_credentials,
        credentials: vec![credential("ward", "k1"), credential("home", "k2")],
        device_configs: vec![DeviceConfig {
            vendor: "pontosense".into(),
            device_id: "A".into(),
            payload: r#"{ "zones" : [ -0.0 ] }"#.into(),
        }],
        variants: variants.to_vec(),
    };
    Pontosense::new(Arc::new(recorded), &mut Pcg64::seed_from_u64(1))
}

/// A request, signed by `key` where that is not "".
fn request(method: &str, path: &str, body: &str, key: &str, unix_s: i64, nonce: &str) -> HttpRequest {
    let mut headers = vec![("host".to_owned(), "127.0.0.1:8443".to_owned())];
    if !key.is_empty() {
        let secret = Secret::new(format!("secret of {key}"));
        headers.push(("authorization".into(), authorization(key, &secret, unix_s, nonce)));
    }
    HttpRequest {
        method: method.into(),
        path_and_query: path.into(),
        headers,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn ask(service: &Pontosense, now: Now, method: &str, path: &str, body: &str) -> (u16, Value) {
    let reply = service.http(now, &request(method, path, body, "", 0, ""));
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or(Value::Null))
}

fn token(service: &Pontosense, now: Now, sn: &str) -> String {
    let (status, reply) = ask(service, now, "POST", TOKENS_PATH, &json!({"sn": sn}).to_string());
    assert_eq!(status, 200);
    reply["token"].as_str().unwrap().to_owned()
}

fn connected(service: &Pontosense, now: Now, sn: &str) -> Box<dyn MqttPolicy> {
    let query =
        format!("token={}&clientId=c&x-amz-customauthorizer-name=third-party-auth", token(service, now, sn));
    match service.mqtt(now, &query) {
        Admission::Under(mut policy) => {
            policy.connect("c").unwrap();
            policy
        }
        other => panic!("{other:?}"),
    }
}

fn start(service: &Pontosense, now: Now, sn: &str) {
    let path = format!("/v1/sensors/{sn}/actions/location/start");
    assert_eq!(ask(service, now, "PUT", &path, ""), (204, Value::Null));
}

#[test]
fn a_token_reply_says_what_was_recorded_and_where_it_was_asked() {
    let service = service(true);
    let reply = service.http(at(0), &request("POST", TOKENS_PATH, r#"{"sn":"A"}"#, "", 0, ""));
    let body = String::from_utf8(reply.body.to_vec()).unwrap();
    assert!(body.ends_with(
        r#""expireTime":"2025-02-04T23:10:00Z","host":"127.0.0.1:8443","data":{ "zones" : [ -0.0 ] }}"#
    ));
    let mut request = request("POST", TOKENS_PATH, r#"{"sn":"unknown"}"#, "", 0, "");
    request.headers = vec![("host".into(), "replay.example:443".into())];
    let reply: Value = serde_json::from_slice(&service.http(at(0), &request).body).unwrap();
    assert_eq!(reply["host"], "replay.example");
    assert_eq!(reply["data"], serde_json::from_str::<Value>(DEFAULT_DATA).unwrap());
}

#[test]
fn requests_that_are_wrong_are_told() {
    let service = service(true);
    for body in ["", "[]", r#"{"sn":1}"#, r#"{"sn":""}"#, r#"{"sn":"a/b"}"#, r#"{"serial":"A"}"#] {
        let (status, reply) = ask(&service, at(0), "POST", TOKENS_PATH, body);
        assert_eq!((status, &reply["code"]), (400, &json!(400)), "{body}");
        assert!(reply["message"].is_string());
    }
    assert_eq!(ask(&service, at(0), "GET", TOKENS_PATH, "").0, 405);
    let start = "/v1/sensors/A/actions/location/start";
    assert_eq!(ask(&service, at(0), "POST", start, "").0, 405);
    for path in [
        TOKENS_PATH,
        start,
        "/v1/sensors/A/actions/location/stop",
        "/v1/tenants/1/sensors/A/actions/location/start",
    ] {
        assert!(service.serves(path), "{path}");
    }
    for path in [
        "/v1/iot",
        "/v1/sensors//actions/location/start",
        "/v1/sensors/A/actions/location/pause",
        "/v1/tenants/0/sensors/A/actions/location/start",
        "/v1/tenants/x/sensors/A/actions/location/start",
        "/mqtt",
    ] {
        assert!(!service.serves(path), "{path}");
    }
}

#[test]
fn clock_and_nonces_are_not_looked_at_where_that_was_asked_for() {
    let now_s = WALL_US / 1_000_000;
    let statuses = |variants: &[Variant]| {
        let service = varied(false, variants);
        let ask = |unix_s, nonce| {
            service.http(at(0), &request("POST", TOKENS_PATH, r#"{"sn":"A"}"#, "k1", unix_s, nonce)).status
        };
        [ask(now_s, "n"), ask(now_s, "n"), ask(now_s - 86_400, "m")]
    };
    assert_eq!(statuses(&[]), [200, 401, 401]);
    assert_eq!(statuses(&[Variant::PontosenseAnyNonce]), [200, 200, 401]);
    assert_eq!(statuses(&[Variant::PontosenseAnyClock]), [200, 401, 200]);
    let unsigned = request("POST", TOKENS_PATH, r#"{"sn":"A"}"#, "", 0, "");
    assert_eq!(varied(false, &Variant::ALL).http(at(0), &unsigned).status, 401);
}

#[test]
fn where_credentials_are_required_requests_are_signed_fresh_and_for_the_key_s_own_sensors() {
    let service = service(false);
    let now_s = WALL_US / 1_000_000;
    let status = |now: Now, key: &str, unix_s: i64, nonce: &str, sn: &str| {
        let body = json!({"sn": sn}).to_string();
        service.http(now, &request("POST", TOKENS_PATH, &body, key, unix_s, nonce)).status
    };
    assert_eq!(status(at(0), "", 0, "", "A"), 401);
    assert_eq!(status(at(0), "k3", now_s, "n0", "A"), 401, "an unknown key");
    assert_eq!(status(at(0), "k1", now_s - 300, "n1", "A"), 200);
    assert_eq!(status(at(0), "k1", now_s - 301, "n2", "A"), 401);
    assert_eq!(status(at(0), "k1", now_s + 301, "n2", "A"), 401);
    assert_eq!(status(at(0), "k1", now_s, "n1", "B"), 401, "a nonce twice");
    assert_eq!(status(at(599), "k1", now_s + 599, "n1", "B"), 401);
    assert_eq!(status(at(600), "k1", now_s + 600, "n1", "B"), 200);
    assert_eq!(status(at(0), "k1", now_s, "n3", "C"), 403, "another key's");
    assert_eq!(status(at(0), "k1", now_s, "n4", "D"), 404);
    let mut forged = request("POST", TOKENS_PATH, r#"{"sn":"A"}"#, "k1", now_s, "n5");
    forged.headers[1].1 = forged.headers[1].1.replace("Nonce=n5", "Nonce=n6");
    assert_eq!(service.http(at(0), &forged).status, 401);
    let path = "/v1/tenants/1/sensors/C/actions/location/start";
    assert_eq!(service.http(at(0), &request("PUT", path, "", "k1", now_s, "n7")).status, 403);
    assert_eq!(service.http(at(0), &request("PUT", path, "", "k2", now_s, "n8")).status, 204);
}

#[test]
fn an_upgrade_needs_a_token_that_is_good() {
    let service = service(true);
    let token = token(&service, at(0), "A");
    assert!(matches!(service.mqtt(at(0), ""), Admission::Plain));
    assert!(matches!(service.mqtt(at(0), "clientId=c"), Admission::Plain), "nobody's protocol");
    assert!(matches!(service.mqtt(at(1_799), &format!("token={token}")), Admission::Under(_)));
    for query in [
        "token=".to_owned(),
        "token=abc".to_owned(),
        format!("token={token}x"),
        format!("token={token}&x-amz-customauthorizer-name=mine"),
    ] {
        assert!(matches!(service.mqtt(at(0), &query), Admission::Closed(_)), "{query}");
    }
    assert!(matches!(service.mqtt(at(1_800), &format!("token={token}")), Admission::Closed(_)), "expired");
    let strict = varied(true, &[Variant::PontosenseToken403]);
    assert!(matches!(strict.mqtt(at(0), "token=abc"), Admission::Refused(reply) if reply.status == 403));
}

#[test]
fn reports_flow_while_subscribed_and_started() {
    let service = service(true);
    let mut policy = connected(&service, at(0), "A");
    assert_eq!(policy.standing(at(0)), Standing::Unready);
    assert_eq!(policy.subscribe("/location/A", 1, 1), Grant::Granted(1));
    assert_eq!(policy.standing(at(1)), Standing::Unready, "not started");
    start(&service, at(2), "B");
    assert_eq!(policy.standing(at(2)), Standing::Unready, "another was");
    start(&service, at(2), "A");
    let rows = Selection {
        vendors: vec!["pontosense".into()],
        sources: vec!["ward".into()],
        kinds: vec!["location".into(), "other".into()],
        channels: vec!["/location/A".into()],
        ..Selection::default()
    };
    let flowing = Standing::Flowing { rows, topic: "/location/A".into(), qos: 1 };
    assert_eq!(policy.standing(at(2)), flowing);
    assert_eq!(policy.wake_at(), Some(at(62).steady_ns));
    assert_eq!(policy.standing(at(61)), flowing);
    assert_eq!(policy.standing(at(62)), Standing::Paused);
    start(&service, at(70), "A");
    assert_eq!(policy.standing(at(70)), flowing, "started again");
    assert_eq!(ask(&service, at(71), "PUT", "/v1/sensors/A/actions/location/stop", "").0, 204);
    assert_eq!(policy.standing(at(71)), Standing::Paused);
    start(&service, at(72), "A");
    policy.unsubscribe("/location/A");
    assert_eq!(policy.standing(at(73)), Standing::Paused);
}

#[test]
fn a_connection_ends_with_its_hour_and_not_with_its_token() {
    let service = service(true);
    let mut policy = connected(&service, at(0), "A");
    policy.subscribe("/location/A", 0, 1);
    start(&service, at(3_590), "A");
    assert!(matches!(policy.standing(at(3_599)), Standing::Flowing { .. }));
    assert_eq!(policy.wake_at(), Some(at(3_600).steady_ns));
    assert!(matches!(policy.standing(at(3_600)), Standing::Over(_)));
}

#[test]
fn a_token_is_for_one_sensor_at_most_at_qos_1_and_for_one_client() {
    let service = service(true);
    let mut policy = connected(&service, at(0), "A");
    for filter in ["/location/B", "location/A", "#", "/location/+"] {
        assert!(matches!(policy.subscribe(filter, 0, 1), Grant::Close(_)), "{filter}");
    }
    assert_eq!(policy.subscribe("/location/A", 2, 1), Grant::Ignored);
    assert!(matches!(policy.subscribe("/location/A", 0, 9), Grant::Close(_)));
    assert!(policy.connect("other").is_err());
    assert!(policy.connect(&"c".repeat(129)).is_err());
    let lenient = varied(true, &[Variant::PontosenseSuback0x80]);
    assert_eq!(connected(&lenient, at(0), "A").subscribe("/location/B", 0, 1), Grant::Refused);
}

#[test]
fn a_sensor_that_nobody_recorded_stands_for_all_where_any_credentials_are_accepted() {
    let service = service(true);
    let mut policy = connected(&service, at(0), "mine");
    policy.subscribe("/location/mine", 0, 1);
    start(&service, at(0), "mine");
    let Standing::Flowing { rows, topic, .. } = policy.standing(at(0)) else { panic!() };
    assert_eq!((rows.sources.len(), rows.channels.len(), &*topic), (0, 0, "/location/mine"));
}

#[test]
fn starts_are_remembered_in_bounded_number() {
    let service = service(true);
    for n in 0..STARTS_MAX + 5 {
        service.inner.state().start(at(n as u64 / 1_000), n.to_string(), 60);
    }
    let state = service.inner.state();
    assert_eq!(state.starts.len(), STARTS_MAX);
    assert!(state.starts.contains_key(&(STARTS_MAX + 4).to_string()));
}

proptest::proptest! {
    #[test]
    fn no_request_panics(
        path in "(/v1/)?(iot/tokens|sensors/|tenants/[0-9]*/sensors/)?[a-zA-Z%0-9/+]{0,20}(/actions/location/(start|stop))?",
        body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100),
        header in "(HMAC-SHA256 )?(ApiKey=.{0,5}, ?|Timestamp=[0-9-]{0,25}, ?|Nonce=.{0,5}, ?|Signature=.{0,70}){0,5}",
        query in "(token=|clientId=|&|[a-zA-Z0-9.%_-]{0,40}){0,6}",
    ) {
        for any_credentials in [true, false] {
            let service = service(any_credentials);
            for method in ["POST", "PUT"] {
                let request = HttpRequest {
                    method: method.into(),
                    path_and_query: path.clone(),
                    headers: vec![("authorization".into(), header.clone())],
                    body: body.clone().into(),
                };
                service.http(at(0), &request);
            }
            service.mqtt(at(0), &query);
        }
    }
}
