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

#[tokio::test]
async fn who_was_accepted_has_a_free_place_even_if_the_stop_comes_meanwhile() {
    let (places, stop) = (Places::at_most(0), CancellationToken::new());
    let share = || places.share("127.0.0.1".parse().unwrap()).unwrap();
    stop.cancel();
    let mut taken = Vec::new();
    // As many as there are.
    while let Some(place) = soon(seat(share(), &stop)).await {
        place.set(Stage::Busy);
        taken.push(place);
        assert!(taken.len() <= crate::transport::places::PLACES_MAX);
    }
    assert!(!taken.is_empty());
    taken.pop();
    assert!(soon(seat(share(), &stop)).await.is_some(), "one is free again");
}

#[tokio::test]
async fn a_request_is_addressed_to_one_host_or_refused() {
    async fn host(headers: axum::http::HeaderMap, body: String) -> String {
        format!("{:?} {body}", headers.get("host").map(|host| host.to_str().unwrap().to_owned()))
    }
    let listener = bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, None, Router::new().fallback(host), stop.clone()));
    let ask = async |head: &str, rest: &str| {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(format!("{head}\r\n\r\n{rest}").as_bytes()).await.unwrap();
        let mut answers = Vec::new();
        // Closed with a request unread, it may be reset.
        let _ = soon(client.read_to_end(&mut answers)).await;
        String::from_utf8(answers).unwrap()
    };
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nConnection: close\r\nHost: one", "Some(\"one\")"),
        ("GET / HTTP/1.0", "None"),
        ("GET http://evil.example/ HTTP/1.1\r\nConnection: close\r\nHost: one", "Some(\"evil.example\")"),
        ("GET http://evil.example/ HTTP/1.0", "Some(\"evil.example\")"),
    ] {
        let answers = ask(head, "").await;
        assert!(answers.contains(" 200 OK") && answers.contains(expected), "{head}: {answers}");
    }
    for head in [
        "GET / HTTP/1.1",
        "GET http://one/ HTTP/1.1",
        "GET / HTTP/1.1\r\nHost: one\r\nHost: evil.example",
        "GET / HTTP/1.1\r\nHost: evil.example\r\nHost: one",
        "GET / HTTP/1.0\r\nHost: one\r\nHost: one",
        "GET http://127.0.0.1:8080@evil.example/ HTTP/1.1\r\nHost: one",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080@evil.example",
    ] {
        let answers = ask(head, "").await;
        assert!(answers.starts_with("HTTP/1.") && answers.contains(" 400 Bad Request"), "{head}: {answers}");
    }
    // Which of the two lengths holds is nobody's guess: what follows is another connection's.
    for lengths in
        ["Content-Length: 1\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 1"]
    {
        let head = format!("POST / HTTP/1.1\r\nHost: one\r\n{lengths}");
        let second = "GET /second HTTP/1.1\r\nHost: second\r\nConnection: close\r\n\r\n";
        let answers = ask(&head, &format!("1\r\nx\r\n0\r\n\r\n{second}")).await;
        assert!(!answers.contains("second"), "{lengths}: {answers}");
    }
    stop.cancel();
}
