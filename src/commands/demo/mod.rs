//! `demo`: the whole loop on this machine, over real sockets.
//!
//! The vendors' sides are the replay's own endpoints, fed with generated messages, and a poster of
//! webhooks. What was recorded is compared with what was generated, what a replay delivers with what
//! was recorded: byte for byte and in order.

mod clients;
mod streams;

use std::convert::Infallible;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use axum::http::Method;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Outcome, Usage, output, runtime};
use crate::archive::{self, Archive, ScanOptions, VerifyOptions};
use crate::cli;
use crate::clock::{Clock, Now};
use crate::config::Config;
use crate::message::{Row, Selection, SessionId};
use crate::player::endpoints::Access;
use crate::player::{BindOptions, Endpoints, PlayOptions, Report, SessionStart, Start};
use crate::recorder::{Recorder, StartOptions, Summary};
use crate::transport::http_client::{HttpCall, call};
use crate::transport::tls::{Trust, client_config};
use crate::vendors::{Recorded, replay_topic, synthetic::Timed};
use clients::{Comparison, Received, compare};
use streams::{LOCATIONS, LOCKS, LOCKS_PUSH, PUSH_PATH, SHOP, Stream, streams};

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
            "  telereel --archive {dir}/archive replay latest & mosquitto_sub -h 127.0.0.1 -t '#' -v"
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
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

async fn loop_once(dir: &Path, seconds: u64) -> Result<Findings> {
    let now = Clock::System.now();
    let streams = streams(seconds, now.wall_us);
    let (summary, session_id) = record(dir, &streams, now).await?;
    let archive = Archive::open(dir.join("archive"))?;
    let verified = archive::verify(&archive, VerifyOptions::default())?;
    ensure!(verified.is_content(), "the archive is not as it should be: {:?}", verified.problems);

    let mut recorded = Vec::new();
    for stream in &streams {
        let rows = rows_of(&archive, session_id, Some(stream.source))?;
        let sent: Vec<Received> =
            stream.messages.iter().map(|m| (Some(m.channel.clone()), m.payload.clone())).collect();
        let found: Vec<Received> = rows.into_iter().map(|row| (Some(row.channel), row.payload)).collect();
        recorded.push(Finding::new(stream.source, compare(&sent, &found)));
    }
    let (report, replayed) = replay(dir, &archive, session_id).await?;
    Ok(Findings { recorded, replayed, summary, report })
}

/// Records all streams from imitated vendors until every message has been sent.
async fn record(dir: &Path, streams: &[Stream], now: Now) -> Result<(Summary, SessionId)> {
    let vendors_id = SessionId::new(now.wall_us, [0; 10]);
    let served: Vec<&Stream> = streams.iter().filter(|stream| stream.source != LOCKS_PUSH).collect();
    let rows = streams::rows(&served, vendors_id, now.wall_us);
    let vendors = endpoints(dir, Recorded::default()).await?;
    let config = config(dir, &vendors)?;
    let start = StartOptions { session: Some("demo".to_owned()), clock: Clock::System, console: None };
    let recorder = Recorder::start(&config, start).await?;
    let webhooks = recorder.webhooks_at().context("the demo's webhooks are not listened for")?;

    let pushed =
        streams.iter().filter(|stream| stream.source == LOCKS_PUSH).flat_map(|stream| &stream.messages);
    let options = PlayOptions {
        sessions: vec![SessionStart { session_id: vendors_id, started_at_us: now.wall_us }],
        // Delicode's client and Jointech's.
        start: Start::WithClients(NonZeroUsize::MIN.saturating_add(1)),
        zero_ns: Some(0),
        ..PlayOptions::default()
    };
    let served =
        vendors.play(options, move || Ok::<_, Infallible>(rows.clone().into_iter().map(Ok::<_, Infallible>)));
    tokio::pin!(served);
    // The vendors' sides end when everything has been delivered and acknowledged.
    let base = format!("http://{webhooks}");
    tokio::try_join!(async { Ok(served.await?) }, push(&base, pushed))?;
    let summary = recorder.stop(CancellationToken::new()).await?;
    let session_id = *summary.session_ids.first().context("the recording has no session")?;
    Ok((summary, session_id))
}

/// Posts each webhook at its time, as Jointech does, and expects it to be accepted.
async fn push(base: &str, messages: impl Iterator<Item = &Timed>) -> Result<()> {
    let tls = client_config(&Trust::System)?;
    let began = tokio::time::Instant::now();
    for message in messages {
        tokio::time::sleep_until(began + Duration::from_nanos(message.offset_ns)).await;
        let url = Url::parse(&format!("{base}{}", message.channel))?;
        let request = HttpCall {
            method: Method::POST,
            url,
            headers: vec![(CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"))],
            body: message.payload.clone(),
            timeout: Duration::from_secs(10),
        };
        let answer = call(request, &tls).await?;
        ensure!(answer.status == 200, "a webhook was answered with {}", answer.status);
    }
    Ok(())
}

/// Replays the session to one client of each kind.
async fn replay(dir: &Path, archive: &Archive, session_id: SessionId) -> Result<(Report, Vec<Finding>)> {
    let all = rows_of(archive, session_id, None)?;
    let sidecar = archive.read_sidecar(session_id)?.context("the session has no sidecar")?;
    let sources = sidecar.sources.into_iter().map(Into::into).collect();
    let recorded = Recorded { sources, ..Recorded::default() };
    let endpoints = endpoints(dir, recorded).await?;
    let http = endpoints.http_url().context("no HTTP endpoint")?.replacen("http", "ws", 1);
    let mqtt = endpoints.mqtt_url().context("no MQTT endpoint")?;
    let delicode =
        clients::websocket(format!("{http}/websocket_realtime"), Some(clients::register(&LOCATIONS)))?;
    let generic = clients::websocket(format!("{http}/ws"), None)?;
    let broker = clients::mqtt(mqtt)?;

    let options = PlayOptions {
        sessions: vec![SessionStart { session_id, started_at_us: sidecar.started_at_us }],
        start: Start::WithClients(NonZeroUsize::MIN.saturating_add(2)),
        ..PlayOptions::default()
    };
    let (rows, scan) = (archive.clone(), scan_options(session_id, None));
    let report = endpoints.play(options, move || archive::scan(&rows, &scan)).await?;

    let payload = |row: &Row| (None, row.payload.clone());
    let shop: Vec<Received> = all.iter().filter(|row| &*row.source == SHOP).map(payload).collect();
    let everything: Vec<Received> = all.iter().map(payload).collect();
    let topics: Vec<Received> =
        all.iter().map(|row| (Some(replay_topic(row)), row.payload.clone())).collect();
    let findings = vec![
        Finding::new("Delicode's protocol", compare(&shop, &delicode.await??)),
        Finding::new("WebSocket /ws", compare(&everything, &generic.await??)),
        Finding::new("MQTT #", compare(&topics, &broker.await??)),
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

async fn endpoints(dir: &Path, recorded: Recorded) -> Result<Endpoints> {
    let options = BindOptions {
        listen: vec!["http://127.0.0.1:0".parse()?, "mqtt://127.0.0.1:0".parse()?],
        tls: None,
        self_signed_dir: dir.to_owned(),
        recorded,
        access: Access::LoopbackOnly,
        trace: None,
        clock: Clock::System,
    };
    Ok(Endpoints::bind(options).await?)
}

/// Writes the configuration that records the imitated vendors, and reads it as any other.
fn config(dir: &Path, vendors: &Endpoints) -> Result<Config> {
    let http = vendors.http_url().context("no HTTP endpoint")?.replacen("http", "ws", 1);
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
name = "{SHOP}"
vendor = "delicode"
url = "{http}/websocket_realtime"
token = "demo"
locations = {LOCATIONS:?}

[[source]]
name = "{LOCKS}"
vendor = "jointech"
transport = "mqtt"
url = "{mqtt}"
username = "demo"
password = "demo"
access_key = "{key}"

[[source]]
name = "{LOCKS_PUSH}"
vendor = "jointech"
transport = "webhook"
path = "{PUSH_PATH}"
"#,
        key = streams::ACCESS_KEY
    );
    let path = dir.join(CONFIG);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Config::load(&path)?)
}
