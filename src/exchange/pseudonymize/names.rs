//! Pseudonyms: what stands in the place of an identifier, the same wherever it stands.
//!
//! All of them come from HMAC-SHA-256 under the user's key, so that the same key gives the same pseudonyms in every
//! export, and nobody without it can say which identifier one stands for, nor connect what was exported with
//! another key. They have the form of what they replace, since programs look at it:
//!
//! ```text
//! digits          as many digits, by a permutation of all numbers of that form: no two identifiers become one.
//!                 What has a leading zero keeps one; what fits 32 or 64 bits still does
//! a UUID          a UUID, in capitals if it was
//! anything else   p-… and 16 characters of a-z2-7: valid in a topic, a path, a query and a file's name
//! ```

use std::collections::HashMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// So many are kept so that none of these is computed twice in a row.
const KNOWN_MAX: usize = 100_000;

/// Longer numbers do not fit the arithmetic; they are texts.
const DIGITS_MAX: usize = 38;

/// Of the permutation: four would do for what a stranger can ask of it, ten are what standards use.
const ROUNDS: u8 = 10;

/// Identifiers to pseudonyms under one key.
pub(super) struct Names {
    key: Secret,
    known: HashMap<String, String>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names(…)")
    }
}

impl Names {
    pub(super) fn new(key: Secret) -> Self {
        Self { key, known: HashMap::new() }
    }

    /// Thirty-two bytes that only the key gives; `of` keeps uses apart.
    pub(super) fn bytes(&self, of: &str, text: &[u8]) -> [u8; 32] {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.key.expose().as_bytes()) else {
            return [0; 32];
        };
        mac.update(of.as_bytes());
        mac.update(&[0]);
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    /// What stands for an identifier.
    pub(super) fn name(&mut self, text: &str) -> String {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let name = self.make(text);
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(text.to_owned(), name.clone());
        name
    }

    /// What stands for an integer, in its digits.
    pub(super) fn integer(&mut self, value: i64) -> String {
        self.name(&value.to_string())
    }

    fn make(&self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let (sign, digits) = text.split_at(usize::from(text.starts_with('-')));
        if let Some(new) = self.digits(digits) {
            return format!("{sign}{new}");
        }
        self.uuid(text).unwrap_or_else(|| format!("p-{}", base32(&self.bytes("text", text.as_bytes()), 16)))
    }

    fn digits(&self, digits: &str) -> Option<String> {
        let is_number =
            (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let value: u128 = digits.parse().ok().filter(|_| is_number)?;
        let (low, high) = range_of(value, digits);
        let new = low + self.permuted(value - low, high - low, digits.len());
        Some(format!("{new:0width$}", width = digits.len()))
    }

    /// The place of `value` in a permutation of `0..size`: a balanced Feistel network on a power of four, walked until
    /// it comes back into the range.
    fn permuted(&self, value: u128, size: u128, width: usize) -> u128 {
        if size < 2 {
            return value;
        }
        let bits = (u128::BITS - (size - 1).leading_zeros()).div_ceil(2);
        let mask = (1_u128 << bits) - 1;
        let mut at = value;
        loop {
            let (mut left, mut right) = (at >> bits, at & mask);
            for round in 0..ROUNDS {
                let mut message = vec![round, width as u8];
                message.extend_from_slice(&size.to_be_bytes());
                message.extend_from_slice(&right.to_be_bytes());
                let mut word = [0; 16];
                word.copy_from_slice(&self.bytes("digits", &message)[..16]);
                (left, right) = (right, left ^ (u128::from_be_bytes(word) & mask));
            }
            at = (left << bits) | right;
            if at < size {
                return at;
            }
        }
    }

    fn uuid(&self, text: &str) -> Option<String> {
        let is_uuid = text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        if !is_uuid {
            return None;
        }
        let mut random = [0; 16];
        random.copy_from_slice(&self.bytes("uuid", text.to_ascii_lowercase().as_bytes())[..16]);
        let new = uuid::Builder::from_random_bytes(random).into_uuid().to_string();
        let is_upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
        Some(if is_upper { new.to_ascii_uppercase() } else { new })
    }
}

/// The numbers among which a pseudonym is looked for: as long, and of a type that is as wide.
fn range_of(value: u128, digits: &str) -> (u128, u128) {
    let power = |n: usize| 10_u128.pow(u32::try_from(n).unwrap_or(0));
    let low = power(digits.len() - 1);
    if digits.starts_with('0') {
        // Zero itself stays: it says that there is none as often as not.
        return if digits.len() == 1 { (0, 1) } else { (0, low) };
    }
    let (mut from, mut to) = (low, power(digits.len()));
    for widest in [i32::MAX as u128, i64::MAX as u128] {
        if value <= widest {
            to = to.min(widest + 1);
        } else {
            from = from.max(widest + 1);
        }
    }
    (from, to)
}

/// The first `length` characters of `bytes`, five bits each.
pub(super) fn base32(bytes: &[u8], length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |n: usize| bytes[n / 8] >> (7 - n % 8) & 1;
    (0..length)
        .map(|at| {
            let index = (0..5).fold(0_u8, |index, n| index << 1 | bit(at * 5 + n));
            char::from(ALPHABET[usize::from(index)])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn names(key: &str) -> Names {
        Names::new(Secret::new(key))
    }

    #[test]
    fn numbers_become_numbers_of_their_form_and_no_two_become_one() {
        let mut names = names("k");
        for range in [0..10, 10..100, 100..1_000, 1_000..10_000] {
            let all: HashSet<String> = range.clone().map(|n| names.name(&n.to_string())).collect();
            assert_eq!(all.len(), range.len());
            assert!(all.iter().all(|name| range.contains(&name.parse::<i32>().unwrap())), "{range:?}");
        }
        let zeros: HashSet<String> = (0..1_000).map(|n| names.name(&format!("0{n:03}"))).collect();
        assert_eq!(zeros.len(), 1_000);
        assert!(zeros.iter().all(|name| name.len() == 4 && name.starts_with('0')));
        for (from, to) in [(i64::from(i32::MAX) - 500, i64::from(i32::MAX)), (i64::MAX - 500, i64::MAX)] {
            let all: HashSet<String> = (from..=to).map(|n| names.integer(n)).collect();
            assert_eq!(all.len(), 501);
            assert!(all.iter().all(|name| name.parse::<i64>().is_ok_and(|n| n <= to)));
            assert!(all.iter().all(|name| name.len() == to.to_string().len()));
        }
        assert_eq!((names.name("0"), names.name("")), ("0".into(), String::new()));
        assert_eq!(names.name("-4711"), format!("-{}", names.name("4711")));
    }

    #[test]
    fn the_key_alone_decides() {
        let ids = ["8231020045", "ATR_GN_P4-250120-09527", "87654321-4321-4321-4321-210987654321"];
        for id in ids {
            assert_eq!(names("a").name(id), names("a").name(id));
            assert_ne!(names("a").name(id), names("b").name(id));
            assert_ne!(names("a").name(id), id);
        }
        let (mut first, mut second) = (names("a"), names("a"));
        ids.iter().rev().for_each(|id| drop(second.name(id)));
        assert!(ids.iter().all(|id| first.name(id) == second.name(id)), "the order of asking says nothing");
    }

    #[test]
    fn a_uuid_stays_one_in_either_case() {
        let mut names = names("k");
        let lower = names.name("abcdefab-cdef-abcd-efab-cdefabcdefab");
        assert!(uuid::Uuid::parse_str(&lower).is_ok());
        assert_eq!(names.name("ABCDEFAB-CDEF-ABCD-EFAB-CDEFABCDEFAB"), lower.to_ascii_uppercase());
    }

    proptest! {
        #[test]
        fn pseudonyms_are_valid_wherever_identifiers_stand(text in "\\PC{1,40}") {
            let name = names("k").name(&text);
            prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{}", name);
        }

        #[test]
        fn a_permutation_has_one_place_for_each(width in 1_usize..30, seed in any::<u64>()) {
            let names = names("k");
            let low = 10_u128.pow(width as u32 - 1);
            let all: HashSet<u128> = (0..50).map(|n| names.permuted(
                (u128::from(seed).wrapping_mul(u128::from(seed)) + n) % (low * 9), low * 9, width)).collect();
            prop_assert_eq!(all.len() as u128, (low * 9).min(50));
        }
    }
}
