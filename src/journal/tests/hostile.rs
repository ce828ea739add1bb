//! Parts of any bytes: each of them is given out, or told as lost, or as the torn tail.

use super::*;
use crate::fuzz::{Target, assert_words};
use crate::journal::format::{FILE_HEAD_BYTES, MARKER, RECORD_HEAD_BYTES, file_header_crc, salt};

/// A part with everything that a record can hold.
fn part(synced: bool) -> Vec<u8> {
    let mut rig = Rig::new(options());
    let sync = || if synced { Sync::Now } else { Sync::Later };
    let full = Message {
        mqtt: Some(crate::message::Mqtt { qos: 1, retain: true, dup: false }),
        headers: Some(vec![("accept".into(), "*/*".into()), ("x-n".into(), String::new())]),
        duplicate_of: Some(1),
        clear: Some(Bytes::from_static(b"{\"clear\": 1}")),
        is_binary: true,
        ..message("{\"sealed\": 2}")
    };
    for message in [message("{}"), full, message("three"), message(vec![0xF5; 70])] {
        rig.handle.try_append(message, sync()).unwrap();
        rig.turn();
    }
    rig.close();
    rig.disk.read(&rig.closed.recv().unwrap()).unwrap().to_vec()
}

/// Makes all checksums right.
fn sum(bytes: &mut [u8]) {
    let Some(head) = bytes.first_chunk::<FILE_HEAD_BYTES>().copied() else { return };
    let json_bytes = u32::from_le_bytes([head[12], head[13], head[14], head[15]]) as usize;
    let Some(json) = bytes.get(FILE_HEAD_BYTES..).and_then(|rest| rest.get(..json_bytes)) else { return };
    let crc = file_header_crc(&head, json);
    let header = serde_json::from_slice::<PartHeader>(json).ok();
    let salt = header.map_or(salt(session(0).session_id, 0), |h| salt(h.session.session_id, h.part));
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    for at in 0..bytes.len().saturating_sub(RECORD_HEAD_BYTES) {
        if bytes[at..at + 4] != MARKER {
            continue;
        }
        let (head, rest) = bytes[at..].split_at_mut(RECORD_HEAD_BYTES);
        let body_bytes = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let Some(body) = rest.get(..body_bytes) else { continue };
        head[12..16].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        let mut hasher = crc32fast::Hasher::new_with_initial(salt);
        hasher.update(&head[8..]);
        head[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
}

/// How long a record is, by what is given out of it.
fn length(record: &RecordRef<'_>) -> u64 {
    let headers = record.headers.map_or(0, |headers| {
        assert_eq!(headers.iter().count(), headers.len());
        8 + headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum::<usize>()
    });
    let others = record.duplicate_of.map_or(0, |_| 8) + record.clear.map_or(0, |clear| 4 + clear.len());
    (RECORD_HEAD_BYTES + record.channel.len() + headers + others + record.payload.len()) as u64
}

fn accounts_for_every_byte(bytes: &[u8]) -> bool {
    let mut reader = match open_bytes(bytes) {
        Ok(reader) => reader,
        Err(error) => {
            assert_words(&error.to_string(), bytes.len());
            return false;
        }
    };
    let mut told = FILE_HEAD_BYTES as u64 + u64::from(u32::from_le_bytes(bytes[12..16].try_into().unwrap()));
    let mut next = reader.header().first_seq;
    while let Some(record) = reader.next().unwrap() {
        assert!(record.seq >= next, "{} comes after {next}", record.seq);
        next = record.seq.saturating_add(1);
        told += length(&record);
    }
    assert!(reader.next().unwrap().is_none(), "the end is for good");
    match reader.end() {
        PartEnd::Clean => {}
        PartEnd::TornTail { offset, bytes } => {
            assert_eq!(offset, told);
            told += bytes;
        }
        PartEnd::Damaged { ranges, lost_bytes, lost_messages, promised_messages, torn_tail } => {
            assert!(promised_messages <= lost_messages);
            assert!(ranges.iter().is_sorted_by_key(|range| range.bytes.start));
            told += lost_bytes + torn_tail.map_or(0, |tail| tail.end - tail.start);
        }
    }
    assert_eq!(told, bytes.len() as u64, "bytes that nothing is said of");
    true
}

#[test]
fn hostile_journals_are_accounted_for_to_the_byte() {
    Target::new("journal")
        .inputs([part(true), part(false)])
        .words(&["first_seq", "part", "session_id", "\"sources\":[]"])
        .memory(3 << 20, 32)
        .mend(sum)
        .run(accounts_for_every_byte);
}
