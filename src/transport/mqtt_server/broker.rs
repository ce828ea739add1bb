//! The sessions of an endpoint, who has which, and what passes between clients.
//!
//! One lock is held for each publication and each change of subscriptions, so that all clients see the
//! publications of one publisher in its order [MQTT-4.6.0-6], and a retained message is either there when a
//! subscription is made or relayed to it. Locks are taken in this order: broker, session, fan-out.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::publication::Publication;
use super::retained::Retained;
use super::session::{Session, State};
use crate::transport::fanout::{JoinError, Member};

/// Sessions that wait for their clients at a time; beyond it the one that has waited longest is over.
pub const AWAY_MAX: usize = 256;

/// The reason given to a session that had to make room.
const TOO_MANY_AWAY: &str = "away, and too many others were as well";

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// By client identifier: a newcomer with the same one takes the place.
    Named(String),
    /// As `Named`, among those under a vendor's rules.
    UnderRules(String),
    /// A client without an identifier, by the number of its place.
    Nameless(u64),
}

/// Why a session cannot be had.
#[derive(Debug)]
pub enum EnterError {
    Join(JoinError),
    /// Another newcomer took the place meanwhile.
    Evicted,
}

/// A connection's hold on its session.
#[derive(Debug)]
pub struct Place {
    key: Key,
    pub session: Arc<Session>,
    /// The session was there before.
    pub is_present: bool,
    /// Another connection wants the place.
    pub evicted: CancellationToken,
    _lease: OwnedMutexGuard<()>,
}

#[derive(Debug, Default)]
pub struct Broker {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    seats: HashMap<Key, Seat>,
    nameless: u64,
    retained: Retained,
    /// Clients that asked for our own topics and have left, the longest ago first.
    ours: VecDeque<Key>,
    /// Counts those that go away, so that the longest away is known.
    leaves: u64,
    /// At some time all connected clients had everything.
    are_all_done: bool,
    /// And what had come from them by then was heard.
    are_all_heard: bool,
}

#[derive(Debug)]
struct Seat {
    session: Arc<Session>,
    evict: CancellationToken,
    /// When it went away, by [`Inner::leaves`]; none while it is connected.
    left: Option<u64>,
}

impl Broker {
    pub fn nameless(&self) -> Key {
        let mut inner = self.lock();
        inner.nameless += 1;
        Key::Nameless(inner.nameless)
    }

    /// Gives a newcomer its place, with the session of before where there is one that is its own and `is_clean` does
    /// not forbid it. Whoever has the place is evicted [MQTT-3.1.4-2], and has left it when this returns.
    pub async fn enter(
        &self,
        key: Key,
        is_clean: bool,
        username: Option<&str>,
        join: impl Fn() -> Result<Member, JoinError>,
    ) -> Result<Place, EnterError> {
        let evicted = CancellationToken::new();
        let before = {
            let mut inner = self.lock();
            match inner.seats.get_mut(&key) {
                None => return inner.take(key, is_clean, username, evicted, join),
                Some(seat) => {
                    mem::replace(&mut seat.evict, evicted.clone()).cancel();
                    Arc::clone(&seat.session)
                }
            }
        };
        let lease = Arc::clone(&before.lease).lock_owned().await;
        let mut inner = self.lock();
        // Looked at under the lock that evictions are made under: from here on the seat is ours.
        if evicted.is_cancelled() {
            return Err(EnterError::Evicted);
        }
        // Its filters were granted to who made it, and what waits in it is for nobody else.
        let is_own = before.username.as_deref() == username;
        if !is_clean && is_own && before.is_persistent && !before.member.is_dropped() {
            if let Some(seat) = inner.seats.get_mut(&key) {
                seat.left = None;
            }
            return Ok(Place { key, session: before, is_present: true, evicted, _lease: lease });
        }
        inner.seats.remove(&key);
        // It leaves the audience before its successor joins.
        drop(before);
        inner.take(key, is_clean, username, evicted, join)
    }

    /// Whether the client asks for topics of ours, or did when it was here last: it came for more than plain MQTT has
    /// outages of.
    pub fn asks_for_ours(&self, key: &Key) -> bool {
        let inner = self.lock();
        inner.ours.contains(key) || inner.seats.get(key).is_some_and(|seat| seat.session.asks_for_ours())
    }

    /// The connection of `place` has ended, its session waits for the next one.
    pub fn go_away(&self, place: &Place) {
        let mut inner = self.lock();
        place.session.go_away();
        inner.leaves += 1;
        let left = inner.leaves;
        if let Some(seat) = inner.seats.get_mut(&place.key) {
            seat.left = Some(left);
        }
        inner.look_for_the_end();
        let away = inner.seats.values().filter_map(|seat| Some((seat.left?, seat)));
        if away.clone().count() > AWAY_MAX
            && let Some((_, longest)) = away.min_by_key(|(left, _)| *left)
        {
            longest.session.member.drop_out(TOO_MANY_AWAY);
        }
    }

    /// The session of `place` is over, unless another connection takes it on.
    pub fn leave(&self, place: &Place) {
        let mut inner = self.lock();
        if place.session.asks_for_ours() && !matches!(place.key, Key::Nameless(_)) {
            inner.ours.retain(|key| *key != place.key);
            inner.ours.push_back(place.key.clone());
            if inner.ours.len() > AWAY_MAX {
                inner.ours.pop_front();
            }
        }
        if !place.evicted.is_cancelled() {
            inner.seats.remove(&place.key);
            inner.look_for_the_end();
        } else if place.session.is_persistent {
            // An evicted connection's seat is its successor's, and perhaps its session.
            return;
        }
        place.session.member.end();
    }

    /// The client of `session` has everything that was replayed; whether all have. If not, it is stirred when they
    /// have: what one publishes to the last message is to reach the others.
    pub fn are_all_done(&self, session: &Session) -> bool {
        let mut inner = self.lock();
        session.state().is_done = true;
        inner.look_for_the_end();
        inner.are_all_done
    }

    /// What had come from the client of `session` when all had everything was heard; whether that is so of all. If
    /// not, it is stirred when it is: what one had published by then is to reach the others.
    pub fn are_all_heard(&self, session: &Session) -> bool {
        let mut inner = self.lock();
        session.state().is_heard = true;
        inner.look_for_the_end();
        inner.are_all_heard
    }

    /// Passes a client's publication on to all whose filters match, and keeps it if it is to be retained.
    pub fn publish(&self, publication: &Arc<Publication>) {
        let mut inner = self.lock();
        if publication.retain && !inner.retained.keep(publication) {
            tracing::warn!("no room to retain the publication on {:?}", publication.topic);
        }
        inner.seats.values().for_each(|seat| seat.session.relay(publication));
    }

    /// Sets `filters`, and sends what is retained for each of them.
    pub fn subscribe(&self, session: &Session, filters: &[(String, u8)]) {
        let inner = self.lock();
        for (filter, qos) in filters {
            {
                let known = &mut session.state().filters;
                match known.iter_mut().find(|(name, _)| name == filter) {
                    Some((_, granted)) => *granted = *qos,
                    None => known.push((filter.clone(), *qos)),
                }
            }
            inner.retained.matching(filter).for_each(|kept| session.relay_retained(kept, *qos));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Tells those who wait for it that all connected clients have everything, if some do and all have; and then that
    /// all of these were heard.
    fn look_for_the_end(&mut self) {
        let mut connected = self.seats.values().filter(|seat| seat.left.is_none()).peekable();
        if connected.peek().is_none() {
            return;
        }
        let is_said = |state: &State| !state.is_done || state.is_heard;
        let (before, mut connected) =
            ((self.are_all_done, self.are_all_heard), connected.map(|seat| seat.session.state()));
        match before {
            (false, _) => self.are_all_done = connected.all(|state| state.is_done),
            (true, false) => self.are_all_heard = connected.all(|state| is_said(&state)),
            (true, true) => {}
        }
        if before != (self.are_all_done, self.are_all_heard) {
            self.seats.values().for_each(|seat| seat.session.stirred.notify_one());
        }
    }

    fn take(
        &mut self,
        key: Key,
        is_clean: bool,
        username: Option<&str>,
        evicted: CancellationToken,
        join: impl Fn() -> Result<Member, JoinError>,
    ) -> Result<Place, EnterError> {
        let member = join().map_err(EnterError::Join)?;
        let session = Session::new(member, !is_clean && matches!(key, Key::Named(_)), username);
        // Nobody else knows of it yet.
        let lease = Arc::clone(&session.lease).try_lock_owned().map_err(|_| EnterError::Evicted)?;
        let seat = Seat { session: Arc::clone(&session), evict: evicted.clone(), left: None };
        self.seats.insert(key.clone(), seat);
        Ok(Place { key, session, is_present: false, evicted, _lease: lease })
    }
}
