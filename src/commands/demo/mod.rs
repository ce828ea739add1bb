//! `demo`: the whole loop on this machine, over real sockets.
//!
//! The vendors' sides are the replay's own endpoints and pushes, fed with generated messages. What was recorded is compared with what was generated, what a replay delivers with what
//! was recorded: byte for byte and in order.

mod clients;
mod streams;

use std::convert::Infallible;
use std::fs;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Outcome, Usage, output, runtime};
use crate::archive::{self, Archive, ScanOptions, VerifyOptions};
use crate::cli;
use crate::clock::{Clock, Now};
use crate::config::Config;
use crate::disk::{create_private, create_private_dir};
use crate::message::{Row, Selection, SessionId};
use crate::player::{BindOptions, Endpoints, PlayOptions, Position, PushTarget, Report, SessionStart, Start};
use crate::recorder::{Recorder, StartOptions, Summary};
use crate::vendors::synthetic::Rooms;
use crate::vendors::synthetic::load::{ACCESS_KEY, APP_ID, APP_KEY, JOINTECH_PATH, SENSORO_PATH};
use crate::vendors::synthetic::trips::INSTANCE_ID;
use crate::vendors::{Recorded, Source, damoov, delicode, pusher, replay_topic};
use clients::{Comparison, Protocol, Received, Receiver, compare};
use streams::{CITY, CONNECTIONS, FLEET, LOCATIONS, LOCKS, LOCKS_PUSH, ROOMS, SHOP, SOURCES, Streams, WARD};

/// The file by which a folder is known to be an earlier demo's, which may be removed.
const CONFIG: &str = "telereel.toml";
const CONFIG_FIRST_LINE: &str = "# Written by `telereel demo`, which starts this folder afresh.";

/// What the demo found: one line per stream and per client of the replay.
#[derive(Debug, Serialize)]
struct Findings {
    recorded: Vec<Finding>,
    replayed: Vec<Finding>,
    summary: Summary,
    report: Report,
}

#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    expected: usize,
    received: usize,
    /// Equal from the start on, byte for byte.
    same: usize,
}

impl Finding {
    fn new(name: &'static str, Comparison { expected, received, same }: Comparison) -> Self {
        Self { name, expected, received, same }
    }

    fn is_same(&self) -> bool {
        self.expected > 0 && self.same == self.expected && self.received == self.expected
    }
}

pub(super) fn run(json: bool, args: &cli::Demo) -> Result<Outcome> {
    start_afresh(&args.dir)?;
    let findings = runtime()?.block_on(loop_once(&args.dir, args.seconds))?;
    output::print(json, &findings, |out| {
        for (what, lines) in [("recorded", &findings.recorded), ("replayed", &findings.replayed)] {
            for Finding { name, expected, received, same } in lines {
                out.line(format!(
                    "{what} {name:<38} {received:>6} of {expected:>6} messages, {same:>6} the same byte for byte"
                ))?;
            }
        }
        let late = &findings.report.lateness_us;
        out.line(format!(
            "lateness of the replay: half within {} µs, 99 % within {} µs",
            late.p50, late.p99
        ))?;
        let dir = args.dir.display();
        out.line("\nWhat to try next:")?;
        out.line(format!(
            "  python3 -c \"import duckdb; print(duckdb.sql(\\\"SELECT vendor, kind, count(*) FROM read_parquet('{dir}/archive/data/**/*.parquet', hive_partitioning = true, union_by_name = true) GROUP BY ALL ORDER BY ALL\\\"))\""
        ))?;
        out.line(format!(
            "  python3 -c \"import pandas; print(pandas.read_parquet('{dir}/archive/data/vendor=delicode/kind=person_position').describe())\""
        ))?;
        out.line(format!(
            "  telereel --archive {dir}/archive replay latest & sleep 1; mosquitto_sub -h 127.0.0.1 -t '#' -v"
        ))
    })?;
    let all = findings.recorded.iter().chain(&findings.replayed);
    if let Some(wrong) = all.into_iter().find(|finding| !finding.is_same()) {
        bail!("{}: {} of {} messages came as they were sent", wrong.name, wrong.same, wrong.expected);
    }
    Ok(Outcome::Done)
}

/// Removes what an earlier demo left; anything else stays untouched.
fn start_afresh(dir: &Path) -> Result<()> {
    let earlier =
        || fs::read_to_string(dir.join(CONFIG)).is_ok_and(|text| text.starts_with(CONFIG_FIRST_LINE));
    let is_empty = fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
    if !is_empty && !earlier() {
        let dir = dir.display();
        return Err(Usage(format!(
            "{dir} holds something else than an earlier demo: name another folder with --dir"
        ))
        .into());
    }
    if dir.join("archive").exists() {
        fs::remove_dir_all(dir.join("archive")).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    create_private_dir(dir).with_context(|| format!("cannot make {}", dir.display()))
}

async fn loop_once(dir: &Path, seconds: u64) -> Result<Findings> {
    let now = Clock::System.now();
    let streams = Streams::new(seconds, SessionId::new(now.wall_us, [0; 10]), now.wall_us)?;
    let (config, summary, session_id) = record(dir, &streams, now).await?;
    let archive = Archive::open(dir.join("archive"))?;
    let verified = archive::verify(&archive, VerifyOptions::default())?;
    ensure!(verified.is_content(), "the archive is not as it should be: {:?}", verified.problems);

    let mut recorded = Vec::new();
    for source in SOURCES {
        let found = rows_of(&archive, session_id, Some(source))?;
        let sent: Vec<Row> = streams.rows.iter().filter(|row| *row.source == *source).cloned().collect();
        recorded.push(Finding::new(source, compare(&by_channel(sent), &by_channel(found))));
    }
    let (report, replayed) = replay(dir, &archive, session_id, &config).await?;
    Ok(Findings { recorded, replayed, summary, report })
}

/// Channel and payload, sorted by channel: each room of a ward has a connection of its own, and what comes
/// on two of them comes in no order.
fn by_channel(mut rows: Vec<Row>) -> Vec<Received> {
    rows.sort_by(|a, b| a.channel.cmp(&b.channel));
    rows.into_iter().map(|row| (Some(row.channel), row.payload)).collect()
}

/// Records all streams from imitated vendors until every message has been sent.
async fn record(dir: &Path, streams: &Streams, now: Now) -> Result<(Config, Summary, SessionId)> {
    let served = endpoints(dir, streams.recorded.clone()).await?;
    let config = config(dir, &served)?;
    let start =
        StartOptions { session: Some("demo".to_owned()), clock: Clock::System, ..StartOptions::default() };
    let recorder = Recorder::start(&config, start).await?;
    let webhooks = recorder.webhooks_at().context("the demo's webhooks are not listened for")?;
    let pushed = pushes(dir, &config, &format!("http://{webhooks}"), streams.recorded.clone()).await?;

    let vendors_id = SessionId::new(now.wall_us, [0; 10]);
    let options = |start| PlayOptions {
        sessions: vec![SessionStart { session_id: vendors_id, started_at_us: now.wall_us }],
        start,
        zero_ns: Some(0),
        ..PlayOptions::default()
    };
    let connections = NonZeroUsize::new(CONNECTIONS).unwrap_or(NonZeroUsize::MIN);
    let (to_serve, to_push) = (streams.going(false), streams.going(true));
    // The vendors' sides end when everything has been delivered and acknowledged.
    tokio::try_join!(
        served.play(options(Start::WithClients(connections)), once(to_serve)),
        pushed.play(options(Start::AtOnce), once(to_push)),
    )?;
    let summary = recorder.stop(CancellationToken::new()).await?;
    let session_id = *summary.session_ids.first().context("the recording has no session")?;
    Ok((config, summary, session_id))
}

type Rows = std::iter::Map<std::vec::IntoIter<Row>, fn(Row) -> Result<Row, Infallible>>;

fn once(rows: Vec<Row>) -> impl FnMut(Position) -> Result<Rows, Infallible> {
    move |_| Ok(rows.clone().into_iter().map(Ok as fn(Row) -> Result<Row, Infallible>))
}

/// Replays the session to one client of each kind.
async fn replay(
    dir: &Path,
    archive: &Archive,
    session_id: SessionId,
    config: &Config,
) -> Result<(Report, Vec<Finding>)> {
    let all = rows_of(archive, session_id, None)?;
    let sidecar = archive.read_sidecar(session_id)?.context("the session has no sidecar")?;
    let sources = sidecar.sources.into_iter().map(Into::into).collect();
    let recorded = Recorded { sources, ..Recorded::default() };
    let receiver = Receiver::listen().await?;
    let endpoints = Endpoints::bind(BindOptions {
        pushes: targets(config, receiver.url())?,
        ..bind_options(dir, recorded)?
    })
    .await?;
    let http = endpoints.http_url().context("no HTTP endpoint")?;
    let ws = http.replacen("http", "ws", 1);
    let register = Protocol::Delicode { locations: LOCATIONS.to_vec() };
    let delicode = clients::websocket(format!("{ws}{}", delicode::PATH), register)?;
    let damoov = clients::websocket(format!("{ws}{}", damoov::PATH), Protocol::Damoov)?;
    let generic = clients::websocket(format!("{ws}/ws"), Protocol::Any)?;
    let broker = clients::mqtt(endpoints.mqtt_url().context("no MQTT endpoint")?)?;

    let options = PlayOptions {
        sessions: vec![SessionStart { session_id, started_at_us: sidecar.started_at_us }],
        start: Start::WithClients(NonZeroUsize::MIN.saturating_add(3 + ROOMS)),
        ..PlayOptions::default()
    };
    let (rows, scan) = (archive.clone(), scan_options(session_id, None));
    let playing = endpoints.play(options, move |_| archive::scan(&rows, &scan));
    let rooms = async {
        let mut rooms = Vec::new();
        for sn in Rooms::serials(ROOMS) {
            rooms.push(clients::pontosense(&http, &sn).await?);
        }
        anyhow::Ok(rooms)
    };
    let (report, rooms) = tokio::try_join!(async { Ok(playing.await?) }, rooms)?;

    let of = |source: &str| all.iter().filter(|row| *row.source == *source).cloned().collect::<Vec<_>>();
    let payload = |row: &Row| (None, row.payload.clone());
    let payloads = |rows: Vec<Row>| rows.iter().map(payload).collect::<Vec<Received>>();
    let topics: Vec<Received> =
        all.iter().map(|row| (Some(replay_topic(row)), row.payload.clone())).collect();
    let mut of_rooms = Vec::new();
    for room in rooms {
        of_rooms.extend(room.await??);
    }
    let pushed = |path: &str| -> Vec<Received> {
        let is_its_own = |(came_to, _): &Received| came_to.as_deref() == Some(path);
        receiver.received().into_iter().filter(is_its_own).collect()
    };
    let findings = vec![
        Finding::new("Pontosense's protocol", compare(&by_channel(of(WARD)), &of_rooms)),
        Finding::new("Damoov's protocol", compare(&payloads(of(FLEET)), &damoov.await??)),
        Finding::new("Delicode's protocol", compare(&payloads(of(SHOP)), &delicode.await??)),
        Finding::new("SENSORO's webhooks", compare(&by_channel(of(CITY)), &pushed(SENSORO_PATH))),
        Finding::new("Jointech's webhooks", compare(&by_channel(of(LOCKS_PUSH)), &pushed(JOINTECH_PATH))),
        Finding::new("Jointech's and all topics, MQTT #", compare(&topics, &broker.await??)),
        Finding::new("WebSocket /ws", compare(&payloads(all.clone()), &generic.await??)),
    ];
    Ok((report, findings))
}

fn scan_options(session_id: SessionId, source: Option<&str>) -> ScanOptions {
    ScanOptions {
        sessions: vec![session_id],
        selection: Selection {
            sources: source.map(str::to_owned).into_iter().collect(),
            ..Selection::default()
        },
        emitted_only: true,
        ..ScanOptions::default()
    }
}

fn rows_of(archive: &Archive, session_id: SessionId, source: Option<&str>) -> Result<Vec<Row>> {
    Ok(archive::scan(archive, &scan_options(session_id, source))?.collect::<Result<_, _>>()?)
}

fn bind_options(dir: &Path, recorded: Recorded) -> Result<BindOptions> {
    Ok(BindOptions {
        listen: vec!["http://127.0.0.1:0".parse()?, "mqtt://127.0.0.1:0".parse()?],
        self_signed_dir: dir.to_owned(),
        recorded,
        ..BindOptions::default()
    })
}

async fn endpoints(dir: &Path, recorded: Recorded) -> Result<Endpoints> {
    Ok(Endpoints::bind(bind_options(dir, recorded)?).await?)
}

/// The vendors that post, to the webhooks at `base`.
async fn pushes(dir: &Path, config: &Config, base: &str, recorded: Recorded) -> Result<Endpoints> {
    let options = bind_options(dir, recorded)?;
    let pushes = targets(config, base)?;
    Ok(Endpoints::bind(BindOptions { listen: Vec::new(), pushes, ..options }).await?)
}

/// Every source that is pushed, to `base`, as its vendor would.
fn targets(config: &Config, base: &str) -> Result<Vec<PushTarget>> {
    let pushed = config.sources.iter().filter(|source| source.vendor.webhook_path().is_some());
    let target = |source: &Source| {
        let pusher = pusher(source.vendor.vendor(), Some(&source.vendor), &[]);
        Ok(PushTarget { to: format!("{}={base}", source.name).parse()?, pusher: pusher.into() })
    };
    pushed.map(target).collect()
}

/// Writes the configuration that records the imitated vendors, and reads it as any other.
fn config(dir: &Path, vendors: &Endpoints) -> Result<Config> {
    let http = vendors.http_url().context("no HTTP endpoint")?;
    let ws = http.replacen("http", "ws", 1);
    let mqtt = vendors.mqtt_url().context("no MQTT endpoint")?;
    let text = format!(
        r#"{CONFIG_FIRST_LINE}
# The addresses are those of the imitated vendors of that run.

[archive]
path = "archive"
site = "demo"

[webhooks]
listen = "127.0.0.1:0"

[[source]]
name = "{WARD}"
vendor = "pontosense"
api_url = "{http}"
mqtt_url = "{ws}"
api_key = "demo"
secret = "demo"
sensors = {sensors:?}

[[source]]
name = "{FLEET}"
vendor = "damoov"
url = "{ws}{damoov}"
access_token = "demo"
instance_id = "{INSTANCE_ID}"

[[source]]
name = "{SHOP}"
vendor = "delicode"
url = "{ws}{delicode}"
token = "demo"
locations = {LOCATIONS:?}

[[source]]
name = "{CITY}"
vendor = "sensoro"
path = "{SENSORO_PATH}"
app_id = "{APP_ID}"
app_key = "{APP_KEY}"
app_secret = "demo"

[[source]]
name = "{LOCKS}"
vendor = "jointech"
transport = "mqtt"
url = "{mqtt}"
username = "demo"
password = "demo"
access_key = "{ACCESS_KEY}"

[[source]]
name = "{LOCKS_PUSH}"
vendor = "jointech"
transport = "webhook"
path = "{JOINTECH_PATH}"
"#,
        sensors = Rooms::serials(ROOMS),
        damoov = damoov::PATH,
        delicode = delicode::PATH,
    );
    let path = dir.join(CONFIG);
    create_private(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Config::load(&path)?)
}
