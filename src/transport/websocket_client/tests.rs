use super::*;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::transport::intake::{Arrival, intake};
use crate::transport::tls::{Trust, client_config, self_signed};

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("should not take this long")
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/live?token=geheim", listener.local_addr().unwrap());
    (listener, url)
}

fn connect(url: String, trust: &Trust) -> (ConnHandle, mpsc::Receiver<Arrival>) {
    let (intake, arrivals) = intake();
    let dial = WebSocketDial { url, headers: vec![("x-key".to_owned(), "geheim".to_owned())] };
    (spawn(dial, client_config(trust).unwrap(), 5, Clock::System, &intake), arrivals)
}

async fn open() -> (ConnHandle, mpsc::Receiver<Arrival>, WebSocketStream<TcpStream>) {
    let (listener, url) = listen().await;
    let (handle, mut arrivals) = connect(url, &Trust::Anybody);
    let (stream, _) = soon(listener.accept()).await.unwrap();
    let server = tokio_tungstenite::accept_async(stream).await.unwrap();
    assert!(matches!(next(&mut arrivals).await, Input::Opened { conn: 5, .. }));
    (handle, arrivals, server)
}

async fn next(arrivals: &mut mpsc::Receiver<Arrival>) -> Input {
    soon(arrivals.recv()).await.expect("an input").input
}

async fn next_frame(arrivals: &mut mpsc::Receiver<Arrival>) -> Frame {
    match next(arrivals).await {
        Input::Frame { conn: 5, frame, .. } => frame,
        other => panic!("expected a frame, found {other:?}"),
    }
}

async fn closed(arrivals: &mut mpsc::Receiver<Arrival>) -> Closed {
    match next(arrivals).await {
        Input::Closed { conn: 5, why } => why,
        other => panic!("expected the end, found {other:?}"),
    }
}

#[tokio::test]
async fn frames_come_and_go_exact_and_in_order_and_pings_are_answered() {
    let (handle, mut arrivals, mut server) = open().await;
    server.send(Message::text("{\"x\":-0.0}")).await.unwrap();
    server.send(Message::Ping(vec![1, 2].into())).await.unwrap();
    // Beyond the default limit of a frame, and of what is counted as small.
    let large = vec![0xFE_u8; 17 << 20];
    let sent = large.clone();
    let server = tokio::spawn(async move {
        server.send(Message::binary(sent)).await.unwrap();
        server
    });
    assert_eq!(next_frame(&mut arrivals).await, Frame::Text("{\"x\":-0.0}".into()));
    assert_eq!(next_frame(&mut arrivals).await, Frame::Binary(large.into()));
    let mut server = soon(server).await.unwrap();
    assert_eq!(soon(server.next()).await.unwrap().unwrap(), Message::Pong(vec![1, 2].into()));
    assert!(handle.send(Frame::Text("hello".into())));
    assert_eq!(soon(server.next()).await.unwrap().unwrap(), Message::text("hello"));
}

#[tokio::test]
async fn the_peers_close_code_is_told() {
    let (_handle, mut arrivals, mut server) = open().await;
    let frame = CloseFrame { code: CloseCode::Library(4_001), reason: "token".into() };
    server.close(Some(frame)).await.unwrap();
    drop(server);
    let why = closed(&mut arrivals).await;
    assert_eq!(why.cause, CloseCause::ByPeer(Some(4_001)));
    assert!(why.detail.ends_with(": token"), "{}", why.detail);
}

#[tokio::test]
async fn a_frame_without_end_breaks_the_connection() {
    let (_handle, mut arrivals, mut server) = open().await;
    // A text of 256 MiB: only its beginning is ever sent.
    let head = [0x81, 127, 0, 0, 0, 0, 0x10, 0, 0, 0, b'x'];
    tokio::io::AsyncWriteExt::write_all(server.get_mut(), &head).await.unwrap();
    assert_eq!(soon(arrivals.recv()).await.unwrap().too_long_bytes, Some(256 << 20));
    assert!(
        matches!(server.next().await, Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Size)
    );
    assert_eq!(closed(&mut arrivals).await.cause, CloseCause::Broken);
}

#[tokio::test]
async fn a_line_that_breaks_is_told_apart_from_a_close() {
    let (_handle, mut arrivals, server) = open().await;
    rustix::net::sockopt::set_socket_linger(server.get_ref(), Some(Duration::ZERO)).unwrap();
    drop(server);
    assert_eq!(closed(&mut arrivals).await.cause, CloseCause::Broken);

    // A server that drops the line in order has closed, be it without a word.
    let (_handle, mut arrivals, server) = open().await;
    drop(server);
    assert_eq!(closed(&mut arrivals).await.cause, CloseCause::ByPeer(None));
}

#[tokio::test]
async fn what_is_under_way_when_we_close_still_arrives() {
    let (handle, mut arrivals, mut server) = open().await;
    handle.close();
    // The server has not read our close frame yet when it sends this.
    server.send(Message::text("late")).await.unwrap();
    assert!(matches!(soon(server.next()).await, Some(Ok(Message::Close(_)))));
    let _ = server.close(None).await;
    assert_eq!(next_frame(&mut arrivals).await, Frame::Text("late".into()));
    assert_eq!(closed(&mut arrivals).await.cause, CloseCause::ByUs);
}

#[tokio::test]
async fn a_refused_upgrade_is_told_with_its_status_and_without_secrets() {
    let (listener, url) = listen().await;
    let (_handle, mut arrivals) = connect(url, &Trust::Anybody);
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    let mut head = vec![0; 4_096];
    let read = soon(stream.read(&mut head)).await.unwrap();
    assert!(String::from_utf8_lossy(&head[..read]).contains("x-key: geheim"));
    stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let why = closed(&mut arrivals).await;
    assert_eq!(why.cause, CloseCause::HttpStatus(401));
    assert!(!why.detail.contains("geheim"), "{}", why.detail);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_without_secrets() {
    let (listener, url) = listen().await;
    drop(listener);
    let (_handle, mut arrivals) = connect(url, &Trust::Anybody);
    let why = closed(&mut arrivals).await;
    assert_eq!(why.cause, CloseCause::Unreachable);
    assert!(why.detail.contains("refused") && !why.detail.contains("geheim"), "{}", why.detail);
}

#[tokio::test]
async fn a_certificate_counts_only_for_those_who_trust_it() {
    let dir = tempfile::tempdir().unwrap();
    let made = self_signed(dir.path(), &[]).unwrap();
    let again = self_signed(dir.path(), &[]).unwrap();
    assert_eq!(made.cert, again.cert);
    let other = self_signed(&dir.path().join("other"), &[]).unwrap();
    let cases = [
        (Trust::Authority(made.cert.clone()), true),
        (Trust::Anybody, true),
        (Trust::Authority(other.cert), false),
        (Trust::System, false),
    ];
    for (trust, is_trusted) in cases {
        let (listener, url) = listen().await;
        let (_handle, mut arrivals) = connect(url.replace("ws://127.0.0.1", "wss://localhost"), &trust);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&again.config));
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.ok()?;
            tokio_tungstenite::accept_async(stream).await.ok()
        };
        let (_server, input) = tokio::join!(soon(server), next(&mut arrivals));
        assert_eq!(matches!(input, Input::Opened { .. }), is_trusted, "{trust:?}: {input:?}");
    }
}
