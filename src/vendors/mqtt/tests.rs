use bytes::Bytes;

use super::*;
use crate::message::Mqtt;
use crate::secret::Secret;
use crate::vendors::VendorConfig;
use crate::vendors::generic::config::{GenericConfig, GenericTransport};
use crate::vendors::jointech::config::{JointechConfig, JointechMqtt};
use crate::vendors::testing::{Hand, SECOND_NS, source};

const MQTT: Mqtt = Mqtt { qos: 1, retain: true, dup: true };

fn jointech() -> Hand {
    Hand::of(&source(VendorConfig::Jointech(JointechConfig::Mqtt(JointechMqtt {
        url: "mqtt://example.com:1883".into(),
        username: "u".into(),
        password_md5: Secret::new("5f4dcc3b5aa765d61d8327deb882cf99"),
        access_key: "AK".into(),
        topics: vec!["upload/AK/#".into()],
        qos: 1,
        client_id: "u_telereel".into(),
        clean_session: false,
    }))))
}

fn generic() -> Hand {
    Hand::of(&source(VendorConfig::Generic(GenericConfig {
        transport: GenericTransport::Mqtt {
            url: "mqtts://example.com:8883".into(),
            username: None,
            password: None,
            topics: vec!["a/#".into(), "b/#".into()],
            qos: 0,
            client_id: "c".into(),
            clean_session: true,
        },
        declarations: None,
    })))
}

fn publish(
    hand: &mut Hand,
    conn: Conn,
    topic: &str,
    payload: &'static [u8],
    ack: Option<u64>,
) -> Vec<String> {
    let frame = Frame::Publish { topic: topic.into(), mqtt: MQTT, payload: Bytes::from_static(payload), ack };
    hand.give(Input::Frame { conn, at: hand.now, frame })
}

fn granted(conn: Conn, granted: &[(&str, Option<u8>)]) -> Input {
    let granted = granted.iter().map(|(topic, qos)| ((*topic).to_owned(), *qos)).collect();
    Input::Subscribed { conn, granted }
}

#[test]
fn the_dial_is_what_the_configuration_says() {
    let fx = jointech().effects(Input::Start);
    let Effect::DialMqtt { conn: 0, dial } = &fx[1] else { panic!("{fx:?}") };
    assert_eq!((&*dial.url, &*dial.client_id), ("mqtt://example.com:1883", "u_telereel"));
    assert_eq!(dial.username.as_deref(), Some("u"));
    assert_eq!(dial.password.as_deref(), Some("5f4dcc3b5aa765d61d8327deb882cf99"));
    assert_eq!((dial.clean_session, dial.keep_alive_s), (false, 60));
    assert_eq!(dial.subscriptions, [("upload/AK/#".to_owned(), 1)]);
}

#[test]
fn messages_are_sorted_and_owed_an_acknowledgement() {
    let mut hand = jointech();
    hand.give(Input::Start);
    assert_eq!(hand.open(0), ["link connected 0"]);
    assert_eq!(hand.give(granted(0, &[("upload/AK/#", Some(1))])), ["link subscribed 0"]);
    let cases: [(&str, &'static [u8], Option<u64>, &str); 6] = [
        ("upload/AK/1/alarm", b"{\"alarmType\":1}", Some(7), "record 0 alarm on upload/AK/1/alarm, ack 0/7"),
        ("upload/AK/1/event", b"{\"eventType\":1}", None, "record 0 event on upload/AK/1/event"),
        ("upload/AK/1/cmd", b"", Some(9), "record 0 command_response on upload/AK/1/cmd, ack 0/9"),
        ("upload/AK/1/status", b"online", None, "record 0 status on upload/AK/1/status"),
        ("upload/AK/1/location", b"\xFF", Some(1), "record 0 other on upload/AK/1/location, ack 0/1"),
        (
            "upload/AK/1/2/sublock",
            b"{\"eventType\":1,\"subAssetID\":\"2\"}",
            None,
            "record 0 sublock on upload/AK/1/2/sublock",
        ),
    ];
    for (topic, payload, ack, expected) in cases {
        assert_eq!(publish(&mut hand, 0, topic, payload, ack), [expected]);
    }
}

#[test]
fn flags_and_bytes_are_kept() {
    let mut hand = generic();
    hand.give(Input::Start);
    hand.open(0);
    let payload = Bytes::from_static(b" {\"x\":-0.0}\xFF");
    let frame = Frame::Publish { topic: "a/1".into(), mqtt: MQTT, payload: payload.clone(), ack: None };
    let at = hand.now;
    let fx = hand.effects(Input::Frame { conn: 0, at, frame });
    let Effect::Record { record, .. } = &fx[0] else { panic!("{fx:?}") };
    assert_eq!((&record.payload, record.mqtt, record.at), (&payload, Some(MQTT), at));
}

#[test]
fn a_session_that_the_broker_kept_needs_no_subscription() {
    let mut hand = jointech();
    hand.give(Input::Start);
    hand.lose(0, CloseCause::Unreachable);
    hand.pass(SECOND_NS);
    let lines = hand.give(Input::Opened { conn: 1, session_present: true });
    assert_eq!(lines[0], "link connected 1");
    assert!(lines[1].starts_with("link reconnected 1"), "{lines:?}");
    // A transport that subscribes all the same is listened to.
    assert_eq!(hand.give(granted(1, &[("upload/AK/#", Some(1))])), ["link subscribed 1"]);
}

#[test]
fn refused_subscriptions_are_told_and_only_nothing_at_all_ends_the_connection() {
    let mut hand = generic();
    hand.give(Input::Start);
    hand.open(0);
    assert_eq!(
        hand.give(granted(0, &[("a/#", Some(0)), ("b/#", None)])),
        ["link refused 0: subscription refused: b/#", "link subscribed 0"]
    );
    let mut hand = generic();
    hand.give(Input::Start);
    hand.open(0);
    assert_eq!(
        hand.give(granted(0, &[("a/#", None), ("b/#", None)])),
        ["link refused 0: subscription refused: a/#, b/#", "close 0"]
    );
    assert_eq!(hand.lose(0, CloseCause::ByUs), [""; 0]);
    assert_eq!(hand.pass(SECOND_NS)[0], "link connecting 1");
}

#[test]
fn refused_credentials_end_jointech_and_slow_down_generic() {
    for code in [4, 5] {
        let mut hand = jointech();
        hand.give(Input::Start);
        let lines = hand.lose(0, CloseCause::MqttRefused(code));
        assert!(lines[0].starts_with("link refused 0: refused by the broker"), "{lines:?}");
        assert_eq!(lines[1], "give up: the broker does not accept user name and password");
        assert_eq!(hand.until_tick_ns(), None);

        let mut hand = generic();
        hand.give(Input::Start);
        for conn in 0..5 {
            assert_eq!(hand.lose(conn, CloseCause::MqttRefused(code)).len(), 1);
            let wait_ns = hand.until_tick_ns().unwrap();
            assert!((30 * SECOND_NS..=60 * SECOND_NS).contains(&wait_ns), "{wait_ns}");
            hand.pass(wait_ns);
        }
    }
    let mut hand = jointech();
    hand.give(Input::Start);
    assert_eq!(hand.lose(0, CloseCause::MqttRefused(3)).len(), 1, "an unavailable server is no refusal");
    assert!(hand.until_tick_ns().unwrap() <= SECOND_NS);
}
