//! What was sent to a client at QoS 1 and 2 and is not acknowledged yet.
//!
//! Bounded in number and in bytes: where that is reached, the client gets nothing more until it has
//! acknowledged something. Nothing is sent again on the same connection (MQTT 3.1.1, section 4.4); when a
//! persistent session's client is back, all that is not acknowledged is sent again: publications in the
//! order in which they were sent first [MQTT-4.6.0-1], PUBRELs in the order of their PUBRECs [MQTT-4.6.0-4].

use std::collections::{HashMap, VecDeque};

use bytes::BytesMut;

use super::publication::Relayed;
use super::publish;
use crate::transport::fanout::{Item, MessageId};

/// Packet identifiers in use at a time; mosquitto's clients start with 20, others take 65,535.
pub const WINDOW: u16 = 1_024;

/// What is kept to be sent again, for one session.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// A message that can be sent again.
#[derive(Clone, Debug)]
pub enum Parcel {
    Replayed(Item),
    Relayed(Relayed),
}

impl Parcel {
    fn bytes(&self) -> usize {
        match self {
            Parcel::Replayed(item) => item.emission.payload().len(),
            Parcel::Relayed(relayed) => relayed.publication.payload.len(),
        }
    }
}

/// What one packet identifier waits for.
#[derive(Debug)]
struct Slot {
    awaits: Awaits,
    /// Grows with each message sent and each PUBREC.
    order: u64,
    /// Of what is replayed, which it is.
    message: Option<MessageId>,
    /// Until it is received; none where the session ends with its connection.
    parcel: Option<Parcel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// QoS 1.
    Puback,
    /// QoS 2, first half.
    Pubrec,
    /// QoS 2, second half.
    Pubcomp,
}

/// What is sent again for one packet identifier; a publication is encoded already.
#[derive(Debug)]
pub enum Again {
    /// What is replayed and did not leave before: it counts as sent now.
    First(Item),
    /// What is replayed, once more.
    Repeated,
    Relayed,
    Pubrel,
}

#[derive(Debug, Default)]
pub struct Window {
    slots: HashMap<u16, Slot>,
    /// Identifiers up to this one were in use before.
    issued: u16,
    /// Of these, which are free: oldest first, so that an identifier rests as long as possible.
    free: VecDeque<u16>,
    kept_bytes: usize,
    /// Slots of replayed messages.
    replayed: usize,
    next_order: u64,
    /// What has a lower order was flushed to a socket.
    flushed_to: u64,
}

impl Window {
    /// How many messages can be sent now.
    pub fn room(&self) -> usize {
        match self.kept_bytes {
            0..KEPT_BYTES_MAX => usize::from(WINDOW).saturating_sub(self.slots.len()),
            _ => 0,
        }
    }

    /// Whether all that is replayed was acknowledged. What clients publish to each other is not waited for.
    pub fn is_settled(&self) -> bool {
        self.replayed == 0
    }

    /// A packet identifier for a message at `qos` 1 or 2; none if there is no room. Which `message` it is, of what is
    /// replayed, is told when it is acknowledged.
    pub fn open(&mut self, qos: u8, message: Option<MessageId>, parcel: Option<Parcel>) -> Option<u16> {
        let id = if self.issued < WINDOW {
            self.issued += 1;
            self.issued
        } else {
            self.free.pop_front()?
        };
        self.kept_bytes += parcel.as_ref().map_or(0, Parcel::bytes);
        let awaits = if qos == 1 { Awaits::Puback } else { Awaits::Pubrec };
        self.replayed += usize::from(message.is_some());
        let order = self.order();
        self.slots.insert(id, Slot { awaits, order, message, parcel });
        Some(id)
    }

    /// The place in the order of what will be sent next.
    pub fn next_order(&self) -> u64 {
        self.next_order
    }

    /// What was opened before `next_order` was this is with the client, or on its way there.
    pub fn flushed(&mut self, order: u64) {
        self.flushed_to = self.flushed_to.max(order);
    }

    /// How many replayed messages were opened and not flushed.
    pub fn unsent(&self) -> usize {
        let is_unsent = |slot: &&Slot| slot.awaits != Awaits::Pubcomp && slot.order >= self.flushed_to;
        self.slots.values().filter(is_unsent).filter(|slot| slot.message.is_some()).count()
    }

    /// A PUBACK came; the replayed message that it settles, if it settles one.
    pub fn puback(&mut self, id: u16) -> Option<MessageId> {
        self.settle(id, Awaits::Puback)
    }

    /// A PUBREC came; a PUBREL is owed in any case.
    pub fn pubrec(&mut self, id: u16) -> Option<MessageId> {
        let order = self.order();
        let slot = self.slots.get_mut(&id).filter(|slot| slot.awaits == Awaits::Pubrec)?;
        slot.awaits = Awaits::Pubcomp;
        slot.order = order;
        self.kept_bytes -= slot.parcel.take().as_ref().map_or(0, Parcel::bytes);
        slot.message
    }

    /// A PUBCOMP came.
    pub fn pubcomp(&mut self, id: u16) -> Option<MessageId> {
        self.settle(id, Awaits::Pubcomp)
    }

    /// The packet identifiers of what is to be sent again, in its order.
    pub fn unacknowledged(&self) -> VecDeque<u16> {
        let mut ids: Vec<(u64, u16)> = self.slots.iter().map(|(id, slot)| (slot.order, *id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// Appends what is sent again for `id` to `out`; none if it was acknowledged meanwhile. A PUBREL is left
    /// to the caller.
    pub fn write_again(&self, id: u16, out: &mut BytesMut) -> Option<Again> {
        let slot = self.slots.get(&id)?;
        match &slot.parcel {
            _ if slot.awaits == Awaits::Pubcomp => Some(Again::Pubrel),
            None => None,
            Some(Parcel::Relayed(relayed)) => {
                relayed.write(id, true, out);
                Some(Again::Relayed)
            }
            Some(Parcel::Replayed(item)) => {
                publish::write(item, id, true, out);
                Some(match slot.order >= self.flushed_to {
                    true => Again::First(Item { is_held: true, ..item.clone() }),
                    false => Again::Repeated,
                })
            }
        }
    }

    fn settle(&mut self, id: u16, awaits: Awaits) -> Option<MessageId> {
        if self.slots.get(&id).is_none_or(|slot| slot.awaits != awaits) {
            return None;
        }
        let slot = self.slots.remove(&id)?;
        self.kept_bytes -= slot.parcel.as_ref().map_or(0, Parcel::bytes);
        self.replayed -= usize::from(slot.message.is_some());
        self.free.push_back(id);
        slot.message
    }

    fn order(&mut self) -> u64 {
        let order = self.next_order;
        self.next_order += 1;
        order
    }
}

#[cfg(test)]
mod tests {
    use super::super::publication::Publication;
    use super::*;
    use crate::message::SessionId;

    fn replayed(n: u64) -> MessageId {
        MessageId { index: n, session_id: SessionId::new(0, [0; 10]), seq: 0 }
    }

    fn parcel(payload_bytes: usize) -> Option<Parcel> {
        let publication = Publication::new("t".to_owned(), &vec![0; payload_bytes], 2, false);
        Some(Parcel::Relayed(Relayed { publication, qos: 2, is_retained: false }))
    }

    #[test]
    fn each_qos_is_settled_by_its_own_acknowledgements() {
        let mut window = Window::default();
        let (one, two) = (
            window.open(1, Some(replayed(10)), None).unwrap(),
            window.open(2, Some(replayed(20)), None).unwrap(),
        );
        assert_eq!(window.puback(two), None);
        assert_eq!(window.pubrec(one), None);
        assert_eq!(window.pubcomp(two), None, "PUBREC comes first");
        assert_eq!(window.puback(one), Some(replayed(10)));
        assert_eq!(window.puback(one), None, "once");
        assert_eq!(window.pubrec(two), Some(replayed(20)));
        assert!(!window.is_settled());
        assert_eq!(window.pubcomp(two), Some(replayed(20)));
        assert!(window.is_settled());
    }

    #[test]
    fn identifiers_are_bounded_and_never_zero_or_used_twice() {
        let mut window = Window::default();
        let ids: std::collections::BTreeSet<u16> =
            (0..).map_while(|seq| window.open(1, Some(replayed(seq)), None)).collect();
        assert_eq!(ids, (1..=WINDOW).collect());
        assert_eq!(window.room(), 0);
        assert_eq!(window.puback(5), Some(replayed(4)));
        assert_eq!(window.open(2, None, None), Some(5));
        for id in [0, WINDOW + 1, u16::MAX] {
            assert_eq!((window.puback(id), window.pubrec(id), window.pubcomp(id)), (None, None, None));
        }
    }

    #[test]
    fn what_is_kept_is_bounded_until_it_is_received() {
        let mut window = Window::default();
        let id = window.open(2, None, parcel(KEPT_BYTES_MAX)).unwrap();
        assert_eq!(window.room(), 0);
        window.pubrec(id);
        assert!(window.is_settled(), "nobody waits for what another client published");
        assert_eq!(window.room(), usize::from(WINDOW) - 1, "received: it need not be sent again");
    }

    #[test]
    fn what_was_not_flushed_is_known() {
        let mut window = Window::default();
        let [received, _, _] = [2, 1, 2].map(|qos| window.open(qos, Some(replayed(7)), None).unwrap());
        assert_eq!(window.unsent(), 3);
        window.flushed(window.next_order());
        assert_eq!(window.unsent(), 0);
        window.open(1, Some(replayed(8)), None);
        window.open(1, None, parcel(1));
        window.pubrec(received);
        assert_eq!(window.unsent(), 1, "the replayed one that was opened since");
    }

    #[test]
    fn publications_are_sent_again_in_their_order_and_pubrels_in_that_of_their_pubrecs() {
        let mut window = Window::default();
        let [a, b, c, d] = [2, 2, 1, 2].map(|qos| window.open(qos, None, parcel(1)).unwrap());
        window.pubrec(b);
        window.pubrec(a);
        assert_eq!(window.unacknowledged(), [c, d, b, a]);
        let mut out = BytesMut::new();
        assert!(matches!(window.write_again(c, &mut out), Some(Again::Relayed)));
        assert_eq!(out[0], 0b0011_1100, "QoS of the parcel, with DUP");
        assert!(matches!(window.write_again(b, &mut out), Some(Again::Pubrel)));
        window.puback(c);
        assert!(window.write_again(c, &mut out).is_none());
    }
}
