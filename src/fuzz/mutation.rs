//! One input out of others, with something wrong in a few places.
//!
//! Blind to the format: bits, bytes, stretches that are cut, doubled, moved, taken from elsewhere; numbers in digits
//! and lengths in binary that become extreme; words where they do not belong; lines that go, come twice, change places.

use std::ops::Range;

use rand::seq::IndexedRandom as _;
use rand::{Rng, RngExt as _};

use super::INPUT_BYTES_MAX;

/// What numbers in digits become: the borders of every type, and what only looks like a number.
const NUMBERS: [&str; 30] = [
    "0",
    "-0",
    "1",
    "-1",
    "00",
    "127",
    "128",
    "255",
    "256",
    "32768",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "0.1",
    "-0.0",
    "1e308",
    "1e309",
    "1e-400",
    "1E+2",
    "0x10",
];

/// What means something in more formats than one.
const WORDS: [&str; 30] = [
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "=",
    "\n",
    "\r\n",
    "\0",
    "\t",
    " ",
    "null",
    "true",
    "..",
    "/",
    "%00",
    "\u{feff}",
    "\u{2028}",
    "\u{202e}",
    "ü",
    "\u{10ffff}",
    "'",
    "#",
    "+",
    "Z",
];

/// Makes cases of inputs.
pub(super) struct Mutator<'i> {
    pub(super) inputs: &'i [Vec<u8>],
    pub(super) words: &'i [Vec<u8>],
}

impl Mutator<'_> {
    pub(super) fn case(&self, rng: &mut impl Rng) -> Vec<u8> {
        let mut bytes = self.inputs.choose(rng).cloned().unwrap_or_default();
        // One place most often: it is then that the rest is still right.
        let times = 1 + (rng.random::<u32>() | 1 << 5).trailing_zeros();
        for _ in 0..times {
            self.mutate(&mut bytes, rng);
            bytes.truncate(INPUT_BYTES_MAX);
        }
        bytes
    }

    fn mutate(&self, bytes: &mut Vec<u8>, rng: &mut impl Rng) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..17) {
            0 => edit(bytes, at, |byte| *byte ^= 1 << rng.random_range(0..8)),
            1 => edit(bytes, at, |byte| *byte = rng.random()),
            2 => edit(bytes, at, |byte| {
                *byte = *[0, 1, 0x7F, 0x80, 0xFF, b'"', b'\n'].choose(rng).unwrap_or(&0)
            }),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(stretch(bytes, rng))),
            5 => {
                let again = bytes[stretch(bytes, rng)].to_vec();
                bytes.splice(at..at, again);
            }
            6 => {
                let moved: Vec<u8> = bytes.drain(stretch(bytes, rng)).collect();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, moved);
            }
            7 => {
                let random: Vec<u8> = (0..rng.random_range(1..20)).map(|_| rng.random()).collect();
                bytes.splice(at..at, random);
            }
            8 => {
                let place = stretch(bytes, rng);
                bytes[place].fill(*[0, 0xFF, b'0', b' '].choose(rng).unwrap_or(&0));
            }
            // The rest of another, or a stretch of it.
            9 => {
                let other = self.inputs.choose(rng).map_or(&[][..], Vec::as_slice);
                let from = rng.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            10 => {
                let other = self.inputs.choose(rng).map_or(&[][..], Vec::as_slice);
                let (place, taken) = (stretch(bytes, rng), stretch(other, rng));
                bytes.splice(place, other[taken].iter().copied());
            }
            11 | 12 => {
                let place = if rng.random() { at..at } else { stretch(bytes, rng) };
                let word = self.word(rng);
                bytes.splice(place, word);
            }
            13 => number(bytes, at, rng),
            14 => length(bytes, at, rng),
            15 => lines(bytes, rng),
            // Depth, and many of the same.
            _ => {
                let word = if rng.random() { self.word(rng) } else { bytes[stretch(bytes, rng)].to_vec() };
                let times = 1 << rng.random_range(1..14);
                let most = INPUT_BYTES_MAX / word.len().max(1);
                bytes.splice(at..at, word.repeat(times.min(most)));
            }
        }
    }

    fn word(&self, rng: &mut impl Rng) -> Vec<u8> {
        match rng.random_range(0..3) {
            0 => WORDS.choose(rng).map_or_else(Vec::new, |word| word.as_bytes().to_vec()),
            1 => NUMBERS.choose(rng).map_or_else(Vec::new, |word| word.as_bytes().to_vec()),
            _ => self.words.choose(rng).cloned().unwrap_or_else(|| b"0".to_vec()),
        }
    }
}

fn edit(bytes: &mut [u8], at: usize, edit: impl FnOnce(&mut u8)) {
    if let Some(byte) = bytes.get_mut(at) {
        edit(byte);
    }
}

/// Mostly short.
fn stretch(bytes: &[u8], rng: &mut impl Rng) -> Range<usize> {
    let start = rng.random_range(0..=bytes.len());
    let most = if rng.random_range(0..4) == 0 { bytes.len() } else { 16 };
    let end = (start + rng.random_range(0..=most)).min(bytes.len());
    start..end
}

/// The next number in digits is another one.
fn number(bytes: &mut Vec<u8>, at: usize, rng: &mut impl Rng) {
    let Some(start) = (at..bytes.len()).find(|at| bytes[*at].is_ascii_digit()) else { return };
    let end = (start..bytes.len()).find(|at| !bytes[*at].is_ascii_digit()).unwrap_or(bytes.len());
    if rng.random() {
        bytes.splice(start..end, NUMBERS.choose(rng).unwrap_or(&"0").bytes());
    } else {
        bytes[start..end].iter_mut().for_each(|digit| *digit = rng.random_range(b'0'..=b'9'));
    }
}

/// What may be a length, of any width and either order, is about another one, or extreme.
fn length(bytes: &mut [u8], at: usize, rng: &mut impl Rng) {
    let width = *[1, 2, 4, 8].choose(rng).unwrap_or(&1);
    let Some(field) = bytes.get_mut(at..at + width) else { return };
    let is_little: bool = rng.random();
    let mut word = [0; 8];
    word[..width].copy_from_slice(field);
    if !is_little {
        word[..width].reverse();
    }
    let was = u64::from_le_bytes(word);
    let off = rng.random_range(1..9);
    let new = match rng.random_range(0..8) {
        0 => 0,
        1 => u64::MAX,
        2 => u64::MAX >> 1,
        3 => 1 << rng.random_range(0..64),
        4 => was.wrapping_add(off),
        5 => was.wrapping_sub(off),
        6 => was.wrapping_mul(2),
        _ => u64::MAX - off,
    };
    word = new.to_le_bytes();
    if !is_little {
        word[..width].reverse();
    }
    field.copy_from_slice(&word[..width]);
}

/// A line goes, comes twice, or changes places with another.
fn lines(bytes: &mut Vec<u8>, rng: &mut impl Rng) {
    let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return;
    }
    let (one, other) = (rng.random_range(0..lines.len()), rng.random_range(0..lines.len()));
    match rng.random_range(0..3) {
        0 => drop(lines.remove(one)),
        1 => lines.insert(other, lines[one].clone()),
        _ => lines.swap(one, other),
    }
    *bytes = lines.concat();
}
