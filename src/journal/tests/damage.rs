//! A test per kind of damage, and one for each byte.

use std::ops::Range;

use proptest::prelude::*;

use super::*;

/// A part of records `0`, `1`, … and where each of them lies.
struct Sample {
    bytes: Vec<u8>,
    records: Vec<Range<usize>>,
}

impl Sample {
    /// `synced` says whether each record is synced before the next one is written.
    fn new(count: usize, synced: bool) -> Self {
        let mut rig = Rig::new(options());
        for n in 0..count {
            rig.handle
                .try_append(message(n.to_string()), if synced { Sync::Now } else { Sync::Later })
                .unwrap();
            rig.turn();
        }
        rig.close();
        let bytes = rig.disk.read(&rig.closed.recv().unwrap()).unwrap().to_vec();
        let mut at = 20 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let record = |n: usize| {
            let from = at;
            at += 60 + 14 + n.to_string().len();
            from..at
        };
        let records: Vec<_> = (0..count).map(record).collect();
        assert_eq!(records.last().unwrap().end, bytes.len());
        Self { bytes, records }
    }

    fn header_bytes(&self) -> usize {
        self.records[0].start
    }
}

fn read_bytes(bytes: &[u8]) -> (Vec<u64>, PartEnd) {
    let mut reader = open_bytes(bytes).unwrap();
    let records = drain(&mut reader);
    for record in &records {
        assert_eq!(record.message.payload, record.seq.to_string(), "a changed record was given out");
    }
    (records.iter().map(|r| r.seq).collect(), reader.end())
}

fn lost(bytes: Range<usize>, seqs: Range<u64>, promised_messages: u64) -> PartEnd {
    let bytes = bytes.start as u64..bytes.end as u64;
    PartEnd::Damaged {
        lost_bytes: bytes.end - bytes.start,
        lost_messages: seqs.end - seqs.start,
        promised_messages,
        ranges: vec![Damage { bytes, seqs }],
        torn_tail: None,
    }
}

#[test]
fn a_file_cut_at_any_byte_keeps_the_records_before() {
    let sample = Sample::new(12, true);
    for len in sample.header_bytes()..=sample.bytes.len() {
        let whole = sample.records.iter().filter(|r| r.end <= len).count();
        let whole_bytes = sample.records[..whole].last().map_or(sample.header_bytes(), |r| r.end);
        let (seqs, end) = read_bytes(&sample.bytes[..len]);
        assert!(seqs.iter().copied().eq(0..whole as u64), "cut at {len}");
        let expected = match len - whole_bytes {
            0 => PartEnd::Clean,
            bytes => PartEnd::TornTail { offset: whole_bytes as u64, bytes: bytes as u64 },
        };
        assert_eq!(end, expected, "cut at {len}");
    }
}

#[test]
fn a_header_cut_at_any_byte_is_torn() {
    let sample = Sample::new(1, true);
    for len in 0..sample.header_bytes() {
        let error = open_bytes(&sample.bytes[..len]).unwrap_err();
        let bytes = len as u64;
        assert!(
            matches!(error, JournalError::HeaderTorn { bytes: b, .. } if b == bytes),
            "cut at {len}: {error}"
        );
    }
    assert!(matches!(open_bytes(&[0; 5_000]), Err(JournalError::HeaderTorn { bytes: 5_000, .. })));
}

#[test]
fn any_changed_byte_costs_its_own_record_only() {
    let sample = Sample::new(12, true);
    for at in 0..sample.bytes.len() {
        let mut bytes = sample.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let Some(hit) = sample.records.iter().position(|r| r.contains(&at)) else {
            let error = open_bytes(&bytes).unwrap_err();
            let first = sample.header_bytes() as u64;
            let told =
                matches!(error, JournalError::HeaderDamaged { first_record, .. } if first_record == first);
            assert!(told, "byte {at}: {error}");
            continue;
        };
        let (seqs, end) = read_bytes(&bytes);
        let hit_seq = hit as u64;
        assert!(seqs.iter().copied().eq((0..12).filter(|seq| *seq != hit_seq)), "byte {at}: {seqs:?}");
        let range = sample.records[hit].clone();
        let expected = if hit == 11 {
            PartEnd::TornTail { offset: range.start as u64, bytes: range.len() as u64 }
        } else {
            lost(range, hit_seq..hit_seq + 1, 1)
        };
        assert_eq!(end, expected, "byte {at}");
    }
}

#[test]
fn a_part_is_readable_with_the_header_of_another() {
    let mut rig = Rig::new(options());
    rig.later("0");
    rig.later("1");
    rig.close();
    let path = rig.closed.recv().unwrap();
    assert!(rig.disk.corrupt(&path, 30, 0xFF));
    let Err(JournalError::HeaderDamaged { first_record, .. }) = PartReader::open(&rig.disk, &path) else {
        panic!("the header is damaged");
    };
    let header = PartHeader { session: session(0), part: 0, first_seq: 0 };
    let mended = Path::new(DIR).join("mended");
    write_with_header(&rig.disk, (&path, first_record), &header, &mended).unwrap();
    let mut reader = PartReader::open(&rig.disk, &mended).unwrap();
    assert_eq!(payloads(&drain(&mut reader)), ["0", "1"]);
    assert_eq!((reader.header(), reader.end()), (&header, PartEnd::Clean));
}

#[test]
fn a_zeroed_stretch_is_counted_and_passed() {
    let sample = Sample::new(12, true);
    let mut bytes = sample.bytes.clone();
    let hole = sample.records[3].start + 7..sample.records[6].start + 1;
    bytes[hole].fill(0);
    let (seqs, end) = read_bytes(&bytes);
    assert_eq!(seqs, [0, 1, 2, 7, 8, 9, 10, 11]);
    assert_eq!(end, lost(sample.records[3].start..sample.records[7].start, 3..7, 4));
}

#[test]
fn a_hole_that_was_never_synced_broke_no_promise() {
    let sample = Sample::new(12, false);
    let mut bytes = sample.bytes.clone();
    bytes[sample.records[4].clone()].fill(0);
    assert_eq!(read_bytes(&bytes).1, lost(sample.records[4].clone(), 4..5, 0));
}

#[test]
fn records_missing_without_a_trace_are_counted() {
    let sample = Sample::new(12, true);
    let mut bytes = sample.bytes.clone();
    let from = sample.records[3].start;
    bytes.drain(from..sample.records[6].end);
    let (seqs, end) = read_bytes(&bytes);
    assert_eq!(seqs, [0, 1, 2, 7, 8, 9, 10, 11]);
    assert_eq!(end, lost(from..from, 3..7, 4));
}

#[test]
fn a_record_that_comes_twice_is_given_out_once() {
    let sample = Sample::new(4, true);
    let mut bytes = sample.bytes.clone();
    let copy = bytes[sample.records[1].clone()].to_vec();
    let at = sample.records[2].end;
    bytes.splice(at..at, copy.iter().copied());
    let (seqs, end) = read_bytes(&bytes);
    assert_eq!(seqs, [0, 1, 2, 3]);
    assert_eq!(end, lost(at..at + copy.len(), 3..3, 0));
}

#[test]
fn damage_and_a_torn_tail_are_both_told() {
    let sample = Sample::new(6, true);
    let mut bytes = sample.bytes[..sample.records[5].end - 1].to_vec();
    bytes[sample.records[2].end - 1] ^= 0x10;
    let (seqs, end) = read_bytes(&bytes);
    assert_eq!(seqs, [0, 1, 3, 4]);
    let tail = sample.records[5].start as u64..bytes.len() as u64;
    assert!(matches!(end, PartEnd::Damaged { lost_messages: 1, torn_tail: Some(t), .. } if t == tail));
}

#[test]
fn records_of_another_part_are_not_taken_for_ones_of_this() {
    let mut rig = Rig::new(JournalOptions { part_max_bytes: 1, ..options() });
    rig.later("mine");
    rig.later("of the next part");
    rig.close();
    let mut parts = rig.closed.try_iter().map(|path| rig.disk.read(&path).unwrap().to_vec());
    let (mut mine, other) = (parts.next().unwrap(), parts.next().unwrap());
    let whole = mine.len() as u64;
    mine.extend(&other);
    let mut reader = open_bytes(&mine).unwrap();
    assert_eq!(payloads(&drain(&mut reader)), ["mine"]);
    assert_eq!(reader.end(), PartEnd::TornTail { offset: whole, bytes: other.len() as u64 });
}

#[test]
fn a_journal_sent_as_a_payload_is_no_records_of_ours() {
    let inner = Sample::new(3, true).bytes;
    let mut rig = Rig::new(JournalOptions { part_max_bytes: 1, ..options() });
    rig.later("first part");
    rig.handle.try_append(message(inner), Sync::Later).unwrap();
    rig.close();
    let path = rig.closed.try_iter().last().unwrap();
    // With its head damaged, the reader has to search through the payload.
    let record = rig.disk.read(&path).unwrap().windows(4).position(|w| w == b"\xF5rec").unwrap();
    assert!(rig.disk.corrupt(&path, record as u64 + 20, 0xFF));
    assert!(matches!(read(&rig.disk, &path), (records, PartEnd::TornTail { .. }) if records.is_empty()));
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let mut bytes = Sample::new(1, true).bytes;
    bytes[8] = 2;
    let json_end = 20 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let crc = crc32fast::hash(&[&bytes[..16], &bytes[20..json_end]].concat());
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(open_bytes(&bytes), Err(JournalError::NewerFormat { found: 2, known: 1, .. })));
}

fn survives(bytes: &[u8]) {
    if let Ok(mut reader) = open_bytes(bytes) {
        let records = drain(&mut reader);
        assert!(records.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        reader.end();
    }
}

/// What is done to a part: bytes put somewhere in place of others.
fn any_edit() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    let fill = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        Just(b"\xF5rec".to_vec()),
        Just(vec![0xF5; 70]),
        Just(vec![0xFF; 4]),
        (0..200usize).prop_map(|n| vec![0; n]),
    ];
    (any::<prop::sample::Index>(), 0..200usize, fill)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_edits_change_what_is_given_out(edits in prop::collection::vec(any_edit(), 1..5), synced: bool) {
        let sample = Sample::new(12, synced);
        let mut bytes = sample.bytes[sample.header_bytes()..].to_vec();
        for (at, len, fill) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + len).min(bytes.len());
            bytes.splice(at..end, fill);
        }
        read_bytes(&[&sample.bytes[..sample.header_bytes()], &bytes].concat());
    }

    /// Right checksums over nonsense: nothing but the layout can refuse it.
    #[test]
    fn no_body_with_right_sums_makes_the_reader_panic(
        body in prop::collection::vec(any::<u8>(), 0..300),
        flags: u16,
        channel_len in prop_oneof![0..400u32, any::<u32>()],
    ) {
        let sample = Sample::new(1, true);
        let mut head = vec![0; 60];
        head[..4].copy_from_slice(b"\xF5rec");
        head[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
        head[12..16].copy_from_slice(&crc32fast::hash(&body).to_le_bytes());
        head[16..24].copy_from_slice(&1u64.to_le_bytes());
        head[48..50].copy_from_slice(&(flags & 0x1FF).to_le_bytes());
        head[52..56].copy_from_slice(&channel_len.to_le_bytes());
        let salted = [session(0).session_id.as_bytes().as_slice(), &[0; 4], &head[8..]].concat();
        head[4..8].copy_from_slice(&crc32fast::hash(&salted).to_le_bytes());
        survives(&[&sample.bytes[..], &head, &body].concat());
    }
}

#[test]
fn a_lying_length_makes_nobody_allocate() {
    let sample = Sample::new(1, true);
    let mut head = sample.bytes[sample.records[0].clone()][..60].to_vec();
    head[8..12].copy_from_slice(&(MAX_BODY_BYTES as u32).to_le_bytes());
    head[16] = 1;
    let salted = [session(0).session_id.as_bytes().as_slice(), &[0; 4], &head[8..]].concat();
    head[4..8].copy_from_slice(&crc32fast::hash(&salted).to_le_bytes());
    let mut reader = open_bytes(&[&sample.bytes[..], &head].concat()).unwrap();
    drain(&mut reader);
    assert!(reader.buffer_bytes() <= 1 << 20, "{} bytes", reader.buffer_bytes());
}
