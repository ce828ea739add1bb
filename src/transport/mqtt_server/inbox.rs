//! What other clients published and one client has not been sent yet.

use std::collections::VecDeque;

use super::publication::Relayed;

/// As the fan-out's bounds for a client: some seconds of a busy publisher.
const ITEMS_MAX: usize = 100_000;
const BYTES_MAX: usize = 32 << 20;

/// A queue, bounded in number and in bytes.
#[derive(Debug, Default)]
pub struct Inbox {
    items: VecDeque<Relayed>,
    bytes: usize,
}

impl Inbox {
    /// False if there is no room. One message always fits, whatever its size.
    pub fn push(&mut self, relayed: Relayed) -> bool {
        let bytes = cost(&relayed);
        if !self.items.is_empty() && (self.items.len() >= ITEMS_MAX || self.bytes + bytes > BYTES_MAX) {
            return false;
        }
        self.bytes += bytes;
        self.items.push_back(relayed);
        true
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The next one; none if `has_id` says that there is no packet identifier left for it.
    pub fn pop(&mut self, has_id: bool) -> Option<Relayed> {
        if !has_id && self.items.front().is_some_and(|relayed| relayed.qos > 0) {
            return None;
        }
        let relayed = self.items.pop_front()?;
        self.bytes -= cost(&relayed);
        Some(relayed)
    }
}

fn cost(relayed: &Relayed) -> usize {
    relayed.publication.bytes() + size_of::<Relayed>()
}

#[cfg(test)]
mod tests {
    use super::super::publication::Publication;
    use super::*;

    fn relayed(qos: u8, payload_bytes: usize) -> Relayed {
        let publication = Publication::new("t".to_owned(), &vec![0; payload_bytes], 2, false);
        Relayed { publication, qos, is_retained: false }
    }

    #[test]
    fn it_is_bounded_in_number_and_in_bytes_and_one_always_fits() {
        let mut inbox = Inbox::default();
        assert!(inbox.push(relayed(0, BYTES_MAX)));
        assert!(!inbox.push(relayed(0, 0)), "no bytes left");
        assert!(inbox.pop(false).is_some());
        let small = relayed(0, 0);
        assert!((0..ITEMS_MAX).all(|_| inbox.push(small.clone())));
        assert!(!inbox.push(small));
        while inbox.pop(false).is_some() {}
        assert_eq!((inbox.bytes, inbox.items.len()), (0, 0));
    }

    #[test]
    fn order_is_kept_where_identifiers_are_wanting() {
        let mut inbox = Inbox::default();
        assert!(inbox.push(relayed(1, 0)) && inbox.push(relayed(0, 0)));
        assert!(inbox.pop(false).is_none());
        assert_eq!(inbox.pop(true).map(|relayed| relayed.qos), Some(1));
        assert_eq!(inbox.pop(false).map(|relayed| relayed.qos), Some(0));
    }
}
