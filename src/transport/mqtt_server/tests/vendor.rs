//! The endpoint in the place of a vendor's broker: what it refuses, and what it answers.

use serde_json::json;

use super::*;
use crate::clock::ManualClock;
use crate::message::SourceHeader;
use crate::vendors::service::mqtt_vendor;
use crate::vendors::{Credential, Recorded};

fn credentials() -> Credentials {
    Credentials::OneOf(vec![("u".to_owned(), Secret::new("5f4dcc3b"))])
}

/// One that stands for the broker with the access key `AK`, and its clock.
fn jointech() -> (Arc<ManualClock>, Arc<MqttServer>) {
    let settings = json!({"transport": "mqtt", "access_key": "AK"});
    let (name, vendor) = ("locks".to_owned(), "jointech".to_owned());
    let credential = Credential {
        source: name.clone(),
        vendor: vendor.clone(),
        username: Some("u".to_owned()),
        secret: "5f4dcc3b".to_owned(),
    };
    let recorded = Recorded {
        sources: vec![SourceHeader { name, vendor, kinds: Vec::new(), settings }],
        credentials: vec![credential],
        ..Recorded::default()
    };
    let clock = Arc::new(ManualClock::at(Now::default()));
    let fanout = Fanout::new(Clock::Manual(Arc::clone(&clock)), None);
    (clock, MqttServer::of_vendor(fanout, credentials(), mqtt_vendor(&recorded)))
}

fn login(client_id: &str) -> Connect {
    let (username, password) = ("u".to_owned(), Bytes::from_static(b"5f4dcc3b"));
    Connect { auth: ConnectAuth::UsernamePassword { username, password }, ..Connect::new(client_id) }
}

#[tokio::test]
async fn a_foreign_access_key_in_a_filter_is_refused() {
    use SubscribeReasonCode::{Failure, Success};
    let (_, server) = jointech();
    let mut client = Client::connected_with(&server, login("c"), false).await;
    let filters = ["upload/AK/#", "upload/BK/#", "upload/+/+/alarm", "#"];
    let filters = filters.map(|filter| SubscribeFilter::new(filter.to_owned(), QoS::AtLeastOnce)).to_vec();
    client.say(Packet::Subscribe(Subscribe { pkid: 1, filters })).await;
    let codes = vec![Success(QoS::AtLeastOnce), Failure, Failure, Failure];
    client.expect(Packet::SubAck(SubAck::new(1, codes))).await;
    client.settled().await;
    client.say(Packet::Publish(Publish::new("upload/BK/1/alarm", QoS::AtMostOnce, "x"))).await;
    client.say(Packet::Publish(Publish::new("upload/AK/1/alarm", QoS::AtMostOnce, "y"))).await;
    assert_eq!(client.expect_publish().await.topic, "upload/AK/1/alarm");
}

#[tokio::test(start_paused = true)]
async fn a_command_is_answered_a_second_later() {
    let (clock, server) = jointech();
    let answering = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.answer().await }
    });
    let mut app = Client::connected_with(&server, login("app"), false).await;
    app.subscribe("upload/AK/+/cmd", QoS::AtLeastOnce).await;
    let mut other = Client::connected_with(&server, login("other"), false).await;
    other.subscribe("upload/AK/1/cmd", QoS::AtMostOnce).await;
    for payload in ["not a command", "(1,1,001,BASE,2)"] {
        app.say(Packet::Publish(Publish::new("download/AK/1/cmd", QoS::AtMostOnce, payload))).await;
    }
    app.settled().await;
    clock.advance_ns(999_999_999);
    app.settled().await;
    clock.advance_ns(1);
    for (client, qos) in [(&mut app, QoS::AtLeastOnce), (&mut other, QoS::AtMostOnce)] {
        let answer = client.expect_publish().await;
        assert_eq!((answer.topic, answer.qos, answer.retain), ("upload/AK/1/cmd".into(), qos, false));
        let text = std::str::from_utf8(&answer.payload).unwrap();
        let expected = r#"{"assetId":"1","commandType":"MQTT_CMD","content":"Device has not been registered！","dateTime":"1970-01-01T00:00:01.000Z"}"#;
        assert_eq!(text, expected);
    }
    other.settled().await;
    answering.abort();
}
