//! Times that are moved and faults that are asked for, as clients and the report see them.

use super::*;
use crate::decode::{Declaration, builtin};
use crate::player::faults::{DISCONNECTED, Fault};
use crate::vendors::VendorConfig;
use crate::vendors::synthetic::load::{self, Part};

fn faults(spec: &str, seed: u64) -> Option<Faults> {
    Some(Faults::new(spec.parse().unwrap(), seed))
}

/// Moves `{"t": …}` of the rows of these tests.
pub(super) fn rebasing(to_us: i64) -> Option<Rebasing> {
    let text = "kind = \"message\"\nevent_at = [\"made_at\"]\n[[field]]\nname = \"made_at\"\nid = 100\n\
                type = \"timestamp\"\ntime = \"unix_ms\"\nrole = \"time\"\npath = \"t\"\n";
    let kinds = HashMap::from([("message".to_owned(), vec![Declaration::parse(text, "test").unwrap()])]);
    let kinds = HashMap::from([("generic".to_owned(), kinds)]);
    Some(Rebasing { to_us: Some(to_us), kinds, ..Rebasing::default() })
}

/// Messages a millisecond apart, each with the millisecond of its receipt.
fn timed(count: u64) -> Vec<Row> {
    let row = |n: u64| Row {
        received_at_us: n as i64 * 1_000,
        event_at_us: Some(n as i64 * 1_000),
        ..row(n, n * 1_000_000, &format!("{{\"n\":{n},\"t\":{n}}}"))
    };
    (0..count).map(row).collect()
}

async fn play(options: PlayOptions, rows: Vec<Row>) -> (Report, Vec<Vec<u8>>) {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let client = tokio::spawn(receive_all(websocket(&endpoints.http_url().unwrap(), "/ws").await));
    let report = endpoints.play(options, source(rows)).await.unwrap();
    let (frames, _) = client.await.unwrap();
    (report, frames.into_iter().map(|frame| frame.into_data().to_vec()).collect())
}

fn digest(payloads: &[Vec<u8>]) -> String {
    let mut digest = Sha256::new();
    for payload in payloads {
        digest.update(b"\0\0\0\x07/stream");
        digest.update((payload.len() as u32).to_be_bytes());
        digest.update(payload);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The determinism contract: the same arguments, the same bytes in the same order, at any speed.
#[tokio::test]
async fn two_replays_with_the_same_arguments_are_alike() {
    let spec = "delay=1/20:5ms,jitter=2ms,drop=1/10,duplicate=1/10:3ms,reorder=1/5:9ms,corrupt=1/7";
    let shaped = |seed, speed: &str| PlayOptions {
        faults: faults(spec, seed),
        rebasing: rebasing(1_700_000_000_000_000),
        speed: speed.parse().unwrap(),
        ..with_clients(1)
    };
    let rows = timed(200);
    let plain = play(PlayOptions { pace: Pace::Max, ..with_clients(1) }, rows.clone()).await;
    let recorded: Vec<Vec<u8>> = rows.iter().map(|row| row.payload.to_vec()).collect();
    assert_eq!((&plain.0.digest, &plain.0.sent_digest), (&digest(&recorded), &digest(&recorded)));

    let first = play(shaped(7, "1"), rows.clone()).await;
    let second = play(shaped(7, "3"), rows.clone()).await;
    let max = play(PlayOptions { pace: Pace::Max, ..shaped(7, "1") }, rows.clone()).await;
    for (report, received) in [&second, &max] {
        assert!(*received == first.1, "the same bytes in the same order");
        assert_eq!((&report.digest, &report.sent_digest), (&plain.0.digest, &first.0.sent_digest));
        assert_eq!(report.faults, first.0.faults);
    }
    assert_eq!(first.0.sent_digest, digest(&first.1), "over what left");
    assert_eq!((first.0.messages, first.0.bytes), (200, plain.0.bytes), "as recorded");
    let other = play(shaped(8, "3"), rows).await;
    assert_eq!(other.0.digest, plain.0.digest);
    assert_ne!(other.0.sent_digest, first.0.sent_digest, "another seed");

    let told: Vec<(Fault, u64)> = first.0.faults.iter().map(|fault| (fault.fault, fault.count)).collect();
    let named: Vec<Fault> = told.iter().map(|(fault, _)| *fault).collect();
    assert_eq!(named, Fault::ALL[..6]);
    let count = |fault| told.iter().find(|(found, _)| *found == fault).unwrap().1;
    assert_eq!(first.1.len() as u64, 200 - count(Fault::Drop) + count(Fault::Duplicate));
    let is_whole = |payload: &&Vec<u8>| {
        serde_json::from_slice(payload).is_ok_and(|json: serde_json::Value| {
            json["t"].as_u64() == json["n"].as_u64().map(|n| 1_700_000_000_000 + n)
        })
    };
    let whole = first.1.iter().filter(is_whole).count() as u64;
    assert_eq!(
        whole,
        first.1.len() as u64 - count(Fault::Corrupt),
        "times moved, and nothing else but by a fault"
    );
}

#[tokio::test]
async fn the_envelope_moves_with_its_message() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let client = websocket(&endpoints.http_url().unwrap(), "/ws?format=envelope").await;
    let client = tokio::spawn(receive_all(client));
    let options = PlayOptions { rebasing: rebasing(1_700_000_000_000_000), ..with_clients(1) };
    endpoints.play(options, source(timed(2))).await.unwrap();
    let frames = texts(client.await.unwrap().0);
    let second: serde_json::Value = serde_json::from_str(&frames[1]).unwrap();
    assert_eq!(second["payload"], "{\"n\":1,\"t\":1700000000001}");
    assert_eq!(second["received_at"], "2023-11-14T22:13:20.001000Z");
    assert_eq!(second["event_at"], "2023-11-14T22:13:20.001000Z");
    assert_eq!(second["elapsed_ns"], 1_000_000);
}

/// They get what had left by then, hear why, and may come back.
#[tokio::test]
async fn a_disconnect_is_no_loss_and_the_client_may_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let bound = BindOptions { trace: Some(trace.clone()), ..bind_options(&["http://127.0.0.1:0"]) };
    let endpoints = Endpoints::bind(bound).await.unwrap();
    let url = endpoints.http_url().unwrap();
    let options = PlayOptions { faults: faults("disconnect=@1,drop=@0", 1), ..with_clients(1) };
    let mut rows = numbered(2, 0);
    // Long after: whoever was disconnected has time to come back, and then the replay is stopped.
    rows.push(row(2, 3_000_000_000_000_000_000, "2"));
    let stop = options.stop.clone();
    let mut client = websocket(&url, "/ws").await;
    let playing = tokio::spawn(endpoints.play(options, source(rows)));
    assert_eq!(client.next().await.unwrap().unwrap().into_text().unwrap(), "1");
    let Frame::Close(Some(close)) = client.next().await.unwrap().unwrap() else { panic!("no close") };
    assert_eq!(close.reason, DISCONNECTED);
    let again = websocket(&url, "/ws").await;
    stop.cancel();
    assert_eq!(receive_all(again).await, (vec![], 1000));
    let report = playing.await.unwrap().unwrap();
    assert_eq!((report.messages, report.clients[0].messages, report.has_loss()), (2, 1, false));
    assert_eq!(report.clients[0].reason, Some(DISCONNECTED));
    let told = serde_json::to_value(&report.faults).unwrap();
    let expected = serde_json::json!([
        {"fault": "drop", "count": 1, "first": [{"index": 0, "seq": 0}]},
        {"fault": "disconnect", "count": 1, "first": [{"index": 1}]},
    ]);
    assert_eq!(told, expected);
    let trace = std::fs::read_to_string(trace).unwrap();
    let traced: Vec<serde_json::Value> = trace
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["event"] == "fault")
        .collect();
    assert_eq!((&traced[0]["fault"], &traced[0]["index"]), (&"drop".into(), &0.into()));
    assert_eq!((&traced[1]["fault"], &traced[1]["index"]), (&"disconnect".into(), &1.into()));
    assert_eq!(traced.len(), 2);
}

/// A replay of which a fault takes all messages is no empty selection.
#[tokio::test]
async fn all_may_be_dropped() {
    let (report, received) =
        play(PlayOptions { faults: faults("drop=1/1", 1), ..with_clients(1) }, timed(9)).await;
    assert_eq!((report.messages, received.len()), (9, 0));
    assert_ne!(report.digest, report.sent_digest);
    assert_eq!(report.sent_digest, digest(&[]));
}

/// SENSORO's pushes in both modes: a receiver that checks signatures takes them, and opens what is sealed.
#[tokio::test]
async fn moved_pushes_are_signed_afresh_and_can_be_opened() {
    let mut part = Part::all().into_iter().find(|part| part.vendor() == "sensoro").unwrap();
    part.name = "src".to_owned();
    let credentials = part.credentials().unwrap();
    let VendorConfig::Sensoro(config) = &credentials else { panic!() };
    let cipher = config.app_key.clone().unwrap();
    let session_id = row(0, 0, "").session_id;
    let limit = Some(Duration::from_secs(20));
    let rows: Vec<Row> = load::rows(vec![part], 1, session_id, 1_700_000_000_000_000, limit).collect();
    assert!(rows.len() > 10);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let (noted, origin, secret) = (Arc::clone(&received), url.clone(), config.app_secret.clone());
    let answer = move |uri: axum::http::Uri, headers: axum::http::HeaderMap, body: Bytes| {
        use base64::Engine as _;
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let signature =
            base64::engine::general_purpose::STANDARD.decode(header("x-access-signature")).unwrap();
        let (nonce, url) = (header("x-access-nonce"), format!("{origin}{uri}"));
        let signed = crate::vendors::sensoro::signature::Signed {
            nonce: &nonce,
            method: "POST",
            url: &url,
            body: &body,
        };
        let is_signed = signed.is_signed_with(&secret, &signature);
        noted.lock().unwrap().push((is_signed, body));
        std::future::ready(axum::http::StatusCode::NO_CONTENT)
    };
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });

    let pusher = Arc::from(pusher("sensoro", Some(&credentials), &[]));
    let pushes = vec![PushTarget { to: format!("src={url}").parse().unwrap(), pusher }];
    let endpoints = Endpoints::bind(BindOptions { pushes, ..bind_options(&[]) }).await.unwrap();
    let kinds: HashMap<String, Vec<Declaration>> = builtin("sensoro")
        .unwrap()
        .iter()
        .map(|(kind, text)| (kind.to_string(), vec![Declaration::parse(text, kind).unwrap()]))
        .collect();
    let rebasing = Rebasing {
        to_us: Some(1_800_000_000_000_000),
        kinds: HashMap::from([("sensoro".to_owned(), kinds)]),
        ..Rebasing::default()
    };
    let started_at_us = 1_700_000_000_000_000 - (rows[0].elapsed_ns / 1_000) as i64;
    let sessions = vec![SessionStart { session_id, started_at_us }];
    let options = PlayOptions {
        start: Start::AtOnce,
        pace: Pace::Max,
        rebasing: Some(rebasing),
        sessions,
        ..PlayOptions::default()
    };
    let report = endpoints.play(options, source(rows.clone())).await.unwrap();
    assert!(!report.has_loss());
    let received = received.lock().unwrap();
    assert_eq!(received.len(), rows.len());
    let mut opened = 0;
    for (row, (is_signed, body)) in rows.iter().zip(received.iter()) {
        assert!(is_signed);
        let [old, new]: [serde_json::Value; 2] =
            [&row.payload, body].map(|bytes| serde_json::from_slice(bytes).unwrap());
        let shift_ms = new["createdTime"].as_i64().unwrap() - old["createdTime"].as_i64().unwrap();
        let expected_ms = 100_000_000_000 - (rows[0].elapsed_ns / 1_000_000) as i64;
        assert!((shift_ms - expected_ms).abs() <= 1, "{shift_ms}");
        if let Some(sealed) = new["encryptData"].as_str() {
            assert_eq!(old["encryptData"], sealed, "no time is in it: it is as it came");
            assert!(cipher.open(sealed).is_ok());
            opened += 1;
        }
    }
    assert!(opened > 2 && opened < rows.len(), "{opened} of both modes");
}
