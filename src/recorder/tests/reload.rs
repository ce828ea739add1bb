//! A new configuration while it records.

use bytes::Bytes;
use hyper::Method;
use url::Url;

use super::*;
use crate::config::TlsFiles;
use crate::message::Selection;
use crate::recorder::lineup::Changes;
use crate::transport::http_client::{HttpCall, HttpError, call};
use crate::transport::tls::{Trust, client_config, self_signed};

/// The payloads of a source's messages, in order.
fn of_source(root: &Path, source: &str) -> Vec<Vec<u8>> {
    let archive = Archive::open(root).unwrap();
    let mut sessions: Vec<_> = archive.list().unwrap().iter().map(|session| session.session_id).collect();
    sessions.sort_unstable();
    let (sources, kinds) = (vec![source.to_owned()], vec!["message".to_owned()]);
    let selection = Selection { sources, kinds, ..Selection::default() };
    let options = ScanOptions { sessions, selection, ..ScanOptions::default() };
    scan(&archive, &options).unwrap().map(|row| row.unwrap().payload.to_vec()).collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_stays_keeps_its_connection_while_others_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let vendor = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = websocket("live", format!("ws://{}/live", vendor.local_addr().unwrap()));
    let before = vec![webhook("goes", "/goes"), live.clone(), webhook("moves", "/old")];
    let mut recorder = start(&config(&root, before)).await;
    let mut socket = accept(&vendor).await;
    socket.send(WsMessage::text("1")).await.unwrap();
    until(&recorder, "the first message", |status| status.sources[1].messages == 1).await;
    for path in ["/goes", "/old"] {
        assert!(post(&recorder, &format!("POST {path}"), path.as_bytes()).await.contains("200 OK"));
    }

    let after = vec![webhook("comes", "/comes"), webhook("moves", "/new"), live.clone()];
    let reloaded = soon(recorder.reload(&config(&root, after.clone()))).await.unwrap();
    let changes =
        Changes { added: names(&["comes"]), changed: names(&["moves"]), removed: names(&["goes"]), kept: 1 };
    assert_eq!((&reloaded.sources, &*reloaded.needs_restart), (&changes, &[][..]));
    socket.send(WsMessage::text("2")).await.unwrap();
    let status = until(&recorder, "the second message", |status| status.sources[2].messages == 2).await;
    assert_eq!(status.sources[2].disconnects, 0);
    let order: Vec<&str> = status.sources.iter().map(|source| &*source.name).collect();
    assert_eq!(order, ["comes", "moves", "live"]);
    for (path, code) in [("/goes", "404"), ("/old", "404"), ("/comes", "200"), ("/new", "200")] {
        assert!(post(&recorder, &format!("POST {path}"), path.as_bytes()).await.contains(code), "{path}");
    }

    // The same once more changes nothing, and begins no session. Then only the one that never moved is left.
    let reloaded = soon(recorder.reload(&config(&root, after.clone()))).await.unwrap();
    assert_eq!(reloaded.sources, Changes { kept: 3, ..Changes::default() });
    // One that gave up begins anew.
    {
        let watched = recorder.running.watched();
        let mut counters = watched[1].stats.lock();
        (counters.state, counters.gave_up) = (stats::State::GaveUp, Some("refused".into()));
    }
    let reloaded = soon(recorder.reload(&config(&root, after))).await.unwrap();
    assert_eq!(reloaded.sources, Changes { changed: names(&["moves"]), kept: 2, ..Changes::default() });
    until(&recorder, "the one that gave up", |status| status.sources[1].state == stats::State::Connected)
        .await;
    assert_eq!(recorder.status().sources[1].gave_up, None);
    let reloaded = soon(recorder.reload(&config(&root, vec![live]))).await.unwrap();
    assert_eq!(reloaded.sources.removed, names(&["comes", "moves"]));
    socket.send(WsMessage::text("3")).await.unwrap();
    until(&recorder, "the third message", |status| status.sources[0].messages == 3).await;
    let summary = stop(recorder).await;
    assert_eq!(summary.session_ids.len(), 4);
    let mut counted: Vec<(&str, u64)> = summary.sources.iter().map(|s| (&*s.name, s.messages)).collect();
    counted.sort_unstable();
    assert_eq!(
        counted,
        [("comes", 1), ("goes", 1), ("live", 3), ("moves", 2)],
        "those that went count as well"
    );
    for (source, payloads) in [
        ("live", &["1", "2", "3"][..]),
        ("goes", &["/goes"]),
        ("moves", &["/old", "/new"]),
        ("comes", &["/comes"]),
    ] {
        let expected: Vec<Vec<u8>> = payloads.iter().map(|payload| payload.as_bytes().to_vec()).collect();
        assert_eq!(of_source(&root, source), expected, "{source}");
    }
    let report = crate::archive::verify(&Archive::open(&root).unwrap(), Default::default()).unwrap();
    assert!(report.is_content(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_changes_nothing_and_what_waits_for_a_start_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let mut config = config(&root, vec![webhook("a", "/a")]);
    let mut recorder = start(&config).await;
    let session = recorder.status().session_id;
    let mut wrong = config.clone();
    wrong.sources = vec![webhook("b", "/b"), webhook("c", "/b")];
    let refused = recorder.reload(&wrong).await;
    assert!(matches!(refused, Err(RecordError::SamePath { .. })), "{refused:?}");
    let absent = dir.path().join("absent.pem");
    wrong.sources = vec![webhook("b", "/b")];
    wrong.webhooks.tls = Some(TlsFiles { cert: absent.clone(), key: absent });
    let refused = recorder.reload(&wrong).await;
    assert!(matches!(refused, Err(RecordError::Tls { .. })), "{refused:?}");
    assert!(post(&recorder, "POST /a", b"x").await.contains("200 OK"));
    assert_eq!(recorder.status().session_id, session);

    config.archive.site = "elsewhere".into();
    config.console.listen = "127.0.0.1:1".into();
    let reloaded = recorder.reload(&config).await.unwrap();
    assert_eq!(reloaded.needs_restart, ["archive.site", "console.listen"]);
    stop(recorder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_to_who_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let folders = ["used", "renewed"].map(|name| dir.path().join(name));
    let [used, renewed] = folders.each_ref().map(|folder| self_signed(folder, &[]).unwrap().cert);
    let mut config = config(&root, vec![webhook("a", "/a")]);
    let key = used.with_file_name("self-signed-key.pem");
    config.webhooks.tls = Some(TlsFiles { cert: used.clone(), key: key.clone() });
    let mut recorder = start(&config).await;
    let old = dir.path().join("old.pem");
    std::fs::copy(&used, &old).unwrap();
    let url = Url::parse(&format!("https://{}/a", recorder.webhooks_at().unwrap())).unwrap();
    let push = |trusted: &Path| {
        let tls = client_config(&Trust::Authority(trusted.to_owned())).unwrap();
        let (url, body, timeout) = (url.clone(), Bytes::from_static(b"x"), Duration::from_secs(30));
        async move {
            let request = HttpCall { method: Method::POST, url, headers: Vec::new(), body, timeout };
            call(request, &tls).await
        }
    };
    assert_eq!(push(&old).await.unwrap().status, 200);
    std::fs::copy(&renewed, &used).unwrap();
    std::fs::copy(renewed.with_file_name("self-signed-key.pem"), &key).unwrap();
    recorder.reload(&config).await.unwrap();
    assert_eq!(push(&renewed).await.unwrap().status, 200);
    assert!(matches!(push(&old).await, Err(HttpError::Dial(_))));
    stop(recorder).await;
}
