//! The command as a user meets it: exit codes, messages, what is written and what is left alone.

// Clippy does not take the helpers of an integration test for test code.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "cli/damaged.rs"]
mod damaged;
#[path = "cli/ending.rs"]
mod ending;
#[path = "cli/shaping.rs"]
mod shaping;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};

use assert_cmd::Command;
use tempfile::TempDir;

/// The command in an empty folder, without this process's own settings.
fn telereel(folder: &TempDir) -> Command {
    let mut command = Command::cargo_bin("telereel").unwrap();
    command.current_dir(folder.path());
    for name in ["TELEREEL_ARCHIVE", "TELEREEL_CONFIG", "TELEREEL_LOG"] {
        command.env_remove(name);
    }
    command
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Runs it and answers with exit code, standard output and standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Asserts that a call fails with `code`, prints nothing on standard output, and says `what`.
#[track_caller]
fn refused(command: &mut Command, code: i32, what: &[&str]) {
    let (found, stdout, stderr) = run(command);
    assert_eq!((found, stdout.as_str()), (code, ""), "{stderr}");
    for what in what {
        assert!(stderr.contains(what), "{stderr}\ndoes not say {what}");
    }
}

fn spawned(folder: &TempDir, args: &[&str]) -> Child {
    Process::new(assert_cmd::cargo::cargo_bin("telereel"))
        .args(args)
        .current_dir(folder.path())
        .env_remove("TELEREEL_ARCHIVE")
        .env_remove("TELEREEL_CONFIG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A recorder with a webhook listener; what it says from there on, to be kept for as long as it runs; and the
/// listener's address and path.
fn recorder(folder: &TempDir, session: &str) -> (Child, impl Iterator<Item = String>, String) {
    let mut recorder = spawned(folder, &["record", "--session", session, "--json"]);
    let mut said = BufReader::new(recorder.stderr.take().unwrap()).lines().map(Result::unwrap);
    let url = said.find_map(|line| Some(line.strip_prefix("webhooks at http://")?.to_owned())).unwrap();
    (recorder, said, url)
}

fn write(folder: &TempDir, name: &str, text: &str) {
    std::fs::write(folder.path().join(name), text).unwrap();
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

const VERBS: [&str; 20] = [
    "init",
    "check",
    "record",
    "status",
    "replay",
    "simulate",
    "list",
    "info",
    "cat",
    "stats",
    "clip",
    "mark",
    "export",
    "import",
    "verify",
    "recover",
    "reindex",
    "schema",
    "views",
    "completions",
];

#[test]
fn every_verb_explains_itself() {
    let folder = folder();
    let (code, overview, _) = run(telereel(&folder).arg("--help"));
    assert_eq!(code, 0);
    for verb in VERBS {
        assert!(overview.contains(&format!("  {verb} ")), "{verb} is missing");
        let (code, help, _) = run(telereel(&folder).args([verb, "--help"]));
        assert_eq!(code, 0);
        assert!(help.contains("Examples:\n  telereel "), "{verb}: {help}");
    }
    assert!(is_empty(folder.path()));
}

#[test]
fn verbs_have_the_aliases_of_other_tools() {
    let folder = folder();
    for alias in ["ls", "doctor"] {
        assert_eq!(run(telereel(&folder).args([alias, "--help"])).0, 0);
    }
}

#[test]
fn a_wrong_call_is_a_usage_error() {
    let folder = folder();
    refused(&mut telereel(&folder), 2, &["Usage:"]);
    refused(telereel(&folder).arg("rec"), 2, &["record"]);
    refused(telereel(&folder).args(["record", "--for", "10"]), 2, &["`90s`"]);
    refused(telereel(&folder).args(["record", "--for", "0s"]), 2, &["longer than zero"]);
    refused(telereel(&folder).args(["replay", "x", "--speed", "fast"]), 2, &["--speed"]);
    refused(
        telereel(&folder).args(["replay", "x", "--no-wait", "--wait-for-clients", "2"]),
        2,
        &["--no-wait"],
    );
    let timeout = ["replay", "x", "--ack-timeout", "5s"];
    refused(telereel(&folder).args(timeout), 2, &["--ack-timeout is for --pace lockstep"]);
    let hasty = ["replay", "x", "--pace", "max", "--speed", "2"];
    refused(telereel(&folder).args(hasty), 2, &["--speed is for a pace that keeps time"]);
    refused(telereel(&folder).arg("cat"), 2, &["which session?"]);
    let tls = ["--tls-cert", "c.pem", "--tls-key", "k.pem"];
    refused(telereel(&folder).args(["replay", "x"]).args(tls), 2, &["https://", "none is given"]);
    let plain = ["--listen", "http://127.0.0.1:0", "--listen", "mqtt://127.0.0.1:0"];
    refused(telereel(&folder).args(["replay", "x"]).args(tls).args(plain), 2, &["https://", "none is given"]);
    refused(telereel(&folder).arg("replay"), 2, &["which session?"]);
    refused(telereel(&folder).env("TELEREEL_LOG", "loud").arg("check"), 2, &["TELEREEL_LOG", "debug"]);
    assert!(is_empty(folder.path()));
}

#[test]
fn a_time_without_offset_is_refused_with_the_corrected_text() {
    let folder = folder();
    refused(
        telereel(&folder).args(["cat", "latest", "--from", "2026-03-01T14:30:00"]),
        2,
        &["--from", "`2026-03-01T14:30:00Z`", "no offset"],
    );
}

#[test]
fn init_writes_a_configuration_that_check_accepts() {
    let folder = folder();
    let (code, stdout, stderr) = run(telereel(&folder).arg("init"));
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    let (code, stdout, stderr) = run(telereel(&folder).args(["check", "--json"]));
    assert_eq!(code, 0, "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["sources"][0]["name"], "hello");

    write(&folder, "telereel.toml", "# mine\n");
    refused(telereel(&folder).arg("init"), 2, &["telereel.toml exists already"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("telereel.toml")).unwrap(), "# mine\n");
}

#[test]
fn init_prints_units_for_this_program_and_configuration() {
    let folder = folder();
    let (code, service, stderr) = run(telereel(&folder).args(["init", "--systemd", "service"]));
    assert_eq!(code, 0, "{stderr}");
    let config = std::path::absolute(folder.path()).unwrap().join("telereel.toml");
    let program = assert_cmd::cargo::cargo_bin("telereel");
    let start = format!("ExecStart={} -c {} record\n", program.display(), config.display());
    let archive = config.with_file_name("archive");
    let owned = format!("#   install -d -o telereel -g telereel -m 700 {}\n", archive.display());
    let read = format!("#   chown telereel: {0} && chmod 600 {0}\n", config.display());
    assert!(stderr.contains("must own") && stderr.contains("mode 600"), "{stderr}");
    for line in
        [&*start, &owned, &read, "Type=notify\n", "WatchdogSec=60s\n", "ExecReload=/bin/kill -HUP $MAINPID\n"]
    {
        assert!(service.contains(line), "{service}\nhas no {line}");
    }
    write(&folder, "telereel.toml", "[webhooks]\nlisten = \"0.0.0.0:8443\"\n");
    let (code, socket, stderr) = run(telereel(&folder).args(["init", "--systemd", "socket"]));
    assert_eq!(code, 0, "{stderr}");
    assert!(socket.contains("ListenStream=0.0.0.0:8443\nFileDescriptorName=webhooks\n"), "{socket}");
    refused(telereel(&folder).args(["init", "--systemd", "timer"]), 2, &["service", "socket"]);
}

#[test]
fn init_for_vendors_asks_for_their_credentials() {
    let folder = folder();
    let (_, stdout, _) = run(telereel(&folder).args(["init", "jointech", "delicode", "--stdout"]));
    write(&folder, "telereel.toml", &stdout);
    refused(
        telereel(&folder).arg("check"),
        2,
        &[
            "telereel.toml:",
            "`password.env` in source \"locks\"",
            "JOINTECH_PASSWORD",
            "DELICODE_TOKEN is not set",
        ],
    );
    let mut filled = telereel(&folder);
    filled.env("JOINTECH_PASSWORD", "p").env("DELICODE_TOKEN", "t");
    assert_eq!(run(filled.arg("check")).0, 0);
    refused(telereel(&folder).args(["init", "jointeck"]), 2, &["did you mean `jointech`?"]);
}

#[test]
fn a_configuration_error_names_file_line_and_key_and_touches_nothing() {
    let folder = folder();
    write(
        &folder,
        "c.toml",
        "[archive]\npath = \"reel\"\nsynk_interval = \"50ms\"\n[[source]]\nname = \"w\"\nvendor = \"sensorro\"\n",
    );
    for verb in ["check", "record"] {
        refused(
            telereel(&folder).args(["-c", "c.toml", verb]),
            2,
            &[
                "c.toml:3: `synk_interval` in [archive]",
                "`sync_interval`",
                "c.toml:6:",
                "did you mean `sensoro`?",
            ],
        );
    }
    assert!(!folder.path().join("reel").exists());
}

#[test]
fn the_flag_goes_before_the_environment() {
    let folder = folder();
    write(
        &folder,
        "a.toml",
        "[[source]]\nname = \"a\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/a\"\n",
    );
    let check = |command: &mut Command| run(command.args(["check", "--json"]));
    let (code, stdout, _) =
        check(telereel(&folder).env("TELEREEL_CONFIG", "a.toml").env("TELEREEL_ARCHIVE", "/x"));
    assert_eq!(code, 0);
    assert!(stdout.contains(r#""archive":"/x""#), "{stdout}");
    let mut command = telereel(&folder);
    command.env("TELEREEL_CONFIG", "missing.toml").env("TELEREEL_ARCHIVE", "/x");
    let (code, stdout, _) = check(command.args(["-c", "a.toml", "--archive", "/y"]));
    assert_eq!(code, 0);
    assert!(stdout.contains(r#""archive":"/y""#), "{stdout}");
    refused(telereel(&folder).env("TELEREEL_CONFIG", "missing.toml").arg("check"), 2, &["missing.toml"]);
    refused(telereel(&folder).arg("record"), 2, &["no configuration", "telereel init"]);
}

#[test]
fn a_recording_needs_a_source() {
    let folder = folder();
    write(&folder, "telereel.toml", "");
    refused(telereel(&folder).arg("record"), 2, &["no [[source]]"]);
}

#[test]
fn check_says_which_source_does_not_answer() {
    let folder = folder();
    // Bound and dropped again: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    write(
        &folder,
        "telereel.toml",
        &format!(
            "[[source]]\nname = \"buses\"\nvendor = \"generic\"\ntransport = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\ntopics = [\"#\"]\n"
        ),
    );
    let (code, stdout, stderr) = run(telereel(&folder).args(["check", "--connect", "--json"]));
    assert_eq!(code, 1, "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["sources"][0]["connection"]["state"], "failed");
    assert!(report["sources"][0]["connection"]["reason"].as_str().unwrap().contains("refused"), "{stdout}");
}

#[test]
fn status_without_a_recorder_says_so() {
    let folder = folder();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    write(&folder, "telereel.toml", &format!("[console]\nlisten = \"127.0.0.1:{port}\"\n"));
    refused(telereel(&folder).arg("status"), 1, &["no recorder is running at 127.0.0.1", "telereel record"]);
}

#[test]
fn the_declared_fields_are_shown() {
    let folder = folder();
    let (code, stdout, _) = run(telereel(&folder).args(["schema", "jointech", "alarm", "--json"]));
    assert_eq!(code, 0);
    let schema: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let fields = schema["kinds"][0]["fields"].as_array().unwrap();
    assert!(fields.iter().any(|field| field["name"] == "alarm_code"), "{stdout}");
    assert_eq!(run(telereel(&folder).args(["schema", "delicode"])).0, 0);
    let (code, stdout, _) = run(telereel(&folder).args(["schema", "jointech", "link"]));
    assert!(code == 0 && stdout.contains("gap_ns"), "{stdout}");
    let (code, stdout, _) = run(telereel(&folder).args(["schema", "generic"]));
    assert!(code == 0 && stdout.contains("[[kind.field]]"), "{stdout}");
    let (code, stdout, _) = run(telereel(&folder).args(["schema", "--json"]));
    let vendors: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let of = |vendor: &str| {
        let mut vendors = vendors["vendors"].as_array().unwrap().iter();
        vendors.find(|v| v["vendor"] == vendor).unwrap()["kinds"].clone()
    };
    assert_eq!((code, of("sensoro")), (0, serde_json::json!(["telemetry", "event"])));
    let (code, stdout, _) = run(telereel(&folder).arg("schema"));
    assert!(code == 0 && stdout.contains("delicode") && stdout.contains("person_position"), "{stdout}");
    refused(telereel(&folder).args(["schema", "jointech", "alarms"]), 2, &["did you mean `alarm`?"]);
    refused(
        telereel(&folder).args(["schema", "acme"]),
        2,
        &["available: damoov, delicode, generic, jointech, pontosense, sensoro"],
    );
}

#[test]
fn completions_are_made_for_every_shell() {
    let folder = folder();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, script, _) = run(telereel(&folder).args(["completions", shell]));
        assert_eq!(code, 0);
        for verb in VERBS {
            assert!(script.contains(verb), "{shell} does not know {verb}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let folder = folder();
    let mut child = Process::new(assert_cmd::cargo::cargo_bin("telereel"))
        .args(["completions", "bash"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before anything can have been read.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

/// Records by webhook from a port that was picked, stops by SIGTERM, and meets the recording with every verb.
#[test]
fn what_is_recorded_is_listed_shown_verified_and_replayed() {
    let folder = folder();
    let source =
        "[[source]]\nname = \"door\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/in\"\n";
    let listen = "listen = \"127.0.0.1:0\"\n";
    write(&folder, "telereel.toml", &format!("[webhooks]\n{listen}[console]\n{listen}{source}"));
    let (mut recorder, _said, url) = recorder(&folder, "walk");
    let (address, path) = url.split_at(url.find('/').unwrap());
    let payloads = [r#"{"temperature": -0.0, "room":"Küche"}"#, "not json", ""];
    for payload in payloads {
        assert!(post(address, path, payload).starts_with("HTTP/1.1 200"));
    }
    let (code, _, stderr) = run(telereel(&folder).arg("list"));
    assert_eq!(code, 0);
    assert!(stderr.contains("of walk are still in the journal") && stderr.contains("a recorder"), "{stderr}");
    refused(telereel(&folder).args(["cat", "latest"]), 1, &["nothing is selected", "segment_max_age"]);
    let killed = Process::new("kill").args(["-TERM", &recorder.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let mut summary = String::new();
    recorder.stdout.take().unwrap().read_to_string(&mut summary).unwrap();
    assert_eq!(recorder.wait().unwrap().code(), Some(0));
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["sources"][0]["messages"], 3);
    let id = summary["session_ids"][0].as_str().unwrap();

    let json = |args: &[&str]| -> Vec<serde_json::Value> {
        let (code, stdout, stderr) = run(telereel(&folder).args(args));
        assert_eq!(code, 0, "{args:?}: {stderr}");
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert_eq!(json(&["list", "--json"])[0][0]["name"], "walk");
    assert_eq!(json(&["verify", "--json"])[0]["problems"], serde_json::json!([]));
    for session in ["walk", "latest", id, &id[..12]] {
        assert_eq!(json(&["info", session, "--json"])[0]["session_id"], id);
    }
    let with_room = json(&["cat", "walk", "--where", "payload != '' and seq >= 0 and not channel = '/out'"]);
    assert_eq!(with_room.len(), 2);
    refused(
        telereel(&folder).args(["cat", "walk", "--where", "paylod = 'x'"]),
        2,
        &["--where, at byte 0", "did you mean `payload`?"],
    );
    refused(
        telereel(&folder).args(["replay", "walk", "--where", "seq = 1 and"]),
        2,
        &["at byte 11", "expected a column"],
    );
    refused(
        telereel(&folder).args(["cat", "walk", "--where", "seq > 99"]),
        1,
        &["nothing is selected", "--where holds for no message"],
    );
    let rows = json(&["cat", "walk"]);
    let found: Vec<&str> = rows.iter().map(|row| row["payload"].as_str().unwrap()).collect();
    assert_eq!(found, payloads);
    assert_eq!(json(&["cat", "--from", "-2h", "--kind", "link"]).len(), 2, "connected and configured");
    refused(telereel(&folder).args(["cat", "wakl"]), 1, &["no session `wakl`; nearest: walk"]);
    refused(telereel(&folder).args(["cat", "walk", "--source", "x"]), 1, &["nothing is selected", "door"]);
    refused(telereel(&folder).args(["cat", "walk", "--kind", "mesage"]), 1, &["did you mean `message`?"]);
    let reversed = ["cat", "walk", "--from", "+2m", "--to", "+1m"];
    refused(telereel(&folder).args(reversed), 2, &["--to is not after --from"]);
    refused(telereel(&folder).args(["list", "--archive", "telereel.toml"]), 1, &["is a file"]);
    let archive = folder.path().join("archive");
    assert!(!archive.join("index.sqlite-wal").exists() && !archive.join("index.sqlite-shm").exists());

    let replay = ["replay", "walk", "--pace", "max", "--listen", "http://127.0.0.1:0", "--json"];
    let lines = json(&[&replay[..], &["--no-wait", "--report", "report.json"]].concat());
    assert_eq!((&lines[0]["event"], &lines[1]["event"]), (&"ready".into(), &"done".into()));
    assert_eq!((&lines[1]["messages"], &lines[1]["clients"]), (&3.into(), &serde_json::json!([])));
    let report = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["digest"], lines[1]["digest"]);

    // At its own pace; two hours ago there was no session to wait for.
    let from = ["replay", "walk", "--from", "-2h", "--no-wait", "--listen", "http://127.0.0.1:0", "--json"];
    assert_eq!(json(&from)[1]["messages"], 3);

    let exec = |script: &str| {
        let (code, stdout, stderr) = run(telereel(&folder).args(replay).args(["--exec", "sh", "-c", script]));
        let done: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        (code, done["clients"].as_array().unwrap().len(), stderr)
    };
    let (code, clients, stderr) = exec("echo at $TELEREEL_HTTP; exit 7");
    assert_eq!((code, clients), (7, 0));
    assert!(stderr.contains("at http://127.0.0.1:"), "{stderr}");
    assert_eq!(exec("true").0, 1, "no client came");
}

/// Posts a body and gives the whole answer.
fn post(address: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_session_gets_a_name_that_finds_it_again() {
    let folder = folder();
    let listen = "listen = \"127.0.0.1:0\"\n";
    let source =
        "[[source]]\nname = \"door\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/in\"\n";
    write(&folder, "telereel.toml", &format!("[webhooks]\n{listen}[console]\n{listen}{source}"));
    let id = "01a20613-5772-7bf6-b74b-c3c41acdef99";
    for name in ["", "latest", "a/b", ".hidden", "two words", "a.reel", id] {
        refused(telereel(&folder).args(["record", "--session", name, "--for", "1ms"]), 2, &["--session"]);
    }
    assert!(!folder.path().join("archive").exists());

    let record = ["record", "--session", "first", "--for", "1ms"];
    let (code, _, stderr) = run(telereel(&folder).args(record));
    assert!(code == 0 && !stderr.contains("sealing everything"), "{code}: {stderr}");
    let (_, _, stderr) = run(telereel(&folder).args(record));
    assert!(stderr.contains("session `first` exists: this one is `first-2`"), "{stderr}");
    let (code, _, stderr) = run(telereel(&folder).args(record).arg("-q"));
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[test]
fn what_recover_writes_can_be_read_by_whom_the_configuration_lets() {
    let folder = folder();
    let source =
        "[[source]]\nname = \"door\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/in\"\n";
    let listen = "listen = \"127.0.0.1:0\"\n";
    let archive = "[archive]\ngroup_readable = true\n";
    write(&folder, "telereel.toml", &format!("{archive}[webhooks]\n{listen}[console]\n{listen}{source}"));
    assert_eq!(run(telereel(&folder).args(["record", "--for", "1ms"])).0, 0);
    let views = folder.path().join("archive/views/duckdb.sql");
    let check = |args: &[&str]| {
        std::fs::remove_file(&views).unwrap();
        let (code, _, stderr) = run(telereel(&folder).args(args));
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(std::fs::metadata(&views).unwrap().permissions().mode() & 0o777, 0o640, "{args:?}");
    };
    check(&["recover"]);
    let (_, script, _) = run(telereel(&folder).arg("views"));
    let (_, stdout, _) = run(telereel(&folder).args(["views", "--json"]));
    let list: Vec<serde_json::Value> = serde_json::from_str(&stdout).unwrap();
    assert!(list.iter().any(|view| view["name"] == "generic_message"), "{stdout}");
    for view in list {
        let sql = view["sql"].as_str().unwrap();
        assert!(script.contains(sql.trim_end()), "{sql}");
        assert!(
            sql.contains(&format!("CREATE OR REPLACE VIEW {} AS", view["name"].as_str().unwrap())),
            "{sql}"
        );
    }
    // Where there is no configuration, as the archive is.
    std::fs::rename(folder.path().join("telereel.toml"), folder.path().join("elsewhere.toml")).unwrap();
    check(&["recover"]);
    check(&["-c", "elsewhere.toml", "recover"]);
}

#[test]
fn a_simulation_says_what_records_it_and_what_it_sent() {
    let folder = folder();
    let listen = ["--listen", "http://127.0.0.1:0", "--listen", "mqtt://127.0.0.1:0"];
    let (code, stdout, stderr) =
        run(telereel(&folder).args(["simulate", "--for", "1s", "--rate", "20"]).args(listen));
    assert_eq!(code, 0, "{stderr}");
    for source in ["damoov", "delicode", "jointech", "jointech-push", "pontosense", "sensoro"] {
        assert!(stdout.contains(source), "{source} is missing: {stdout}");
    }
    // What it prints is a configuration as it stands.
    let (_, sources) = stderr.split_once("to record this:").unwrap();
    write(&folder, "telereel.toml", sources);
    let (code, stdout, stderr) = run(telereel(&folder).args(["check", "--json"]));
    assert_eq!(code, 0, "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["sources"].as_array().unwrap().len(), 6);
}

#[test]
fn a_simulation_of_configured_sources_has_their_names() {
    let folder = folder();
    let source = "[[source]]\nname = \"lobby\"\nvendor = \"delicode\"\ntoken = \"t\"\nlocations = [7]\n";
    write(&folder, "lobby.toml", source);
    let mut call = telereel(&folder);
    call.args(["-c", "lobby.toml", "simulate", "--json", "--for", "1s", "--listen", "http://127.0.0.1:0"]);
    let (code, stdout, stderr) = run(&mut call);
    assert_eq!(code, 0, "{stderr}");
    let lines: Vec<serde_json::Value> = stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((&lines[0]["event"], &lines[1]["event"]), (&"ready".into(), &"done".into()));
    assert_eq!(lines[0]["sources"], serde_json::json!([{"name": "lobby", "vendor": "delicode"}]));
    assert!(lines[1]["messages"].as_u64() > Some(0));
    assert_eq!(lines[1]["sources"][0]["messages"], lines[1]["messages"]);
}

#[test]
fn what_cannot_be_simulated_is_a_usage_error() {
    let folder = folder();
    let simulate = |args: &[&str], what: &[&str]| {
        refused(telereel(&folder).arg("simulate").args(args), 2, what);
    };
    simulate(&["--vendor", "sensor"], &["did you mean `sensoro`?"]);
    simulate(&["--push", "shop=http://127.0.0.1:1"], &["shop", "sensoro, jointech-push"]);
    simulate(&["--vendor", "delicode", "--push", "sensoro=http://127.0.0.1:1"], &["left out by --vendor"]);
    simulate(&["--vendor", "delicode", "--broker", "mqtt://127.0.0.1:1"], &["need a --listen"]);
    simulate(&["--misbehave", "sleep"], &["no misbehaviour `sleep`", "half-packet"]);
    simulate(&["--variant", "loud"], &["expected one of pontosense-token-403", "sensoro-flat-events"]);
    simulate(&["--rate", "0"], &["messages per second"]);
    simulate(
        &["--broker", "mqtt://127.0.0.1:1", "--misbehave", "close,expired-token"],
        &["expired-token: --broker mqtt://127.0.0.1:1 is shown no token"],
    );
    assert!(is_empty(folder.path()));
}
