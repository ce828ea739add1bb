//! An identifier, and whether a text names it.
//!
//! It is named where it stands as a whole word: no letter and no digit before or behind it, so that `sensor-1` is not
//! in `sensor-12`; and where it is no part of the name of something else that is known (`sensor-1` in `sensor-1-b`,
//! if that is a device, too). Escapes of JSON are looked through, as deep as JSON lies in texts of JSON, and so is
//! percent-encoding. What is compressed, encrypted or in base64 is not.
//!
//! One that could as well be any number or word (`7`, `on`) is not looked for in texts: whoever erases location 1 does
//! not mean every message with a 1 in it. It is then the column `device_id` alone that names it.

use memchr::memmem::Finder;
use percent_encoding::percent_decode;

/// Of identifiers with a letter in them, those of fewer characters are told from nothing.
const CHARACTERS_MIN: usize = 4;

/// Of those without, those of fewer digits.
const DIGITS_MIN: usize = 7;

/// JSON lies in texts of JSON, and that in another: so often escapes are looked through.
const DEPTH_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Identifier {
    text: String,
    finder: Finder<'static>,
    /// What the identifier is a part of, and where in it; these are names of something else.
    others: Vec<(Vec<u8>, usize)>,
    is_digits: bool,
    /// It has characters that JSON may escape by a backslash and one more.
    is_escapable: bool,
}

impl Identifier {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            finder: Finder::new(text).into_owned(),
            others: Vec::new(),
            is_digits: text.bytes().all(|byte| byte.is_ascii_digit()),
            is_escapable: text.contains(['"', '\\', '/']) || text.contains(char::is_control),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it can be looked for in texts.
    pub(super) fn is_distinct(&self) -> bool {
        let digits = self.text.chars().filter(char::is_ascii_digit).count();
        let has_letter = self.text.chars().any(char::is_alphabetic);
        digits >= DIGITS_MIN || (has_letter && self.text.chars().count() >= CHARACTERS_MIN)
    }

    /// Takes note of the name of something else: where it stands, the identifier in it is none.
    pub(super) fn pass_over(&mut self, name: &str) {
        if name == self.text || !self.is_in_plain(name.as_bytes()) {
            return;
        }
        let places = self.finder.find_iter(name.as_bytes());
        self.others.extend(places.map(|at| (name.as_bytes().to_vec(), at)).collect::<Vec<_>>());
    }

    /// Whether a number is it.
    pub(super) fn is_number(&self, number: i64) -> bool {
        self.is_digits && self.text.parse() == Ok(number)
    }

    /// Whether a text, or bytes that may be one, name it.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        if self.is_in_plain(text) {
            return true;
        }
        let mut decoded: Option<Vec<u8>> = None;
        for _ in 0..DEPTH_MAX {
            let text = decoded.as_deref().unwrap_or(text);
            let mut next = self.may_be_escaped(text).then(|| unescaped(text)).flatten();
            let plain = next.as_deref().unwrap_or(text);
            if memchr::memchr(b'%', plain).is_some()
                && let std::borrow::Cow::Owned(plain) = percent_decode(plain).into()
            {
                next = Some(plain);
            }
            let Some(next) = next else { return false };
            if self.is_in_plain(&next) {
                return true;
            }
            decoded = Some(next);
        }
        false
    }

    /// The places at which a text names it as it is.
    pub(super) fn places<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = usize> + 't {
        let mut from = 0;
        std::iter::from_fn(move || {
            loop {
                let at = from + self.finder.find(text.get(from..)?)?;
                from = at + 1;
                if self.is_whole(text, at) && !self.is_of_other(text, at) {
                    return Some(at);
                }
            }
        })
    }

    fn is_in_plain(&self, text: &[u8]) -> bool {
        self.places(text).next().is_some()
    }

    fn may_be_escaped(&self, text: &[u8]) -> bool {
        let mut backslashes = memchr::memchr_iter(b'\\', text);
        backslashes.any(|at| self.is_escapable || text.get(at + 1) == Some(&b'u'))
    }

    fn is_whole(&self, text: &[u8], at: usize) -> bool {
        let (before, behind) = (&text[..at], &text[at + self.text.len()..]);
        let goes_on_before = match before {
            // The end of an escape as in `\n`.
            [.., b'\\', b'n' | b't' | b'r' | b'b' | b'f'] => false,
            [.., digit, b'.'] => self.is_digits && digit.is_ascii_digit(),
            _ => last_char(before).is_some_and(goes_on),
        };
        let goes_on_behind = match behind {
            [b'.', digit, ..] => self.is_digits && digit.is_ascii_digit(),
            _ => first_char(behind).is_some_and(goes_on),
        };
        !goes_on_before && !goes_on_behind
    }

    fn is_of_other(&self, text: &[u8], at: usize) -> bool {
        self.others.iter().any(|(name, offset)| {
            let Some(start) = at.checked_sub(*offset) else { return false };
            let behind = text[start..].strip_prefix(name.as_slice());
            behind.is_some_and(|behind| !first_char(behind).is_some_and(goes_on))
                && !last_char(&text[..start]).is_some_and(goes_on)
        })
    }
}

/// Whether a character is a piece of the same word. Scripts that have no spaces between words do not go on with one.
fn goes_on(c: char) -> bool {
    let is_without_spaces = matches!(c, '\u{e00}'..='\u{eff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}');
    c.is_alphanumeric() && !is_without_spaces
}

/// The last character, where the bytes before an end are a text.
fn last_char(bytes: &[u8]) -> Option<char> {
    let ends = (1..=bytes.len().min(4)).map(|length| &bytes[bytes.len() - length..]);
    ends.filter_map(|end| std::str::from_utf8(end).ok()?.chars().next_back()).next()
}

fn first_char(bytes: &[u8]) -> Option<char> {
    let starts = (1..=bytes.len().min(4)).map(|length| &bytes[..length]);
    starts.filter_map(|start| std::str::from_utf8(start).ok()?.chars().next()).next()
}

/// The text with one layer of JSON's escapes taken off; none if it has none.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let (mut rest, mut changed) = (text, false);
    while let Some(at) = memchr::memchr(b'\\', rest) {
        plain.extend_from_slice(&rest[..at]);
        let (taken, character) = escape(&rest[at..]);
        match character {
            Some(character) => {
                changed = true;
                plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            None => plain.extend_from_slice(&rest[at..at + taken]),
        }
        rest = &rest[at + taken..];
    }
    plain.extend_from_slice(rest);
    changed.then_some(plain)
}

/// How many bytes an escape takes, and what it stands for; none if it is no escape.
fn escape(text: &[u8]) -> (usize, Option<char>) {
    let simple = |character| (2, Some(character));
    match text.get(1) {
        Some(b'n') => simple('\n'),
        Some(b't') => simple('\t'),
        Some(b'r') => simple('\r'),
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(&byte @ (b'"' | b'\\' | b'/')) => simple(char::from(byte)),
        Some(b'u') => {
            let unit = |at: usize| {
                let digits = std::str::from_utf8(text.get(at..at + 4)?).ok()?;
                u16::from_str_radix(digits, 16).ok()
            };
            let Some(first) = unit(2) else { return (2, None) };
            let second = (text.get(6..8) == Some(b"\\u")).then(|| unit(8)).flatten();
            match char::decode_utf16([Some(first), second].into_iter().flatten()).next() {
                Some(Ok(character)) => (if character.len_utf16() == 2 { 12 } else { 6 }, Some(character)),
                _ => (6, None),
            }
        }
        _ => (1, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(identifier: &str, text: &str) -> bool {
        Identifier::new(identifier).is_in(text.as_bytes())
    }

    #[test]
    fn it_is_named_as_a_whole_word_only() {
        for text in ["sensor-1", "a sensor-1.", "/hooks/sensor-1/x", r#"{"sn":"sensor-1"}"#, "x_sensor-1_y"] {
            assert!(names("sensor-1", text), "{text}");
        }
        for text in ["sensor-12", "xsensor-1", "sensor-1é", "ésensor-1", "sensor-", "", "Sensor-1"] {
            assert!(!names("sensor-1", text), "{text}");
        }
        // The second begins within the first.
        assert!(names("aa-aa", "xaa-aa-aa") && names("ö1-x", "äh ö1-x"));
        assert!(names("8231020045", "设备8231020045离线") && names("sensor-1", "センサーsensor-1です"));
        // Of a number the digits behind the point are no word.
        assert!(!names("82001234", "24.82001234") && !names("82001234", "82001234.5"));
        assert!(names("82001234", "id 82001234.") && names("82001234", r#"{"id":82001234}"#));
    }

    #[test]
    fn escapes_are_looked_through() {
        for text in [
            r#"{"sn":"\u0073ensor\u002d1"}"#,
            r#"{"text":"{\"sn\":\"sensor-1\"}"}"#,
            r#"{"text":"{\"sn\":\"sensor\\u002d1\"}"}"#,
            r#"{"text":"\nsensor-1"}"#,
            r#"{"text":"\u000asensor-1"}"#,
            "up/sensor%2D1/x",
            "up/sensor%2d1",
            "up/sensor%252D1",
            r#"{"u":"up\/\u0073ensor%2D1"}"#,
        ] {
            assert!(names("sensor-1", text), "{text}");
        }
        assert!(!names("sensor-1", r#"{"sn":"sensor\u002d12"}"#) && !names("sensor-1", "sensor%2D12"));
        assert!(names("a/b \"1\"", r#"{"sn":"a\/b \"1\""}"#) && names("wärme-1", r#"{"sn":"w\u00e4rme-1"}"#));
        assert!(names("🚗-11", r#""\ud83d\ude97-11""#));
        for broken in [r"\", r"\u", r"\u12", r"\ud83d", r"\ud83dx", "%", "%2", "\\uzzzz%zz"] {
            assert!(!names("sensor-1", broken), "{broken}");
        }
    }

    #[test]
    fn names_of_others_are_passed_over() {
        let mut identifier = Identifier::new("sensor-1");
        for name in ["sensor-1", "sensor-1-b", "ward_sensor-1", "sensor-12"] {
            identifier.pass_over(name);
        }
        assert_eq!(identifier.others.len(), 2);
        assert!(!identifier.is_in(b"[sensor-1-b, ward_sensor-1]"));
        assert!(identifier.is_in(b"sensor-1-bc") && identifier.is_in(b"sensor-1-b, sensor-1"));
    }

    #[test]
    fn what_could_be_anything_is_not_looked_for() {
        let is_distinct = |text: &str| Identifier::new(text).is_distinct();
        for text in ["1", "42", "123456", "on", "s1", "a-1"] {
            assert!(!is_distinct(text), "{text}");
        }
        for text in ["ATR_GN_P4-250120-09527", "7900000", "s-01", "ward", "öst1"] {
            assert!(is_distinct(text), "{text}");
        }
    }
}
