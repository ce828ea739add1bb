//! What clients of a vendor's service see on the wire, beside the messages.

use axum::http::HeaderValue;
use futures_util::{SinkExt, StreamExt};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, Subscribe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;
use crate::vendors::service::REQUEST_BYTES_MAX;

async fn bind() -> (Endpoints, String) {
    let options = BindOptions {
        listen: vec!["http://127.0.0.1:0".parse().unwrap()],
        tls: None,
        self_signed_dir: PathBuf::new(),
        recorded: Recorded::default(),
        access: Access::default(),
        ..BindOptions::default()
    };
    let endpoints = Endpoints::bind(options).await.unwrap();
    let authority = endpoints.http_url().unwrap().strip_prefix("http://").unwrap().to_owned();
    (endpoints, authority)
}

/// A request, and the whole answer as text.
async fn ask(authority: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let request = format!(
        "{head}\r\nHost: {authority}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn token(authority: &str, sn: &str) -> String {
    let answer = ask(authority, "POST /v1/iot/tokens HTTP/1.1", &format!(r#"{{"sn":"{sn}"}}"#)).await;
    let reply: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(reply["host"], authority);
    reply["token"].as_str().unwrap().to_owned()
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn mqtt(authority: &str, query: &str) -> Socket {
    let mut request = format!("ws://{authority}/mqtt?{query}").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("mqtt"));
    connect_async(request).await.unwrap().0
}

async fn say(socket: &mut Socket, packet: Packet) {
    let mut bytes = bytes::BytesMut::new();
    packet.write(&mut bytes, usize::MAX).unwrap();
    socket.send(Message::Binary(bytes.freeze())).await.unwrap();
}

/// The first byte of the next packet; none at the end.
async fn hear(socket: &mut Socket) -> Option<u8> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => return Some(bytes[0]),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed)) | None => return None,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_bad_token_is_upgraded_and_closed_without_a_word() {
    let (_endpoints, authority) = bind().await;
    let mut socket = mqtt(&authority, "token=expired&clientId=c").await;
    // The client may say its CONNECT, or may see the end before: there is no answer.
    let mut bytes = bytes::BytesMut::new();
    Packet::Connect(Connect::new("c")).write(&mut bytes, usize::MAX).unwrap();
    let _ = socket.send(Message::Binary(bytes.freeze())).await;
    assert_eq!(hear(&mut socket).await, None);
    let mut plain = mqtt(&authority, "x=y").await;
    say(&mut plain, Packet::Connect(Connect::new("c"))).await;
    assert_eq!(hear(&mut plain).await, Some(0x20), "without a token it is anybody's MQTT");
}

#[tokio::test]
async fn a_token_opens_its_sensor_only() {
    let (_endpoints, authority) = bind().await;
    let token = token(&authority, "A").await;
    let connect = async |client_id: &str| {
        let mut socket = mqtt(&authority, &format!("token={token}&clientId={client_id}")).await;
        say(&mut socket, Packet::Connect(Connect::new(client_id))).await;
        assert_eq!(hear(&mut socket).await, Some(0x20));
        socket
    };
    let subscribe =
        |filter: &str, qos| Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new(filter, qos) });
    let mut socket = connect("c1").await;
    say(&mut socket, subscribe("/location/A", QoS::ExactlyOnce)).await;
    say(&mut socket, Packet::PingReq).await;
    assert_eq!(hear(&mut socket).await, Some(0xD0), "QoS 2 gets no SUBACK");
    say(&mut socket, subscribe("/location/A", QoS::AtMostOnce)).await;
    assert_eq!(hear(&mut socket).await, Some(0x90));
    say(&mut socket, subscribe("/location/B", QoS::AtMostOnce)).await;
    assert_eq!(hear(&mut socket).await, None);
    let mut first = connect("c2").await;
    let _second = connect("c2").await;
    assert_eq!(hear(&mut first).await, None, "the same client id evicts");
    let mut other = mqtt(&authority, &format!("token={token}&clientId=c3")).await;
    say(&mut other, Packet::Connect(Connect::new("c4"))).await;
    assert_eq!(hear(&mut other).await, None, "another client id than in the query");
}

#[tokio::test]
async fn browsers_of_any_origin_may_ask() {
    let (_endpoints, authority) = bind().await;
    let preflight = "OPTIONS /v1/iot/tokens HTTP/1.1\r\nOrigin: https://app.example\r\n\
                     Access-Control-Request-Method: POST\r\n\
                     Access-Control-Request-Headers: authorization,content-type";
    let answer = ask(&authority, preflight, "").await.to_ascii_lowercase();
    for line in [
        "http/1.1 204",
        "access-control-allow-origin: *",
        "access-control-allow-methods: post",
        "access-control-allow-headers: authorization,content-type",
    ] {
        assert!(answer.contains(line), "{line}\n{answer}");
    }
    for head in ["POST /v1/iot/tokens HTTP/1.1", "GET /nothing HTTP/1.1"] {
        let answer = ask(&authority, &format!("{head}\r\nOrigin: https://app.example"), "{").await;
        assert!(answer.contains("access-control-allow-origin: *"), "{answer}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_told() {
    let (_endpoints, authority) = bind().await;
    let answer = ask(&authority, "POST /v1/iot/tokens HTTP/1.1", "no").await;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("content-type: application/json"),
        "{answer}"
    );
    assert!(answer.contains(r#"{"code":400,"message":"expected {\"sn\""#), "{answer}");
    let start = "PUT /v1/tenants/3/sensors/A/actions/location/start HTTP/1.1";
    assert!(ask(&authority, start, "").await.starts_with("HTTP/1.1 204 "));
    let long = "x".repeat(REQUEST_BYTES_MAX + 1);
    assert!(ask(&authority, "POST /v1/iot/tokens HTTP/1.1", &long).await.starts_with("HTTP/1.1 413 "));
}
