//! Messages that are known by their sender and number, to the last byte.

use std::sync::OnceLock;

/// What messages are padded with: text that does not compress to nothing.
fn noise() -> &'static str {
    static NOISE: OnceLock<String> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b"0123456789abcdefghijklmnopqrstuv"[(state >> 59) as usize])
        };
        (0..3 << 20).map(|_| next()).collect()
    })
}

/// The `n`-th message of a sender, about `bytes` long.
pub fn message(sender: u64, n: u64, bytes: usize) -> String {
    let at = (sender * 7_919 + n * 104_729) as usize % (1 << 20);
    format!("[{sender},{n},{bytes},\"{}\"]", &noise()[at..at + bytes])
}

/// Sender and number of a message that was stored, which is the one that was sent.
pub fn known(payload: &[u8]) -> (u64, u64) {
    let text = std::str::from_utf8(payload).unwrap();
    let mut numbers = text[1..].splitn(4, ',').map(|number| number.parse::<u64>());
    let mut next = || numbers.next().unwrap().unwrap();
    let (sender, n, bytes) = (next(), next(), next());
    assert!(text == message(sender, n, bytes as usize), "message {n} of sender {sender} was changed");
    (sender, n)
}
