//! Clients that mean no good: whatever they send, the others are served, and nothing grows without end.

use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::transport::mqtt_server::FILTERS_MAX;
use crate::transport::websocket_server::FRAME_BYTES_MAX;

/// Guards against a server that neither answers nor closes.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("should not take this long")
}

fn address(url: Option<String>) -> String {
    url.unwrap().split_once("://").unwrap().1.to_owned()
}

/// What the server says until it closes, at most 64 KiB of it.
async fn answer_to(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = soon(stream.take(64 << 10).read_to_end(&mut answer)).await;
    answer
}

/// A beginning that is understood, and then anything.
fn nonsense(rng: &mut impl Rng) -> Vec<u8> {
    const BEGINNINGS: [&[u8]; 9] = [
        b"",
        b"GET /ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"GET /realtime/api/v1/ws/realtime HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"GET /mqtt?token=x HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: mqtt\r\n\r\n",
        b"POST /v1/iot/tokens HTTP/1.1\r\nhost: x\r\ncontent-length: 40\r\nauthorization: ",
        b"POST /v1/iot/location/start?sn=%FF HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"OPTIONS /v1/iot/tokens HTTP/1.1\r\norigin: \xFF\r\n\r\n",
        b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02id",
        b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02id\x82",
    ];
    let mut bytes = BEGINNINGS[rng.random_range(0..BEGINNINGS.len())].to_vec();
    let length = rng.random_range(0..300);
    bytes.extend((0..length).map(|_| rng.random::<u8>()));
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bytes_keep_the_others_from_being_served() {
    const SEED: u64 = 7;
    let endpoints = bind(&["http://127.0.0.1:0", "mqtt://127.0.0.1:0"]).await;
    let (http, mqtt) = (address(endpoints.http_url()), address(endpoints.mqtt_url()));
    let good = websocket(&endpoints.http_url().unwrap(), "/ws").await;
    let mut rng = Pcg64::seed_from_u64(SEED);
    for _ in 0..300 {
        let bytes = nonsense(&mut rng);
        answer_to(if rng.random() { &http } else { &mqtt }, &bytes).await;
    }
    let rows = numbered(20, 0);
    let expected: Vec<String> =
        rows.iter().map(|row| String::from_utf8(row.payload.to_vec()).unwrap()).collect();
    let receiving = tokio::spawn(receive_all(good));
    let options = PlayOptions { start: Start::AtOnce, ..PlayOptions::default() };
    soon(endpoints.play(options, source(rows))).await.unwrap();
    assert_eq!(texts(soon(receiving).await.unwrap().0), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_headers_packets_topics_and_filters_without_end_are_ended() {
    let endpoints = bind(&["http://127.0.0.1:0", "mqtt://127.0.0.1:0"]).await;
    let (http, mqtt) = (address(endpoints.http_url()), address(endpoints.mqtt_url()));

    // A head that does not end.
    let head = [b"GET / HTTP/1.1\r\n".to_vec(), b"x: y\r\n".repeat(100_000)].concat();
    let refused = answer_to(&http, &head).await;
    assert!(
        refused.is_empty() || refused.starts_with(b"HTTP/1.1 4"),
        "{}",
        String::from_utf8_lossy(&refused)
    );

    // A frame larger than any that a client needs; only its length is sent, and its beginning.
    for path in ["/ws", "/websocket_realtime", "/realtime/api/v1/ws/realtime"] {
        let mut socket = websocket(&endpoints.http_url().unwrap(), path).await;
        let _ = socket.send(Frame::text("x".repeat(FRAME_BYTES_MAX + 1))).await;
        let closed = soon(async {
            while let Some(Ok(frame)) = socket.next().await {
                if matches!(frame, Frame::Close(_)) {
                    break;
                }
            }
        });
        closed.await;
    }

    const CONNECT: &[u8] = b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02id";
    // A packet that says it will have 256 MiB: ended before they come.
    let mut stream = TcpStream::connect(&mqtt).await.unwrap();
    stream.write_all(&[CONNECT, b"\x30\xff\xff\xff\x7f\0\x01t"].concat()).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
    assert_eq!(answer.len(), 4, "a CONNACK and nothing else");

    // More filters than a connection may have, each as long as a topic can be: the first ones are granted.
    let mut stream = TcpStream::connect(&mqtt).await.unwrap();
    stream.write_all(CONNECT).await.unwrap();
    let mut connack = [0; 4];
    soon(stream.read_exact(&mut connack)).await.unwrap();
    let mut granted = 0;
    for n in 0..FILTERS_MAX + 10 {
        let filter = format!("{n}/{}", "f".repeat(1_000));
        let length = 2 + 2 + filter.len() + 1;
        let mut packet = vec![0x82, (length % 128) as u8 | 0x80, (length / 128) as u8, 0, 1];
        packet.extend((filter.len() as u16).to_be_bytes());
        packet.extend(filter.as_bytes());
        packet.push(0);
        if stream.write_all(&packet).await.is_err() {
            break;
        }
        let mut suback = [0; 5];
        if soon(stream.read_exact(&mut suback)).await.is_err() {
            break;
        }
        granted += usize::from(suback[4] != 0x80);
    }
    assert_eq!(granted, FILTERS_MAX);
}
