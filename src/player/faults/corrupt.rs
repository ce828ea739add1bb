//! Bytes that are not what they were.

use super::dice::below;

/// At most so many bytes of a message are changed.
const BYTES_MAX: u64 = 4;

/// The payload with one to four of its bytes changed, which and how by `chance`. At least one is: an empty payload
/// becomes one of a byte.
///
/// A text stays a text: of UTF-8 only ASCII characters change, and into others, so that a frame of text can
/// still be one. Where there are none, and in anything else, any byte may become any other.
pub(in crate::player) fn corrupt(payload: &[u8], chance: u64) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    let (mut words, mut next) = (blake3::Hasher::new().update(&chance.to_be_bytes()).finalize_xof(), [0; 8]);
    let mut word = || {
        words.fill(&mut next);
        u64::from_be_bytes(next)
    };
    if bytes.is_empty() {
        return vec![b' ' + below(word(), 95) as u8];
    }
    let stays_text = std::str::from_utf8(payload).is_ok() && payload.iter().any(u8::is_ascii);
    let count = 1 + below(word(), BYTES_MAX.min(bytes.len() as u64));
    let mut changed: Vec<usize> = Vec::new();
    for _ in 0..count {
        let start = below(word(), bytes.len() as u64) as usize;
        // From there on, and round.
        let places = (start..bytes.len()).chain(0..start);
        let mut places = places.filter(|at| !changed.contains(at) && (!stays_text || bytes[*at].is_ascii()));
        let Some(at) = places.next() else { break };
        bytes[at] ^= 1 + below(word(), if stays_text { 127 } else { 255 }) as u8;
        changed.push(at);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_payload_is_changed_too() {
        assert_eq!(corrupt(b"", 7).len(), 1);
    }

    proptest! {
        #[test]
        fn one_to_four_bytes_change(payload in proptest::collection::vec(any::<u8>(), 1..60), chance: u64) {
            let new = corrupt(&payload, chance);
            prop_assert_eq!(new.len(), payload.len());
            let changed = new.iter().zip(&payload).filter(|(new, old)| new != old).count();
            prop_assert!((1..=4).contains(&changed), "{changed}");
            prop_assert_eq!(corrupt(&payload, chance), new, "by chance alone");
        }

        #[test]
        fn text_stays_text(text in ".{0,20}[ -~].{0,20}", chance: u64) {
            let new = corrupt(text.as_bytes(), chance);
            prop_assert!(std::str::from_utf8(&new).is_ok());
            prop_assert_ne!(new, text.into_bytes());
        }

        #[test]
        fn characters_beyond_ascii_are_damaged_where_there_are_no_others(text in "[é漢]{1,9}", chance: u64) {
            prop_assert_ne!(corrupt(text.as_bytes(), chance), text.into_bytes());
        }
    }
}
