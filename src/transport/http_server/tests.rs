use super::*;

use axum::extract::ws::WebSocketUpgrade;
use axum::routing::get;
use axum::{Extension, response::Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Guards a test that would otherwise hang for ever.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("should not take this long")
}

#[tokio::test]
async fn a_port_in_use_names_port_0() {
    let first = bind("127.0.0.1:0").await.unwrap();
    let taken = first.local_addr().unwrap().to_string();
    let message = bind(&taken).await.unwrap_err().to_string();
    assert!(message.contains("in use") && message.contains("port 0"), "{message}");
}

#[tokio::test]
async fn an_address_without_a_port_is_refused() {
    for address in ["localhost", "127.0.0.1:", ":80", "127.0.0.1:70000"] {
        let error = bind(address).await.unwrap_err();
        assert!(matches!(error, ListenError::Unreadable { .. }), "{address}: {error}");
    }
}

#[tokio::test]
async fn a_stop_lets_the_answer_under_way_go_out() {
    let (entered, mut has_entered) = tokio::sync::mpsc::channel::<()>(1);
    let (release, released) = tokio::sync::watch::channel(false);
    let router = Router::new().route(
        "/slow",
        get(move || {
            let (entered, mut released) = (entered.clone(), released.clone());
            async move {
                entered.send(()).await.unwrap();
                released.wait_for(|r| *r).await.unwrap();
                "whole"
            }
        }),
    );
    let listener = bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, None, router, stop.clone()));

    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    soon(has_entered.recv()).await.unwrap();
    stop.cancel();
    release.send(true).unwrap();
    let mut answer = String::new();
    soon(client.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("whole"), "{answer}");
    soon(server).await.unwrap();
}

#[tokio::test]
async fn a_stop_reaches_websockets_and_waits_for_them() {
    async fn upgrade(upgrade: WebSocketUpgrade, Extension(life): Extension<Life>) -> Response {
        let hold = life.hold();
        upgrade.on_upgrade(move |mut socket| async move {
            life.stopped().await;
            let goodbye = axum::extract::ws::Message::Text("goodbye".into());
            socket.send(goodbye).await.unwrap();
            drop(hold);
        })
    }
    let listener = bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let router = Router::new().route("/ws", get(upgrade));
    let server = tokio::spawn(serve(listener, None, router, stop.clone()));

    let (mut client, _) = soon(tokio_tungstenite::connect_async(url)).await.unwrap();
    stop.cancel();
    let last = soon(futures_util::StreamExt::next(&mut client)).await.unwrap().unwrap();
    assert_eq!(last.into_text().unwrap(), "goodbye");
    soon(server).await.unwrap();
}

/// Asks for a page on a connection that stays open, and reads the answer.
async fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    answer(stream).await;
}

async fn answer(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhere") {
        answer.push(soon(stream.read_u8()).await.unwrap());
    }
}

#[tokio::test]
async fn endless_connections_cost_those_their_place_that_have_been_silent_for_longest() {
    let listener = bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let router = Router::new().route("/", get(|| async { "here" }));
    let server = tokio::spawn(serve(listener, None, router, stop.clone()));
    let mut first = TcpStream::connect(address).await.unwrap();
    ask(&mut first).await;
    let mut open = Vec::new();
    for _ in 0..2 * crate::transport::places::PLACES_MAX {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    let mut last = TcpStream::connect(address).await.unwrap();
    ask(&mut last).await;
    // Of those that never said a word there are enough.
    ask(&mut first).await;
    assert_eq!(soon(open[0].read(&mut [0])).await.unwrap(), 0);
    stop.cancel();
    drop((first, open, last));
    soon(server).await.unwrap();
}
