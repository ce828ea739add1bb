//! Which deliveries of a source are already in this session's journal, by the vendor's own id.
//!
//! Bounded: the last [`DELIVERIES_MAX`] ids, each as a hash of fixed length. A vendor pushes again within
//! minutes; a repetition that comes later than that is stored without a mark.

use std::collections::{HashMap, VecDeque};

use crate::journal::Ticket;

/// About 4 MiB for each source that has ids.
const DELIVERIES_MAX: usize = 64 << 10;

/// Two ids that share it would have to be made for that, by somebody who knows the vendor's secret.
type Key = [u8; 16];

/// The tickets of first deliveries.
#[derive(Debug, Default)]
pub struct Deliveries {
    tickets: HashMap<Key, Ticket>,
    /// Oldest first.
    order: VecDeque<Key>,
}

impl Deliveries {
    /// The ticket of the first delivery with this id, if it is known.
    pub fn first(&self, id: &str) -> Option<Ticket> {
        self.tickets.get(&key(id)).copied()
    }

    /// Notes a delivery that was taken; of those with the same id the first counts.
    pub fn note(&mut self, id: &str, ticket: Ticket) {
        let key = key(id);
        if self.tickets.contains_key(&key) {
            return;
        }
        if self.order.len() >= DELIVERIES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.tickets.remove(&oldest);
        }
        self.tickets.insert(key, ticket);
        self.order.push_back(key);
    }

    /// Forgets all: `duplicate_of` never points into another session.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn key(id: &str) -> Key {
    let hash = blake3::hash(id.as_bytes());
    let mut key = Key::default();
    key.copy_from_slice(&hash.as_bytes()[..size_of::<Key>()]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_id_is_known_until_there_are_too_many() {
        let mut deliveries = Deliveries::default();
        deliveries.note("a", 1);
        deliveries.note("b", 2);
        deliveries.note("a", 3);
        assert_eq!(
            (deliveries.first("a"), deliveries.first("b"), deliveries.first("c")),
            (Some(1), Some(2), None)
        );
        for n in 0..DELIVERIES_MAX as u64 - 1 {
            deliveries.note(&n.to_string(), n + 4);
        }
        assert_eq!(
            (deliveries.first("a"), deliveries.first("b")),
            (None, Some(2)),
            "the oldest is forgotten"
        );
        assert_eq!(deliveries.tickets.len(), DELIVERIES_MAX);
        deliveries.clear();
        assert_eq!(deliveries.first("b"), None);
    }
}
