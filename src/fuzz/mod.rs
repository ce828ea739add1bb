//! Hostile bytes for every parser that meets some from outside.
//!
//! One mutator for all of them, which knows nothing of any format, and for each a *target*, beside the parser: inputs
//! that are right, words of its format, and what must hold whatever comes. Not only that nothing panics. A case may
//! take so much memory and no more (counted for its thread, per byte of input), and so much of the processor; what is
//! read is written again the same; what is refused is refused in words.
//!
//! Inputs come from three places: `fixtures/fuzz/TARGET/`, which are kept for ever and tried as they are first (valid
//! ones to begin with, and each that has failed once); the vendors' fixtures; and what our own writers make.
//!
//! `cargo test --lib hostile` tries some thousands of each target, the same at every run. `TELEREEL_CASES=1000000` tries
//! a million of each that is cheap, and of the others as many fewer as in a usual run; `TELEREEL_SEED=17` case 17 of the
//! tests that are named, which is what a failing one says, together with where its bytes are (made as short as they still
//! fail) and how to keep them. Built as tests are it is slow; `CARGO_PROFILE_TEST_OPT_LEVEL=1` makes it about ten times
//! as fast.

mod corpus;
mod mutation;
mod run;
mod tests;

pub(crate) use corpus::{fixtures, lines_of};

/// What a usual run tries of a cheap target: what `TELEREEL_CASES` counts in.
const CASES: u64 = 2_000;

/// Inputs grow up to here: what goes wrong with much goes wrong with this, and the counting sees it.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// A parser, and what is given to it.
pub(crate) struct Target {
    name: &'static str,
    cases: u64,
    inputs: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    /// What a case may take, and per byte of its input.
    memory: (u64, u64),
    mend: Option<fn(&mut [u8])>,
}

impl Target {
    pub(crate) fn new(name: &'static str) -> Self {
        let (inputs, words) = (Vec::new(), Vec::new());
        Self { name, cases: CASES, inputs, words, memory: (1 << 20, 128), mend: None }
    }

    /// Of one that takes long, fewer cases.
    pub(crate) fn cases(self, cases: u64) -> Self {
        Self { cases, ..self }
    }

    /// Inputs beside those that are kept.
    pub(crate) fn inputs(mut self, inputs: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.inputs.extend(inputs.into_iter().map(Into::into));
        self
    }

    /// What has a meaning in the format.
    pub(crate) fn words(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| word.as_bytes().to_vec()));
        self
    }

    pub(crate) fn memory(self, bytes: u64, per_byte: u64) -> Self {
        Self { memory: (bytes, per_byte), ..self }
    }

    /// What makes checksums right again, done to every second case: behind them nothing else would be reached.
    pub(crate) fn mend(self, mend: fn(&mut [u8])) -> Self {
        Self { mend: Some(mend), ..self }
    }
}

/// That a text is for people: no `Debug` of ours, and not longer than what it is about.
pub(crate) fn assert_words(text: &str, about: usize) {
    for dump in ["Some(", "None", "Ok(", "Err(", "Error(", "Error {", "Os {", "Custom {", "PoisonError"] {
        assert!(!text.contains(dump), "{dump} in words for people: {text}");
    }
    assert!(!text.trim().is_empty(), "no words at all");
    assert!(text.len() <= 2_048 + 8 * about, "{} bytes of words about {about}", text.len());
}
