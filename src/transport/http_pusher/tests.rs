use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::{Clock, Now};
use crate::message::{Headers, Row, SessionId};
use crate::transport::fanout::{ClientSummary, Fanout, Flow, Wish};
use crate::transport::tls::{self, Trust};

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("should not take this long")
}

fn row(seq: u64, channel: &str, payload: &str) -> Row {
    let headers = [
        ("connection", "keep-alive"),
        ("content-type", "application/json"),
        ("host", "old"),
        ("x-forwarded-proto", "https"),
        ("x-tag", "a, b"),
    ];
    Row {
        vendor: "generic".into(),
        kind: "message".into(),
        site: "".into(),
        session_id: SessionId::new(0, [0; 10]),
        source: "hook".into(),
        connection: 0,
        seq,
        received_at_us: 0,
        elapsed_ns: 0,
        channel: channel.into(),
        device_id: None,
        event_at_us: None,
        mqtt: None,
        is_binary: false,
        headers: Some(headers.map(|(n, v)| (n.to_owned(), v.to_owned())).into()),
        duplicate_of: None,
        payload: payload.to_owned().into(),
        clear: None,
        decode_error: None,
    }
}

/// Signs with the URL, so that a test sees what it was.
#[derive(Debug)]
struct Signer(PushRule);

impl Pusher for Signer {
    fn headers(&self, _: Now, url: &str, recorded: &Headers, body: &[u8]) -> Headers {
        let mut headers = recorded.clone();
        headers.push(("x-signed".to_owned(), format!("{url} {}", body.len())));
        headers
    }

    fn rule(&self) -> PushRule {
        self.0
    }
}

const SOON: Duration = Duration::from_millis(1);
const RULE: PushRule = PushRule { timeout: Duration::from_secs(20), waits: &[SOON, SOON] };

/// What a receiver does with the n-th request; 200 from there on.
type Script = Arc<Mutex<VecDeque<u16>>>;

type Received = (String, Vec<(String, String)>, String);

#[derive(Clone, Default)]
struct Receiver {
    script: Script,
    /// Path and query, headers and body of each request.
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
    /// Where answers out of the script say that it has gone.
    location: Option<String>,
}

/// Answers `HANG` never, `CLOSE` with 200 and the end of the connection.
const HANG: u16 = 0;
const CLOSE: u16 = 1;

impl Receiver {
    fn scripted(script: impl IntoIterator<Item = u16>) -> Self {
        Self { script: Arc::new(Mutex::new(script.into_iter().collect())), ..Self::default() }
    }

    async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(receive).with_state(self.clone());
        let connections = Arc::clone(&self.connections);
        let counted = axum::serve::ListenerExt::tap_io(listener, move |_| {
            connections.fetch_add(1, Ordering::SeqCst);
        });
        tokio::spawn(async move { axum::serve(counted, router).await });
        url
    }

    fn bodies(&self) -> Vec<String> {
        self.received.lock().unwrap().iter().map(|(_, _, body)| body.clone()).collect()
    }
}

async fn receive(State(receiver): State<Receiver>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    let headers = head.headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
    receiver.received.lock().unwrap().push((head.uri.to_string(), headers, body));
    let next = receiver.script.lock().unwrap().pop_front();
    match next {
        None => StatusCode::OK.into_response(),
        Some(HANG) => std::future::pending().await,
        Some(CLOSE) => [("connection", "close")].into_response(),
        Some(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            match receiver.location {
                None => status.into_response(),
                Some(url) => (status, [("location", url)]).into_response(),
            }
        }
    }
}

/// Pushes `rows` to `url`; what the report will say.
async fn push(url: &str, rule: PushRule, rows: Vec<Row>) -> ClientSummary {
    push_as(url, rule, rows, None).await
}

async fn push_as(
    url: &str,
    rule: PushRule,
    rows: Vec<Row>,
    misbehaviour: Option<Arc<Misbehaviour>>,
) -> ClientSummary {
    let fanout = Fanout::new(Clock::System, None);
    let tls = tls::client_config(&Trust::Anybody).unwrap();
    let pusher = HttpPusher::new(Url::parse(url).unwrap(), Arc::new(Signer(rule)), tls).unwrap();
    let pusher = pusher.misbehaving(misbehaviour);
    let member = fanout.join_target("push", Wish::Pushes { source: "hook".into() }).unwrap();
    for (index, row) in rows.into_iter().enumerate() {
        let due_ns = Some(fanout.clock().now().steady_ns);
        fanout.deliver(
            &Arc::new(Emission::new(row, index as u64, due_ns)),
            Flow::Drop,
            &CancellationToken::new(),
        );
    }
    fanout.finish();
    soon(pusher.run(member)).await;
    fanout.summaries().remove(0)
}

fn numbered(count: u64) -> Vec<Row> {
    (0..count).map(|seq| row(seq, "/h", &seq.to_string())).collect()
}

#[tokio::test]
async fn pushes_arrive_in_order_over_one_connection_as_they_were_recorded() {
    let receiver = Receiver::default();
    let url = receiver.listen().await;
    let mut rows = vec![row(0, "/hooks/a?b=%20&c", "{ \"x\": -0.0 }"), row(1, "/", "")];
    rows.push(Row { source: "another".into(), ..row(2, "/", "not this") });
    rows.push(Row { headers: None, ..row(3, "link", "nor this") });
    rows.extend(numbered(200));
    let summary = push(&format!("{url}/base/"), RULE, rows).await;
    assert_eq!((summary.messages, summary.refused, summary.repeated, summary.dropped), (202, 0, 0, 0));
    assert_eq!((summary.lateness.count(), summary.reason), (202, None));
    assert_eq!(receiver.connections.load(Ordering::SeqCst), 1);
    let expected =
        ["{ \"x\": -0.0 }".to_owned(), String::new()].into_iter().chain((0..200).map(|n: u32| n.to_string()));
    assert_eq!(receiver.bodies(), expected.collect::<Vec<_>>());

    let (path, headers, _) = receiver.received.lock().unwrap()[0].clone();
    assert_eq!(path, "/base/hooks/a?b=%20&c");
    let host = url.trim_start_matches("http://");
    let signed = format!("{url}/base/hooks/a?b=%20&c 13");
    let expected = [
        ("host", host),
        ("content-type", "application/json"),
        ("x-tag", "a, b"),
        ("x-signed", &signed),
        ("content-length", "13"),
    ];
    let mut expected = expected.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
    let mut headers = headers;
    expected.sort();
    headers.sort();
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn what_is_not_taken_is_pushed_again_while_later_ones_go_on_and_in_the_end_refused() {
    let receiver = Receiver::scripted([500, 302, 200, 404, 404]);
    let url = receiver.listen().await;
    // 0 fails three times and 1 once, the order of later attempts depending on the time they take.
    let summary = push(&url, RULE, numbered(4)).await;
    assert_eq!(summary.messages + summary.refused, 4);
    assert_eq!(summary.repeated + 4, receiver.received.lock().unwrap().len() as u64);
    assert_eq!(&receiver.bodies()[..1], ["0"]);

    let receiver = Receiver::scripted([500; 6]);
    let url = receiver.listen().await;
    let summary = push(&url, RULE, numbered(2)).await;
    assert_eq!((summary.messages, summary.refused, summary.repeated), (0, 2, 4));
    assert_eq!(receiver.bodies().iter().filter(|body| *body == "0").count(), 3);
    assert_eq!(summary.reason, None);

    let never = PushRule { waits: &[], ..RULE };
    let receiver = Receiver::scripted([500, 302, 404, 204, 401]);
    let url = receiver.listen().await;
    let summary = push(&url, never, numbered(6)).await;
    assert_eq!((summary.messages, summary.refused, summary.repeated), (2, 4, 0), "only a 2xx is success");
}

#[tokio::test]
async fn a_connection_that_was_closed_is_no_failure() {
    let receiver = Receiver::scripted([CLOSE, CLOSE, 200, CLOSE]);
    let url = receiver.listen().await;
    let summary = push(&url, PushRule { waits: &[], ..RULE }, numbered(6)).await;
    assert_eq!((summary.messages, summary.refused), (6, 0));
    assert_eq!(receiver.bodies(), ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(receiver.connections.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_failure() {
    let receiver = Receiver::scripted([HANG]);
    let url = receiver.listen().await;
    let impatient = PushRule { timeout: Duration::from_secs(3), waits: &[SOON] };
    let summary = push(&url, impatient, numbered(1)).await;
    assert_eq!((summary.messages, summary.refused, summary.repeated), (1, 0, 1));
}

#[tokio::test]
async fn nobody_there_and_a_path_that_cannot_be_asked_for_are_refusals() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let summary = push(&url, RULE, numbered(1)).await;
    assert_eq!((summary.messages, summary.refused, summary.repeated), (0, 1, 2));

    let receiver = Receiver::default();
    let url = receiver.listen().await;
    let summary = push(&url, RULE, vec![row(0, "/a b\n", "x"), row(1, "/ok", "y")]).await;
    assert_eq!((summary.messages, summary.refused), (1, 1));
    assert_eq!(receiver.bodies(), ["y"]);

    // Nothing leaves the URL that was named.
    let outside = ["/../x", "/%2e%2E/x", "/a/..;/x", "locks", "?x", "/%2e./x?y", "//../x"];
    let mut rows: Vec<Row> = (0..).zip(outside).map(|(seq, path)| row(seq, path, "outside")).collect();
    rows.push(row(90, "/a/..b?up=/../x", "inside"));
    let summary = push(&format!("{url}/base"), RULE, rows).await;
    assert_eq!((summary.messages, summary.refused), (1, outside.len() as u64));
    assert_eq!(receiver.bodies(), ["y", "inside"]);
}

#[tokio::test]
async fn no_answer_leads_elsewhere() {
    let elsewhere = Receiver::default();
    let trap = elsewhere.listen().await;
    for status in [301, 302, 303, 307, 308] {
        let receiver = Receiver { location: Some(trap.clone()), ..Receiver::scripted(vec![status; 3]) };
        let summary = push(&receiver.listen().await, RULE, numbered(1)).await;
        assert_eq!((summary.messages, summary.refused), (0, 1), "{status}");
    }
    assert_eq!(elsewhere.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_waits_for_its_next_turn_is_dropped_with_the_receiver() {
    let receiver = Receiver::scripted([500]);
    let url = receiver.listen().await;
    let fanout = Fanout::new(Clock::System, None);
    let tls = tls::client_config(&Trust::Anybody).unwrap();
    const AN_HOUR: Duration = Duration::from_secs(3_600);
    let an_hour = PushRule { waits: &[AN_HOUR], ..RULE };
    let pusher = HttpPusher::new(Url::parse(&url).unwrap(), Arc::new(Signer(an_hour)), tls).unwrap();
    let member = fanout.join_target("push", Wish::Pushes { source: "hook".into() }).unwrap();
    for seq in 0..2 {
        let emission = Arc::new(Emission::new(row(seq, "/", "x"), seq, None));
        fanout.deliver(&emission, Flow::Drop, &CancellationToken::new());
    }
    fanout.finish();
    let running = tokio::spawn(pusher.run(member));
    let both_tried = async {
        while receiver.received.lock().unwrap().len() < 2 || fanout.drop_idle("not drained") {
            tokio::task::yield_now().await;
        }
    };
    soon(both_tried).await;
    soon(running).await.unwrap();
    let summary = fanout.summaries().remove(0);
    assert_eq!((summary.messages, summary.dropped, summary.reason), (1, 1, Some("not drained")));
}

#[tokio::test]
async fn to_refuse_is_to_make_no_connection_and_the_vendor_s_rule_goes_on() {
    // Each connection carries one push, so that each push asks for one.
    let closing = || Receiver::scripted([CLOSE; 60]);
    let refusing = || Some(Misbehaviour::new("refuse=1/2".parse().unwrap(), 1));
    let receiver = closing();
    let url = receiver.listen().await;
    let summary = push_as(&url, PushRule { waits: &[], ..RULE }, numbered(20), refusing()).await;
    assert_eq!(summary.messages + summary.refused, 20);
    assert!((5..=15).contains(&summary.refused), "{} refused", summary.refused);
    assert_eq!(receiver.bodies().len() as u64, summary.messages, "what was not connected was not asked");

    let receiver = closing();
    let url = receiver.listen().await;
    let patient = PushRule { waits: &[SOON; 20], ..RULE };
    let summary = push_as(&url, patient, numbered(20), refusing()).await;
    assert_eq!((summary.messages, summary.refused), (20, 0));
    assert!(summary.repeated > 5, "{} repeated", summary.repeated);
}

#[test]
fn of_many_refusals_the_first_is_told_and_then_how_many() {
    let mut refusals = Refusals::default();
    let began = Instant::now();
    let told: Vec<_> = (0..130).map(|s| refusals.note(began + Duration::from_secs(s))).collect();
    let expected = [(0, Some(1)), (60, Some(60)), (120, Some(60))];
    assert!(
        told.iter().enumerate().all(|(s, told)| {
            *told == expected.iter().find(|(at, _)| *at == s).and_then(|(_, many)| *many)
        })
    );
    assert_eq!(refusals.untold, 9);
}

#[test]
fn the_earliest_comes_first_and_room_is_bounded() {
    let mut waiting = Waiting::default();
    let now = Instant::now();
    let pending = |index: u64, bytes: usize| {
        let emission = Arc::new(Emission::new(row(index, "/", &"x".repeat(bytes)), index, None));
        Pending { item: Item { emission, qos: 0, topic: None, is_held: false }, failures: 1, left_ns: None }
    };
    for (index, after_s) in [(0, 30), (1, 5), (2, 30), (3, 5)] {
        waiting.push(now + Duration::from_secs(after_s), pending(index, 1));
    }
    let order: Vec<u64> = std::iter::from_fn(|| waiting.pop()).map(|p| p.item.emission.index).collect();
    assert_eq!(order, [1, 3, 0, 2]);
    assert_eq!(waiting.bytes, 0);
    waiting.push(now, pending(0, WAITING_BYTES_MAX));
    assert!(!waiting.has_room());
    waiting.pop();
    assert!(waiting.has_room());
}
