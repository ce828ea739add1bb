//! That cases repeat, that each sort of fault is caught, and that inputs are not only broken.

use super::*;
use crate::fuzz::run::caught;

fn target() -> Target {
    Target::new("none").cases(500).inputs([&b"{\"size\": 17, \"of\": \"this\"}\n"[..], b"second\nthird\n"])
}

#[test]
fn a_case_repeats_exactly_and_is_like_no_other() {
    let cases: Vec<_> = (0..200).map(|seed| target().case(seed)).collect();
    assert_eq!(cases, (0..200).map(|seed| target().case(seed)).collect::<Vec<_>>());
    let different: std::collections::HashSet<_> = cases.iter().collect();
    assert!(different.len() > 150, "{}", different.len());
    assert!(cases.iter().all(|case| case.len() <= INPUT_BYTES_MAX));
}

#[test]
fn every_sort_of_fault_is_caught_made_short_and_told() {
    let is_hit = |bytes: &[u8]| bytes.windows(2).any(|pair| pair == b"55" || pair == b"\xFF\xFF");
    let panics = caught(|| target().run(|bytes| if is_hit(bytes) { panic!("a fault") } else { true }));
    assert!(panics.contains("a fault") && panics.contains("its 2 bytes"), "{panics}");
    assert!(panics.contains("TELEREEL_SEED=") && panics.contains("fixtures/fuzz/none/"), "{panics}");

    let takes = caught(|| {
        let taken = |bytes: &[u8]| Vec::<u8>::with_capacity(if is_hit(bytes) { 1 << 20 } else { 0 });
        target().memory(1 << 10, 0).run(|bytes| taken(bytes).is_empty());
    });
    assert!(takes.contains("bytes of memory for 2 of input"), "{takes}");

    let refuses = caught(|| target().run(|_| false));
    assert!(refuses.contains("no input is right"), "{refuses}");
}

#[test]
#[should_panic(expected = "in words for people")]
fn a_dump_is_no_words() {
    assert_words("expected Some(3)", 100);
}
