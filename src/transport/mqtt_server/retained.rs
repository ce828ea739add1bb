//! Messages that clients published to be kept: the last of each topic, for subscriptions to come.
//!
//! What is replayed is never kept here. A recorder got the retain flag only with what its broker had kept
//! from before (a broker clears the flag for subscriptions that exist), so a replay cannot tell which
//! later message took that one's place, and would hand out an old state as the present one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::publication::Publication;
use super::topic;

/// Topics, and bytes of all of them together: far more than a device under test keeps.
const TOPICS_MAX: usize = 10_000;
const BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Default)]
pub struct Retained {
    by_topic: BTreeMap<String, Arc<Publication>>,
    bytes: usize,
}

impl Retained {
    /// Keeps `publication` in place of what its topic had; an empty one only removes that. False if there
    /// is no room for it: then the topic has none.
    pub fn keep(&mut self, publication: &Arc<Publication>) -> bool {
        if let Some(before) = self.by_topic.remove(&publication.topic) {
            self.bytes -= before.bytes();
        }
        if publication.payload.is_empty() {
            return true;
        }
        if self.by_topic.len() >= TOPICS_MAX || self.bytes + publication.bytes() > BYTES_MAX {
            return false;
        }
        self.bytes += publication.bytes();
        self.by_topic.insert(publication.topic.clone(), Arc::clone(publication));
        true
    }

    /// What a new subscription to the well-formed `filter` is sent.
    pub fn matching<'a>(&'a self, filter: &'a str) -> impl Iterator<Item = &'a Arc<Publication>> {
        self.by_topic.values().filter(move |kept| topic::matches(filter, &kept.topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(topic: &str, payload: &[u8]) -> Arc<Publication> {
        Publication::new(topic.to_owned(), payload, 0, true)
    }

    fn kept(retained: &Retained, filter: &str) -> Vec<Vec<u8>> {
        retained.matching(filter).map(|kept| kept.payload.to_vec()).collect()
    }

    #[test]
    fn the_last_of_each_topic_is_kept_until_an_empty_one_comes() {
        let mut retained = Retained::default();
        for (topic, payload) in [("a", "1"), ("a/b", "2"), ("a", "3"), ("$a", "4")] {
            assert!(retained.keep(&publication(topic, payload.as_bytes())));
        }
        assert_eq!(kept(&retained, "#"), [b"3", b"2"]);
        assert_eq!(kept(&retained, "$a"), [b"4"]);
        assert!(retained.keep(&publication("a", b"")));
        assert_eq!(kept(&retained, "#"), [b"2"]);
        assert!(retained.keep(&publication("a/b", b"")) && retained.keep(&publication("$a", b"")));
        assert_eq!(retained.bytes, 0);
    }

    #[test]
    fn topics_and_bytes_are_bounded() {
        let mut retained = Retained::default();
        let large = vec![0; 1 << 20];
        let fitted = (0..100).filter(|n| retained.keep(&publication(&format!("l/{n}"), &large))).count();
        assert_eq!(fitted, 15, "with their book-keeping, sixteen do not fit");
        (0..100).for_each(|n| assert!(retained.keep(&publication(&format!("l/{n}"), b""))));
        let fitted =
            (0..TOPICS_MAX + 10).filter(|n| retained.keep(&publication(&n.to_string(), b"x"))).count();
        assert_eq!(fitted, TOPICS_MAX);
        assert!(retained.keep(&publication("0", b"y")), "what is there can change");
    }
}
