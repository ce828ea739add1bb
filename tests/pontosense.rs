//! The closed loop of Pontosense over real sockets: our emulator plays, our collector records, and the bytes are the
//! same in the same order, also while connections are handed over all the time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use telereel::archive::{Archive, ScanOptions, scan};
use telereel::config::{ArchiveConfig, Config, Console, Limits, Webhooks};
use telereel::message::{Mqtt, Row, SessionId, SourceHeader};
use telereel::player::{Access, BindOptions, Endpoints, PlayOptions, Start};
use telereel::recorder::{Recorder, StartOptions};
use telereel::secret::Secret;
use telereel::vendors::pontosense::config::PontosenseConfig;
use telereel::vendors::{Credential, DeviceConfig, Recorded, Source, TlsOptions, VendorConfig};
use tokio_util::sync::CancellationToken;

const SENSORS: [&str; 3] = ["ATR_GN_P2-250120-00001", "ATR_GN_P4-250120-00002", "ATR_GN_P4-250120-00003"];
const DATA: &str = r#"{ "scanArea":{"left":1,"right":2,"height":3},  "zones":[], "preference":0 }"#;

fn report(n: usize, sn: &str, distance_ms: u64) -> Row {
    let payload = match n {
        3 => r#"{"method":"event.report","params":[{"event":"bedin"}]}"#.to_owned(),
        4 => "not JSON".to_owned(),
        _ => format!(
            r#"{{"method":"location.report","params":[{{"id":{n},"x":-0.0,"y":1e2,"z":3,"state":40}}]}}"#
        ),
    };
    Row {
        vendor: "pontosense".into(),
        kind: if matches!(n, 3 | 4) { "other" } else { "location" }.into(),
        site: "".into(),
        session_id: SessionId::new(0, [0; 10]),
        source: "ward".into(),
        connection: 0,
        seq: n as u64,
        received_at_us: 0,
        elapsed_ns: n as u64 * distance_ms * 1_000_000,
        channel: format!("/location/{sn}").into(),
        device_id: Some(sn.into()),
        event_at_us: None,
        mqtt: Some(Mqtt { qos: 0, retain: false, dup: false }),
        is_binary: false,
        headers: None,
        duplicate_of: None,
        payload: payload.into_bytes().into(),
        clear: None,
        decode_error: None,
    }
}

fn recorded() -> Recorded {
    Recorded {
        sources: vec![SourceHeader {
            name: "ward".into(),
            vendor: "pontosense".into(),
            kinds: Vec::new(),
            settings: serde_json::json!({"sensors": SENSORS}),
        }],
        any_credentials: false,
        credentials: vec![Credential {
            source: "ward".into(),
            vendor: "pontosense".into(),
            username: Some("key".into()),
            secret: "secret".into(),
        }],
        device_configs: vec![DeviceConfig {
            vendor: "pontosense".into(),
            device_id: SENSORS[0].into(),
            payload: DATA.into(),
        }],
        ..Recorded::default()
    }
}

fn config(root: &Path, http: &str, sensors: &[&str], connection_max_age: Duration) -> Config {
    let pontosense = PontosenseConfig {
        api_url: http.to_owned(),
        api_key: "key".into(),
        secret: Secret::new("secret"),
        sensors: sensors.iter().map(|sn| (*sn).to_owned()).collect(),
        tenant_id: Some(1),
        mqtt_url: Some(http.replace("http:", "ws:")),
        renew_every: Duration::from_secs(55),
        token_margin: Duration::from_secs(300),
        connection_max_age,
    };
    Config {
        archive: ArchiveConfig {
            path: root.to_owned(),
            site: String::new(),
            sync_interval: Duration::from_millis(50),
            segment_max_bytes: 1 << 20,
            segment_max_age: Duration::from_secs(3_600),
            session_roll: None,
            min_free_disk: 0,
            retain: None,
            retain_max_bytes: None,
            compact_daily: false,
            group_readable: false,
        },
        limits: Limits { memory: 64 << 20 },
        webhooks: Webhooks { listen: "127.0.0.1:0".into(), max_body: 1_000, tls: None },
        console: Console { listen: "127.0.0.1:0".into(), tls: None, token: None },
        sources: vec![Source {
            name: "ward".into(),
            vendor: VendorConfig::Pontosense(pontosense),
            tls: TlsOptions::default(),
            stall_after: None,
            exclude_kinds: Vec::new(),
            redact_query: Vec::new(),
            redact_headers: Vec::new(),
            retain: None,
        }],
    }
}

/// Plays `rows` to a recorder of `sensors`, with credentials required; what it has recorded, all kinds.
async fn round(rows: Vec<Row>, sensors: &[&str], connection_max_age: Duration) -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let endpoints = Endpoints::bind(BindOptions {
        listen: vec!["http://127.0.0.1:0".parse().unwrap()],
        tls: None,
        self_signed_dir: folder.path().join("tls"),
        recorded: recorded(),
        access: Access::Required,
        ..BindOptions::default()
    })
    .await
    .unwrap();
    let http = endpoints.http_url().unwrap();
    let root = folder.path().join("archive");
    let config = config(&root, &http, sensors, connection_max_age);
    let recorder = Recorder::start(&config, StartOptions::default()).await.unwrap();
    let ready = SENSORS.iter().filter(|sn| sensors.contains(*sn)).count();
    let options =
        PlayOptions { start: Start::WithClients(ready.try_into().unwrap()), ..PlayOptions::default() };
    let playing = endpoints
        .play(options, move |_| Ok::<_, Infallible>(rows.clone().into_iter().map(Ok::<Row, Infallible>)));
    let report =
        tokio::time::timeout(Duration::from_secs(60), playing).await.expect("a replay ends").unwrap();
    assert!(report.clients.iter().all(|client| client.dropped == 0));
    recorder.stop(CancellationToken::new()).await.unwrap();
    let archive = Archive::open(&root).unwrap();
    scan(&archive, &ScanOptions::default()).unwrap().collect::<Result<_, _>>().unwrap()
}

fn of<'a>(rows: &'a [Row], sn: &str) -> Vec<(&'a str, &'a [u8])> {
    let channel = format!("/location/{sn}");
    rows.iter().filter(|row| *row.channel == channel).map(|row| (&*row.kind, &row.payload[..])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replayed_is_recorded_sensor_by_sensor() {
    let sent: Vec<Row> = (0..60).map(|n| report(n, SENSORS[n % 3], 1)).collect();
    // One more, which is nobody's: it is refused, and disturbs no other.
    let sensors = [&SENSORS[..], &["ATR_GN_P4-250120-00404"]].concat();
    let rows = round(sent.clone(), &sensors, Duration::from_secs(3_300)).await;
    for sn in SENSORS {
        assert_eq!(of(&rows, sn), of(&sent, sn));
        assert!(of(&rows, sn).len() >= 18);
    }
    assert!(rows.iter().filter(|row| &*row.kind == "location").all(|row| row.device_id.is_some()));
    let configs: BTreeMap<_, _> = rows
        .iter()
        .filter(|row| &*row.kind == "config")
        .map(|row| (row.device_id.as_deref().unwrap().to_owned(), row.payload.clone()))
        .collect();
    assert_eq!(configs.len(), 3);
    assert_eq!(configs[SENSORS[0]], DATA, "byte for byte");
    let refused: Vec<serde_json::Value> = rows
        .iter()
        .filter(|row| &*row.kind == "link")
        .map(|row| serde_json::from_slice(&row.payload).unwrap())
        .filter(|event: &serde_json::Value| event["event"] == "refused" && event["call"] == "token")
        .collect();
    assert_eq!(refused[0]["sn"], "ATR_GN_P4-250120-00404");
    assert_eq!(refused[0]["code"], 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_in_a_hand_over() {
    let sent: Vec<Row> = (0..80).map(|n| report(n, SENSORS[0], 60)).collect();
    let rows = round(sent.clone(), &SENSORS[..1], Duration::from_millis(400)).await;
    // What came over several connections came once over each.
    let mut first_deliveries: Vec<(&str, &[u8])> = Vec::new();
    for delivery in of(&rows, SENSORS[0]) {
        if !first_deliveries.contains(&delivery) {
            first_deliveries.push(delivery);
        }
    }
    assert_eq!(first_deliveries, of(&sent, SENSORS[0]));
    let events: Vec<serde_json::Value> = rows
        .iter()
        .filter(|row| &*row.kind == "link")
        .map(|row| serde_json::from_slice(&row.payload).unwrap())
        .collect();
    let planned = events.iter().filter(|event| event["event"] == "disconnected" && event["planned"] == true);
    assert!(planned.clone().count() >= 1, "{events:#?}");
    assert!(planned.clone().all(|event| event["flowing"] == true));
}
