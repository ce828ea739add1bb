//! Sessions to seal: of two vendors, all transports, several kinds and days.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::archive::{Archive, ScanOptions, scan, seal};
use crate::clock::{Clock, ManualClock, Now};
use crate::disk::Disk;
use crate::journal::{JournalOptions, Sync, start};
use crate::message::{COMMON_KINDS, KindHeader, Message, Mqtt, Row, SessionHeader, SessionId, SourceHeader};

/// 2026-11-22T23:59:50Z: ten seconds before a new date folder.
pub(crate) const START_US: i64 = 1_795_391_990_000_000;

pub(super) const LOCATION: &str = r#"{"assetId":"8200123456","longitude":24.9384,"latitude":60.1699,"speed":36,"direction":90,"mileage":12,"gpsTime":"2026-11-22T23:59:49Z","recvTime":"2026-11-22T23:59:50.123Z","locType":1,"battery":77,"voltage":"3.9","statusJson":"{\"lockRope\":0,\"lockStatus\":1}"}"#;
const ALARM: &str = r#"{"assetId":"8200123456","alarmType":40,"dateTime":"2026-11-22T23:59:51Z","longitude":24.9,"latitude":60.1,"speed":0,"mileage":12,"describe":""}"#;
pub(super) const POSITION: &str = r#"{"type":"realtime_person_position","person_id":7,"location_id":1,"position":{"x":-150.5,"y":320},"confidence":0.9}"#;

pub(crate) fn header(n: u8) -> SessionHeader {
    SessionHeader {
        session_id: SessionId::new(START_US + i64::from(n), [n; 10]),
        name: "walk".into(),
        site: "home-12".into(),
        started_at_us: START_US,
        sources: vec![source("shop", "delicode"), source("locks", "jointech")],
    }
}

fn source(name: &str, vendor: &str) -> SourceHeader {
    let own = crate::decode::builtin(vendor).unwrap().iter();
    let own = own.map(|(name, text)| KindHeader { name: (*name).into(), declaration: Some((*text).into()) });
    let common = COMMON_KINDS.iter().map(|name| KindHeader { name: (*name).into(), declaration: None });
    SourceHeader {
        name: name.into(),
        vendor: vendor.into(),
        kinds: own.chain(common).collect(),
        settings: serde_json::json!({"locations": [1]}),
    }
}

pub(super) fn kind(header: &SessionHeader, source: u16, name: &str) -> u16 {
    header.sources[usize::from(source)].kinds.iter().position(|k| k.name == name).unwrap() as u16
}

pub(crate) fn message(
    header: &SessionHeader,
    source: u16,
    name: &str,
    at_ms: u64,
    payload: impl Into<Bytes>,
) -> Message {
    Message {
        source,
        kind: kind(header, source, name),
        connection: 0,
        at: at(at_ms),
        channel: if name == "link" { "link".into() } else { "/websocket_realtime".into() },
        mqtt: None,
        is_binary: false,
        headers: None,
        duplicate_of: None,
        payload: payload.into(),
        clear: None,
    }
}

pub(crate) fn at(ms: u64) -> Now {
    Now { wall_us: START_US + ms as i64 * 1_000, steady_ns: 1_000_000_000 + ms * 1_000_000 }
}

/// `n` messages, one each 100 ms: every kind of value, over midnight from the 100th on.
pub(super) fn messages(header: &SessionHeader, n: u64) -> Vec<Message> {
    (0..n)
        .map(|i| {
            let ms = i * 100;
            match i % 6 {
                0 => message(header, 0, "person_position", ms, POSITION),
                1 => Message {
                    channel: "upload/AK/8200123456/location".into(),
                    mqtt: Some(Mqtt { qos: 1, retain: i % 4 == 1, dup: i % 4 == 3 }),
                    ..message(header, 1, "location", ms, LOCATION)
                },
                2 => Message {
                    channel: "/hooks/locks?x=1".into(),
                    headers: Some(vec![("accept".into(), "*/*".into()), ("x-n".into(), i.to_string())]),
                    connection: 0,
                    ..message(header, 1, "alarm", ms, ALARM)
                },
                3 => {
                    let event = if i % 12 == 3 { "disconnected" } else { "connected" };
                    let payload = format!(r#"{{"event":"{event}","connection":{i},"reason":"because"}}"#);
                    message(header, 0, "link", ms, payload)
                }
                4 => Message {
                    is_binary: true,
                    clear: Some(Bytes::from_static(b"{\"clear\": true}")),
                    ..message(header, 0, "other", ms, vec![0xFF, 0x00, i as u8])
                },
                _ => Message {
                    // Of the message four places before it; a journal's first ticket is 1.
                    duplicate_of: Some(i - 4 + 1),
                    ..message(header, 1, "location", ms, &b"{\"assetId\": -0.0"[..])
                },
            }
        })
        .collect()
}

/// Runs `messages` through a journal into parts of at most `records_max_bytes` besides their headers
/// (which hold all declarations), and returns those.
pub(crate) fn record(
    disk: &Arc<dyn Disk>,
    archive: &Archive,
    header: &SessionHeader,
    messages: &[Message],
    records_max_bytes: u64,
) -> Vec<PathBuf> {
    let clock = Clock::Manual(Arc::new(ManualClock::at(at(0))));
    let options = JournalOptions {
        dir: archive.layout().journal(),
        sync_interval: Duration::ZERO,
        part_max_bytes: records_max_bytes + serde_json::to_vec(header).unwrap().len() as u64,
        part_max_age: Duration::from_secs(3_600),
        queue_max_bytes: 256 << 20,
        min_free_disk: 0,
    };
    let (mut journal, handle) =
        start(Arc::clone(disk), clock, options, header.clone(), at(0).steady_ns).unwrap();
    let closed = journal.closed_parts().unwrap();
    for message in messages {
        handle.try_append(message.clone(), Sync::Later).unwrap();
    }
    journal.close().unwrap();
    closed.iter().collect()
}

/// An archive with one sealed and ended session of `n` messages in parts of about 10 KB.
pub(super) fn sealed(root: &Path, n: u64) -> (Archive, SessionHeader, Vec<Message>) {
    let archive = Archive::create_or_open(root, "home-12").unwrap();
    let (header, messages) = add_session(&archive, 1, n);
    (archive, header, messages)
}

pub(super) fn add_session(archive: &Archive, id: u8, n: u64) -> (SessionHeader, Vec<Message>) {
    let mut header = header(id);
    archive.begin_session(&mut header).unwrap();
    let messages = messages(&header, n);
    for part in record(archive.disk(), archive, &header, &messages, 10_000) {
        seal(archive, &part).unwrap();
    }
    archive.end_session(header.session_id, START_US + n as i64 * 100_000).unwrap();
    (header, messages)
}

/// A folder in memory where there is such a place: tests that sync thousands of times finish sooner.
pub(crate) fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) fn rows(archive: &Archive, options: &ScanOptions) -> Vec<Row> {
    scan(archive, options).unwrap().map(Result::unwrap).collect()
}

/// Asserts that the rows are exactly these messages, in order, without gaps in `seq`.
pub(super) fn assert_same(header: &SessionHeader, rows: &[Row], messages: &[Message]) {
    assert_eq!(rows.len(), messages.len());
    for (seq, (row, message)) in rows.iter().zip(messages).enumerate() {
        let source = &header.sources[usize::from(message.source)];
        assert_eq!(row.seq, seq as u64);
        assert_eq!(*row.vendor, *source.vendor);
        assert_eq!(*row.kind, *source.kinds[usize::from(message.kind)].name);
        assert_eq!((&*row.source, &*row.site), (&*source.name, &*header.site));
        assert_eq!(row.session_id, header.session_id);
        assert_eq!(row.connection, message.connection as i32);
        assert_eq!(row.received_at_us, message.at.wall_us);
        assert_eq!(row.elapsed_ns, message.at.steady_ns - at(0).steady_ns);
        assert_eq!(row.channel, message.channel);
        assert_eq!(row.mqtt, message.mqtt);
        assert_eq!(row.is_binary, message.is_binary);
        assert_eq!(row.headers, message.headers);
        assert_eq!(row.duplicate_of, message.duplicate_of.map(|ticket| ticket - 1));
        assert_eq!(row.payload, message.payload);
        assert_eq!(row.clear, message.clear);
    }
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
