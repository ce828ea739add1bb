//! What is left of who was there, in every format; and what is left of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::archive::tests::support::{START_US, quick_dir};
use crate::archive::{VerifyOptions, verify};
use crate::envelope::Envelope;
use crate::exchange::export::export;
use crate::exchange::tests::{all, archive_of, assert_clean, header};
use crate::exchange::{Format, reel};
use crate::message::Selection;

const KEY: &str = "a key that nobody guesses";
const SN: &str = "ATR_GN_P4-250120-09527";
const ACCESS_KEY: &str = "0123456789ABCDEF0123456789ABCDEF";

fn fixture(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)).unwrap()
}

/// Vendor, kind, channel, payload and what was decrypted of it: every documented message that can be decoded.
fn messages() -> Vec<(&'static str, String, String, String, Option<&'static str>)> {
    let mut all = Vec::new();
    let mut add = |vendor, kind: &str, channel: &str, payload: &str, clear| {
        all.push((vendor, kind.to_owned(), channel.to_owned(), payload.to_owned(), clear));
    };
    for line in fixture("damoov/device_update.jsonl").lines() {
        add("damoov", "device_update", "/realtime/api/v1/ws/realtime", line, None);
    }
    for line in
        fixture("delicode/server.jsonl").lines().chain(fixture("delicode/server_message_type.jsonl").lines())
    {
        for kind in ["person_position", "person_lost", "demographics"] {
            if line.contains(&format!("realtime_{kind}")) {
                add("delicode", kind, "/websocket_realtime", line, None);
            }
        }
    }
    for line in fixture("pontosense/reports.jsonl").lines() {
        add("pontosense", "location", &format!("/location/{SN}"), line, None);
    }
    let reply: Value = serde_json::from_str(&fixture("pontosense/token_reply.json")).unwrap();
    add("pontosense", "config", &format!("/v1/iot/tokens?sn={SN}"), &reply["data"].to_string(), None);
    for line in fixture("jointech/mqtt.jsonl").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let topic = row["topic"].as_str().unwrap();
        let kind = topic.rsplit('/').next().unwrap().replace("cmd", "command_response");
        add("jointech", &kind, topic, row["payload"].as_str().unwrap(), None);
    }
    for name in ["location_ks20a", "location_no_fix", "event_unlock_card", "event_waybill", "status_online"] {
        let kind = name.split('_').next().unwrap();
        add("jointech", kind, "/hooks/locks", &fixture(&format!("jointech/webhook/{name}.json")), None);
    }
    for name in ["telemetry_all", "telemetry_temperature", "event_data", "event_flat"] {
        let kind = name.split('_').next().unwrap();
        add("sensoro", kind, "/hooks/city", &fixture(&format!("sensoro/{name}.json")), None);
    }
    let sealed = fixture("sensoro/telemetry_safe.json");
    add(
        "sensoro",
        "telemetry",
        "/hooks/city",
        &sealed,
        Some(r#"{"battery":85,"temperature":23.5,"customer":"0A1B"}"#),
    );
    all
}

/// Of these names in payloads, every value that is long enough not to occur by chance; by reading the fixtures alone.
fn identifiers() -> BTreeSet<String> {
    const KEYS: [&str; 17] = [
        "assetId",
        "card",
        "password",
        "fileIndex",
        "waybillGUID",
        "waybillNo",
        "subLockId",
        "subLargeCharId",
        "subId",
        "subAssetID",
        "device_token",
        "track_token",
        "sn",
        "appId",
        "display_identifier",
        "encryptData",
        "name",
    ];
    fn walk(value: &Value, is_id: bool, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(key, value)| walk(value, KEYS.contains(&key.as_str()), found));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, is_id, found)),
            Value::String(text) if text.starts_with(['{', '[']) => {
                walk(&serde_json::from_str(text).unwrap_or_default(), is_id, found);
            }
            Value::String(text) if is_id && text.len() > 4 => drop(found.insert(text.clone())),
            _ => {}
        }
    }
    let mut found: BTreeSet<String> =
        [SN, ACCESS_KEY, "home-12", "walk", "van 7", "89860000000000000000"].map(Into::into).into();
    for (.., payload, _) in messages() {
        walk(&serde_json::from_str(&payload).unwrap(), false, &mut found);
    }
    found
}

fn rows(header: &SessionHeader) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |vendor: &str, kind: &str, channel: &str, payload: &[u8], clear: Option<&'static str>| {
        let seq = rows.len() as u64;
        rows.push(Row {
            vendor: vendor.into(),
            kind: kind.into(),
            site: "home-12".into(),
            session_id: header.session_id,
            source: format!("{vendor}-1").into(),
            connection: 0,
            seq,
            received_at_us: START_US + seq as i64 * 1_000_000,
            elapsed_ns: seq * 1_000_000_000,
            channel: channel.into(),
            device_id: None,
            event_at_us: None,
            mqtt: None,
            is_binary: false,
            headers: channel.starts_with("/hooks").then(|| {
                [
                    ("content-type", "application/json"),
                    ("x-forwarded-for", "10.1.2.3"),
                    ("x-access-id", "123456"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
            }),
            duplicate_of: None,
            payload: payload.to_vec().into(),
            clear: clear.map(|clear| clear.as_bytes().into()),
            decode_error: None,
        });
    };
    let connecting = serde_json::json!({"event": "connecting", "sn": SN, "reason": format!("{SN} is away"),
        "options": {"transport": "mqtt", "sensors": [SN], "api_url": "https://walk.example.com"}});
    add("pontosense", "link", "link", connecting.to_string().as_bytes(), None);
    for (vendor, kind, channel, payload, clear) in messages() {
        add(vendor, &kind, &channel, payload.as_bytes(), clear);
    }
    add("damoov", "control", "/x", br#"{"type":"subscribed","topic":"instance:1234"}"#, None);
    add("jointech", "other", &format!("upload/{ACCESS_KEY}/8231020045/x"), b"8231020045", None);
    add("sensoro", "telemetry", "/hooks/city", fixture("sensoro/telemetry_safe.json").as_bytes(), None);
    add(
        "pontosense",
        "location",
        &format!("/location/{SN}"),
        b"{\"method\":\"location.report\",\"params\":[{\"id\":1",
        None,
    );
    rows
}

fn archive(root: &Path) -> (Archive, Vec<Row>) {
    let mut header = header(1);
    header.sources[3].settings = serde_json::json!({"sensors": [SN], "api_url": "https://walk.example.com"});
    header.sources[2].settings = serde_json::json!({"transport": "mqtt", "access_key": ACCESS_KEY,
        "topics": [format!("upload/{ACCESS_KEY}/#")]});
    let rows = rows(&header);
    archive_of(root, &header, &rows)
}

fn wanted(key: &str) -> Wanted {
    Wanted { key: Secret::new(key), time: None, place: None, keep_text: false }
}

/// The rows as they are exported, with what they were.
fn hidden(archive: &Archive, rows: &[Row], wanted: Wanted) -> (Vec<(Row, Row)>, Told) {
    let mut change = Pseudonymize::new(archive, &ScanOptions::default(), wanted).unwrap();
    let pairs = rows.iter().filter_map(|row| Some((row.clone(), change.row(row.clone())?))).collect();
    (pairs, change.told().clone())
}

fn text(row: &Row) -> &str {
    std::str::from_utf8(&row.payload).unwrap()
}

#[test]
fn no_format_holds_an_identifier() {
    let dir = quick_dir();
    let (archive, kept) = archive(&dir.path().join("a"));
    let ids = identifiers();
    assert!(ids.len() > 20, "{ids:?}");
    for (name, format) in Format::ALL {
        let file = dir.path().join(format!("out.{name}"));
        let mut change = Pseudonymize::new(&archive, &ScanOptions::default(), wanted(KEY)).unwrap();
        let told = export(&archive, &ScanOptions::default(), format, &file, &mut change, &|_, _| ()).unwrap();
        assert_eq!(told.messages as usize, kept.len() - 4, "{name}: {:?}", change.told());
        let mut written = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        if format == Format::Reel {
            let reel = reel::open(&file).unwrap();
            let report = verify(reel.archive(), VerifyOptions::default()).unwrap();
            assert!(report.is_content(), "{report:?}");
            for row in all(reel.archive()) {
                assert_eq!(row.decode_error, None);
                written += &serde_json::to_string(&Envelope::from(&row)).unwrap();
            }
            let session = reel.archive().list().unwrap().remove(0);
            let info = reel.archive().info(session.session_id).unwrap();
            assert!(info.pseudonymized == Some(true) && session.name.starts_with("session-"), "{session:?}");
            written += &serde_json::to_string(&info).unwrap();
        }
        for id in &ids {
            assert!(!written.contains(id.as_str()), "{name} has {id}");
        }
    }
}

#[test]
fn the_same_is_the_same_in_columns_payloads_and_channels() {
    let dir = quick_dir();
    let (archive, kept) = archive(dir.path());
    let (pairs, told) = hidden(&archive, &kept, wanted(KEY));
    let left_out: Vec<_> = told.left_out.iter().map(|(kind, rows)| format!("{kind} {rows}")).collect();
    let expected = ["damoov control 1", "jointech other 1", "pontosense location 1", "sensoro telemetry 1"];
    assert_eq!(left_out, expected);
    let mut devices: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut back: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (old, new) in &pairs {
        assert_eq!(old.device_id.is_some(), new.device_id.is_some(), "{new:?}");
        let (Some(old_id), Some(new_id)) = (&old.device_id, &new.device_id) else { continue };
        devices.entry(old_id).or_default().insert(new_id);
        back.entry(new_id).or_default().insert(old_id);
        if &*old.vendor != "delicode" {
            assert_eq!(
                old.payload.windows(old_id.len()).any(|w| w == old_id.as_bytes()),
                text(new).contains(&**new_id)
            );
            assert_eq!(old.channel.contains(&**old_id), new.channel.contains(&**new_id), "{}", new.channel);
        }
    }
    assert!(
        devices.len() > 6 && devices.values().chain(back.values()).all(|all| all.len() == 1),
        "{devices:?}"
    );
    let sn = devices[SN].first().unwrap();
    let link: Value = serde_json::from_slice(&pairs[0].1.payload).unwrap();
    assert_eq!((&link["sn"], &link["options"]["sensors"][0]), (&Value::from(*sn), &Value::from(*sn)));
    let hook = pairs.iter().find(|(old, _)| old.channel.starts_with("/hooks")).unwrap();
    assert_eq!(
        hook.1.headers.as_deref().unwrap(),
        [("content-type".to_owned(), "application/json".to_owned())]
    );
    let other = hidden(&archive, &kept, wanted("another key, as long")).0;
    let names = |pairs: &[(Row, Row)]| -> BTreeSet<_> {
        pairs
            .iter()
            .filter(|(old, _)| &*old.vendor != "delicode")
            .filter_map(|(_, new)| new.device_id.clone())
            .collect()
    };
    assert!(names(&pairs).is_disjoint(&names(&other)), "another key is another world");
    assert_eq!(hidden(&archive, &kept, wanted(KEY)).0, pairs, "the same key is the same");
}

#[test]
fn no_other_byte_changes() {
    let dir = quick_dir();
    let (archive, kept) = archive(dir.path());
    let (pairs, _) = hidden(&archive, &kept, Wanted { keep_text: true, ..wanted(KEY) });
    let mut names = Names::new(Secret::new(KEY));
    let names: Vec<(String, String)> = identifiers().into_iter().map(|id| (names.name(&id), id)).collect();
    let mut compared = 0;
    for (old, new) in pairs.iter().filter(|(old, _)| &*old.vendor == "jointech") {
        let mut again = text(new).to_owned();
        names.iter().for_each(|(name, id)| again = again.replace(name.as_str(), id));
        // Of a status the vendor promises a member without naming it: it goes. Answers hold words.
        if !matches!(&*old.kind, "status" | "command_response") {
            assert_eq!(again, text(old));
            compared += 1;
        }
    }
    assert_eq!(compared, 8);
    // Text is pseudonyms, unless it is to stay.
    assert!(!pairs.iter().any(|(_, new)| text(new).contains("794308010642")), "numbers in words are names");
    let zones = |pairs: &[(Row, Row)]| pairs.iter().any(|(_, new)| text(new).contains("Bedroom"));
    assert!(zones(&pairs) && !zones(&hidden(&archive, &kept, wanted(KEY)).0));
}

#[test]
fn what_was_encrypted_is_written_in_clear() {
    let dir = quick_dir();
    let (archive, kept) = archive(dir.path());
    let (pairs, _) = hidden(&archive, &kept, wanted(KEY));
    let (old, new) = pairs.iter().find(|(old, _)| old.clear.is_some()).unwrap();
    assert!(text(old).contains("encryptData") && new.clear.is_none());
    let new: Value = serde_json::from_slice(&new.payload).unwrap();
    assert_eq!((new.get("encryptData"), &new["data"]["temperature"]), (None, &Value::from(23.5)));
    assert_ne!(new["data"]["customer"], "0A1B");
}

#[test]
fn times_move_together() {
    let dir = quick_dir();
    let (archive, kept) = archive(dir.path());
    let shift_us = -37 * 86_400_000_000;
    let (pairs, _) = hidden(&archive, &kept, Wanted { time: Some(TimeShift::By(shift_us)), ..wanted(KEY) });
    let mut events = 0;
    for (old, new) in &pairs {
        assert_eq!(new.received_at_us, old.received_at_us + shift_us);
        assert_eq!(new.event_at_us, old.event_at_us.map(|at_us| at_us + shift_us), "{}", text(new));
        assert_eq!((new.seq, new.elapsed_ns), (old.seq, old.elapsed_ns));
        events += usize::from(new.event_at_us.is_some());
    }
    assert!(events > 15);
    let millis = |id: SessionId| id.as_bytes()[..6].iter().fold(0_i64, |n, byte| n << 8 | i64::from(*byte));
    assert_eq!(millis(pairs[0].1.session_id), (START_US + shift_us) / 1_000);
    let (of_key, _) = hidden(&archive, &kept, Wanted { time: Some(TimeShift::OfKey), ..wanted(KEY) });
    let back_us = of_key[0].0.received_at_us - of_key[0].1.received_at_us;
    assert!(back_us >= WEEK_US && back_us % WEEK_US == 0);
}

#[test]
fn a_time_that_cannot_be_moved_goes() {
    let dir = quick_dir();
    let (archive, mut kept) = archive(dir.path());
    kept.retain(|row| {
        &*row.kind == "location" && &*row.vendor == "jointech" && text(row).contains("gpsTime")
    });
    // Beyond the last year that four digits can say.
    let shift = |years: i64| TimeShift::By(years * 366 * 86_400_000_000);
    for (years, dropped) in [(-3_000, true), (20, false)] {
        let (pairs, told) = hidden(&archive, &kept, Wanted { time: Some(shift(years)), ..wanted(KEY) });
        assert_eq!((told.dropped_times > 0, pairs.is_empty()), (dropped, false), "{told:?}");
        for (old, new) in &pairs {
            assert_eq!(new.event_at_us.is_none(), dropped || old.event_at_us.is_none(), "{}", text(new));
            for word in text(old).split('"').filter(|word| word.len() >= 19 && word.starts_with("20")) {
                assert!(!text(new).contains(word), "{word} is in {}", text(new));
            }
        }
    }
}

#[test]
fn nothing_in_a_reel_says_when_it_was_made() {
    let dir = quick_dir();
    let (archive, kept) = archive(&dir.path().join("a"));
    let shift_us = -37 * 86_400_000_000;
    // With others between them, of which the manifest says that they were left out.
    let vendors = vec!["delicode".to_owned(), "jointech".to_owned()];
    let options =
        ScanOptions { selection: Selection { vendors, ..Selection::default() }, ..ScanOptions::default() };
    let write = |name: &str| {
        let file = dir.path().join(name);
        let wanted = Wanted { time: Some(TimeShift::By(shift_us)), ..wanted(KEY) };
        let mut change = Pseudonymize::new(&archive, &options, wanted).unwrap();
        export(&archive, &options, Format::Reel, &file, &mut change, &|_, _| ()).unwrap();
        file
    };
    let (one, again) = (write("one.reel"), write("again.reel"));
    assert!(std::fs::read(&one).unwrap() == std::fs::read(again).unwrap(), "the same gives the same bytes");
    let end_us = kept.iter().map(|row| row.received_at_us).max().unwrap() + shift_us;
    let reel = reel::open(&one).unwrap();
    let (mut said, mut removed) = (0, false);
    for manifest in std::fs::read_dir(reel.archive().layout().manifests()).unwrap() {
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(manifest.unwrap().path()).unwrap()).unwrap();
        removed |= manifest["removed"].is_array();
        let times = [&manifest["sealed_at"], &manifest["removed"][0]["at"]];
        for time in times.into_iter().filter_map(Value::as_str) {
            assert!(time <= crate::archive::format_us(end_us).as_str(), "{time}");
            said += 1;
        }
    }
    assert!(said > 1 && removed);
}

#[test]
fn places_turn_together() {
    let dir = quick_dir();
    let (archive, kept) = archive(dir.path());
    let turn = PlaceShift::By(Turn::parse("100").unwrap());
    let (pairs, _) = hidden(&archive, &kept, Wanted { place: Some(turn), ..wanted(KEY) });
    let at = |row: &Row, key: &str| {
        let payload: Value = serde_json::from_slice(&row.payload).unwrap();
        payload.get(key).or_else(|| payload["position"].get(key)).and_then(Value::as_f64)
    };
    let mut turned = 0;
    for (old, new) in &pairs {
        for (latitude, longitude) in [("latitude", "longitude"), ("Latitude", "Longitude")] {
            assert_eq!(at(old, latitude), at(new, latitude));
            let (Some(old), Some(new)) = (at(old, longitude), at(new, longitude)) else { continue };
            if old != 0.0 {
                assert!(((new - old).rem_euclid(360.0) - 100.0).abs() < 1e-9, "{old} {new}");
                turned += 1;
            } else if old == 0.0 && new != 0.0 {
                // The vendor without a word for "nowhere".
                assert_eq!(new, 100.0);
            }
        }
    }
    assert!(turned > 8, "{turned}");
    let all: String = pairs.iter().map(|(_, new)| text(new)).collect();
    assert!(
        all.contains(r#""cells":"0,0,0,0""#) && !all.contains("9763,3994"),
        "cells are places, no cell is none"
    );
    assert!(all.contains(r#""lonlat":[-143.602872,39.916527]"#), "{all}");
}

#[test]
fn a_reel_comes_in_as_a_session_that_says_so() {
    let dir = quick_dir();
    let (archive, _) = archive(&dir.path().join("a"));
    let file = dir.path().join("out.reel");
    let mut change = Pseudonymize::new(&archive, &ScanOptions::default(), wanted(KEY)).unwrap();
    export(&archive, &ScanOptions::default(), Format::Reel, &file, &mut change, &|_, _| ()).unwrap();
    let back = Archive::create_or_open(dir.path().join("b"), "").unwrap();
    let planned = crate::exchange::import::plan(&file, Default::default(), &|_, _| ()).unwrap();
    planned.take(&back, &|_, _| ()).unwrap();
    assert_clean(&back);
    let session = back.list().unwrap().remove(0);
    assert_eq!(back.info(session.session_id).unwrap().pseudonymized, Some(true));
    assert_eq!(all(&back), all(reel::open(&file).unwrap().archive()));
}

#[test]
fn hostile_link_rows_and_channels_name_nobody() {
    let settings = serde_json::json!({
        "transport": "mqtt", "path": "/hooks", "access_key": ACCESS_KEY, "topics": ["upload/{access_key}/#", "$SYS/#"],
    });
    let words = Words::new(&settings, true);
    let right = [
        format!(
            r#"{{"event":"connecting","connection":0,"options":{{"access_key":"{ACCESS_KEY}","qos":1}}}}"#
        ),
        format!(
            r#"{{"event":"disconnected","reason":"gone","first_at":"2026-03-01T14:00:00Z","sensors":["{SN}"]}}"#
        ),
    ];
    let more = ["options", "topics", "last_at", "timezone", "upload/", "{access_key}", "%41", "?a=b&c"];
    crate::fuzz::Target::new("link_rows").inputs(right).words(&more).memory(2 << 20, 512).run(|payload| {
        let mut names = Names::new(Secret::new(KEY));
        let channel = String::from_utf8_lossy(payload);
        let hidden = words.channel(&channel, &mut names);
        assert!(!hidden.contains(ACCESS_KEY) && hidden.len() <= 64 + 64 * channel.len());
        for shift_us in [0, -86_400_000_000, i64::MIN, i64::MAX] {
            let Some(shown) = settings::link(payload, &words, &mut names, shift_us) else { return false };
            let shown = String::from_utf8(shown).unwrap();
            assert!(serde_json::from_str::<Value>(&shown).is_ok(), "{shown}");
            assert!(!shown.contains(ACCESS_KEY) && !shown.contains(SN), "{shown}");
        }
        true
    });
}
