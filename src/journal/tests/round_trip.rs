//! What goes in comes out, and lies on the disk as the essay says.

use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::message::Mqtt;

fn write_and_read(messages: &[Message]) -> Vec<Record> {
    let mut rig =
        Rig::new(JournalOptions { part_max_bytes: u64::MAX, queue_max_bytes: 1 << 30, ..options() });
    for message in messages {
        rig.handle.try_append(message.clone(), Sync::Later).unwrap();
    }
    rig.close();
    let path = rig.closed.recv().unwrap();
    let (records, end) = read(&rig.disk, &path);
    assert_eq!(end, PartEnd::Clean);
    records
}

fn assert_round_trip(messages: &[Message]) {
    let records = write_and_read(messages);
    assert_eq!(records.len(), messages.len());
    for (seq, (record, sent)) in records.iter().zip(messages).enumerate() {
        assert_eq!(record.seq, seq as u64);
        // A ticket is the `seq` of an earlier message plus one, or means nothing here.
        let duplicate_of =
            sent.duplicate_of.and_then(|first| first.checked_sub(1)).filter(|first| *first < seq as u64);
        assert_eq!(record.message, Message { at: record.message.at, duplicate_of, ..sent.clone() });
        assert_eq!(record.message.at.wall_us, sent.at.wall_us);
    }
}

#[test]
fn awkward_messages_come_back_as_they_were() {
    let plain = message("{\"a\": -0.0}");
    let headers = (0..2_000).map(|n| (format!("x-{n}"), "ü, ".repeat(n % 7))).collect::<Headers>();
    assert_round_trip(&[
        plain.clone(),
        message(""),
        message(vec![0xFF, 0xFE, 0x00, 0xF5]),
        message(vec![b'x'; 60 << 10]),
        message(vec![0xA5; 3 << 20]),
        Message { channel: "".into(), ..plain.clone() },
        Message { channel: "ä/".repeat(40_000).into(), ..plain.clone() },
        Message { headers: Some(headers), ..plain.clone() },
        Message { headers: Some(Vec::new()), ..plain.clone() },
        Message { clear: Some(Bytes::new()), ..plain.clone() },
        Message { clear: Some(vec![7; 500].into()), duplicate_of: Some(u64::MAX), ..plain.clone() },
        Message { mqtt: Some(Mqtt { qos: 2, retain: true, dup: true }), ..plain.clone() },
        Message { mqtt: Some(Mqtt { qos: 0, retain: false, dup: false }), ..plain.clone() },
        Message { is_binary: true, source: u16::MAX, kind: u16::MAX, connection: u32::MAX, ..plain.clone() },
        Message { at: Now { wall_us: -1, steady_ns: 0 }, ..plain },
    ]);
}

prop_compose! {
    fn any_message()(
        indices in any::<(u16, u16, u32)>(),
        wall_us in any::<i64>(),
        channel in any::<String>(),
        mqtt in proptest::option::of((0..3u8, any::<bool>(), any::<bool>())),
        is_binary in any::<bool>(),
        headers in proptest::option::of(proptest::collection::vec(any::<(String, String)>(), 0..4)),
        duplicate_of in proptest::option::of(prop_oneof![0..10u64, any::<u64>()]),
        payload in any::<Vec<u8>>(),
        clear in any::<Option<Vec<u8>>>(),
    ) -> Message {
        Message {
            source: indices.0,
            kind: indices.1,
            connection: indices.2,
            at: Now { wall_us, steady_ns: 0 },
            channel: channel.into(),
            mqtt: mqtt.map(|(qos, retain, dup)| Mqtt { qos, retain, dup }),
            is_binary,
            headers,
            duplicate_of,
            payload: payload.into(),
            clear: clear.map(Bytes::from),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_messages_come_back_as_they_were(messages in proptest::collection::vec(any_message(), 0..8)) {
        prop_assume!(!messages.is_empty());
        assert_round_trip(&messages);
    }
}

#[test]
fn a_part_lies_on_the_disk_as_documented() {
    let mut rig = Rig::new(options());
    // Before it, ten that take 75 bytes each.
    let tickets = [(); 10].map(|()| rig.later("x"));
    let mut first = message("payload");
    first.at.steady_ns += 3;
    first.mqtt = Some(Mqtt { qos: 1, retain: true, dup: false });
    first.headers = Some(vec![("k".to_owned(), "vv".to_owned())]);
    first.duplicate_of = Some(tickets[9]);
    first.clear = Some(Bytes::from_static(b"cl"));
    rig.handle.try_append(first, Sync::Later).unwrap();
    rig.later("second");
    rig.close();
    let path = rig.closed.recv().unwrap();
    let id = session(0).session_id;
    assert_eq!(path, Path::new(DIR).join(format!("{id}-000000.journal")));
    let bytes = rig.disk.read(&path).unwrap();

    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(&bytes[..12], b"\x89TRJ\r\n\x1a\n\x01\x00\x00\x00");
    let json_end = 20 + u32_at(12) as usize;
    let json: serde_json::Value = serde_json::from_slice(&bytes[20..json_end]).unwrap();
    assert_eq!(json["part"], 0);
    assert_eq!(json["first_seq"], 0);
    assert_eq!(json["session"]["session_id"], id.to_string());
    assert_eq!(u32_at(16), crc32fast::hash(&[&bytes[..16], &bytes[20..json_end]].concat()));
    let json_end = json_end + 10 * 75;

    let body = [
        b"up/42/location".as_slice(),
        b"\x09\0\0\0\0\0\0\0",
        b"\x0f\0\0\0\x01\0\0\0\x01\0\0\0k\x02\0\0\0vv",
        b"\x02\0\0\0cl",
        b"payload",
    ]
    .concat();
    let mut head = Vec::new();
    head.extend((body.len() as u32).to_le_bytes());
    head.extend(crc32fast::hash(&body).to_le_bytes());
    head.extend(10u64.to_le_bytes());
    head.extend(START.wall_us.to_le_bytes());
    head.extend(3u64.to_le_bytes());
    head.extend(2u32.to_le_bytes());
    head.extend([0, 0, 1, 0]);
    head.extend(0b1_1101_0110u16.to_le_bytes());
    head.extend([0, 0]);
    head.extend(14u32.to_le_bytes());
    head.extend(10u32.to_le_bytes());
    let salted = [id.as_bytes().as_slice(), &[0; 4], &head].concat();
    let record = [b"\xF5rec".as_slice(), &crc32fast::hash(&salted).to_le_bytes(), &head, &body].concat();
    assert_eq!(&bytes[json_end..json_end + record.len()], record);

    let second = json_end + record.len();
    assert_eq!(u32_at(second + 16), 11, "seq");
    assert_eq!(u32_at(second + 56), 11, "the first was not known to be on disk");
    assert_eq!(bytes.len(), second + 60 + 14 + 6);
}

/// A file that hands out a few bytes at a time and is interrupted in between.
struct Dribble {
    bytes: std::io::Cursor<Vec<u8>>,
    calls: usize,
}

impl Read for Dribble {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(3) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let few = out.len().min(1 + self.calls % 11);
        self.bytes.read(&mut out[..few])
    }
}

#[test]
fn short_reads_make_no_difference() {
    let mut rig = Rig::new(options());
    for n in 0..50 {
        rig.later(&"x".repeat(n * 3));
    }
    rig.close();
    let path = rig.closed.recv().unwrap();
    let bytes = rig.disk.read(&path).unwrap().to_vec();
    let dribble = Dribble { bytes: std::io::Cursor::new(bytes), calls: 0 };
    let mut reader = PartReader::read_from(Box::new(dribble), &path).unwrap();
    assert_eq!(drain(&mut reader), read(&rig.disk, &path).0);
}

#[test]
fn part_names_are_read_as_they_are_written() {
    let id = session(3).session_id;
    for part in [0, 7, 999_999, 1_000_000] {
        let path = Path::new("/x").join(part_file_name(id, part));
        assert_eq!(parse_part_file_name(&path), Some((id, part)));
    }
    for other in ["x.journal", "-1.journal", &format!("{id}-1.journal"), &format!("{id}-000001.parquet")] {
        assert_eq!(parse_part_file_name(Path::new(other)), None, "{other}");
    }
}

#[test]
fn a_duplicate_names_an_earlier_message_of_its_own_session() {
    let mut rig = Rig::new(options());
    let first = rig.later("first");
    let again = |ticket| Message { duplicate_of: Some(ticket), ..message("again") };
    rig.handle.try_append(again(first), Sync::Later).unwrap();
    rig.turn();
    rig.handle.roll(session(1), START.steady_ns).unwrap();
    let of_the_session_before = again(first);
    rig.handle.try_append(of_the_session_before, Sync::Later).unwrap();
    let in_the_new = rig.later("first");
    rig.handle.try_append(again(in_the_new), Sync::Later).unwrap();
    rig.close();
    let parts: Vec<_> = rig.closed.try_iter().collect();
    let marks = parts.iter().map(|part| {
        read(&rig.disk, part).0.iter().map(|record| record.message.duplicate_of).collect::<Vec<_>>()
    });
    assert_eq!(marks.collect::<Vec<_>>(), [vec![None, Some(0)], vec![None, None, Some(1)]]);
}
