use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::decode::{Decoder, builtin, vendors};
use crate::player::tests::row;
use crate::vendors::VendorConfig;
use crate::vendors::synthetic::load::{self, Part};

const SECOND_NS: u64 = 1_000_000_000;
const SECOND: i128 = SECOND_NS as i128;
const STARTED_US: i64 = 1_700_000_000_123_456;

fn built_in() -> HashMap<String, HashMap<String, Vec<Declaration>>> {
    let parse =
        |(kind, text): &(&str, &str)| (kind.to_string(), vec![Declaration::parse(text, kind).unwrap()]);
    let of_vendor =
        |vendor: &&str| (vendor.to_string(), builtin(vendor).unwrap().iter().map(parse).collect());
    vendors().iter().map(of_vendor).collect()
}

fn session() -> SessionStart {
    SessionStart { session_id: row(0, 0, "").session_id, started_at_us: STARTED_US }
}

fn mover(to_us: Option<i64>, start: Now, zero_ns: u64) -> Mover {
    let rebasing = Rebasing { to_us, kinds: built_in(), sealers: HashMap::new() };
    let mut mover = Mover::new(&rebasing, &[session()]);
    mover.started(start, zero_ns);
    mover
}

/// A message of Damoov's, received when the steady clock says.
fn position(elapsed_ns: u64, timestamp: &str) -> Row {
    Row {
        vendor: "damoov".into(),
        kind: "device_update".into(),
        received_at_us: STARTED_US + (elapsed_ns / 1_000) as i64,
        event_at_us: Some(7),
        ..row(0, elapsed_ns, &format!("{{\"position\":{{\"Timestamp\":{timestamp}}}}}"))
    }
}

fn text(changed: &Changed) -> &str {
    std::str::from_utf8(&changed.payload).unwrap()
}

#[test]
fn a_message_is_as_old_when_it_leaves_as_when_it_came() {
    let start = Now { wall_us: 1_800_000_000_123_456, steady_ns: 5 };
    let mut now = mover(None, start, 2 * SECOND_NS);
    // The session's third second is the zero, and what the vendor said then was 5.123456 s old.
    let moved = now.moved(&position(2 * SECOND_NS, "1699999997"), 2 * SECOND).unwrap();
    assert_eq!(text(&moved), "{\"position\":{\"Timestamp\":1799999995}}");
    assert_eq!(moved.received_at_us, start.wall_us);
    assert_eq!(moved.event_at_us, Some(1_799_999_995_000_000), "what the payload says");
    // A minute later, and in the second round at another place of the line.
    let later = now.moved(&position(62 * SECOND_NS, "1700000057"), 62 * SECOND).unwrap();
    assert_eq!(text(&later), "{\"position\":{\"Timestamp\":1800000055}}");
    let again = now.moved(&position(2 * SECOND_NS, "1699999997"), 102 * SECOND).unwrap();
    assert_eq!(again.received_at_us, start.wall_us + 100_000_000);
    // What lies before the zero: a fault held the first message back.
    let before = now.moved(&position(SECOND_NS, "1699999997"), SECOND).unwrap();
    assert_eq!(before.received_at_us, start.wall_us - 1_000_000);
    // To a time of the user's, whenever that is.
    let mut fixed = mover(Some(STARTED_US - 86_400_000_000), start, 0);
    let moved = fixed.moved(&position(0, "1699999997"), 0).unwrap();
    assert_eq!(text(&moved), "{\"position\":{\"Timestamp\":1699913597}}");
}

#[test]
fn clocks_that_are_read_one_after_the_other_do_not_shake_times() {
    // A shift of a whole day exactly: one microsecond less, and whole seconds would be one less.
    let mut mover = mover(Some(STARTED_US + 86_400_000_000), Now::default(), 0);
    for noise_us in [-9_000, -1, 0, 1, 9_000] {
        let mut row = position(SECOND_NS + 999, "1700000000");
        row.received_at_us += noise_us;
        let moved = mover.moved(&row, SECOND + 999).unwrap();
        assert_eq!(text(&moved), "{\"position\":{\"Timestamp\":1700086400}}", "{noise_us}");
    }
    // A wall clock that was set is believed: the vendor's clock was not.
    let mut row = position(SECOND_NS, "1700000000");
    row.received_at_us += 5_000_000;
    let moved = mover.moved(&row, SECOND).unwrap();
    assert_eq!(text(&moved), "{\"position\":{\"Timestamp\":1700086395}}");
    assert_eq!(moved.received_at_us, STARTED_US + 86_401_000_000);
}

#[test]
fn what_has_no_times_moves_by_its_receipt_alone() {
    let mut mover = mover(Some(0), Now::default(), 0);
    let unknown = Row { received_at_us: STARTED_US, ..row(0, 0, "{\"position\":{\"Timestamp\":5}}") };
    let moved = mover.moved(&unknown, 3_000).unwrap();
    assert_eq!(moved, Changed { received_at_us: 3, ..Changed::of(&unknown) });
    let none = position(0, "null");
    assert_eq!(mover.moved(&none, 0).unwrap().payload, none.payload);
}

#[test]
fn encrypted_times_are_sealed_afresh_and_alike_in_each_run() {
    let part = Part::all().into_iter().find(|part| part.vendor() == "sensoro").unwrap();
    let credentials = part.credentials().unwrap();
    let VendorConfig::Sensoro(config) = &credentials else { panic!() };
    let cipher = config.app_key.clone().unwrap();
    let (_, telemetry) = builtin("sensoro").unwrap()[0];
    let inside = telemetry.replace("path = \"createdTime\"", "paths = [\"data.at\", \"createdTime\"]");
    let declaration = Declaration::parse(&inside, "test").unwrap();
    let clear = br#"{"at":5,"battery":85}"#;
    let payload = format!(
        r#"{{"type":"text","createdTime":7,"encryptData":"{}","sn":"A"}}"#,
        cipher.seal([1; 16], clear, "123456")
    );
    let row = Row {
        vendor: "sensoro".into(),
        kind: "telemetry".into(),
        clear: Some(Bytes::from_static(clear)),
        ..row(0, 0, &payload)
    };
    let kinds = HashMap::from([("telemetry".to_owned(), vec![declaration])]);
    let sealer = Arc::new(Sealer::of(&credentials).unwrap());
    let with = |sealers: HashMap<String, Arc<Sealer>>| {
        let kinds = HashMap::from([("sensoro".to_owned(), kinds.clone())]);
        let mut mover = Mover::new(&Rebasing { to_us: Some(1_000_000), kinds, sealers }, &[]);
        mover.moved(&row, 0).unwrap()
    };
    let moved = with(HashMap::from([("src".to_owned(), sealer)]));
    let body: serde_json::Value = serde_json::from_slice(&moved.payload).unwrap();
    let opened = cipher.open(body["encryptData"].as_str().unwrap()).unwrap();
    assert_eq!(opened.message, br#"{"at":6,"battery":85}"#);
    assert_eq!(opened.app_id, b"123456");
    assert_eq!((body["createdTime"].as_i64(), body["sn"].as_str()), (Some(8), Some("A")));
    assert_eq!(moved.clear.as_deref(), Some(&opened.message[..]));
    assert_eq!(moved.event_at_us, Some(6_000_000));
    // Without the key, what is in clear moves, and what is not stays as it was.
    let half = with(HashMap::new());
    assert_eq!(text(&half), payload.replace("\"createdTime\":7", "\"createdTime\":8"));
    assert_eq!(half.clear.as_deref(), Some(&clear[..]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    /// What all vendors might send: decoded again, each time is the recorded one plus the shift.
    #[test]
    fn what_is_generated_decodes_to_its_times_plus_the_shift(
        seed: u64,
        shift_s in -1_000_000_000..1_000_000_000_i64,
        rest_us in 0..1_000_000_i64,
    ) {
        let session = session();
        let limit = Some(Duration::from_secs(30));
        let mut decoders: BTreeMap<(String, String), Decoder> = BTreeMap::new();
        for (vendor, kinds) in built_in() {
            for (kind, all) in kinds {
                decoders.insert((vendor.clone(), kind), Decoder::new(all.first()));
            }
        }
        for rest_us in [0, rest_us] {
            let shift_us = shift_s * 1_000_000 + rest_us;
            let [mut mover, mut back] =
                [shift_us, -shift_us].map(|us| mover(Some(STARTED_US + us), Now::default(), 0));
            let mut times = 0;
            for row in load::rows(Part::all(), seed, session.session_id, STARTED_US, limit) {
                let decoder = decoders.get_mut(&(row.vendor.to_string(), row.kind.to_string())).unwrap();
                let moved = mover.moved(&row, row.elapsed_ns.into()).unwrap();
                prop_assert_eq!(moved.received_at_us, row.received_at_us + shift_us);
                let old_us = decoder.push_decrypted(&row.channel, &row.payload, None).event_at_us;
                let new_us = decoder.push_decrypted(&row.channel, &moved.payload, None).event_at_us;
                let Some((old_us, new_us)) = old_us.zip(new_us) else {
                    prop_assert_eq!((old_us, new_us), (None, None));
                    prop_assert_eq!(moved.payload, row.payload);
                    continue;
                };
                times += 1;
                let early_us = old_us + shift_us - new_us;
                prop_assert!((0..=if rest_us == 0 { 0 } else { 999_999 }).contains(&early_us), "{early_us}");
                prop_assert_eq!(moved.event_at_us, Some(new_us));
                if rest_us == 0 {
                    let there = Row { payload: moved.payload, ..row.clone() };
                    prop_assert_eq!(back.moved(&there, row.elapsed_ns.into()).unwrap().payload, row.payload);
                }
            }
            prop_assert!(times > 20, "{times} times");
        }
    }
}
