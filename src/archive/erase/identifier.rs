//! An identifier, and whether a text names it.
//!
//! What it misses stays for good, what it takes too much of is shown before: so it rather names than not. It is named
//! where it stands as a whole word, in capitals or not: no letter and no digit before or behind it, so that `sensor-1`
//! is not in `sensor-12`; and where it is no part of the name of something else that is known (`sensor-1` in
//! `sensor-1-b`, if that is a device, too). Of one that is all digits, digits alone go on: `8200123` is in `lock8200123`
//! and in `v2.8200123`, with zeros before it (`008200123`) and as a decimal number of that value (`8200123.0`), but not
//! in `18200123`, nor in the fraction of a number (`24.8200123`). A UUID and a MAC are looked for with and without their
//! separators.
//!
//! Escapes of JSON are looked through, as deep as JSON lies in texts of JSON, and so is what URLs and forms escape.
//! What is compressed, encrypted or in base64 is not, nor numbers with an exponent.
//!
//! One that could as well be any number or word (`7`, `on`) is not looked for in texts: whoever erases location 1 does
//! not mean every message with a 1 in it. It is then the column `device_id` alone that names it.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem::Finder;
use percent_encoding::percent_decode;

/// Of identifiers with a letter in them, those of fewer characters are told from nothing.
const CHARACTERS_MIN: usize = 4;

/// Of those without, those of fewer digits.
const DIGITS_MIN: usize = 7;

/// JSON lies in texts of JSON, and that in another: so often escapes are looked through.
const DEPTH_MAX: usize = 4;

/// Stands before and behind a piece of a text, where it is not known how that goes on: what is at such an edge is found
/// in the piece of which it is no edge. A digit that no identifier has, so that words and numbers go on with it.
pub(super) const UNKNOWN: &str = "\u{660}";

#[derive(Debug)]
pub(super) struct Identifier {
    text: String,
    spellings: Vec<Spelling>,
    /// What the identifier is a part of, and where in it; these are names of something else.
    others: Vec<(String, usize)>,
    is_digits: bool,
    /// It has characters that JSON may escape by a backslash and one more.
    is_escapable: bool,
    /// Forms write a blank as a plus sign.
    has_blank: bool,
}

/// One way to write it. Looked for is its longest run of bytes that are not of two cases; where that says less than a
/// letter does, its first letter.
#[derive(Debug)]
struct Spelling {
    text: String,
    anchor: Anchor,
    /// Where in the text the anchor is.
    offset: usize,
}

#[derive(Debug)]
enum Anchor {
    Run(Box<Finder<'static>>),
    Letter(u8),
}

impl Spelling {
    fn new(text: String) -> Self {
        let (mut start, mut longest) = (0, 0..0);
        for (at, byte) in text.bytes().chain([b'a']).enumerate() {
            if byte.is_ascii_alphabetic() {
                let run = start..at;
                longest = if run.len() > longest.len() { run } else { longest };
                start = at + 1;
            }
        }
        let letter = text.bytes().position(|byte| byte.is_ascii_alphabetic());
        match letter {
            Some(offset) if longest.len() < 2 => {
                let anchor = Anchor::Letter(text.as_bytes()[offset]);
                Self { text, anchor, offset }
            }
            _ => {
                let finder = Finder::new(&text.as_bytes()[longest.clone()]).into_owned();
                Self { anchor: Anchor::Run(Box::new(finder)), offset: longest.start, text }
            }
        }
    }

    /// Where it stands next, in capitals or not.
    fn find(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut from = from + self.offset;
        loop {
            let rest = text.get(from..)?;
            let found = match &self.anchor {
                Anchor::Run(finder) => finder.find(rest)?,
                Anchor::Letter(one) => {
                    memchr::memchr2(one.to_ascii_lowercase(), one.to_ascii_uppercase(), rest)?
                }
            };
            let start = from + found - self.offset;
            from += found + 1;
            if text.get(start..start + self.text.len())?.eq_ignore_ascii_case(self.text.as_bytes()) {
                return Some(start);
            }
        }
    }
}

impl Identifier {
    pub(super) fn new(text: &str) -> Self {
        let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        Self {
            text: text.to_owned(),
            spellings: spellings(text, is_digits).into_iter().map(Spelling::new).collect(),
            others: Vec::new(),
            is_digits,
            is_escapable: text.contains(['"', '\\', '/']) || text.contains(char::is_control),
            has_blank: text.contains(' '),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Of the longest text that has to be seen to tell, but for escapes and zeros.
    pub(super) fn bytes_max(&self) -> usize {
        let spelled = self.spellings.iter().map(|spelling| spelling.text.len());
        spelled.chain(self.others.iter().map(|(name, _)| name.len())).max().unwrap_or(0)
    }

    /// Whether it can be looked for in texts.
    pub(super) fn is_distinct(&self) -> bool {
        let digits = self.text.chars().filter(char::is_ascii_digit).count();
        let has_letter = self.text.chars().any(char::is_alphabetic);
        digits >= DIGITS_MIN || (has_letter && self.text.chars().count() >= CHARACTERS_MIN)
    }

    /// Whether a text is it and nothing else.
    pub(super) fn is(&self, text: &str) -> bool {
        text == self.text
            || (self.is_distinct()
                && self.places(text.as_bytes()).next().is_some_and(|place| place == (0..text.len())))
    }

    /// Takes note of the name of something else: where it stands, the identifier in it is none.
    pub(super) fn pass_over(&mut self, name: &str) {
        if !self.is(name) {
            let places: Vec<usize> = self.places(name.as_bytes()).map(|place| place.start).collect();
            self.others.extend(places.into_iter().map(|at| (name.to_owned(), at)));
        }
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
        let mut text = Cow::Borrowed(text);
        for _ in 0..DEPTH_MAX {
            let mut is_escaped = false;
            if let Some(plain) = self.may_be_escaped(&text).then(|| unescaped(&text)).flatten() {
                (text, is_escaped) = (plain.into(), true);
                if self.is_in_plain(&text) {
                    return true;
                }
            }
            if let Some(plain) = self.decoded(&text) {
                (text, is_escaped) = (plain.into(), true);
                if self.is_in_plain(&text) {
                    return true;
                }
            }
            if !is_escaped {
                return false;
            }
        }
        false
    }

    /// The places at which a text names it as it is.
    pub(super) fn places<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = Range<usize>> + 't {
        let mut from = vec![0; self.spellings.len()];
        std::iter::from_fn(move || {
            let of_spelling = |(spelling, from): (&Spelling, &mut usize)| loop {
                let start = spelling.find(text, *from)?;
                *from = start + 1;
                let place = self.with_zeros(text, start)..start + spelling.text.len();
                if self.is_whole(text, &place) && !self.is_of_other(text, place.start) {
                    return Some(place);
                }
            };
            self.spellings.iter().zip(&mut from).find_map(of_spelling)
        })
    }

    fn is_in_plain(&self, text: &[u8]) -> bool {
        self.places(text).next().is_some()
    }

    fn may_be_escaped(&self, text: &[u8]) -> bool {
        let mut backslashes = memchr::memchr_iter(b'\\', text);
        backslashes.any(|at| self.is_escapable || text.get(at + 1) == Some(&b'u'))
    }

    /// What a URL or a form escapes; none if there is nothing of it.
    fn decoded(&self, text: &[u8]) -> Option<Vec<u8>> {
        let plus = self.has_blank && memchr::memchr(b'+', text).is_some();
        let blanks: Option<Vec<u8>> =
            plus.then(|| text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect());
        match Cow::from(percent_decode(blanks.as_deref().unwrap_or(text))) {
            Cow::Owned(plain) => Some(plain),
            Cow::Borrowed(_) => blanks,
        }
    }

    /// Where a number begins: zeros before it change nothing.
    fn with_zeros(&self, text: &[u8], start: usize) -> usize {
        let zeros = text[..start].iter().rev().take_while(|byte| **byte == b'0').count();
        start - if self.is_digits { zeros } else { 0 }
    }

    fn is_whole(&self, text: &[u8], place: &Range<usize>) -> bool {
        let (before, behind) = (&text[..place.start], &text[place.end..]);
        if self.is_digits {
            let is_digit = |c: char| c.is_numeric() && goes_on(c);
            return !last_char(before).is_some_and(is_digit)
                && !first_char(behind).is_some_and(is_digit)
                && !is_fraction(before)
                && !has_fraction(before, behind);
        }
        let goes_on_before = match before {
            // The end of an escape as in `\n`.
            [.., b'\\', b'n' | b't' | b'r' | b'b' | b'f'] => false,
            _ => last_char(before).is_some_and(goes_on),
        };
        !goes_on_before && !first_char(behind).is_some_and(goes_on)
    }

    fn is_of_other(&self, text: &[u8], at: usize) -> bool {
        self.others.iter().any(|(name, offset)| {
            let Some(start) = at.checked_sub(*offset) else { return text.starts_with(UNKNOWN.as_bytes()) };
            let end = start + name.len();
            match text.get(start..end) {
                None => text.ends_with(UNKNOWN.as_bytes()),
                Some(there) => {
                    there.eq_ignore_ascii_case(name.as_bytes())
                        && !first_char(&text[end..]).is_some_and(goes_on)
                        && !last_char(&text[..start]).is_some_and(goes_on)
                }
            }
        })
    }
}

/// The ways to write an identifier.
fn spellings(text: &str, is_digits: bool) -> Vec<String> {
    let number = text.trim_start_matches('0');
    if is_digits && number.len() >= DIGITS_MIN {
        return vec![number.to_owned()];
    }
    let mut all = vec![text.to_owned()];
    let digits: Vec<char> = text.chars().filter(|c| !matches!(c, '-' | ':' | '.')).collect();
    let is_hex = !is_digits && digits.iter().all(char::is_ascii_hexdigit);
    let cuts: &[(&[usize], &str)] = match digits.len() {
        12 if is_hex => &[(&[12], ""), (&[2; 6], ":"), (&[2; 6], "-")],
        32 if is_hex => &[(&[32], ""), (&[8, 4, 4, 4, 12], "-")],
        _ => &[],
    };
    for (lengths, separator) in cuts {
        let mut rest = digits.iter();
        let parts: Vec<String> = lengths.iter().map(|length| rest.by_ref().take(*length).collect()).collect();
        let spelling = parts.join(separator);
        if !all.contains(&spelling) {
            all.push(spelling);
        }
    }
    all
}

/// Whether what comes next is the fraction of a number: behind digits and a point, which nothing but a sign and what
/// separates values comes before. What is in a path or behind a word is a name.
fn is_fraction(before: &[u8]) -> bool {
    let Some(whole) = before.strip_suffix(b".") else { return false };
    let digits = whole.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && begins_number(&whole[..whole.len() - digits])
}

/// Whether a number goes on behind a point, and is another one for it: `8200123.5`, but not `8200123.0`.
fn has_fraction(before: &[u8], behind: &[u8]) -> bool {
    let Some(fraction) = behind.strip_prefix(b".") else { return false };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (fraction, behind) = fraction.split_at(digits);
    let is_other = fraction.iter().any(|byte| *byte != b'0') && begins_number(before);
    behind.starts_with(UNKNOWN.as_bytes()) || (is_other && ends_value(behind.first()))
}

fn begins_number(before: &[u8]) -> bool {
    let before = before.strip_suffix(b"-").or(before.strip_suffix(b"+")).unwrap_or(before);
    before.ends_with(UNKNOWN.as_bytes()) || ends_value(before.last())
}

/// Whether a byte, or the end, separates values.
fn ends_value(byte: Option<&u8>) -> bool {
    byte.is_none_or(|byte| byte.is_ascii_whitespace() || b",;:[]{}()=&\"'\\".contains(byte))
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
