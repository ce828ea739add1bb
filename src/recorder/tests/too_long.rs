//! Messages that are longer than one may be: counted and told, and what is behind them comes.

use super::*;

/// More than a message may be at 64 MiB.
const LONG_BYTES: usize = 2 << 20;

fn mqtt(broker: &TcpListener) -> Source {
    let transport = GenericTransport::Mqtt {
        url: format!("mqtt://{}", broker.local_addr().unwrap()),
        username: None,
        password: None,
        topics: vec!["#".to_owned()],
        qos: 1,
        client_id: "recorder".to_owned(),
        clean_session: false,
    };
    source("bus", transport)
}

/// The next packet that is no more than its first byte, a short length, and what that says.
async fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    soon(stream.read_exact(&mut head)).await.unwrap();
    let mut body = vec![0; usize::from(head[1])];
    soon(stream.read_exact(&mut body)).await.unwrap();
    (head[0], body)
}

fn overflows(root: &Path) -> Vec<serde_json::Value> {
    links(root).into_iter().filter(|event| event["event"] == "overflow").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_mqtt_that_is_too_long_is_told_once_and_does_not_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let recorder = start(&config(&root, vec![mqtt(&listener)])).await;
    let (mut broker, _) = soon(listener.accept()).await.unwrap();
    assert_eq!(packet(&mut broker).await.0, 0x10);
    broker.write_all(&[0x20, 2, 1, 0]).await.unwrap();
    let (_, subscribe) = packet(&mut broker).await;
    broker.write_all(&[0x90, 3, subscribe[0], subscribe[1], 1]).await.unwrap();

    // QoS 1, 2 MiB of payload, and one of QoS 2; behind each a short one of QoS 1.
    for (first, answer, pkid) in [(0x32, 0x40, 1), (0x34, 0x50, 3)] {
        broker.write_all(&[first, 0x85, 0x80, 0x80, 1, 0, 1, b'a', 0, pkid]).await.unwrap();
        broker.write_all(&vec![b'x'; LONG_BYTES]).await.unwrap();
        broker.write_all(&[0x32, 6, 0, 1, b'b', 0, pkid + 1, b'!']).await.unwrap();
        assert_eq!(packet(&mut broker).await, (answer, vec![0, pkid]));
        if answer == 0x50 {
            broker.write_all(&[0x62, 2, 0, pkid]).await.unwrap();
            // Of the two, either may come first.
            let mut answers = [packet(&mut broker).await, packet(&mut broker).await];
            answers.sort();
            assert_eq!(answers, [(0x40, vec![0, pkid + 1]), (0x70, vec![0, pkid])]);
        } else {
            assert_eq!(packet(&mut broker).await, (0x40, vec![0, pkid + 1]));
        }
    }
    let summary = stop(recorder).await;
    let source = &summary.sources[0];
    assert_eq!((source.messages, source.dropped, source.disconnects), (2, 2, 0));
    let payloads: Vec<_> = stored(&root, "message").into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(payloads, [b"!", b"!"]);
    let told = overflows(&root);
    assert_eq!(told.len(), 2, "{told:?}");
    for event in told {
        assert_eq!((&event["dropped"], &event["dropped_bytes"]), (&1.into(), &LONG_BYTES.into()));
        assert_eq!(event["reason"], "longer than a message may be, see [limits] memory");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_message_that_is_too_long_is_told_and_ends_its_connection_with_1009() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let vendor = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/live", vendor.local_addr().unwrap());
    let recorder = start(&config(&root, vec![websocket("live", url)])).await;
    let socket = accept(&vendor).await;
    let (mut sink, mut heard) = socket.split();
    let (_, goodbye) = tokio::join!(sink.send(WsMessage::binary(vec![0; LONG_BYTES])), soon(heard.next()));
    match goodbye {
        Some(Ok(WsMessage::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1009),
        other => panic!("expected a close, found {other:?}"),
    }
    drop((sink, heard));
    let mut socket = accept(&vendor).await;
    socket.send(WsMessage::text("next")).await.unwrap();
    until(&recorder, "the next one", |status| status.sources[0].messages == 1).await;
    let late = async { while let Some(Ok(_)) = socket.next().await {} };
    let (summary, ()) = tokio::join!(stop(recorder), late);
    assert_eq!((summary.sources[0].dropped, summary.sources[0].disconnects), (1, 1));
    let told = overflows(&root);
    assert_eq!((told.len(), &told[0]["dropped_bytes"]), (1, &LONG_BYTES.into()));
}
