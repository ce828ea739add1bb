//! `--pace lockstep`, `step` and seeks, over real sockets.

use super::*;
use crate::player::control::{Awaited, State, Steps, To};

fn lockstep(wanted: usize, ack_timeout: Duration) -> PlayOptions {
    PlayOptions { pace: Pace::Lockstep, ack_timeout, ..with_clients(wanted) }
}

#[tokio::test]
async fn in_lockstep_a_message_waits_for_the_acknowledgement_of_the_one_before() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let (url, control) = (endpoints.http_url().unwrap(), endpoints.control());
    let mut acknowledging = websocket(&url, "/ws?format=envelope").await;
    let raw = tokio::spawn(receive_all(websocket(&url, "/ws").await));
    let rows = numbered(20, 3_600_000_000_000);
    let playing = tokio::spawn(endpoints.play(lockstep(2, DEFAULT_ACK_TIMEOUT), source(rows)));
    for seq in 0..20u64 {
        let text = acknowledging.next().await.unwrap().unwrap().into_text().unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["seq"], seq);
        // One after this may not have left: it was not acknowledged.
        let now = control.wait(Awaited::Seq(seq)).await.unwrap();
        assert_eq!((now.seq, now.emitted), (Some(seq), seq + 1));
        for noise in [format!("{{\"ack\": {}}}", seq + 1), "{\"ack\": -1}".to_owned(), "ack".to_owned()] {
            acknowledging.send(Frame::text(noise)).await.unwrap();
        }
        acknowledging.send(Frame::text(format!("{{\"ack\": {seq}}}"))).await.unwrap();
    }
    let report = playing.await.unwrap().unwrap();
    assert_eq!(texts(raw.await.unwrap().0).len(), 20, "who cannot acknowledge has it when it is flushed");
    assert_eq!((report.pace, report.messages, report.has_loss()), ("lockstep", 20, false));
}

#[tokio::test]
async fn who_does_not_acknowledge_in_time_is_left_behind() {
    let endpoints = bind(&["http://127.0.0.1:0", "mqtt://127.0.0.1:0"]).await;
    let url = endpoints.http_url().unwrap();
    let silent = tokio::spawn(receive_all(websocket(&url, "/ws?format=envelope").await));
    let raw = tokio::spawn(receive_all(websocket(&url, "/ws").await));
    let options = lockstep(2, Duration::from_secs(2));
    let report = endpoints.play(options, source(numbered(3, 0))).await.unwrap();
    let (frames, code) = silent.await.unwrap();
    assert_eq!((frames.len(), code), (1, 1013));
    assert_eq!(raw.await.unwrap().0.len(), 3);
    assert_eq!(report.clients[0].reason, Some("not acknowledged within --ack-timeout"));
    assert!(report.has_loss());
}

#[tokio::test]
async fn an_mqtt_client_acknowledges_at_every_qos() {
    let endpoints = bind(&["mqtt://127.0.0.1:0"]).await;
    let port: u16 = endpoints.mqtt_url().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let options = MqttOptions::new("client", ("127.0.0.1", port));
    let (client, mut events) = AsyncClient::builder(options).capacity(10).build();
    client.subscribe("#", QoS::ExactlyOnce).await.unwrap();
    let mut rows = numbered(6, 0);
    for (row, qos) in rows.iter_mut().zip([1, 2, 0, 1, 2, 2]) {
        row.mqtt = Some(Mqtt { qos, retain: false, dup: false });
    }
    let playing = tokio::spawn(endpoints.play(lockstep(1, DEFAULT_ACK_TIMEOUT), source(rows)));
    let mut received = 0u64;
    while received < 6 {
        if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.unwrap() {
            assert_eq!(publish.payload, received.to_string());
            received += 1;
        }
    }
    let rest = tokio::spawn(async move { while events.poll().await.is_ok() {} });
    let report = playing.await.unwrap().unwrap();
    assert_eq!((report.clients[0].messages, report.has_loss()), (6, false));
    rest.await.unwrap();
}

#[tokio::test]
async fn clients_see_what_is_ordered() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let (url, control) = (endpoints.http_url().unwrap(), endpoints.control());
    let client = tokio::spawn(receive_all(websocket(&url, "/ws").await));
    let options = PlayOptions { start_paused: true, ..with_clients(1) };
    // A century between two: only orders move it.
    let rows = numbered(4, 3_000_000_000_000_000_000);
    let playing = tokio::spawn(endpoints.play(options, source(rows)));
    let order = async |order| control.obeyed(control.order(order).unwrap()).await.unwrap();
    assert_eq!(order(Order::Step(Steps::ONE)).await.emitted, 1);
    order(Order::Play).await;
    let now = order(Order::Seek(To::Position(6_000_000_000_000_000_000))).await;
    assert_eq!(now.state, State::Playing);
    assert_eq!(control.wait(Awaited::Seq(2)).await.unwrap().seq, Some(2));
    order(Order::Seek(To::Position(3_000_000_000_000_000_000))).await;
    order(Order::Stop).await;
    let report = playing.await.unwrap().unwrap();
    let received = texts(client.await.unwrap().0);
    assert!(
        ["0", "2", "1"].starts_with(&received.iter().map(String::as_str).collect::<Vec<_>>()),
        "{received:?}"
    );
    assert_eq!(report.messages, received.len() as u64);
    assert!(report.stopped);
    assert_eq!(control.snapshot().state, State::Done);
}
