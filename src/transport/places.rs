//! How many connections a listener has at a time, and how many of them from one address.
//!
//! Each costs a descriptor and the buffer of its request's head. Where all places are taken, further connections wait
//! in the system's backlog; who takes too many of them is turned away at once, so that others find some.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// More clients than any recorder or replay has; fewer in tests, so that one can make them all.
pub(super) const PLACES_MAX: usize = if cfg!(test) { 64 } else { 10_000 };

/// A vendor's servers push over a few connections; a proxy that stands for all of them keeps a pool of some dozens.
const OF_ONE_ADDRESS_MAX: usize = if cfg!(test) { 8 } else { 256 };

/// What a connection without a request takes, for the most part hyper's first buffer.
const IDLE_BYTES: u64 = 8 << 10;

/// Descriptors that are not for connections: the journal, segments, the index, sockets to vendors.
const OWN_FILES: u64 = 512;

/// The places of one listener.
#[derive(Clone, Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Default for Places {
    /// As many as this process may open files for.
    fn default() -> Self {
        Self::within(u64::MAX, getrlimit(Resource::Nofile).current)
    }
}

impl Places {
    /// As many as fit an eighth of `memory` bytes, and as this process may open files for: the limit on memory is for
    /// what is recorded.
    pub fn for_memory(memory: u64) -> Self {
        Self::within(memory, getrlimit(Resource::Nofile).current)
    }

    fn within(memory: u64, open_files: Option<u64>) -> Self {
        Self { all: Arc::new(Semaphore::new(number(memory, open_files))), taken: Arc::default() }
    }

    /// A place, once one is free.
    pub(super) async fn take(&self) -> Place {
        // It is never closed.
        let permit = Arc::clone(&self.all).acquire_owned().await.ok();
        Place { _permit: permit, taken: Arc::clone(&self.taken), by: None }
    }
}

/// There are two listeners. A few places there are always, or nobody could ask what is wrong.
fn number(memory: u64, open_files: Option<u64>) -> usize {
    let by_files = open_files.map_or(u64::MAX, |files| files.saturating_sub(OWN_FILES) / 2);
    let by_memory = memory / 8 / IDLE_BYTES;
    usize::try_from(by_files.min(by_memory)).unwrap_or(usize::MAX).clamp(16, PLACES_MAX)
}

/// One place; free again once it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    by: Option<IpAddr>,
}

impl Place {
    /// Whose it is; none if they have too many.
    pub(super) fn of(mut self, address: IpAddr) -> Option<Self> {
        let Some(address) = counted(address) else { return Some(self) };
        let is_free = {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let number = taken.entry(address).or_insert(0);
            let is_free = *number < OF_ONE_ADDRESS_MAX;
            *number += usize::from(is_free);
            is_free
        };
        self.by = is_free.then_some(address);
        is_free.then_some(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.by else { return };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut number) = taken.entry(address) {
            *number.get_mut() -= 1;
            if *number.get() == 0 {
                number.remove();
            }
        }
    }
}

/// By what its connections are counted: of IPv6 the network, since whoever has one address there has all of it. None
/// for this machine, where proxies are and whoever could do worse.
fn counted(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Some(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
        }
        address => Some(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_descriptors_and_memory() {
        assert_eq!(number(u64::MAX, None), PLACES_MAX);
        assert_eq!(number(u64::MAX, Some(512 + 2 * 20)), 20);
        assert_eq!(number(8 * 30 * IDLE_BYTES, Some(1 << 20)), 30);
        assert_eq!(number(0, Some(0)), 16);
    }

    #[tokio::test]
    async fn nobody_has_more_than_a_share() {
        let places = Places::within(u64::MAX, None);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut held = Vec::new();
        for _ in 0..OF_ONE_ADDRESS_MAX {
            held.push(places.take().await.of(address("192.0.2.1")).unwrap());
            held.push(places.take().await.of(address("2001:db8::1")).unwrap());
        }
        for full in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::2"] {
            assert!(places.take().await.of(address(full)).is_none(), "{full}");
        }
        for free in ["192.0.2.2", "2001:db8:0:1::1"] {
            assert!(places.take().await.of(address(free)).is_some(), "{free}");
        }
        for _ in 0..2 * OF_ONE_ADDRESS_MAX {
            held.push(places.take().await.of(address("127.0.0.1")).unwrap());
            held.push(places.take().await.of(address("::1")).unwrap());
        }
        drop(held);
        assert!(places.take().await.of(address("192.0.2.1")).is_some());
        assert!(places.taken.lock().unwrap().is_empty());
        assert_eq!(places.all.available_permits(), PLACES_MAX);
    }
}
