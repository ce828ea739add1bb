//! The checksum that a small text file holds of itself.
//!
//! One line near its beginning has the word `checksum` and 64 hexadecimal digits: the BLAKE3 of everything that follows
//! that line, to the file's last byte. So any program can check it without knowing what the file is about
//! (`tail -n +3 manifests/X.json | b3sum`), and every byte of the file counts: a number in a manifest that became
//! another number decides which rows are read, and is valid JSON all the same.
//!
//! ```text
//! JSON          {                                 archive.json, manifests, sidecars
//!                 "checksum": "9a0e…",
//! TOML          # checksum: 9a0e…                 declarations
//! SQL           -- checksum: 9a0e…                views
//! Markdown      <!-- checksum: 9a0e… -->          README.md, questions
//! ```
//!
//! A file without such a line was written by an early version, or by hand, and is taken as it is. A line that is there
//! and damaged is not taken for one that is not there: what stands in the place of its digits tells.

/// How a file says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Toml,
    Sql,
    Markdown,
}

/// The length of the digits.
const DIGITS: usize = 64;

/// So many digits where the checksum should stand, behind most of what stands before it, are a damaged one. An early
/// file has other words there: a manifest or a sidecar an id, of 32.
const DIGITS_OF_ONE: usize = 56;

impl Form {
    /// What stands before the digits, and behind them.
    fn around(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Json => (b"{\n  \"checksum\": \"", b"\",\n"),
            Self::Toml => (b"# checksum: ", b"\n"),
            Self::Sql => (b"-- checksum: ", b"\n"),
            Self::Markdown => (b"<!-- checksum: ", b" -->\n"),
        }
    }
}

/// The file of this text, which in JSON is an object of several lines.
pub(super) fn with_checksum(form: Form, text: &[u8]) -> Vec<u8> {
    let (before, behind) = form.around();
    let text = match form {
        Form::Json => text.strip_prefix(b"{\n").unwrap_or(text),
        Form::Toml | Form::Sql | Form::Markdown => text,
    };
    let digits = blake3::hash(text).to_hex();
    [before, digits.as_bytes(), behind, text].concat()
}

/// What follows the checksum's line, all of the file where it has none; why it cannot be trusted.
pub(super) fn checked(form: Form, file: &[u8]) -> Result<&[u8], &'static str> {
    let (before, behind) = form.around();
    let head = before.len() + DIGITS + behind.len();
    if let Some((digits, text)) = file.strip_prefix(before).and_then(|rest| rest.split_at_checked(DIGITS))
        && let Some(text) = text.strip_prefix(behind)
    {
        let is_it = blake3::hash(text).to_hex().as_bytes() == digits;
        return if is_it { Ok(text) } else { Err("it is not what its checksum was made of") };
    }
    // What a power cut leaves of a file whose blocks were never written; no text of ours holds one.
    if file.contains(&0) {
        return Err("it holds zero bytes");
    }
    let place = file.iter().skip(before.len()).take(DIGITS);
    let is_digit = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let alike = file.iter().zip(before).filter(|(byte, expected)| byte == expected).count();
    if place.filter(is_digit).count() >= DIGITS_OF_ONE && alike * 2 > before.len() {
        return Err("the line of its checksum is damaged");
    }
    // Cut within the line; nothing is written that is empty.
    let is_cut = file.len() < head && before.starts_with(&file[..file.len().min(before.len())]);
    if is_cut { Err("it ends within the line of its checksum") } else { Ok(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [(Form, &str); 4] = [
        (Form::Json, "{\n  \"format\": 1,\n  \"site\": \"home-12\"\n}\n"),
        (Form::Toml, "kind = \"location\"\nvendor = \"generic\"\n"),
        (Form::Sql, "CREATE VIEW x AS SELECT 1;\n"),
        (Form::Markdown, "# A Telereel archive\n\nRecordings.\n"),
    ];

    #[test]
    fn every_changed_bit_and_every_cut_is_seen() {
        for (form, text) in TEXTS {
            let file = with_checksum(form, text.as_bytes());
            let known = checked(form, &file).unwrap();
            assert!(text.as_bytes().ends_with(known), "{}", String::from_utf8_lossy(&file));
            for at in 0..file.len() * 8 {
                let mut flipped = file.clone();
                flipped[at / 8] ^= 1 << (at % 8);
                assert!(checked(form, &flipped).is_err(), "bit {at} of {form:?}");
            }
            for length in 0..file.len() {
                assert!(checked(form, &file[..length]).is_err(), "{length} of {form:?}");
            }
        }
    }

    #[test]
    fn a_file_of_an_early_version_is_taken_as_it_is() {
        for (form, text) in TEXTS {
            assert_eq!(checked(form, text.as_bytes()), Ok(text.as_bytes()));
        }
        let sidecar =
            "{\n  \"session_id\": \"019ba7c7-1200-7707-8707-070707070707\",\n  \"name\": \"facade\"\n}\n";
        assert_eq!(checked(Form::Json, sidecar.as_bytes()), Ok(sidecar.as_bytes()));
        // In one line.
        let sums = format!(
            "{{\"session_id\":\"{}\",\"sealed_at\":\"2026-11-22T23:59:50Z\",\"telereel\":\"0.1.0\",\"blake3\":\"{}\"}}",
            "019ba7c7-1200-7707-8707-070707070707",
            "a".repeat(64)
        );
        assert_eq!(checked(Form::Json, sums.as_bytes()), Ok(sums.as_bytes()));
        let sums = format!("{{\"files\":[{{\"blake3\":\"{}\"}}]}}", "a".repeat(64));
        assert_eq!(checked(Form::Json, sums.as_bytes()), Ok(sums.as_bytes()));
    }

    #[test]
    fn what_a_power_cut_left_full_of_zero_bytes_is_damaged() {
        for (form, text) in TEXTS {
            let early = text.as_bytes();
            for cut in [0, 3, early.len() - 1] {
                let zeros = [&early[..cut], &vec![0; early.len() - cut]].concat();
                assert_eq!(checked(form, &zeros), Err("it holds zero bytes"), "{form:?} from {cut} on");
            }
        }
    }

    #[test]
    fn the_json_stays_json() {
        let value = serde_json::json!({"format": 1, "site": "home-12"});
        let file = with_checksum(Form::Json, &serde_json::to_vec_pretty(&value).unwrap());
        let read: serde_json::Value = serde_json::from_slice(&file).unwrap();
        assert_eq!((&read["site"], &read["format"]), (&value["site"], &value["format"]));
        assert_eq!(read["checksum"].as_str().map(str::len), Some(64));
    }
}
