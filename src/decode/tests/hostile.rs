//! Any payload under any declaration, and declarations of any text.

use super::*;
use crate::fuzz::{Target, assert_words, fixtures, lines_of};

/// Declarations of all built-in kinds, and one with every rule there is.
fn declared() -> Vec<String> {
    let builtin = vendors().iter().flat_map(|vendor| builtin(vendor).unwrap());
    builtin.map(|(_, text)| (*text).to_owned()).collect()
}

/// What vendors send.
fn payloads() -> Vec<Vec<u8>> {
    let folders = ["damoov", "delicode", "jointech", "jointech/webhook", "pontosense", "sensoro"];
    let files: Vec<_> = folders.into_iter().flat_map(fixtures).collect();
    let lines = lines_of(&files);
    files.into_iter().chain(lines).filter(|payload| payload.len() < 4_096).collect()
}

const WORDS: [&str; 24] = [
    "assetId",
    "longitude",
    "latitude",
    "gpsTime",
    "statusJson",
    "expandInfo",
    "subInfo",
    "content",
    "cells",
    "targets",
    "position",
    "data",
    "encryptData",
    "\\\"",
    "\\\\\\\"",
    "\"{",
    "}\"",
    "2024-02-13T16:33:00Z",
    "20240213163300",
    "1640995200",
    "1640995200000",
    "x:1;y:2;z:3",
    "\"null\"",
    "21000.0",
];

/// Everything that is not inside a text or a number: an edit of values leaves it as it is.
fn shape(json: &[u8]) -> Vec<u8> {
    let (mut shape, mut rest) = (Vec::new(), json);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => {
                let mut escaped = false;
                let end = rest.iter().position(|byte| match (escaped, byte) {
                    (false, b'"') => true,
                    (was, byte) => {
                        escaped = !was && *byte == b'\\';
                        false
                    }
                });
                rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
                shape.push(b's');
            }
            b'0'..=b'9' | b'-' => {
                let is_of = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                rest = &rest[rest.iter().take_while(|byte| is_of(byte)).count()..];
                shape.push(b'n');
            }
            other => shape.push(other),
        }
    }
    shape
}

/// Shows texts under another name, and numbers as they are.
struct Renamed;

impl Mask for Renamed {
    fn value(&mut self, field: &Field, _: &str, is_number: bool) -> Shown {
        match field.role {
            Role::Identifier if is_number => Shown::Instead("7".into()),
            Role::Identifier => Shown::Instead("SOMEBODY".into()),
            Role::Text => Shown::Nothing,
            _ => Shown::AsIs,
        }
    }

    fn key(&mut self, _: &str) -> Shown {
        Shown::Instead("KEY".into())
    }

    fn dropped(&mut self) {}
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

fn holds(body: &[u8]) -> bool {
    let was_json = is_json(body);
    let mut is_read = false;
    for declaration in &*ALL {
        let mut decoder = Decoder::new(Some(declaration));
        let decoded = decoder.push("upload/K/1/location", body);
        if let Some(error) = decoded.error {
            assert!(error.len() <= 1_024, "{} bytes of words: {error}", error.len());
        } else {
            is_read = true;
        }
        assert!(decoded.device_id.is_none_or(|id| id.len() <= 64 + body.len()));
        decoder.push_decrypted("/hooks", body, Some(body));
        let schema = Arc::new(Schema::new(declaration.arrow_fields()));
        let batch = RecordBatch::try_new(schema, decoder.finish()).unwrap();
        assert_eq!(batch.num_rows(), 2);

        declaration.matches("/hooks", body);
        let mut known = KnownPaths::default();
        known.add(declaration);
        // Not in what is deeper than a parser goes, nor where a number is none.
        let is_known = known.unknown_of(body, None).is_some();
        assert!(is_known || serde_json::from_slice::<serde_json::Value>(body).is_err());
        assert!(was_json || !is_known);
        if let Some(mut reader) = StateKeyReader::new(declaration, declaration.state_key()) {
            reader.read(Some("d"), body, None, &mut Vec::new());
        }
        if let Some(mut rebase) = Rebase::new(std::slice::from_ref(declaration)) {
            rebase.event_at_us(body, Some(body));
            for shift_us in [1, -86_400_000_000, i64::MAX, i64::MIN] {
                if let Some(moved) = rebase.payload(body, shift_us) {
                    assert!(was_json && is_json(&moved), "{}", moved.escape_ascii());
                    assert_eq!(
                        shape(&moved).escape_ascii().to_string(),
                        shape(body).escape_ascii().to_string()
                    );
                }
            }
        }
        if let Some(shown) = Conceal::new(declaration).and_then(|mut c| c.message(body, None, &mut Renamed)) {
            assert!(was_json && is_json(&shown), "{} of {}", shown.escape_ascii(), body.escape_ascii());
            assert!(shown.len() <= 64 + 8 * body.len());
        }
    }
    is_read && was_json
}

#[test]
fn hostile_payloads_are_decoded_moved_and_concealed_whole_or_not_at_all() {
    let target = Target::new("payloads").cases(150).inputs(payloads()).words(&WORDS);
    target.memory(8 << 20, 1_024).run(holds);
}

#[test]
fn hostile_declarations_are_read_or_refused_in_words() {
    let payload = fixtures("jointech/webhook").remove(0);
    let words = [
        "[[field]]",
        "[[kind]]",
        "kind = ",
        "type = \"int32\"",
        "type = \"structs\"",
        "time = \"any\"",
        "path = ",
        "paths = [",
        "id = 100",
        "unit = \"km/h\"",
        "role = \"time\"",
        "match = ",
        "event_at = ",
        "state_key = ",
        "codes = ",
        "split = ",
        "a.b",
        "[]",
        "*",
        "members = [",
        "null_together = ",
        "encrypted = ",
        "\"\"\"",
        "'''",
        "inf",
        "nan",
    ];
    let target = Target::new("declarations").cases(300).inputs(declared()).words(&words);
    target.memory(8 << 20, 2_048).run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let read = match Declaration::parse_all(text, "mine.toml") {
            Ok(read) => read,
            Err(error) => {
                assert_words(&error.to_string(), text.len());
                return false;
            }
        };
        for declaration in &read {
            // What an archive keeps of it says the same.
            let again = Declaration::parse(declaration.text(), "kept.toml").unwrap();
            assert_eq!(again.kind(), declaration.kind());
            assert_eq!(again.arrow_fields(), declaration.arrow_fields());
            let mut decoder = Decoder::new(Some(declaration));
            decoder.push("a/b", &payload);
            let schema = Arc::new(Schema::new(declaration.arrow_fields()));
            assert_eq!(RecordBatch::try_new(schema, decoder.finish()).unwrap().num_rows(), 1);
        }
        !read.is_empty()
    });
}
