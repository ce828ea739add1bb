//! What was published at QoS 1 and 2 and is not acknowledged yet, kept so that it can be published again.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::transport::fanout::{Item, MessageId};
use crate::transport::mqtt_server::publish;

/// Messages under way at a time. Brokers bound what one client may have begun at QoS 2: 100 is EMQX's
/// default, and enough for ten thousand messages a second over a line of 10 ms.
pub(super) const WINDOW: u16 = 100;

#[derive(Debug)]
pub(super) struct Flight {
    /// By packet identifier minus one.
    slots: Vec<Option<Flying>>,
    /// Oldest first, so that an identifier rests as long as possible before it is used again.
    free: VecDeque<u16>,
    published: u64,
}

#[derive(Clone, Debug)]
struct Flying {
    item: Item,
    /// Its place in the order of publishing.
    place: u64,
    /// QoS 2: PUBREC came. The broker may keep the message to itself until PUBREL, and forget it with the
    /// session, so this is no delivery yet.
    is_received: bool,
}

impl Default for Flight {
    fn default() -> Self {
        Self { slots: vec![None; usize::from(WINDOW)], free: (1..=WINDOW).collect(), published: 0 }
    }
}

impl Flight {
    /// How many messages can be published now.
    pub(super) fn room(&self) -> usize {
        self.free.len()
    }

    /// Whether everything that was published is acknowledged.
    pub(super) fn is_settled(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// A packet identifier for `item`; none if there is no room.
    pub(super) fn open(&mut self, item: &Item) -> Option<u16> {
        let id = self.free.pop_front()?;
        self.published += 1;
        let flying = Flying { item: item.clone(), place: self.published, is_received: false };
        if let Some(slot) = self.slot(id) {
            *slot = Some(flying);
        }
        Some(id)
    }

    /// A PUBACK came; the message that it settles, if it settles any.
    pub(super) fn puback(&mut self, id: u16) -> Option<MessageId> {
        self.release(id, |flying| flying.item.qos == 1)
    }

    /// A PUBREC came; a PUBREL is owed in any case.
    pub(super) fn pubrec(&mut self, id: u16) -> Option<MessageId> {
        let flying = self.slot(id)?.as_mut().filter(|flying| flying.item.qos == 2)?;
        flying.is_received = true;
        Some(flying.item.emission.id())
    }

    /// A PUBCOMP came.
    pub(super) fn pubcomp(&mut self, id: u16) -> Option<MessageId> {
        self.release(id, |flying| flying.is_received)
    }

    /// A new connection: publishes again, in its order, what the one before did not bring to its end.
    pub(super) fn begin_again(&mut self, out: &mut BytesMut) {
        let before = std::mem::take(self);
        let mut flying: Vec<Flying> = before.slots.into_iter().flatten().collect();
        flying.sort_by_key(|flying| flying.place);
        for Flying { item, .. } in flying {
            // As many as there were before fit again.
            if let Some(id) = self.open(&item) {
                // For the broker this may be the second time, whatever its identifier [MQTT-3.3.1-1].
                publish::write(&item, id, true, out);
            }
        }
    }

    fn release(&mut self, id: u16, is_meant: impl Fn(&Flying) -> bool) -> Option<MessageId> {
        let flying = self.slot(id)?.take_if(|flying| is_meant(flying))?;
        self.free.push_back(id);
        Some(flying.item.emission.id())
    }

    fn slot(&mut self, id: u16) -> Option<&mut Option<Flying>> {
        self.slots.get_mut(usize::from(id).checked_sub(1)?)
    }
}
