//! What waits for one client: bounded in bytes and in number.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::{Emission, MessageId};
use crate::message::{Row, Selection};
use crate::transport::mqtt_server::{publish, topic};

/// What one entry of a queue costs beside its payload and channel: the row, its cached encodings, and
/// what an allocator needs for each.
const ITEM_BYTES: usize = size_of::<Emission>() + size_of::<Row>() + 128;

/// What is written by the thread that keeps the time: more is left to the client's task.
const FRESH_ITEMS_MAX: usize = 256;
const FRESH_BYTES_MAX: usize = 512 << 10;

/// What a client wants to receive.
#[derive(Clone, Debug)]
pub enum Wish {
    /// Rows by their envelope.
    Rows(Selection),
    /// MQTT topic filters with the QoS granted to each; an empty list is a wish for nothing.
    Topics(Vec<(String, u8)>),
    /// Rows by their envelope, all of them published on one topic, at most at this QoS.
    OnTopic { rows: Selection, topic: ByteString, qos: u8 },
    /// What was pushed to us by one source.
    Pushes { source: String },
    /// Everything, on its topic at its recorded QoS; at QoS 1 what has none, since a broker that is far
    /// away is to say that it has it.
    Everything,
}

impl Wish {
    /// The QoS at which `emission` is to be delivered (0 where there is none), if at all. Filters
    /// that overlap deliver once, at the highest QoS of those that match.
    fn qos_for(&self, emission: &Emission) -> Option<u8> {
        match self {
            Wish::Rows(selection) => selection.matches(&emission.row).then_some(0),
            Wish::Pushes { source } => {
                // Webhooks alone have headers.
                (emission.row.headers.is_some() && *source == *emission.row.source).then_some(0)
            }
            Wish::Everything => Some(emission.row.mqtt.map_or(1, |mqtt| mqtt.qos)),
            Wish::Topics(filters) => {
                let granted = filters
                    .iter()
                    .filter(|(filter, _)| topic::matches(filter, emission.topic()))
                    .map(|(_, qos)| *qos)
                    .max()?;
                Some(granted.min(emission.row.mqtt.map_or(0, |mqtt| mqtt.qos)))
            }
            Wish::OnTopic { rows, qos, .. } => {
                let recorded = emission.row.mqtt.map_or(0, |mqtt| mqtt.qos);
                rows.matches(&emission.row).then(|| recorded.min(*qos))
            }
        }
    }

    /// The topic that `emission` is to be published on, where that is not its own.
    fn topic_for(&self, emission: &Emission) -> Option<ByteString> {
        match self {
            Wish::OnTopic { topic, .. } if topic != emission.topic() => Some(topic.clone()),
            _ => None,
        }
    }
}

/// One message on its way to one client.
#[derive(Clone, Debug)]
pub struct Item {
    pub emission: Arc<Emission>,
    /// For MQTT.
    pub qos: u8,
    /// For MQTT: in place of the message's own.
    pub topic: Option<ByteString>,
    /// It waited for a client that was away: that it is late is the client's doing.
    pub is_held: bool,
}

impl Item {
    /// Fixed and variable header of its PUBLISH, the packet identifier left zero; none if topic or
    /// payload are longer than MQTT can say.
    pub fn publish_head(&self) -> Option<Bytes> {
        match &self.topic {
            None => self.emission.publish_head(self.qos).cloned(),
            Some(topic) => {
                publish::head(topic, self.qos, self.emission.is_retold(), self.emission.payload().len())
            }
        }
    }
}

/// What a client found in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Some,
    /// Nothing for now.
    Nothing,
    /// Nothing, and nothing will follow.
    Finished,
    /// Nothing, and the connection is to break: what the client came for is down.
    Cut,
    /// The client is to be disconnected, for this reason.
    Dropped(&'static str),
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Unwanted,
    Queued { was_empty: bool },
    Full,
}

#[derive(Debug)]
pub(super) struct Queue {
    bytes_max: usize,
    items_max: usize,
    wish: Option<Wish>,
    /// Up to the message with this serial, what was wished for before still holds.
    before: Option<(u64, Option<Wish>)>,
    items: VecDeque<Item>,
    /// Of `items`, the last ones, which this connection is not sent any more.
    behind: usize,
    /// Of `items`, those that are bounded: what is told again is bounded where it is kept.
    bounded: usize,
    bytes: usize,
    /// Taken and not yet flushed.
    in_hand: u64,
    /// It can acknowledge what is not published at QoS 1 or 2, too.
    acknowledges: bool,
    /// In lockstep: taken and not acknowledged yet, in the order of sending.
    unacknowledged: Vec<MessageId>,
    /// In lockstep: told again, and perhaps acknowledged, which nobody waits for.
    retold: u64,
    dropped: u64,
    finished: bool,
    /// Why the client is to be disconnected when nothing waits for it any more.
    leaving: Option<&'static str>,
    /// The same, because what it came for is down.
    cut: bool,
    reason: Option<&'static str>,
    /// Everything was delivered, or the client left: nothing is offered and nothing can be lost.
    over: bool,
    /// Its client may come back: what has QoS 1 or 2 outlives a connection.
    persists: bool,
    /// Its client has gone and means to come back ([`super::Member::go_away`]).
    away: bool,
    /// Grows with whatever the client takes, gets or acknowledges.
    progress: u64,
    progress_seen: u64,
}

impl Queue {
    pub(super) fn new(bytes_max: usize, items_max: usize) -> Self {
        Self {
            bytes_max,
            items_max,
            wish: None,
            before: None,
            items: VecDeque::new(),
            behind: 0,
            bounded: 0,
            bytes: 0,
            in_hand: 0,
            acknowledges: false,
            unacknowledged: Vec::new(),
            retold: 0,
            dropped: 0,
            finished: false,
            leaving: None,
            cut: false,
            reason: None,
            over: false,
            persists: false,
            away: false,
            progress: 0,
            progress_seen: 0,
        }
    }

    pub(super) fn wish(&mut self, wish: Wish) {
        self.wish = Some(wish);
    }

    /// The same from behind the message with the serial `upto`; of what was before, those of `states` are
    /// told that were not wished for until now.
    pub(super) fn wish_from<'s>(
        &mut self,
        upto: u64,
        wish: Wish,
        states: impl Iterator<Item = &'s Arc<Emission>>,
    ) {
        // Or a client that changes its mind without reading would be told everything each time.
        self.items.retain(|item| !item.emission.is_retold() || wish.qos_for(&item.emission).is_some());
        let before = self.wish.replace(wish);
        let is_new = |state: &&Arc<Emission>| before.as_ref().is_none_or(|b| b.qos_for(state).is_none());
        self.tell(states.filter(is_new));
        // Of several wishes behind the same message, that before the first holds for it.
        if self.before.as_ref().is_none_or(|(known, _)| *known < upto) {
            self.before = Some((upto, before));
        }
    }

    /// Tells those of `states` that are wished for, in place of what was told before and is not taken yet.
    pub(super) fn tell_anew<'s>(&mut self, states: impl Iterator<Item = &'s Arc<Emission>>) {
        self.items.retain(|item| !item.emission.is_retold());
        self.tell(states);
    }

    fn tell<'s>(&mut self, states: impl Iterator<Item = &'s Arc<Emission>>) {
        if self.over || self.is_parting() || self.reason.is_some() {
            return;
        }
        let Some(wish) = &self.wish else { return };
        let is_held = self.away;
        for state in states {
            if let Some(qos) = wish.qos_for(state).filter(|qos| *qos > 0 || !is_held) {
                let topic = wish.topic_for(state);
                self.items.push_back(Item { emission: Arc::clone(state), qos, topic, is_held });
            }
        }
    }

    pub(super) fn current_wish(&self) -> Option<&Wish> {
        self.wish.as_ref().filter(|_| !self.over)
    }

    /// Nothing is taken any more but what waits, and then the connection breaks; false if that was so.
    pub(super) fn cut(&mut self) -> bool {
        !self.away && !std::mem::replace(&mut self.cut, true)
    }

    /// The connection ends when what was offered before is taken.
    fn is_parting(&self) -> bool {
        self.cut || self.leaving.is_some()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn is_ready(&self) -> bool {
        self.wish.is_some() && !self.over && !self.away && !self.is_parting()
    }

    /// From now on what is offered waits for the client's return, but for what has QoS 0.
    pub(super) fn go_away(&mut self) {
        self.away = true;
        // What it was to leave for has happened.
        (self.cut, self.leaving, self.behind) = (false, None, 0);
        self.items.iter_mut().for_each(|item| item.is_held = true);
    }

    /// The client may go away and come back.
    pub(super) fn persists(&mut self) {
        self.persists = true;
    }

    /// What it came for is down again: it is sent nothing of what waits.
    pub(super) fn turn_away(&mut self) -> bool {
        self.behind = self.items.len();
        self.cut()
    }

    pub(super) fn come_back(&mut self, in_hand: usize) {
        self.away = false;
        self.in_hand = in_hand as u64;
    }

    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// Whether so many more messages, of so many bytes together, are taken for certain.
    pub(super) fn has_room(&self, items: usize, bytes: usize) -> bool {
        self.wish.is_none()
            || self.over
            || (self.bounded + items <= self.items_max && self.bytes.saturating_add(bytes) <= self.bytes_max)
    }

    pub(super) fn offer(&mut self, emission: &Arc<Emission>) -> Offer {
        let is_parting = self.is_parting();
        if self.over || self.reason.is_some() || (is_parting && !self.persists) {
            return Offer::Unwanted;
        }
        self.before.take_if(|(upto, _)| emission.serial() > *upto);
        let wish = self.before.as_ref().map_or(&self.wish, |(_, before)| before);
        let Some(wish) = wish else { return Offer::Unwanted };
        let Some(qos) = wish.qos_for(emission) else { return Offer::Unwanted };
        let is_held = self.away || is_parting;
        if is_held && qos == 0 {
            return Offer::Unwanted;
        }
        let topic = wish.topic_for(emission);
        let was_empty = self.items.is_empty();
        let bytes = cost(emission);
        // One message always fits, whatever its size.
        if self.bounded > 0 && (self.bounded >= self.items_max || self.bytes + bytes > self.bytes_max) {
            return Offer::Full;
        }
        self.bytes += bytes;
        self.bounded += 1;
        self.behind += usize::from(is_parting);
        self.items.push_back(Item { emission: Arc::clone(emission), qos, topic, is_held });
        Offer::Queued { was_empty }
    }

    /// `account`: what can be acknowledged is to be.
    pub(super) fn take(
        &mut self,
        batch: &mut Vec<Item>,
        items_max: usize,
        bytes_max: usize,
        account: bool,
    ) -> Taken {
        if let Some(reason) = self.reason {
            return Taken::Dropped(reason);
        }
        let mut bytes = 0;
        let mut items = 0;
        while items < items_max && bytes < bytes_max {
            let Some(item) = self.pop() else { break };
            let item_bytes = cost(&item.emission);
            bytes += item_bytes;
            items += 1;
            if !item.emission.is_retold() {
                self.bytes -= item_bytes;
                self.bounded -= 1;
            }
            if account && item.emission.is_retold() {
                self.retold += 1;
            } else if account && (self.acknowledges || item.qos > 0) {
                self.unacknowledged.push(item.emission.id());
            }
            batch.push(item);
        }
        self.in_hand += items as u64;
        self.progress += items as u64;
        if let (0, Some(reason)) = (items, self.leaving) {
            // Of one that may come back, this is not the end.
            self.reason = Some(reason).filter(|_| !self.persists);
            return Taken::Dropped(reason);
        }
        match items {
            0 if self.cut && self.items.len() == self.behind => Taken::Cut,
            0 if self.finished && self.items.is_empty() => Taken::Finished,
            0 => Taken::Nothing,
            _ => Taken::Some,
        }
    }

    fn pop(&mut self) -> Option<Item> {
        if self.items.len() > self.behind { self.items.pop_front() } else { None }
    }

    /// Takes all that waits, if that is something, and not so much that it is the task's, and nothing is in hand.
    pub(super) fn take_fresh(&mut self, into: &mut Vec<Item>) -> bool {
        let items = self.items.len();
        let is_little = items == 1 || (items <= FRESH_ITEMS_MAX && self.bytes <= FRESH_BYTES_MAX);
        if self.in_hand > 0 || items == 0 || !is_little || self.bounded != items || self.is_parting() {
            return false;
        }
        into.extend(self.items.drain(..));
        (self.bytes, self.bounded) = (0, 0);
        self.in_hand += items as u64;
        self.progress += items as u64;
        true
    }

    /// Undoes [`Queue::take_fresh`] for these, the last of them.
    pub(super) fn put_back(&mut self, items: &mut Vec<Item>) {
        self.in_hand -= items.len() as u64;
        self.progress -= items.len() as u64;
        self.bounded += items.len();
        while let Some(item) = items.pop() {
            self.bytes += cost(&item.emission);
            self.items.push_front(item);
        }
    }

    pub(super) fn settle(&mut self, items: usize) {
        self.in_hand = self.in_hand.saturating_sub(items as u64);
        self.progress += items as u64;
    }

    pub(super) fn advance(&mut self) {
        self.progress += 1;
    }

    /// Whether messages leave on an MQTT topic.
    pub(super) fn publishes(&self) -> bool {
        matches!(self.wish, Some(Wish::Topics(_) | Wish::OnTopic { .. } | Wish::Everything))
    }

    pub(super) fn acknowledges(&mut self) {
        self.acknowledges = true;
    }

    /// The earliest of those that wait for it and are meant is acknowledged; false: none is, nor can it be of one that
    /// was told again.
    pub(super) fn acknowledge(&mut self, is_meant: impl Fn(&MessageId) -> bool) -> bool {
        let at = self.unacknowledged.iter().position(is_meant);
        if let Some(at) = at {
            self.unacknowledged.remove(at);
        }
        self.progress += 1;
        let is_of_retold = at.is_none() && self.retold > 0;
        self.retold -= u64::from(is_of_retold);
        at.is_some() || is_of_retold
    }

    /// Whether the client has all that it was offered, or is not there to have it.
    pub(super) fn is_settled(&self) -> bool {
        self.over
            || self.away
            || self.reason.is_some()
            || (self.items.is_empty() && self.in_hand == 0 && self.unacknowledged.is_empty())
    }

    /// Whether there was progress since this was asked before.
    pub(super) fn has_advanced(&mut self) -> bool {
        let seen = std::mem::replace(&mut self.progress_seen, self.progress);
        !self.over && self.progress > seen
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn count_dropped(&mut self, messages: u64) {
        self.dropped += messages;
    }

    pub(super) fn drop_all(&mut self, reason: &'static str) {
        self.reason.get_or_insert(reason);
        self.dropped += self.bounded as u64;
        self.forget();
    }

    /// The client is to be disconnected when it has what waits for it.
    pub(super) fn leave(&mut self, reason: &'static str) {
        if !self.away {
            self.leaving.get_or_insert(reason);
        }
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
        self.progress_seen = self.progress;
    }

    pub(super) fn reason(&self) -> Option<&'static str> {
        self.reason
    }

    /// Nothing more is sent to this client.
    pub(super) fn end(&mut self) {
        self.over = true;
        if self.reason.is_some() {
            self.dropped += std::mem::take(&mut self.in_hand);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.items = VecDeque::new();
        self.behind = 0;
        self.bounded = 0;
        self.bytes = 0;
    }

    pub(super) fn was_ready(&self) -> bool {
        self.wish.is_some()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

pub(super) fn cost(emission: &Emission) -> usize {
    emission.payload().len() + emission.row.channel.len() + ITEM_BYTES
}
