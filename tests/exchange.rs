//! Clips, marks, export and import as a user meets them: by the command, killed in the middle, read by others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

mod support;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::python::{python, scripts};
use support::{free_port, mosquitto, telereel};

const ALARM: &str = r#"{"assetId":"8200123456","alarmType":40,"dateTime":"2026-11-22T23:59:51Z","longitude":24.9,"latitude":60.1,"speed":0,"mileage":12,"describe":""}"#;

/// `count` rows as JSON lines, 10 ms apart: alarms by MQTT, and others by webhook.
fn lines(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        let at = format!("2026-11-22T10:{:02}:{:02}.{:03}Z", n / 6_000, n / 100 % 60, n % 100 * 10);
        let row = match n % 3 {
            0 => {
                json!({"vendor": "jointech", "kind": "alarm", "source": "locks", "channel": "upload/AK/8200123456/alarm",
                "received_at": at, "qos": 1, "retain": false, "dup": false, "payload": ALARM})
            }
            1 => {
                json!({"source": "door", "channel": "/in?n=1", "received_at": at, "headers": {"x-n": n.to_string()},
                "payload": format!("{{\"n\":{n},\"x\":-0.0}}")})
            }
            _ => json!({"source": "door", "channel": "/in", "received_at": at, "payload_base64": "/wAi"}),
        };
        writeln!(text, "{row}").unwrap();
    }
    text
}

fn json_of(folder: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&telereel(folder, args, 0)).unwrap()
}

/// How many messages a replay emits, and their digest.
fn replayed(folder: &Path, what: &str) -> (u64, String) {
    let args = ["replay", what, "--listen", "http://127.0.0.1:0", "--no-wait", "--pace", "max", "--json"];
    let out = telereel(folder, &args, 0);
    let done: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(done["event"], "done", "{out}");
    (done["messages"].as_u64().unwrap(), done["digest"].as_str().unwrap().to_owned())
}

#[test]
fn what_is_imported_is_a_session_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("tuesday.jsonl"), lines(600)).unwrap();
    let told = json_of(path, &["import", "tuesday.jsonl", "--json"]);
    assert_eq!((&told["messages"], &told["bad"]), (&json!(600), &json!(0)));
    assert_eq!(told["sessions"][0]["session"], "tuesday");
    telereel(path, &["verify"], 0);
    let whole = replayed(path, "tuesday");
    assert_eq!(whole.0, 600);

    let clip =
        json_of(path, &["clip", "tuesday", "fall", "--from", "+1s", "--to", "+2s", "--note", "n", "--json"]);
    assert_eq!((&clip["seq_from"], &clip["seq_to"], &clip["note"]), (&json!(100), &json!(200), &json!("n")));
    for refused in ["../x", "/etc/x", "a/b", "..", ".x", "latest", "x.reel", "a b"] {
        telereel(path, &["clip", "tuesday", refused, "--from", "+1s"], 2);
    }
    telereel(path, &["mark", "light on", "tuesday", "--at", "+1500ms"], 0);
    for (option, file) in [("--report", "archive/archive.json"), ("--trace", "archive/data/x.jsonl")] {
        let listen = "http://127.0.0.1:0";
        telereel(path, &["replay", "tuesday", "--no-wait", "--listen", listen, option, file], 2);
    }
    telereel(path, &["export", "tuesday", "--to", "archive/archive.json", "--format", "jsonl"], 2);
    let info = json_of(path, &["info", "tuesday", "--json"]);
    assert_eq!(info["clips"][0]["name"], "fall");
    assert_eq!(
        (&info["marks"][0]["note"], &info["marks"][0]["elapsed_ns"]),
        (&json!("light on"), &json!(1_500_000_000))
    );
    assert!(telereel(path, &["info", "fall"], 0).contains("light on"));
    let fall = replayed(path, "fall");
    assert_eq!(fall.0, 100);
    assert_eq!(telereel(path, &["cat", "fall", "--kind", "alarm"], 0).lines().count(), 33);

    // A reel is the same in one file, and in another archive.
    let told = json_of(path, &["export", "fall", "--to", "fall.reel", "--json"]);
    assert_eq!((&told["messages"], &told["format"]), (&json!(100), &json!("reel")));
    assert_eq!(replayed(path, "fall.reel"), fall);
    assert_eq!(json_of(path, &["info", "fall.reel", "--json"])["clips"][0]["name"], "fall");
    assert_eq!(telereel(path, &["cat", "fall.reel", "--from", "+1500ms"], 0).lines().count(), 50);
    telereel(path, &["--archive", "other", "import", "fall.reel"], 0);
    telereel(path, &["--archive", "other", "verify"], 0);
    let other = ["--archive", "other", "export", "tuesday", "--to", "-"];
    let kept = ["export", "fall", "--to", "-", "--format", "jsonl"];
    assert_eq!(telereel(path, &other, 0), telereel(path, &kept, 0));
    telereel(path, &["--archive", "third", "import", "fall.reel", "tuesday.jsonl"], 0);
    assert_eq!(json_of(path, &["--archive", "third", "list", "--json"]).as_array().unwrap().len(), 2);

    // The same bytes come in once, under whatever name, unless it is meant.
    std::fs::copy(path.join("fall.reel"), path.join("copy.reel")).unwrap();
    for file in ["fall.reel", "copy.reel", "tuesday.jsonl"] {
        assert_eq!(telereel(path, &["--archive", "third", "import", "--session", "x", file], 2), "");
    }
    std::fs::write(path.join("new.jsonl"), lines(3)).unwrap();
    telereel(path, &["--archive", "third", "import", "new.jsonl", "new.jsonl"], 2);
    telereel(path, &["--archive", "third", "import", "new.jsonl", "tuesday.jsonl"], 2);
    assert_eq!(json_of(path, &["--archive", "third", "list", "--json"]).as_array().unwrap().len(), 2);
    telereel(path, &["--archive", "third", "import", "fall.reel", "--again"], 0);
    assert_eq!(json_of(path, &["--archive", "third", "list", "--json"]).as_array().unwrap().len(), 3);
    telereel(path, &["--archive", "third", "verify"], 0);

    telereel(path, &["clip", "--remove", "fall"], 0);
    telereel(path, &["replay", "fall", "--no-wait"], 1);
    telereel(path, &["verify"], 0);
}

#[test]
fn people_in_what_leaves_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("x.jsonl"), lines(30)).unwrap();
    telereel(path, &["import", "x.jsonl"], 0);
    let export = |kind: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_telereel"))
            .args(["export", "x", "--to", "out.reel", "--kind", kind])
            .current_dir(path)
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(export("alarm").contains("warning: this holds data of location"));
    assert!(!export("message").contains("warning"));
}

#[test]
fn a_bad_file_leaves_nothing_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("x.jsonl"), lines(5) + "{\"payload\": 1\n" + &lines(2)).unwrap();
    let import = |args: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_telereel")).args(args).current_dir(path).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = import(&["import", "x.jsonl"]);
    assert_eq!(code, 1);
    assert!(said.contains("x.jsonl:6 (byte ") && said.contains("--skip-bad"), "{said}");
    assert!(!path.join("archive").exists());
    let (code, said) = import(&["import", "x.jsonl", "--skip-bad"]);
    assert_eq!(code, 3, "{said}");
    assert_eq!(telereel(path, &["cat", "x"], 0).lines().count(), 7);
    assert_eq!(import(&["import", "missing.jsonl"]).0, 1);
    assert_eq!(import(&["import", "x.jsonl", "--map", "time"]).0, 2);
    assert_eq!(import(&["export", "x", "--to", "x.zip"]).0, 2);
    assert_eq!(import(&["replay", "x", "y.reel"]).0, 2);
}

#[test]
fn a_killed_import_leaves_a_session_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("x.jsonl"), lines(20_000)).unwrap();
    telereel(path, &["import", "x.jsonl", "--session", "first"], 0);
    for round in 0..9_u64 {
        let mut import = Command::new(env!("CARGO_BIN_EXE_telereel"))
            .args(["import", "x.jsonl", "--again", "--session", &format!("round-{round}")])
            .current_dir(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Killed when so many things have happened in the archive, not after a time.
        let tmp = path.join("archive/tmp");
        let manifests = path.join("archive/manifests");
        let count = |folder: &Path| std::fs::read_dir(folder).map_or(0, Iterator::count);
        let before = count(&manifests);
        let reached = || match round % 3 {
            0 => count(&tmp) > (round / 3) as usize,
            1 => count(&manifests) > before,
            _ => std::fs::read_dir(path.join("archive/sessions")).map_or(0, Iterator::count) > before,
        };
        while import.try_wait().unwrap().is_none() && !reached() {
            std::thread::yield_now();
        }
        let _ = import.kill();
        import.wait().unwrap();
        telereel(path, &["recover"], 0);
        telereel(path, &["verify"], 0);
        for session in json_of(path, &["list", "--json"]).as_array().unwrap() {
            assert_eq!(session["messages"], 20_000, "{session}");
        }
        assert_eq!(count(&tmp), 0);
    }
}

/// A recorder of one webhook source, `door`, at `/in`, and with what else the configuration says.
fn record(folder: &Path, configuration: &str) -> std::process::Child {
    let door = "[[source]]\nname = \"door\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/in\"\n";
    std::fs::write(folder.join("telereel.toml"), format!("{configuration}{door}")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_telereel"))
        .args(["record", "--session", "now"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_mark_is_made_while_it_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (webhooks, console) = (free_port(), free_port());
    let mut recorder = record(
        path,
        &format!(
            "[webhooks]\nlisten = \"127.0.0.1:{webhooks}\"\n[console]\nlisten = \"127.0.0.1:{console}\"\ntoken = \"geheim\"\n"
        ),
    );
    let started = std::time::Instant::now();
    while TcpStream::connect(("127.0.0.1", console)).is_err() {
        assert!(started.elapsed() < Duration::from_secs(60), "the recorder did not come up");
        std::thread::yield_now();
    }
    let marked = json_of(path, &["mark", "light on", "--json"]);
    assert_eq!((&marked["session"], &marked["note"]), (&json!("now"), &json!("light on")));
    let earlier = json_of(path, &["mark", "earlier", "--at", "-1h", "--json"]);
    assert_eq!(earlier["elapsed_ns"], 0);

    let ask = |head: &str, body: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", console)).unwrap();
        write!(
            stream,
            "POST /api/v1/marks HTTP/1.1\r\nHost: 127.0.0.1:{console}\r\nContent-Length: {}\r\nConnection: close\r\n{head}\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let token = "Authorization: Bearer geheim\r\n";
    assert_eq!(ask("", r#"{"note": "x"}"#), "401");
    assert_eq!(ask(&format!("{token}Origin: http://evil.example\r\n"), r#"{"note": "x"}"#), "403");
    assert_eq!(ask(token, r#"{"note": 5}"#), "400");
    assert_eq!(ask(token, r#"{"note": "by hand"}"#), "201");

    Command::new("kill").args(["-TERM", &recorder.id().to_string()]).status().unwrap();
    assert!(recorder.wait().unwrap().success());
    let info = json_of(path, &["info", "now", "--json"]);
    let notes: Vec<&str> =
        info["marks"].as_array().unwrap().iter().map(|m| m["note"].as_str().unwrap()).collect();
    assert_eq!(notes, ["earlier", "light on", "by hand"]);
    assert_eq!(info["ended"], "stopped");
    telereel(path, &["reindex"], 0);
    telereel(path, &["verify"], 0);
    telereel(path, &["mark", "nobody is there"], 1);
}

#[test]
fn a_clip_is_made_of_what_is_being_recorded_and_stays_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (webhooks, console) = (free_port(), free_port());
    let mut recorder = record(
        path,
        &format!(
            "[archive]\nsegment_max_bytes = \"1KiB\"\n[webhooks]\nlisten = \"127.0.0.1:{webhooks}\"\n\
             [console]\nlisten = \"127.0.0.1:{console}\"\n"
        ),
    );
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        let started = std::time::Instant::now();
        while !is_so() {
            assert!(started.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::yield_now();
        }
    };
    until("the recorder did not come up", &|| TcpStream::connect(("127.0.0.1", webhooks)).is_ok());
    let post = |n: usize| {
        let mut stream = TcpStream::connect(("127.0.0.1", webhooks)).unwrap();
        let body = format!("{n:0>200}");
        write!(
            stream,
            "POST /in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 200\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    (0..30).for_each(post);
    // Of the rest nothing is sealed before it stops.
    let sealed = || json_of(path, &["list", "--json"])[0]["messages"].as_u64().unwrap();
    until("nothing was sealed", &|| sealed() > 10);
    // It cannot end where more is to come.
    telereel(path, &["clip", "now", "early", "--from", "+0s"], 1);
    let known = telereel(path, &["cat", "now"], 0);
    let sixth: Value = serde_json::from_str(known.lines().nth(5).unwrap()).unwrap();
    let clip =
        json_of(path, &["clip", "now", "early", "--to", sixth["received_at"].as_str().unwrap(), "--json"]);
    let early = telereel(path, &["cat", "early"], 0);
    let seqs = clip["seq_from"].as_u64().unwrap()..clip["seq_to"].as_u64().unwrap();
    assert_eq!((early.lines().count(), seqs.end), (5, sixth["seq"].as_u64().unwrap()), "{clip}: {early}");
    for line in early.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert!(seqs.contains(&row["seq"].as_u64().unwrap()), "{clip}: {row}");
    }
    (30..60).for_each(post);
    // A stop has ten seconds for what is left, which is little then on a slow disk, too.
    until("little of the rest was sealed", &|| sealed() > 50);
    Command::new("kill").args(["-TERM", &recorder.id().to_string()]).status().unwrap();
    assert!(recorder.wait().unwrap().success());
    // It ended its session, and wrote down how: the clip is still there, and means the same.
    let info = json_of(path, &["info", "now", "--json"]);
    assert_eq!((&info["ended"], info["clips"].as_array().unwrap().len()), (&json!("stopped"), 1));
    assert_eq!(info["clips"][0]["seq_to"], clip["seq_to"]);
    assert_eq!(telereel(path, &["cat", "now"], 0).lines().count(), 60);
    assert_eq!(telereel(path, &["cat", "early"], 0), early);
    assert_eq!(replayed(path, "early").0, early.lines().count() as u64);
    telereel(path, &["verify"], 0);
}

#[test]
fn others_read_what_is_exported_and_are_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rows.jsonl"), lines(1_200)).unwrap();
    let mut command = Command::new(python());
    mosquitto::provide(&mut command);
    let output = command
        .arg(scripts().join("exchange.py"))
        .arg(env!("CARGO_BIN_EXE_telereel"))
        .arg(folder.path())
        .current_dir(folder.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}
