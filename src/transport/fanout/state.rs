//! The last message of each thing: what a client that comes late is told first.
//!
//! A message says by its [`StateChange`] what it is about; the later one of the same key replaces the
//! earlier, and one that ends the key removes it. The table is bounded in keys and bytes: beyond, what was
//! updated longest ago goes, and is counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Emission;

/// Things that are remembered: a fleet's vehicles, a country's parcels. Beyond it a client that comes late is
/// better served from a database.
const KEYS_MAX: usize = 100_000;

/// Of the remembered messages, with what they cost beside their bytes.
const BYTES_MAX: usize = 128 << 20;

/// What a message is about: equal for two messages exactly if the later replaces the earlier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateKey(Arc<[u8]>);

impl StateKey {
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

/// What a message does to what is known of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// It is the thing's state from now on.
    Sets(StateKey),
    /// Nothing is known of the thing any more.
    Ends(StateKey),
}

/// The last messages, each once.
#[derive(Clone, Debug)]
pub struct StateTable {
    keys_max: usize,
    bytes_max: usize,
    /// By key: when it was updated, as counted here, and by which message.
    entries: HashMap<StateKey, (u64, Arc<Emission>)>,
    /// The same the other way round: the order in which they are told.
    order: BTreeMap<u64, StateKey>,
    updates: u64,
    bytes: usize,
    forgotten: u64,
}

impl Default for StateTable {
    fn default() -> Self {
        Self::with_bounds(KEYS_MAX, BYTES_MAX)
    }
}

impl StateTable {
    pub fn with_bounds(keys_max: usize, bytes_max: usize) -> Self {
        Self {
            keys_max,
            bytes_max,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            updates: 0,
            bytes: 0,
            forgotten: 0,
        }
    }

    /// Notes what `change` does; `state` gives the message as it is told again, where it is to be.
    pub fn apply(&mut self, change: &StateChange, state: impl FnOnce() -> Arc<Emission>) {
        match change {
            StateChange::Ends(key) => self.remove(key),
            StateChange::Sets(key) => {
                self.remove(key);
                let state = state();
                self.updates += 1;
                self.bytes += cost(key, &state);
                self.order.insert(self.updates, key.clone());
                self.entries.insert(key.clone(), (self.updates, state));
                while self.entries.len() > self.keys_max
                    || (self.bytes > self.bytes_max && self.entries.len() > 1)
                {
                    let Some((_, oldest)) = self.order.pop_first() else { return };
                    self.remove(&oldest);
                    self.forgotten += 1;
                }
            }
        }
    }

    /// The messages in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Emission>> {
        self.order.values().filter_map(|key| Some(&self.entries.get(key)?.1))
    }

    /// With other messages where `change` gives one.
    pub fn map(mut self, mut change: impl FnMut(&Emission) -> Option<Emission>) -> Self {
        for (key, (_, state)) in &mut self.entries {
            if let Some(changed) = change(state) {
                self.bytes -= cost(key, state);
                *state = Arc::new(changed);
                self.bytes += cost(key, state);
            }
        }
        self
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Things that were given up because there were too many.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Nothing is known of this thing any more.
    pub fn remove(&mut self, key: &StateKey) {
        if let Some((update, state)) = self.entries.remove(key) {
            self.order.remove(&update);
            self.bytes -= cost(key, &state);
        }
    }
}

fn cost(key: &StateKey, state: &Emission) -> usize {
    // The key is held once and referred to twice.
    key.0.len() + super::queue::cost(state) + 2 * size_of::<StateKey>() + 64
}

#[cfg(test)]
mod tests {
    use super::super::tests::emission;
    use super::*;

    fn sets(key: &str) -> StateChange {
        StateChange::Sets(StateKey::new(key.as_bytes()))
    }

    fn ends(key: &str) -> StateChange {
        StateChange::Ends(StateKey::new(key.as_bytes()))
    }

    fn after(table: &mut StateTable, changes: &[StateChange]) -> Vec<u64> {
        for (index, change) in changes.iter().enumerate() {
            table.apply(change, || emission(index as u64, "a", 0, 10));
        }
        table.iter().map(|emission| emission.index).collect()
    }

    #[test]
    fn the_last_of_each_thing_is_told_in_the_order_of_sending() {
        let mut table = StateTable::default();
        assert_eq!(after(&mut table, &[sets("a"), sets("b"), sets("c"), sets("a")]), [1, 2, 3]);
        assert_eq!((table.len(), table.forgotten()), (3, 0));
    }

    #[test]
    fn what_ended_is_not_told_and_may_begin_again() {
        let mut table = StateTable::default();
        assert_eq!(after(&mut table, &[sets("a"), sets("b"), ends("a"), ends("never known")]), [1]);
        assert_eq!(after(&mut table, &[sets("a"), ends("b")]), [0]);
    }

    #[test]
    fn what_is_changed_stays_in_its_place_and_is_counted() {
        let mut table = StateTable::default();
        after(&mut table, &[sets("a"), sets("b")]);
        let longer = |known: &Emission| {
            (known.index == 0).then(|| Emission::new(emission(7, "a", 0, 500).row.clone(), 7, None))
        };
        let mut table = table.map(longer);
        assert_eq!(table.iter().map(|known| known.index).collect::<Vec<_>>(), [7, 1]);
        after(&mut table, &[ends("a"), ends("b")]);
        assert_eq!(table.bytes, 0);
    }

    #[test]
    fn beyond_its_bounds_what_was_updated_longest_ago_is_forgotten() {
        let mut table = StateTable::with_bounds(2, 1 << 20);
        assert_eq!(after(&mut table, &[sets("a"), sets("b"), sets("a"), sets("c")]), [2, 3]);
        assert_eq!(table.forgotten(), 1);

        let one = cost(&StateKey::new(b"a"), &emission(0, "a", 0, 10));
        let mut table = StateTable::with_bounds(99, 2 * one);
        assert_eq!(after(&mut table, &[sets("a"), sets("b"), sets("c")]), [1, 2]);
        let mut table = StateTable::with_bounds(99, 1);
        assert_eq!(after(&mut table, &[sets("a"), sets("b")]), [1], "the latest is always known");
        assert_eq!(table.bytes, one);
        after(&mut table, &[ends("b")]);
        assert_eq!((table.bytes, table.is_empty()), (0, true));
    }
}
