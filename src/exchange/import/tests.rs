//! What others wrote, and what nobody should have.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{ImportOptions, Imported, Plan, plan};
use crate::archive::tests::support::quick_dir;
use crate::archive::{Archive, CameFrom};
use crate::exchange::ExchangeError;
use crate::exchange::tests::{all, assert_clean};
use crate::message::{Mqtt, Row};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(quick_dir())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn archive(&self) -> Archive {
        Archive::create_or_open(self.0.path().join("a"), "").unwrap()
    }
}

fn looked_through(path: &Path, options: &ImportOptions) -> Result<Plan, ExchangeError> {
    plan(path, options.clone(), &|_, _| ())
}

#[track_caller]
fn import(folder: &Folder, path: &Path, options: &ImportOptions) -> (Vec<Imported>, Vec<Row>) {
    let planned = looked_through(path, options).unwrap();
    assert_eq!(planned.bad, 0, "{:?}", planned.described);
    let archive = folder.archive();
    let imported = planned.take(&archive, &|_, _| ()).unwrap();
    assert_clean(&archive);
    (imported, all(&archive))
}

/// As mosquitto_sub 2.0.11 printed them.
const MOSQUITTO: &[u8] = b"{\"tst\":\"2026-11-22T11:37:20.851978Z+0000\",\"topic\":\"a/b\",\"qos\":1,\"retain\":0,\"payloadlen\":10,\"mid\":1,\"payload\":\"{\\\"x\\\":-0.0}\"}
{\"tst\":\"2026-11-22T11:37:20.859939Z+0000\",\"topic\":\"a/\xc3\xbc\",\"qos\":2,\"retain\":0,\"payloadlen\":11,\"mid\":2,\"payload\":\"hi \\\"q\\\" \\\\ \xc3\xa9\"}
{\"tst\":\"2026-11-22T11:37:20.862787Z+0000\",\"topic\":\"a/bin\",\"qos\":0,\"retain\":0,\"payloadlen\":5,\"payload\":\"\xff\xfe\\u0001\\\"x\"}
{\"tst\":\"2026-11-22T11:37:20.924726Z+0000\",\"topic\":\"a/empty\",\"qos\":0,\"retain\":0,\"payloadlen\":0,\"payload\":null}
{\"tst\":\"2026-11-22T11:37:20.911789Z+0000\",\"topic\":\"a/r\",\"qos\":1,\"retain\":1,\"payloadlen\":1,\"mid\":3,\"properties\":{\"user-properties\":{\"k\":\"v\"}},\"payload\":\"5\"}
{\"tst\":\"1795347440.926000000\",\"topic\":\"a/x\",\"qos\":0,\"retain\":0,\"payload_hex\":\"610062\"}
";

#[test]
fn what_mosquitto_printed_is_what_was_received() {
    let folder = Folder::new();
    let path = folder.file("city.jsonl", MOSQUITTO);
    let options = ImportOptions { source: Some("city".into()), ..ImportOptions::default() };
    let (imported, rows) = import(&folder, &path, &options);
    assert_eq!((imported[0].session.as_str(), imported[0].messages), ("city", 6));
    let payloads: Vec<&[u8]> = rows.iter().map(|row| &row.payload[..]).collect();
    let expected: [&[u8]; 6] =
        [b"{\"x\":-0.0}", "hi \"q\" \\ é".as_bytes(), b"\xff\xfe\x01\"x", b"", b"5", b"a\0b"];
    assert_eq!(payloads, expected);
    let row = &rows[1];
    assert_eq!(
        (&*row.vendor, &*row.kind, &*row.source, &*row.channel),
        ("generic", "message", "city", "a/ü")
    );
    assert_eq!(row.mqtt, Some(Mqtt { qos: 2, retain: false, dup: false }));
    assert!(rows[4].mqtt.unwrap().retain);
    assert_eq!(row.received_at_us, 1_795_347_440_859_939);
    // The clock ran back before the fifth: time since the start does not.
    let elapsed: Vec<u64> = rows.iter().map(|row| row.elapsed_ns / 1_000).collect();
    assert_eq!(elapsed, [0, 7_961, 10_809, 72_748, 72_748, 74_022]);
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
}

/// What is the first session by some options is another one by others.
#[test]
fn a_file_that_came_in_otherwise_is_known() {
    let known = |messages| CameFrom { blake3: String::new(), nth: 0, messages };
    let folder = Folder::new();
    let path = folder.file(
        "rows.csv",
        "received_at,payload\n2026-11-20T10:00:00Z,a\n2026-11-20T10:00:01Z,b\n2026-11-20T10:00:02Z,c\n",
    );
    let options = ImportOptions { source: Some("city".into()), ..ImportOptions::default() };
    let plan = looked_through(&path, &options).unwrap();
    assert!(!plan.is_split_otherwise(&known(Some(3))));
    assert!(!plan.is_split_otherwise(&known(None)), "an earlier version did not say");
    assert!(plan.is_split_otherwise(&known(Some(1))));
    assert!(plan.is_split_otherwise(&CameFrom { nth: 1, ..known(Some(3)) }));
}

#[test]
fn of_a_file_whose_import_was_cut_the_rest_comes_in() {
    let folder = Folder::new();
    let line = |n: u8| {
        let id = format!("01a1f866-0d00-7000-8000-00000000000{n}");
        format!(r#"{{"session_id":"{id}","seq":0,"received_at":"2026-11-20T10:00:00Z","payload":"{n}"}}"#)
    };
    let path = folder.file("two.jsonl", [line(1), line(2)].join("\n"));
    let options = ImportOptions { source: Some("city".into()), ..ImportOptions::default() };
    let archive = folder.archive();
    let mut half = looked_through(&path, &options).unwrap();
    assert_eq!(half.sessions().unwrap(), 2);
    half.leave_out.insert(1);
    let first = half.take(&archive, &|_, _| ()).unwrap().remove(0);
    let sum = half.blake3.clone().unwrap();
    let came_from = CameFrom { blake3: sum.clone(), nth: 0, messages: Some(1) };
    assert_eq!(archive.came_from(&sum).unwrap(), [(came_from, first.session)]);
    let mut rest = looked_through(&path, &options).unwrap();
    rest.leave_out = archive.came_from(&sum).unwrap().into_iter().map(|(known, _)| known.nth).collect();
    rest.take(&archive, &|_, _| ()).unwrap();
    let payloads: Vec<_> = all(&archive).into_iter().map(|row| row.payload).collect();
    assert_eq!(payloads, [&b"1"[..], b"2"]);
    assert_eq!(archive.came_from(&sum).unwrap().len(), 2);
    assert_clean(&archive);
}

#[test]
fn a_session_whose_id_tells_no_time_gets_one_that_does() {
    let folder = Folder::new();
    let strange = "fc6a1d9e-0a57-4c1d-9d3b-5a0d7f0e9b11";
    let line = |id: &str, day: u8| {
        format!(
            r#"{{"session_id":"{id}","seq":0,"elapsed_ns":0,"received_at":"2026-11-{day:02}T10:00:00Z","payload":"x"}}"#
        )
    };
    let options = ImportOptions { source: Some("city".into()), ..ImportOptions::default() };
    let old = folder.file("old.jsonl", line(strange, 1));
    let (imported, rows) = import(&folder, &old, &options);
    assert_eq!(imported[0].was, Some(strange.parse().unwrap()));
    assert!(imported[0].session_id.is_timed() && rows[0].session_id == imported[0].session_id);
    let new = folder.file("new.jsonl", line("01a1f866-0d00-7000-8000-000000000000", 20));
    let (imported, _) = import(&folder, &new, &options);
    assert_eq!(imported[0].was, None);
    let archive = folder.archive();
    assert_eq!(archive.resolve("latest").unwrap().session_id, imported[0].session_id);
    assert_eq!(archive.newest_session().unwrap(), Some(imported[0].session_id));
}

#[test]
fn bad_lines_are_told_where_they_are_and_nothing_is_written() {
    let folder = Folder::new();
    let good = r#"{"received_at":"2026-11-22T10:00:00Z","payload":"x"}"#;
    let lines = [
        good,
        "not json",
        r#"{"payload":"x"}"#,
        "",
        r#"{"received_at":"2026-11-22T10:00:01","payload":"x"}"#,
        r#"{"received_at":"2026-11-22T10:00:01Z","payload":"x","kind":"../../etc"}"#,
        r#"{"received_at":"2026-11-22T10:00:01Z","payload":"x","vendor":"acme"}"#,
        r#"{"received_at":"2026-11-22T10:00:01Z"}"#,
        r#"{"tst":"2026-11-22T10:00:01Z","topic":"a","payloadlen":3,"payload":"a"}"#,
        r#"{"received_at":"2026-11-22T10:00:01Z","payload":"x","qos":7}"#,
        good,
    ];
    let path = folder.file("x.jsonl", lines.join("\n"));
    let planned = looked_through(&path, &ImportOptions::default()).unwrap();
    assert_eq!((planned.bad, planned.messages), (8, 2));
    for (n, what) in [
        (0, ":2 (byte 53): it is no row as JSON"),
        (1, ":3 (byte 62): it does not say when"),
        (2, ":5 (byte 79): received_at is `2026-11-22T10:00:01`"),
        (3, "no name"),
        (4, "no vendor `acme`"),
        (5, "no payload"),
        (6, "zero byte"),
        (7, "qos is 7"),
    ] {
        assert!(planned.described[n].contains(what), "{} does not say {what}", planned.described[n]);
    }
    assert!(planned.described[0].starts_with(&path.display().to_string()));
    assert!(!folder.0.path().join("a").exists());
    // Asked to leave them out, it takes the others.
    let archive = folder.archive();
    planned.take(&archive, &|_, _| ()).unwrap();
    assert_eq!(all(&archive).len(), 2);
    assert_clean(&archive);
}

#[test]
fn names_that_are_none_are_cleaned_or_refused() {
    let folder = Folder::new();
    let good = r#"{"received_at":"2026-11-22T10:00:00Z","payload":"x"}"#;
    for (file, session) in [
        ("latest", "latest-imported"),
        ("a\u{1b}[2J\nb\u{202e}", "a_[2J_b_"),
        ("..x", "_..x"),
        ("B\u{fc}ro 3", "B\u{fc}ro 3"),
        ("a.reel", "a.reel-imported"),
        ("01990000-0000-7000-8000-0000000000FF", "01990000-0000-7000-8000-0000000000FF-imported"),
    ] {
        let path = folder.file(&format!("{file}.jsonl"), good);
        let planned = looked_through(&path, &ImportOptions::default()).unwrap();
        let imported = planned.take(&folder.archive(), &|_, _| ()).unwrap();
        let called = (file != session).then(|| file.to_owned());
        assert_eq!((&*imported[0].session, &imported[0].called), (session, &called));
    }
    let archive = folder.archive();
    // Nor the beginning of an id that the archive has.
    let other = archive.list().unwrap()[0].session_id;
    let begun = other.to_string()[..30].to_owned();
    let path = folder.file(&format!("{begun}.jsonl"), good);
    let planned = looked_through(&path, &ImportOptions::default()).unwrap();
    let imported = planned.take(&archive, &|_, _| ()).unwrap();
    assert_eq!(
        (&imported[0].session, &imported[0].called),
        (&format!("{begun}-imported"), &Some(begun.clone()))
    );
    assert_eq!(archive.resolve(&begun).unwrap().session_id, other);

    let latest = archive.list().unwrap().last().unwrap().session_id;
    assert_eq!(archive.resolve("latest").unwrap().session_id, latest);

    let wrong = [
        r#"{"received_at":"2026-11-22T10:00:01Z","payload":"x","source":".."}"#,
        r#"{"tst":"2026-11-22T10:00:01Z","topic":"a","payload_hex":"+f"}"#,
        "{\"received_at\":\"2026-11-22T10:00:01Z\",\"payload\":\"x\",\"kind\":\"\\u001b[2J\\u000ax\"}",
    ];
    let path = folder.file("wrong.jsonl", wrong.join("\n"));
    let planned = looked_through(&path, &ImportOptions::default()).unwrap();
    assert_eq!(planned.bad, 3);
    for (described, what) in planned.described.iter().zip(["source `..`", "payload_hex", "\\u{1b}[2J\\u{a}x"])
    {
        assert!(described.contains(what) && !described.contains(char::is_control), "{described:?}");
    }
}

#[test]
fn sessions_of_a_file_come_apart_again() {
    let folder = Folder::new();
    let id = |n: u8| format!("01990000-0000-7000-8000-0000000000{n:02}");
    let line = |n: u8, seq: u64| {
        format!(
            r#"{{"session_id":"{}","seq":{seq},"elapsed_ns":{},"received_at":"2026-11-22T10:00:0{seq}Z","site":"s{n}","source":"s-{n}","payload":"{n}/{seq}"}}"#,
            id(n),
            seq * 1_000_000_000 + 5
        )
    };
    let lines = [line(1, 2), line(2, 0), line(1, 3), line(1, 7), line(2, 4), line(1, 5), line(3, 1)];
    let path = folder.file("x.jsonl", lines.join("\r\n"));
    let planned = looked_through(&path, &ImportOptions::default()).unwrap();
    assert_eq!((planned.bad, planned.messages), (1, 6));
    assert!(planned.described[0].contains("its seq 5 comes after 7"), "{}", planned.described[0]);
    let archive = folder.archive();
    let imported = planned.take(&archive, &|_, _| ()).unwrap();
    let told: Vec<_> =
        imported.iter().map(|s| (s.session_id.to_string(), s.session.as_str(), s.messages)).collect();
    assert_eq!(told, [(id(1), "x", 3), (id(2), "x-2", 2), (id(3), "x-3", 1)]);
    let one = archive.resolve(&id(1)).unwrap();
    assert_eq!(one.site, "s1");
    let rows: Vec<Row> = all(&archive).into_iter().filter(|row| row.session_id == one.session_id).collect();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [2, 3, 7]);
    // Its clock says when the session began.
    assert_eq!(one.started_at_us, rows[0].received_at_us - 2_000_000);
    assert_clean(&archive);
}

#[test]
fn a_table_of_others_is_mapped() {
    let folder = Folder::new();
    let text = "\u{feff}time,imei,lat,note\r\n2026-11-22T10:00:00Z,7,60.1,\"a \"\"b\"\"\r\nc\"\r\n1795341601,8,,\r\n";
    let path = folder.file("track.csv", text);
    let refused = looked_through(&path, &ImportOptions::default()).map(|_| ()).unwrap_err().to_string();
    assert!(
        refused.contains("--map COLUMN=received_at") && refused.contains("time, imei, lat, note"),
        "{refused}"
    );
    let map = |pairs: &[(&str, &str)]| ImportOptions {
        map: pairs.iter().map(|(column, field)| ((*column).into(), (*field).into())).collect(),
        ..ImportOptions::default()
    };
    for (wrong, what) in [(("tim", "received_at"), "no column `tim`"), (("time", "when"), "no field `when`")]
    {
        let refused = looked_through(&path, &map(&[wrong])).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(what), "{refused}");
    }
    let (_, rows) = import(&folder, &path, &map(&[("time", "received_at"), ("imei", "channel")]));
    let payloads: Vec<&Bytes> = rows.iter().map(|row| &row.payload).collect();
    assert_eq!(payloads, [r#"{"lat":"60.1","note":"a \"b\"\r\nc"}"#, "{}"]);
    assert_eq!((&*rows[0].channel, rows[1].received_at_us), ("7", 1_795_341_601_000_000));
    assert_eq!(
        rows[1].elapsed_ns,
        1_000_000_000 * (1_795_341_601 - rows[0].received_at_us as u64 / 1_000_000)
    );
}

#[test]
fn many_days_are_many_parts_and_nothing_is_lost() {
    let folder = Folder::new();
    let line = |day: i64| {
        let at = crate::units::format_time_us(day * 86_400_000_000);
        format!(r#"{{"received_at":"{at}","payload":"{day}"}}"#)
    };
    let lines: Vec<String> = (0..100).map(|day| line(20_000 + day)).collect();
    let path = folder.file("x.jsonl", lines.join("\n"));
    let (imported, rows) = import(&folder, &path, &ImportOptions::default());
    assert_eq!((imported[0].messages, rows.len()), (100, 100));
    assert_eq!(rows[99].elapsed_ns, 99 * 86_400_000_000_000);
}

#[test]
fn a_file_that_says_not_what_it_is_is_refused() {
    let folder = Folder::new();
    for (name, what) in
        [("x.txt", "--format"), ("x.parquet", "for readers"), ("x.mcap", "MCAP"), ("x.reel", "no reel")]
    {
        let path = folder.file(name, "x");
        let said = looked_through(&path, &ImportOptions::default()).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(what), "{said}");
    }
    let empty = folder.file("x.jsonl", "\n\n");
    assert_eq!(looked_through(&empty, &ImportOptions::default()).unwrap().messages, 0);
}

#[test]
fn what_a_file_says_of_a_source_is_kept_and_what_no_text_is_told_beforehand() {
    let folder = Folder::new();
    let row = |kind: &str, payload: &str| {
        format!(
            r#"{{"vendor":"delicode","kind":"{kind}","source":"lab","received_at":"2026-03-01T14:00:00Z","payload":{payload}}}"#
        )
    };
    let lines = [
        row("link", r#""{\"event\":\"start\",\"options\":{\"url\":\"ws://lab:1\"}}""#),
        row("other", r#""\"half of a pair: \ud800\"""#),
        row("other", r#""\ud83d\ude00 is whole, \"\\u\" is none""#),
    ];
    let path = folder.file("lab.jsonl", lines.join("\n"));
    let planned = looked_through(&path, &ImportOptions::default()).unwrap();
    assert_eq!((planned.messages, planned.bad), (2, 1));
    assert!(planned.described[0].contains("lab.jsonl:2 "), "{:?}", planned.described);
    let archive = folder.archive();
    let imported = planned.take(&archive, &|_, _| ()).unwrap();
    let sidecar = archive.read_sidecar(imported[0].session_id).unwrap().unwrap();
    assert_eq!(sidecar.sources[0].settings, serde_json::json!({"url": "ws://lab:1"}));
    assert_eq!(all(&archive)[1].payload, "\u{1F600} is whole, \"\\u\" is none");
}

#[test]
fn numbers_that_no_archive_can_account_for_are_refused() {
    let folder = Folder::new();
    let row = |seq: u64| {
        format!(r#"{{"seq":{seq},"elapsed_ns":0,"received_at":"2026-03-01T14:00:00Z","payload":"x"}}"#)
    };
    let last = crate::archive::SEQ_END_MAX - 1;
    let path = folder.file("lab.jsonl", [row(5), row(last), row(last + 1)].join("\n"));
    let planned = looked_through(&path, &ImportOptions::default()).unwrap();
    assert_eq!((planned.messages, planned.bad), (2, 1));
    assert!(planned.described[0].contains("too large"), "{:?}", planned.described);
    let archive = folder.archive();
    planned.take(&archive, &|_, _| ()).unwrap();
    assert_clean(&archive);
    assert_eq!(all(&archive).iter().map(|row| row.seq).collect::<Vec<_>>(), [5, last]);
}
