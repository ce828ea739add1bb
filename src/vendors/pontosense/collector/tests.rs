mod calls;
mod failures;
mod hand_over;
mod hostile;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng;
use rand_pcg::Pcg64;

use self::world::{Answer, DATA, World, config, only};
use super::*;
use crate::secret::Secret;
use crate::vendors::lifecycle::SECOND_NS;
use crate::vendors::pontosense::config::{
    DEFAULT_CONNECTION_MAX_AGE, DEFAULT_RENEW_EVERY, DEFAULT_TOKEN_MARGIN,
};
use crate::vendors::testing::{Hand, source};
use crate::vendors::{CloseCause, Closed, HttpResponse, HttpSend, VendorConfig};

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
