//! A client's side of the fan-out: what it takes, and what it says became of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::queue::{Item, Taken, Wish};
use super::summary::{self, ClientSummary};
use super::{Client, Fanout, MessageId, Outlet, TOO_SLOW, lock};
use crate::clock::Clock;
use crate::message::SessionId;

/// A client's own handle; leaves when dropped.
#[derive(Debug)]
pub struct Member {
    pub(super) fanout: Arc<Fanout>,
    pub(super) client: Arc<Client>,
}

impl Member {
    /// The n-th client of this replay, from 1.
    pub fn id(&self) -> u64 {
        self.client.id
    }

    /// Where it came, or we went.
    pub fn endpoint(&self) -> &str {
        &self.client.endpoint
    }

    /// From now on, what is due is sent through `outlet` where nothing waits for the client.
    pub fn set_outlet(&self, outlet: Arc<dyn Outlet>) {
        // A second one would break the order between the two.
        let _ = self.client.outlet.set(outlet);
    }

    /// Sets what the client receives from now on; the first wish makes it ready.
    pub fn wish(&self, wish: Wish) {
        self.fanout.past.wish(&self.client, wish);
        self.fanout.ring();
    }

    /// Takes at most `items_max` messages and stops after about `bytes_max` bytes; waits until there
    /// is at least one, or nothing will follow. May be cancelled without loss.
    pub async fn take(&self, batch: &mut Vec<Item>, items_max: usize, bytes_max: usize) -> Taken {
        loop {
            let lockstep = self.fanout.lockstep.load(Ordering::Acquire);
            let taken = lock(&self.client.queue).take(batch, items_max, bytes_max, lockstep);
            match taken {
                Taken::Nothing => self.client.readable.notified().await,
                Taken::Some => {
                    self.client.writable.notify_all();
                    return taken;
                }
                Taken::Finished | Taken::Cut | Taken::Dropped(_) => return taken,
            }
        }
    }

    /// Resolves with the reason when the client is to be disconnected at once.
    pub async fn dropped(&self) -> &'static str {
        self.client.dropped.cancelled().await;
        lock(&self.client.queue).reason().unwrap_or(TOO_SLOW)
    }

    /// `batch`, taken before, was flushed to the socket just now.
    pub fn sent(&self, batch: &[Item]) {
        self.sent_at(batch, self.fanout.clock.now().steady_ns);
    }

    /// `batch`, taken before, is settled; it was flushed to the socket at `now_ns`.
    pub fn sent_at(&self, batch: &[Item], now_ns: u64) {
        lock(&self.client.queue).settle(batch.len());
        self.fanout.count(&self.client, batch, now_ns);
        self.fanout.ring_in_lockstep();
    }

    /// A message that was taken before is given up, because its receiver refused it for good.
    pub fn refused(&self) {
        lock(&self.client.queue).settle(1);
        lock(&self.client.sent).refused += 1;
        self.fanout.ring_in_lockstep();
    }

    /// The client can acknowledge each message, and is to: its protocol has something for it. (That of
    /// what is published at QoS 1 and 2 is known without.)
    pub fn acknowledges(&self) {
        lock(&self.client.queue).acknowledges();
    }

    /// The client has acknowledged this message to the end (PUBACK, PUBCOMP, or its like).
    pub fn settled(&self, message: MessageId) {
        let _ = self.settle(|known| *known == message);
    }

    /// The client has acknowledged a message and says no more of it than its `seq`, and perhaps its session: of
    /// several with the same one, the first that it has not acknowledged. False if acknowledgements are waited
    /// for, and none of this.
    pub fn settled_seq(&self, seq: u64, session_id: Option<SessionId>) -> bool {
        self.settle(|known| known.seq == seq && session_id.is_none_or(|id| id == known.session_id))
    }

    fn settle(&self, is_meant: impl Fn(&MessageId) -> bool) -> bool {
        if !self.fanout.lockstep.load(Ordering::Acquire) {
            return true;
        }
        let was_awaited = lock(&self.client.queue).acknowledge(is_meant);
        self.fanout.ring();
        was_awaited
    }

    /// A message is sent once more, which is not to be idle.
    pub fn repeated(&self) {
        self.acknowledged();
        lock(&self.client.sent).repeated += 1;
    }

    /// Something that was sent was acknowledged.
    pub fn acknowledged(&self) {
        lock(&self.client.queue).advance();
    }

    /// Disconnects this client for `reason`, which it returns.
    pub fn give_up(&self, reason: &'static str) -> &'static str {
        self.client.drop_out(&mut lock(&self.client.queue), reason);
        reason
    }

    /// Nothing more is sent: what follows is the goodbye, in which nothing can be lost.
    pub fn end(&self) {
        lock(&self.client.queue).end();
        self.client.writable.notify_all();
    }

    /// Notes in the trace, if there is one, what the client sent or answered.
    pub fn trace(&self, event: &str, detail: impl FnOnce() -> Value) {
        if let Some(trace) = &self.fanout.trace {
            trace.client(
                self.id(),
                &self.client.endpoint,
                event,
                detail(),
                self.fanout.clock.now().steady_ns,
            );
        }
    }

    pub fn clock(&self) -> &Clock {
        &self.fanout.clock
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let client = &self.client;
        self.end();
        let (was_ready, dropped, reason, cut) = {
            let queue = lock(&client.queue);
            (queue.was_ready(), queue.dropped(), queue.reason(), queue.is_cut())
        };
        self.trace("left", || match (reason, cut) {
            (Some(reason), _) => json!({"reason": reason}),
            (None, true) => json!({"reason": "outage"}),
            (None, false) => json!({}),
        });
        let mut room = lock(&self.fanout.room);
        if was_ready {
            let sent = std::mem::take(&mut *lock(&client.sent));
            summary::note(
                &mut room.summaries,
                ClientSummary {
                    id: client.id,
                    endpoint: client.endpoint.clone(),
                    messages: sent.messages,
                    states: sent.states,
                    cut,
                    bytes: sent.bytes,
                    refused: sent.refused,
                    repeated: sent.repeated,
                    dropped,
                    reason,
                    lateness: sent.lateness,
                },
            );
        }
        room.members = Arc::new(room.members.iter().filter(|c| c.id != client.id).cloned().collect());
        drop(room);
        self.fanout.left.notify_waiters();
        self.fanout.ring();
    }
}
