//! The whole loop of every vendor and transport over real sockets: what the simulated vendors send is recorded, what
//! was recorded is replayed, and what the replay's client receives is the same, byte for byte and in order. Then the
//! same with vendors that misbehave: what they delivered is in the archive, and the collectors are back by themselves.
//!
//! The replay's clients are our collectors; clients of others are in `interop`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use telereel::archive::{Archive, ScanOptions, scan, verify};
use telereel::clock::Clock;
use telereel::config::Config;
use telereel::message::{Row, Selection, SessionId};
use telereel::player::endpoints::Access;
use telereel::player::{BindOptions, Endpoints, PlayOptions, PushTarget, Report, SessionStart, Start};
use telereel::recorder::{Recorder, StartOptions, Summary};
use telereel::transport::misbehave::Misbehaviour;
use telereel::vendors::synthetic::load::{self, Part};
use telereel::vendors::synthetic::{Route, Trips};
use telereel::vendors::{Recorded, pusher};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Guards a test that would otherwise hang for ever.
const LIMIT: Duration = Duration::from_secs(120);

/// Sources as a configuration has them; `{http}`, `{ws}` and `{mqtt}` stand for where the vendors are.
const DELICODE: &str = r#"
[[source]]
name = "delicode"
vendor = "delicode"
url = "{ws}/websocket_realtime"
token = "any"
locations = [1, 2]
"#;

const DAMOOV: &str = r#"
[[source]]
name = "damoov"
vendor = "damoov"
url = "{ws}/realtime/api/v1/ws/realtime"
access_token = "any"
instance_id = "3f2b1f0e-5d4c-4b3a-8291-70615243f4e5"
"#;

const PONTOSENSE: &str = r#"
[[source]]
name = "pontosense"
vendor = "pontosense"
api_url = "{http}"
mqtt_url = "{ws}"
api_key = "any"
secret = "any"
sensors = ["ATR_GN_P4-250120-09527", "ATR_GN_P4-250120-09528"]
"#;

const SENSORO: &str = r#"
[[source]]
name = "sensoro"
vendor = "sensoro"
path = "/hooks/city"
app_id = "123456"
app_key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
app_secret = "simulated-app-secret"
"#;

const JOINTECH: &str = r#"
[[source]]
name = "jointech"
vendor = "jointech"
transport = "mqtt"
url = "{mqtt}"
username = "any"
password = "any"
access_key = "DE300000000000000000000000000001"
"#;

const JOINTECH_PUSH: &str = r#"
[[source]]
name = "jointech-push"
vendor = "jointech"
transport = "webhook"
path = "/hooks/locks"
"#;

/// A shop's stream again, taken from `/ws` by a source without a protocol.
const GENERIC_WS: &str = r#"
[[source]]
name = "any-ws"
vendor = "generic"
transport = "websocket"
url = "{ws}/ws?source=any-ws"
"#;

const GENERIC_MQTT: &str = r#"
[[source]]
name = "any-mqtt"
vendor = "generic"
transport = "mqtt"
url = "{mqtt}"
topics = ["upload/any/#"]
"#;

const GENERIC_PUSH: &str = r#"
[[source]]
name = "any-push"
vendor = "generic"
transport = "webhook"
path = "/hooks/any"
"#;

/// Simulated sources, and how a recorder asks for them.
struct Setup {
    parts: Vec<Part>,
    sources: String,
    /// How many clients must be ready: one for each connection.
    clients: usize,
    misbehaviour: Option<Arc<Misbehaviour>>,
}

impl Setup {
    fn of(parts: Vec<Part>, sources: &str, clients: usize) -> Self {
        Self { parts, sources: sources.to_owned(), clients, misbehaviour: None }
    }
}

/// What came of a recording.
struct Round {
    folder: TempDir,
    summary: Summary,
    report: Report,
}

impl Round {
    fn archive(&self) -> Archive {
        Archive::open(self.folder.path().join("archive")).unwrap()
    }

    fn session(&self) -> SessionId {
        self.summary.session_ids[0]
    }

    /// All that a replay emits of this recording.
    fn rows(&self) -> Vec<Row> {
        let options = ScanOptions { emitted_only: true, ..ScanOptions::default() };
        scan(&self.archive(), &options).unwrap().map(Result::unwrap).collect()
    }

    /// The link events of a source.
    fn links(&self, source: &str) -> Vec<Value> {
        let selection = Selection {
            kinds: vec!["link".to_owned()],
            sources: vec![source.to_owned()],
            ..Selection::default()
        };
        let rows = scan(&self.archive(), &ScanOptions { selection, ..ScanOptions::default() }).unwrap();
        rows.map(|row| serde_json::from_slice(&row.unwrap().payload).unwrap()).collect()
    }
}

/// Where `name` stands in a configuration: its vendor.
fn vendor_of(config: &Config, name: &str) -> String {
    config.sources.iter().find(|source| source.name == name).unwrap().vendor.vendor().to_owned()
}

/// Plays `rows` to a recorder of `setup.sources`, by vendors' endpoints and pushes.
async fn record(setup: &Setup, recorded: Recorded, rows: Vec<Row>) -> Round {
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| Config::parse(&folder.path().join("telereel.toml"), text, &|_| None).unwrap();
    let head = "[webhooks]\nlisten = \"127.0.0.1:0\"\n";
    let fill = |http: &str, mqtt: &str| {
        let text = format!("{head}{}", setup.sources);
        read(
            &text
                .replace("{http}", http)
                .replace("{ws}", &http.replacen("http", "ws", 1))
                .replace("{mqtt}", mqtt),
        )
    };
    let pushed: Vec<String> = {
        let config = fill("http://127.0.0.1:1", "mqtt://127.0.0.1:1");
        let pushed = config.sources.iter().filter(|source| source.vendor.webhook_path().is_some());
        pushed.map(|source| source.name.clone()).collect()
    };
    // Receivers of pushes are there before the pushes begin, vendors before they are connected to.
    let is_pushed = !pushed.is_empty();
    let bind = |pushes| BindOptions {
        listen: if is_pushed {
            Vec::new()
        } else {
            vec!["http://127.0.0.1:0".parse().unwrap(), "mqtt://127.0.0.1:0".parse().unwrap()]
        },
        self_signed_dir: folder.path().to_owned(),
        recorded: recorded.clone(),
        access: Access::LoopbackOnly,
        pushes,
        misbehaviour: setup.misbehaviour.clone(),
        ..BindOptions::default()
    };
    let (recorder, endpoints) = if is_pushed {
        let config = fill("http://127.0.0.1:1", "mqtt://127.0.0.1:1");
        let recorder = Recorder::start(&config, StartOptions::default()).await.unwrap();
        let base = format!("http://{}", recorder.webhooks_at().unwrap());
        let push = |name: &String| {
            let source = config.sources.iter().find(|source| source.name == *name).unwrap();
            PushTarget {
                to: format!("{name}={base}").parse().unwrap(),
                pusher: Arc::from(pusher(&vendor_of(&config, name), Some(&source.vendor), &[])),
            }
        };
        let endpoints = Endpoints::bind(bind(pushed.iter().map(push).collect())).await.unwrap();
        (recorder, endpoints)
    } else {
        let endpoints = Endpoints::bind(bind(Vec::new())).await.unwrap();
        let config = fill(&endpoints.http_url().unwrap(), &endpoints.mqtt_url().unwrap());
        (Recorder::start(&config, StartOptions::default()).await.unwrap(), endpoints)
    };
    let options = PlayOptions {
        sessions: rows
            .first()
            .map(|row| SessionStart { session_id: row.session_id, started_at_us: 0 })
            .into_iter()
            .collect(),
        start: match setup.clients.try_into() {
            Ok(clients) => Start::WithClients(clients),
            Err(_) => Start::AtOnce,
        },
        // A push that failed twice waits for half a minute, and is not idle for that.
        drain: if is_pushed { LIMIT } else { PlayOptions::default().drain },
        ..PlayOptions::default()
    };
    let mut rows = Some(rows);
    let open = move |_| Ok::<_, Infallible>(rows.take().into_iter().flatten().map(Ok::<_, Infallible>));
    let report = endpoints.play(options, open).await.unwrap();
    let summary = recorder.stop(CancellationToken::new()).await.unwrap();
    let round = Round { folder, summary, report };
    let verified = verify(&round.archive(), Default::default()).unwrap();
    assert!(verified.is_content(), "{:?}", verified.problems);
    round
}

/// What the simulated vendors know about themselves.
fn of_parts(parts: &[Part]) -> Recorded {
    Recorded {
        sources: parts.iter().map(Part::header).collect(),
        device_configs: parts.iter().flat_map(Part::device_configs).collect(),
        ..Recorded::default()
    }
}

/// What the parts send within `limit`.
fn simulated(parts: &[Part], rate: &str, limit: Duration) -> Vec<Row> {
    let parts = parts.iter().cloned().map(|part| part.with_rate(rate.parse().unwrap())).collect();
    let now = Clock::System.now();
    load::rows(parts, 7, SessionId::new(now.wall_us, [0; 10]), now.wall_us, Some(limit)).collect()
}

/// A message as both ends see it.
type Seen = (String, Option<(u8, bool)>, Vec<u8>);

/// The messages of one source, or of one of its channels, in order.
fn seen(rows: &[Row], source: &str) -> Vec<Seen> {
    let of_source = rows.iter().filter(|row| &*row.source == source);
    let mqtt = |row: &Row| row.mqtt.map(|mqtt| (mqtt.qos, mqtt.retain));
    of_source.map(|row| (row.channel.to_string(), mqtt(row), row.payload.to_vec())).collect()
}

/// Sorted by channel, each channel's in order: where there is one connection for each.
fn by_channel(mut seen: Vec<Seen>) -> Vec<Seen> {
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    seen
}

/// Simulates, records, replays and records again; every source must be the same each time. Gives what was recorded.
async fn closes(setup: Setup) -> Vec<Row> {
    let sent = simulated(&setup.parts, "100", Duration::from_secs(2));
    let first = record(&setup, of_parts(&setup.parts), sent.clone()).await;
    let archived = first.rows();
    let sidecar = first.archive().read_sidecar(first.session()).unwrap().unwrap();
    let sources = sidecar.sources.into_iter().map(Into::into).collect();
    let second = record(&setup, Recorded { sources, ..Recorded::default() }, archived.clone()).await;
    let again = second.rows();

    for part in &setup.parts {
        let name = part.name.as_str();
        let (sent, archived, again) = (seen(&sent, name), seen(&archived, name), seen(&again, name));
        assert!(sent.len() > 50, "{name}: only {} messages", sent.len());
        // A generic source's channel is that of its own transport.
        let payloads = |seen: &[Seen]| seen.iter().map(|(.., payload)| payload.clone()).collect::<Vec<_>>();
        if vendor_of_part(part, &first) == "generic" {
            assert!(payloads(&sent) == payloads(&archived), "{name}: not recorded as it was sent");
        } else {
            assert!(by_channel(sent) == by_channel(archived.clone()), "{name}: not recorded as it was sent");
        }
        assert!(by_channel(archived) == by_channel(again), "{name}: not replayed as it was recorded");
    }
    // The archive knows the kinds that the simulation meant, and could read every one.
    if first.summary.sources.iter().all(|source| source.vendor != "generic") {
        let kinds = |rows: &[Row]| -> BTreeMap<String, usize> {
            let mut kinds = BTreeMap::new();
            rows.iter()
                .for_each(|row| *kinds.entry(format!("{} {}", row.source, row.kind)).or_default() += 1);
            kinds
        };
        assert_eq!(kinds(&sent), kinds(&archived));
    }
    for source in first.summary.sources.iter().chain(&second.summary.sources) {
        assert_eq!((source.decode_errors, source.dropped, source.refused), (0, 0, 0), "{}", source.name);
    }
    assert_eq!(second.report.digest, second.report.sent_digest);
    archived
}

fn vendor_of_part(part: &Part, round: &Round) -> String {
    round.summary.sources.iter().find(|source| source.name == part.name).unwrap().vendor.clone()
}

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, test).await.expect("should not take this long")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delicode_over_websocket() {
    in_time(closes(Setup::of(vec![Part::shop("delicode", vec![1, 2])], DELICODE, 1))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damoov_over_websocket() {
    in_time(closes(Setup::of(vec![Part::trips("damoov", Trips::default())], DAMOOV, 1))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pontosense_over_rest_and_mqtt_over_websocket() {
    let sensors = ["ATR_GN_P4-250120-09527", "ATR_GN_P4-250120-09528"].map(str::to_owned).to_vec();
    in_time(closes(Setup::of(vec![Part::rooms("pontosense", sensors)], PONTOSENSE, 2))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sensoro_over_webhooks_in_both_modes() {
    let sensoro = Part::all().into_iter().find(|part| part.name == "sensoro").unwrap();
    let rows = in_time(closes(Setup::of(vec![sensoro], SENSORO, 0))).await;
    let is_sealed = |row: &Row| row.payload.windows(11).any(|window| window == b"encryptData");
    assert!(rows.iter().any(is_sealed) && !rows.iter().all(is_sealed), "both modes");
    assert!(rows.iter().all(|row| row.clear.is_some() == is_sealed(row)), "decrypted what was encrypted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jointech_over_mqtt() {
    let jointech = Part::all().into_iter().find(|part| part.name == "jointech").unwrap();
    in_time(closes(Setup::of(vec![jointech], JOINTECH, 1))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jointech_over_webhooks() {
    let push = Part::all().into_iter().find(|part| part.name == "jointech-push").unwrap();
    in_time(closes(Setup::of(vec![push], JOINTECH_PUSH, 0))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generic_over_all_three_transports() {
    let ws = Setup::of(vec![Part::shop("any-ws", vec![1, 2])], GENERIC_WS, 1);
    let topics = Part::fleet("any-mqtt", Route::Mqtt { access_key: "any".into() });
    let mqtt = Setup::of(vec![topics], GENERIC_MQTT, 1);
    let paths = Route::Webhook { path: "/hooks/any".into() };
    let push = Setup::of(vec![Part::fleet("any-push", paths)], GENERIC_PUSH, 0);
    in_time(async {
        tokio::join!(closes(ws), closes(mqtt), closes(push));
    })
    .await;
}

/// The sources that connect to their vendor, each by its own protocol.
fn served() -> Setup {
    let sensors = ["ATR_GN_P4-250120-09527", "ATR_GN_P4-250120-09528"].map(str::to_owned).to_vec();
    let jointech = Route::Mqtt { access_key: load::ACCESS_KEY.to_owned() };
    let parts = vec![
        Part::shop("delicode", vec![1, 2]),
        Part::trips("damoov", Trips::default()),
        Part::rooms("pontosense", sensors),
        Part::fleet("jointech", jointech),
        Part::shop("any-ws", vec![8, 9]),
    ];
    Setup::of(parts, &[DELICODE, DAMOOV, PONTOSENSE, JOINTECH, GENERIC_WS].concat(), 6)
}

/// By source: the endpoint in the report.
const ENDPOINTS: [(&str, &str); 5] = [
    ("delicode", "/websocket_realtime"),
    ("damoov", "/realtime/api/v1/ws/realtime"),
    ("pontosense", "/mqtt"),
    ("jointech", "mqtt"),
    ("any-ws", "/ws"),
];

/// Of these, the one with a persistent session: what is sent at QoS 1 waits for its return.
const PERSISTENT: &str = "jointech";

/// Without what came once more and says so: MQTT's second delivery of what was not acknowledged in time.
fn once(archived: Vec<Row>) -> Vec<Row> {
    let mut seen = BTreeSet::new();
    let mut is_new = |row: &Row| {
        seen.insert((row.channel.clone(), row.payload.clone())) || !row.mqtt.is_some_and(|mqtt| mqtt.dup)
    };
    archived.into_iter().filter(|row| is_new(row)).collect()
}

/// How many of `archived` are in `sent`, in order; the others must be what nobody sent on purpose.
fn in_order(sent: &[Row], archived: &[Row], what: &str) -> usize {
    let mut rest = sent.iter();
    let mut found = 0;
    for row in archived {
        if rest.clone().any(|sent| sent.payload == row.payload) {
            found += 1;
            rest.find(|sent| sent.payload == row.payload);
        } else {
            let is_noise = !sent.iter().any(|sent| sent.payload == row.payload);
            assert!(is_noise, "{what}: came twice, or out of order: {row:?}");
        }
    }
    found
}

/// Records vendors that misbehave, for as long as they send. By source: how many messages were simulated,
/// delivered and archived, how many rows are noise, and the link events.
async fn misbehave(setup: Setup, spec: &str, seconds: u64) -> BTreeMap<String, Outcome> {
    let misbehaviour = Some(Misbehaviour::new(spec.parse().unwrap(), 3));
    let setup = Setup { misbehaviour, ..setup };
    let sent = simulated(&setup.parts, "40", Duration::from_secs(seconds));
    let round = record(&setup, of_parts(&setup.parts), sent.clone()).await;
    let archived = round.rows();
    let of = |rows: &[Row], source: &str| -> Vec<Row> {
        rows.iter().filter(|row| &*row.source == source).cloned().collect()
    };
    let mut outcomes = BTreeMap::new();
    for (source, endpoint) in ENDPOINTS {
        let (sent, archived) = (of(&sent, source), once(of(&archived, source)));
        // Each channel has its own connection, where there are several.
        let channels: BTreeSet<_> = archived.iter().map(|row| row.channel.clone()).collect();
        let several = source == "pontosense";
        let found = if several {
            let on = |rows: &[Row], channel| -> Vec<Row> {
                rows.iter().filter(|row| row.channel == channel).cloned().collect()
            };
            channels.iter().map(|c| in_order(&on(&sent, c), &on(&archived, c), source)).sum()
        } else {
            in_order(&sent, &archived, source)
        };
        let clients = round.report.clients.iter().filter(|client| client.endpoint == endpoint);
        let summary = round.summary.sources.iter().find(|summary| summary.name == source).unwrap();
        assert_eq!(summary.gave_up, None, "{source}");
        assert_eq!(summary.dropped, 0, "{source}");
        let mut delivered: usize = clients.map(|client| client.messages as usize).sum();
        if source == PERSISTENT {
            // What is sent once more, since it was not acknowledged in time, is counted once more.
            delivered = delivered.min(sent.len());
        }
        let outcome = Outcome {
            sent: sent.len(),
            delivered,
            archived: found,
            is_beginning: sent[..found]
                .iter()
                .all(|sent| archived.iter().any(|row| row.payload == sent.payload)),
            noise: archived.len() - found,
            links: round.links(source),
        };
        // What the vendor counts as delivered is in the archive. What was cut on its way may be there too.
        assert!(outcome.delivered <= outcome.archived, "{source}: lost of what was delivered: {outcome:?}");
        assert!(outcome.archived > 0, "{source}: nothing came: {outcome:?}");
        outcomes.insert(source.to_owned(), outcome);
    }
    outcomes
}

#[derive(Debug)]
struct Outcome {
    sent: usize,
    delivered: usize,
    archived: usize,
    /// Nothing is missing before the last that is archived.
    is_beginning: bool,
    noise: usize,
    links: Vec<Value>,
}

impl Outcome {
    /// Each end of a connection is followed by its return, unless the stream was over by then.
    fn is_back(&self, source: &str) {
        let events: Vec<&str> = self.links.iter().map(|link| link["event"].as_str().unwrap()).collect();
        assert!(events.contains(&"disconnected"), "{source}: never cut: {events:?}");
        let back: Vec<&Value> = self.links.iter().filter(|link| link["event"] == "reconnected").collect();
        assert!(!back.is_empty(), "{source}: never back: {events:?}");
        assert!(back.iter().all(|link| link["gap_ns"].as_u64() > Some(0)), "{source}: a gap of nothing");
        if source == PERSISTENT {
            // But for what it did not come back for within the time that is left to it at the end.
            assert!(self.is_beginning, "{source}: its session did not wait for it");
        } else {
            assert!(self.archived < self.sent, "{source}: nothing was missed in the gap");
        }
    }

    fn has(&self, event: &str) -> bool {
        self.links.iter().any(|link| link["event"] == event)
    }
}

async fn breaking() {
    for (source, outcome) in misbehave(served(), "close=60", 8).await {
        outcome.is_back(&source);
    }
}

async fn breaking_inside_a_message() {
    for (source, outcome) in misbehave(served(), "half-packet=60", 8).await {
        outcome.is_back(&source);
        assert_eq!(outcome.noise, 0, "{source}: half a message was taken for one");
    }
}

async fn refusing() {
    let outcomes = misbehave(served(), "refuse=1/2,close=40", 12).await;
    assert!(outcomes.values().any(|outcome| outcome.has("refused")), "{outcomes:?}");
    for (source, outcome) in outcomes {
        assert!(outcome.has("disconnected") || outcome.has("refused"), "{source}: {outcome:?}");
    }
}

async fn falling_silent() {
    let mut setup = served();
    setup.sources = setup.sources.replace("vendor =", "stall_after = \"1s\"\nvendor =");
    for (source, outcome) in misbehave(setup, "stall=60", 12).await {
        assert!(outcome.has("stalled"), "{source}: the silence was not told: {outcome:?}");
        outcome.is_back(&source);
    }
}

async fn expiring_tokens() {
    let mut setup = served();
    let refresh = format!("refresh_url = \"{}\"\nrefresh_token = \"r\"\ninstance_id", gives_tokens().await);
    setup.sources = setup.sources.replace("instance_id", &refresh);
    for (source, outcome) in misbehave(setup, "expired-token=60", 10).await {
        outcome.is_back(&source);
    }
}

/// Where Damoov's tokens are refreshed: with any refresh token, and always anew.
async fn gives_tokens() -> String {
    let count = Arc::new(AtomicU64::new(0));
    let answer = move || {
        let token = format!("token-{}", count.fetch_add(1, Ordering::Relaxed));
        async move {
            axum::Json(serde_json::json!({"Result": {"AccessToken": {"Token": token}, "RefreshToken": "r"}}))
        }
    };
    let router = axum::Router::new().route("/v1/Auth/RefreshToken", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/Auth/RefreshToken", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

// At the same time, since all that they do is wait for one another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_ends_a_connection_collectors_are_back_and_nothing_delivered_is_lost() {
    in_time(async {
        tokio::join!(
            breaking(),
            breaking_inside_a_message(),
            refusing(),
            falling_silent(),
            expiring_tokens()
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_is_kept_and_costs_nothing() {
    for (source, outcome) in in_time(misbehave(served(), "garbage=1/2", 4)).await {
        assert!(outcome.noise > 0, "{source}: no noise came");
        assert_eq!((outcome.archived, outcome.delivered), (outcome.sent, outcome.sent), "{source}");
        assert!(!outcome.has("reconnected"), "{source}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendor_that_reads_slowly_loses_nothing() {
    for (source, outcome) in in_time(misbehave(served(), "slow-reader=4000", 4)).await {
        assert_eq!((outcome.archived, outcome.delivered), (outcome.sent, outcome.sent), "{source}");
        assert!(!outcome.has("reconnected"), "{source}: {outcome:?}");
    }
}

/// Vendors that post and misbehave. By source: simulated, taken, archived, noise.
async fn push_misbehaving(spec: &str) -> BTreeMap<String, (usize, usize, usize, usize)> {
    let all = Part::all().into_iter().filter(|part| part.path().is_some());
    let any = Part::fleet("any-push", Route::Webhook { path: "/hooks/any".into() });
    let parts: Vec<Part> = all.chain([any]).collect();
    let setup = Setup::of(parts, &[SENSORO, JOINTECH_PUSH, GENERIC_PUSH].concat(), 0);
    let misbehaviour = Some(Misbehaviour::new(spec.parse().unwrap(), 3));
    let setup = Setup { misbehaviour, ..setup };
    let sent = simulated(&setup.parts, "40", Duration::from_secs(4));
    let round = record(&setup, of_parts(&setup.parts), sent.clone()).await;
    let archived = round.rows();
    let mut outcomes = BTreeMap::new();
    for part in &setup.parts {
        let of = |rows: &[Row]| -> Vec<Vec<u8>> {
            rows.iter().filter(|row| *row.source == *part.name).map(|row| row.payload.to_vec()).collect()
        };
        let (sent, archived) = (of(&sent), of(&archived));
        let noise = archived.iter().filter(|payload| !sent.contains(payload)).count();
        let endpoint = format!("push {} ", part.name);
        let clients = round.report.clients.iter().filter(|client| client.endpoint.starts_with(&endpoint));
        let taken = clients.map(|client| client.messages as usize).sum();
        // A message that is pushed again comes later than those behind it.
        let found = sent.iter().filter(|payload| archived.contains(payload)).count();
        assert!(taken <= found, "{}: {taken} taken, {found} archived", part.name);
        outcomes.insert(part.name.clone(), (sent.len(), taken, found, noise));
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_that_break_are_made_again() {
    let runs = ["close=30", "half-packet=30", "stall=60", "slow-reader=2000"]
        .map(|spec| async move { (spec, push_misbehaving(spec).await) });
    for (spec, outcomes) in in_time(futures_util::future::join_all(runs)).await {
        for (source, (sent, taken, archived, noise)) in outcomes {
            assert_eq!((archived, noise), (taken, 0), "{spec}: {source}");
            // Jointech pushes nothing again: what did not arrive is lost on the vendor's side.
            assert!(
                taken == sent || source == "jointech-push" && taken > sent / 2,
                "{spec}: {source}: {taken} of {sent}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_with_an_expired_secret_are_turned_away_and_made_again() {
    for (source, (sent, taken, archived, _)) in in_time(push_misbehaving("expired-token=60")).await {
        assert_eq!((taken, archived), (sent, sent), "{source}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_among_pushes_costs_nothing() {
    for (source, (sent, taken, archived, noise)) in in_time(push_misbehaving("garbage=1/3")).await {
        assert_eq!((taken, archived), (sent, sent), "{source}");
        assert!(noise > 0, "{source}: no noise came");
    }
}
