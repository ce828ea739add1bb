//! A reader of the JSON that devices send, for the visitors that `serde_json` drives as well.
//!
//! It answers only texts that are beyond doubt and leaves all others to `serde_json`, whose word counts
//! for what JSON is, which numbers there are, and how an error reads. So it may refuse what it likes
//! (deep nesting, halves of a surrogate pair, numbers out of range), but whatever it takes it must take
//! as `serde_json` does: the tests compare the two. It costs less, since it knows that its text
//! is UTF-8, keeps its memory, and has no error to place in a line and column.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Objects and arrays in each other; far less than what `serde_json` allows.
const DEPTH_MAX: u8 = 32;

/// So many digits are an `i64` without a second look.
const INT_DIGITS: usize = 18;

/// So many digits are a `f64` without rounding; so is the power of ten below, and so their quotient is
/// rounded once, as it has to be.
const EXACT_DIGITS: usize = 15;

const POWERS_OF_TEN: [f64; EXACT_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// A text that is not plain: wrong, or only rare.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unusual;

impl fmt::Display for Unusual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not plain JSON")
    }
}

impl std::error::Error for Unusual {}

impl Error for Unusual {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Reads a text from its start.
pub(super) struct Plain<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
    /// The last string that had escapes.
    unescaped: String,
}

impl<'a> Plain<'a> {
    /// `memory` is for strings with escapes; what is in it does not matter.
    pub(super) fn new(text: &'a str, memory: String) -> Self {
        Self { text, at: 0, depth: 0, unescaped: memory }
    }

    pub(super) fn into_memory(self) -> String {
        self.unescaped
    }

    /// Only white space may be left.
    pub(super) fn end(&mut self) -> Result<(), Unusual> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Unusual),
        }
    }

    /// The next byte that is not white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at)? {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    #[inline]
    fn expect(&mut self, wanted: u8) -> Result<(), Unusual> {
        if self.peek() != Some(wanted) {
            return Err(Unusual);
        }
        self.at += 1;
        Ok(())
    }

    fn word<T>(&mut self, word: &str, value: T) -> Result<T, Unusual> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(Unusual);
        }
        self.at += word.len();
        Ok(value)
    }

    /// Goes one level deeper, past the opening bracket.
    fn open(&mut self) -> Result<(), Unusual> {
        if self.depth == DEPTH_MAX {
            return Err(Unusual);
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Whether another member or element follows; if not, the closing bracket is passed.
    #[inline]
    fn is_more(&mut self, first: &mut bool, close: u8) -> Result<bool, Unusual> {
        let next = self.peek().ok_or(Unusual)?;
        if next == close {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }
        if !std::mem::replace(first, false) {
            if next != b',' {
                return Err(Unusual);
            }
            self.at += 1;
        }
        Ok(true)
    }

    /// The string whose opening quote is next.
    #[inline]
    fn string(&mut self) -> Result<&str, Unusual> {
        self.expect(b'"')?;
        let start = self.at;
        self.at += ordinary_bytes(&self.text.as_bytes()[start..]);
        match self.text.as_bytes().get(self.at) {
            Some(b'"') => {
                self.at += 1;
                self.text.get(start..self.at - 1).ok_or(Unusual)
            }
            Some(b'\\') => self.unescape(start),
            _ => Err(Unusual),
        }
    }

    /// The string that began at `start` and has its first escape here.
    fn unescape(&mut self, mut start: usize) -> Result<&str, Unusual> {
        self.unescaped.clear();
        loop {
            self.unescaped.push_str(self.text.get(start..self.at).ok_or(Unusual)?);
            let escape = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let (bytes, character) = match escape {
                [b'"', ..] => {
                    self.at += 1;
                    return Ok(&self.unescaped);
                }
                [b'\\', b'u', hex @ ..] => (6, hex.get(..4).and_then(hex_character).ok_or(Unusual)?),
                [b'\\', letter, ..] => (2, short_escape(*letter).ok_or(Unusual)?),
                _ => return Err(Unusual),
            };
            self.unescaped.push(character);
            self.at += bytes;
            start = self.at;
            self.at += ordinary_bytes(self.text.as_bytes().get(start..).unwrap_or_default());
        }
    }

    /// A number; the byte that is next begins one.
    #[inline]
    fn number(&mut self) -> Result<Number, Unusual> {
        let bytes = &self.text.as_bytes()[self.at..];
        let is_negative = bytes.first() == Some(&b'-');
        let begin = usize::from(is_negative);
        let mut value = 0_u64;
        let whole_end = begin + digits(&bytes[begin..], &mut value);
        let leads_with_zero = bytes.get(begin) == Some(&b'0') && whole_end > begin + 1;
        if whole_end == begin || leads_with_zero {
            return Err(Unusual);
        }
        let mut end = whole_end;
        if bytes.get(end) == Some(&b'.') {
            end += 1 + digits(&bytes[end + 1..], &mut value);
            if end == whole_end + 1 {
                return Err(Unusual);
            }
        }
        let fraction_digits = (end - whole_end).saturating_sub(1);
        let digits = whole_end - begin + fraction_digits;
        let has_exponent = matches!(bytes.get(end), Some(b'e' | b'E'));
        if has_exponent || (end > whole_end && digits > EXACT_DIGITS) {
            return self.long_number(end);
        }
        self.at += end;
        if end > whole_end {
            let double = value as f64 / POWERS_OF_TEN[fraction_digits];
            return Ok(Number::Double(if is_negative { -double } else { double }));
        }
        // A negative zero is a double, and longer integers may be anything.
        if digits > INT_DIGITS || (is_negative && value == 0) {
            return Err(Unusual);
        }
        Ok(if is_negative { Number::Negative(-(value as i64)) } else { Number::Unsigned(value) })
    }

    /// A number with an exponent, perhaps, after `end` bytes, or with many digits.
    #[cold]
    fn long_number(&mut self, mut end: usize) -> Result<Number, Unusual> {
        let rest = &self.text[self.at..];
        if matches!(rest.as_bytes().get(end), Some(b'e' | b'E')) {
            end += 1;
            end += usize::from(matches!(rest.as_bytes().get(end), Some(b'+' | b'-')));
            let exponent = digits(rest.as_bytes().get(end..).unwrap_or_default(), &mut 0);
            if exponent == 0 {
                return Err(Unusual);
            }
            end += exponent;
        }
        let double: f64 = rest[..end].parse().map_err(|_| Unusual)?;
        self.at += end;
        // Infinite is an error in JSON, and what is too small is not for us to say.
        if double.is_normal() { Ok(Number::Double(double)) } else { Err(Unusual) }
    }
}

enum Number {
    Negative(i64),
    Unsigned(u64),
    Double(f64),
}

/// How many digits the bytes begin with. They are added to `value`, which is right up to 19 in all.
#[inline]
fn digits(bytes: &[u8], value: &mut u64) -> usize {
    let mut count = 0;
    while let Some(digit) = bytes.get(count).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        *value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        count += 1;
    }
    count
}

/// How many bytes come before the first that is not itself in a string: a quote, a backslash, a control.
#[inline]
fn ordinary_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let mut at = 0;
    // Eight at a time: subtracting borrows from the top bit of every byte that is small enough, and
    // from the lowest such byte on only, which is the one that is looked for.
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let chunk = u64::from_le_bytes(*chunk);
        let less_than = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word;
        let quote = less_than(chunk ^ (ONES * u64::from(b'"')), 1);
        let backslash = less_than(chunk ^ (ONES * u64::from(b'\\')), 1);
        let found = (less_than(chunk, 0x20) | quote | backslash) & TOPS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_ordinary = |byte: &&u8| **byte >= 0x20 && **byte != b'"' && **byte != b'\\';
    at + bytes[at..].iter().take_while(is_ordinary).count()
}

fn short_escape(letter: u8) -> Option<char> {
    Some(match letter {
        b'"' | b'\\' | b'/' => char::from(letter),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => return None,
    })
}

/// None for half of a surrogate pair, whatever comes after it.
fn hex_character(hex: &[u8]) -> Option<char> {
    let digit = |code: u32, byte: &u8| Some(code * 16 + char::from(*byte).to_digit(16)?);
    char::from_u32(hex.iter().try_fold(0, digit)?)
}

impl<'de> Deserializer<'de> for &mut Plain<'_> {
    type Error = Unusual;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unusual> {
        match self.peek().ok_or(Unusual)? {
            b'"' => visitor.visit_str(self.string()?),
            b'-' | b'0'..=b'9' => match self.number()? {
                Number::Negative(value) => visitor.visit_i64(value),
                Number::Unsigned(value) => visitor.visit_u64(value),
                Number::Double(value) => visitor.visit_f64(value),
            },
            b'{' => {
                self.open()?;
                visitor.visit_map(Inside { json: self, first: true })
            }
            b'[' => {
                self.open()?;
                visitor.visit_seq(Inside { json: self, first: true })
            }
            b't' => visitor.visit_bool(self.word("true", true)?),
            b'f' => visitor.visit_bool(self.word("false", false)?),
            b'n' => {
                self.word("null", ())?;
                visitor.visit_unit()
            }
            _ => Err(Unusual),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The members of an object or the elements of an array. Visitors must take them to the last.
struct Inside<'a, 'b> {
    json: &'a mut Plain<'b>,
    first: bool,
}

impl<'de> MapAccess<'de> for Inside<'_, '_> {
    type Error = Unusual;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Unusual> {
        if !self.json.is_more(&mut self.first, b'}')? {
            return Ok(None);
        }
        seed.deserialize(Key(self.json)).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unusual> {
        self.json.expect(b':')?;
        seed.deserialize(&mut *self.json)
    }
}

impl<'de> SeqAccess<'de> for Inside<'_, '_> {
    type Error = Unusual;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Unusual> {
        if !self.json.is_more(&mut self.first, b']')? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.json).map(Some)
    }
}

/// A key, which can only be a string.
struct Key<'a, 'b>(&'a mut Plain<'b>);

impl<'de> Deserializer<'de> for Key<'_, '_> {
    type Error = Unusual;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unusual> {
        visitor.visit_str(self.0.string()?)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests;
