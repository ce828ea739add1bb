//! Pushing a source's webhook messages to somebody's receiver, as the vendor would.
//!
//! One request at a time, in the recorded order, over a connection that is kept. What the receiver does
//! not take (anything but a 2xx, or none in time) waits for its next turn by the vendor's rule while
//! later messages go on, as the vendor's own do; after the last turn it is refused for good. So many may
//! wait at a time; then nothing new is begun until one of them is settled.
//!
//! Misbehaviour that refuses makes no connection for an attempt, which has failed then; by the vendor's rule
//! the message comes again, or does not.
//!
//! Lateness is of the first attempt, when its last byte was given to the socket. What is counted as sent
//! was taken by the receiver.

mod connection;
mod request;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::rustls::ClientConfig;
use url::Url;

use self::connection::{Connection, Sent};
use self::request::Push;
use super::dial::{DialError, Target};
use super::fanout::{Emission, Item, Member, Taken};
use super::misbehave::{Misbehaviour, Next};
use crate::clock::{Clock, Now};
use crate::message::{Headers, Row};
use crate::vendors::{PushRule, Pusher};

/// Messages that wait to be pushed again.
const WAITING_MAX: usize = 10_000;
const WAITING_BYTES_MAX: usize = 16 << 20;

/// One source's way to one receiver.
#[derive(Debug)]
pub struct HttpPusher {
    url: Url,
    pusher: Arc<dyn Pusher>,
    connection: Connection,
    waiting: Waiting,
    /// The receiver did not take the last one: said once, not with each.
    is_failing: bool,
    refusals: Refusals,
}

/// What was refused for good, for the log: the first is told, the others are counted and told together.
#[derive(Debug, Default)]
struct Refusals {
    told_at: Option<Instant>,
    untold: u64,
}

/// How often those are told that were refused since.
const TELL_EVERY: Duration = Duration::from_secs(60);

impl Refusals {
    /// One more at `now`; how many are to be told of, if any.
    fn note(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told_at.is_some_and(|told_at| now.duration_since(told_at) < TELL_EVERY) {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// A message that was not taken yet.
#[derive(Debug)]
struct Pending {
    item: Item,
    failures: usize,
    /// When its first attempt left; none if none did.
    left_ns: Option<u64>,
}

impl HttpPusher {
    /// Recorded paths are appended to that of `url`.
    pub fn new(url: Url, pusher: Arc<dyn Pusher>, tls: Arc<ClientConfig>) -> Result<Self, DialError> {
        let target = Target::of(&url, &[("http", 80)], &[("https", 443)])?;
        let connection = Connection::new(target, tls);
        Ok(Self {
            url,
            pusher,
            connection,
            waiting: Waiting::default(),
            is_failing: false,
            refusals: Refusals::default(),
        })
    }

    /// The same with misbehaviour.
    pub fn misbehaving(mut self, misbehaviour: Option<Arc<Misbehaviour>>) -> Self {
        self.connection.misbehave(misbehaviour);
        self
    }

    /// Pushes what `member` gets until nothing more will come and everything is taken or refused, or it
    /// is dropped.
    pub async fn run(mut self, member: Member) {
        let dropped = member.dropped();
        let why = tokio::select! {
            why = dropped => Some(why),
            () = self.push_all(&member) => None,
        };
        member.end();
        if self.refusals.untold > 0 {
            tracing::warn!("{}: {} more messages were refused for good", self.url, self.refusals.untold);
        }
        if let Some(why) = why {
            member.trace("dropped", || json!({"reason": why}));
        }
    }

    async fn push_all(&mut self, member: &Member) {
        // So that the first message need not wait for the handshake. If nobody is there, it will be said
        // of that message.
        let rule = self.pusher.rule();
        let _ = tokio::time::timeout(rule.timeout, self.connection.open(member.clock())).await;
        let mut batch: Vec<Item> = Vec::with_capacity(1);
        let mut finished = false;
        while !finished || !self.waiting.is_empty() {
            let next = self.waiting.next_at();
            tokio::select! {
                biased;
                () = at(next), if next.is_some() => {
                    if let Some(pending) = self.waiting.pop() {
                        member.repeated();
                        self.push(member, pending, rule).await;
                    }
                }
                taken = member.take(&mut batch, 1, usize::MAX), if !finished && self.waiting.has_room() => match taken {
                    Taken::Some | Taken::Nothing => {
                        for item in batch.drain(..) {
                            self.push(member, Pending { item, failures: 0, left_ns: None }, rule).await;
                        }
                    }
                    // Nobody cuts a receiver that we went to.
                    Taken::Finished | Taken::Cut => finished = true,
                    Taken::Dropped(_) => return,
                },
            }
        }
    }

    /// Makes one attempt.
    async fn push(&mut self, member: &Member, mut pending: Pending, rule: PushRule) {
        let clock = member.clock();
        let emission = Arc::clone(&pending.item.emission);
        let is_signed = self.misbehave(&emission.row, rule, clock).await;
        let pusher: &dyn Pusher = if is_signed { &*self.pusher } else { &Unsigned };
        let push = match Push::new(&self.url, pusher, clock.now(), &emission.row, emission.payload()) {
            Ok(push) => push,
            Err(why) => return self.refuse(member, &emission, why),
        };
        let sent = match tokio::time::timeout(rule.timeout, self.connection.send(&push, clock)).await {
            Ok(sent) => sent,
            Err(_) => {
                self.connection.close();
                Sent { left_ns: None, status: Err(format!("no answer within {:?}", rule.timeout)) }
            }
        };
        if !is_signed {
            self.connection.close();
        }
        pending.left_ns = pending.left_ns.or(sent.left_ns);
        let why = match sent.status {
            Ok(status) if (200..300).contains(&status) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("{}: takes what is pushed again", self.url);
                }
                member.trace("answer", || answer(&emission, pending.failures, Ok(status)));
                let left_ns = pending.left_ns.unwrap_or_else(|| clock.now().steady_ns);
                return member.sent_at(std::slice::from_ref(&pending.item), left_ns);
            }
            came => {
                let came = came.as_ref().map(|status| *status).map_err(String::as_str);
                member.trace("answer", || answer(&emission, pending.failures, came));
                came.map_or_else(str::to_owned, |status| format!("it was answered with status {status}"))
            }
        };
        let Some(wait) = rule.waits.get(pending.failures) else {
            return self.refuse(member, &emission, why);
        };
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!("{}: a push was not taken, and is made again in {wait:?}: {why}", self.url);
        }
        pending.failures += 1;
        self.waiting.push(Instant::now() + *wait, pending);
    }

    /// Does what comes before a message where misbehaviour was asked for; false if its credentials are to be
    /// left out, as expired ones are worth nothing.
    async fn misbehave(&mut self, row: &Row, rule: PushRule, clock: &Clock) -> bool {
        match self.connection.conduct().map(|conduct| conduct.before_message(row.payload.len())) {
            Some(Next::Expire) => return false,
            Some(Next::Noise(payload)) => {
                let noise = Row { payload, ..row.clone() };
                if let Ok(push) = Push::new(&self.url, &*self.pusher, clock.now(), &noise, &noise.payload) {
                    // Whatever the receiver says to it.
                    let _ = tokio::time::timeout(rule.timeout, self.connection.send(&push, clock)).await;
                }
            }
            Some(Next::Send | Next::Last) | None => {}
        }
        true
    }

    fn refuse(&mut self, member: &Member, emission: &Emission, why: String) {
        let row = &emission.row;
        match self.refusals.note(Instant::now()) {
            Some(1) => tracing::warn!(
                "{}: message {} of session {} is refused for good: {why}",
                self.url,
                row.seq,
                row.session_id
            ),
            Some(many) => {
                tracing::warn!("{}: {many} more messages are refused for good, the last: {why}", self.url)
            }
            None => {}
        }
        member.trace("refused", || json!({"seq": row.seq, "reason": why}));
        self.is_failing = true;
        member.refused();
    }
}

/// A push with nothing but its recorded headers.
#[derive(Debug)]
struct Unsigned;

impl Pusher for Unsigned {
    fn headers(&self, _: Now, _: &str, recorded: &Headers, _: &[u8]) -> Headers {
        recorded.clone()
    }

    fn rule(&self) -> PushRule {
        PushRule { timeout: Duration::ZERO, waits: &[] }
    }
}

fn answer(emission: &Emission, failures: usize, came: Result<u16, &str>) -> serde_json::Value {
    let (what, came) = match came {
        Ok(status) => ("status", json!(status)),
        Err(why) => ("error", json!(why)),
    };
    json!({"seq": emission.row.seq, "attempt": failures + 1, what: came})
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// What waits to be pushed again: by its time, and by its place among those of the same time.
#[derive(Debug, Default)]
struct Waiting {
    heap: BinaryHeap<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    pending: Pending,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    fn has_room(&self) -> bool {
        self.heap.len() < WAITING_MAX && self.bytes < WAITING_BYTES_MAX
    }

    fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    fn push(&mut self, at: Instant, pending: Pending) {
        self.bytes += pending.bytes();
        self.heap.push(Entry { at, pending });
    }

    fn pop(&mut self) -> Option<Pending> {
        let pending = self.heap.pop()?.pending;
        self.bytes -= pending.bytes();
        Some(pending)
    }
}

impl Pending {
    fn bytes(&self) -> usize {
        self.item.emission.payload().len()
    }
}

impl Entry {
    fn key(&self) -> (Instant, u64) {
        (self.at, self.pending.item.emission.index)
    }
}

// Turned round: the heap's greatest is the earliest.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}
