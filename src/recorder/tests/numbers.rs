//! Numbers of connections over a session's end.

use tokio::sync::watch;

use super::peer::Peer;
use super::*;

const SENSORS: &str = "vendor = \"pontosense\"\napi_url = \"http://127.0.0.1:{port}\"\napi_key = \"k\"\n\
                       secret = \"geheim\"\nsensors = [\"A\", \"B\"]\nmqtt_url = \"ws://127.0.0.1:{port}\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_for_its_token_while_a_session_begins_keeps_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let (give, gives) = watch::channel(false);
    let peer = Peer::new(&[("/location/B", "{}")], false).holding("A", gives);
    let port = peer.serve().await;
    let source = SENSORS.replace("{port}", &port.to_string());
    let text = format!("[archive]\nmin_free_disk = \"1MiB\"\n[[source]]\nname = \"s\"\n{source}\n");
    let config = Config::parse(&dir.path().join("telereel.toml"), &text, &|_| None).unwrap();
    let recorder = start(&config).await;
    // B's configuration and its message.
    until(&recorder, "B", |status| status.sources[0].messages == 2).await;
    recorder.roll(Some("second")).await.unwrap();
    give.send(true).unwrap();
    until(&recorder, "A", |status| status.sources[0].messages >= 5).await;
    stop(recorder).await;

    let archive = Archive::open(&config.archive.path).unwrap();
    let options = ScanOptions {
        sessions: vec![archive.resolve("second").unwrap().session_id],
        selection: crate::message::Selection { kinds: vec!["link".to_owned()], ..Default::default() },
        ..ScanOptions::default()
    };
    let mut begun = Vec::new();
    for row in scan(&archive, &options).unwrap().map(Result::unwrap) {
        let event: serde_json::Value = serde_json::from_slice(&row.payload).unwrap();
        assert_eq!(event["connection"], row.connection);
        let sn = event["sn"].as_str().unwrap().to_owned();
        assert_eq!(row.connection, if sn == "A" { 0 } else { 1 }, "{event}");
        if matches!(event["event"].as_str(), Some("connecting" | "continued")) {
            begun.push(sn);
        }
    }
    assert_eq!(begun, ["A", "B"], "each is told of at the session's start");
}
