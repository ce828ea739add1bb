//! What was sent to a client at QoS 1 and 2 and is not acknowledged yet.
//!
//! Bounded: where every packet identifier is taken, the client gets nothing more until it has
//! acknowledged something. Nothing is sent again on the same connection (MQTT 3.1.1, section 4.4),
//! and sessions do not outlive connections here.

use std::collections::VecDeque;

/// Packet identifiers in use at a time; mosquitto's clients start with 20, others take 65,535.
pub const WINDOW: u16 = 1_024;

/// What one packet identifier waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Free,
    /// QoS 1.
    Puback {
        seq: u64,
    },
    /// QoS 2, first half.
    Pubrec {
        seq: u64,
    },
    /// QoS 2, second half.
    Pubcomp {
        seq: u64,
    },
}

#[derive(Debug)]
pub struct Window {
    /// By packet identifier minus one.
    slots: Vec<Slot>,
    /// Oldest first, so that an identifier rests as long as possible before it is used again.
    free: VecDeque<u16>,
}

impl Default for Window {
    fn default() -> Self {
        Self { slots: vec![Slot::Free; usize::from(WINDOW)], free: (1..=WINDOW).collect() }
    }
}

impl Window {
    /// How many messages can be sent now.
    pub fn room(&self) -> usize {
        self.free.len()
    }

    /// Whether everything that was sent is acknowledged.
    pub fn is_settled(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// A packet identifier for the message `seq` at `qos` 1 or 2; none if there is no room.
    pub fn open(&mut self, qos: u8, seq: u64) -> Option<u16> {
        let id = self.free.pop_front()?;
        self.set(id, if qos == 1 { Slot::Puback { seq } } else { Slot::Pubrec { seq } });
        Some(id)
    }

    /// A PUBACK came; the `seq` that it settles, if it settles any.
    pub fn puback(&mut self, id: u16) -> Option<u64> {
        let Slot::Puback { seq } = self.get(id) else { return None };
        self.release(id);
        Some(seq)
    }

    /// A PUBREC came; a PUBREL is owed in any case.
    pub fn pubrec(&mut self, id: u16) -> Option<u64> {
        let Slot::Pubrec { seq } = self.get(id) else { return None };
        self.set(id, Slot::Pubcomp { seq });
        Some(seq)
    }

    /// A PUBCOMP came.
    pub fn pubcomp(&mut self, id: u16) -> Option<u64> {
        let Slot::Pubcomp { seq } = self.get(id) else { return None };
        self.release(id);
        Some(seq)
    }

    fn release(&mut self, id: u16) {
        self.set(id, Slot::Free);
        self.free.push_back(id);
    }

    fn get(&self, id: u16) -> Slot {
        usize::from(id).checked_sub(1).and_then(|index| self.slots.get(index)).copied().unwrap_or(Slot::Free)
    }

    fn set(&mut self, id: u16, slot: Slot) {
        if let Some(place) = usize::from(id).checked_sub(1).and_then(|index| self.slots.get_mut(index)) {
            *place = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_qos_is_settled_by_its_own_acknowledgements() {
        let mut window = Window::default();
        let (one, two) = (window.open(1, 10).unwrap(), window.open(2, 20).unwrap());
        assert_eq!(window.puback(two), None);
        assert_eq!(window.pubrec(one), None);
        assert_eq!(window.pubcomp(two), None, "PUBREC comes first");
        assert_eq!(window.puback(one), Some(10));
        assert_eq!(window.puback(one), None, "once");
        assert_eq!(window.pubrec(two), Some(20));
        assert!(!window.is_settled());
        assert_eq!(window.pubcomp(two), Some(20));
        assert!(window.is_settled());
    }

    #[test]
    fn identifiers_are_bounded_and_never_zero_or_used_twice() {
        let mut window = Window::default();
        let ids: std::collections::BTreeSet<u16> = (0..).map_while(|seq| window.open(1, seq)).collect();
        assert_eq!(ids, (1..=WINDOW).collect());
        assert_eq!(window.room(), 0);
        assert_eq!(window.puback(5), Some(4));
        assert_eq!(window.open(2, 99), Some(5));
        for id in [0, WINDOW + 1, u16::MAX] {
            assert_eq!((window.puback(id), window.pubrec(id), window.pubcomp(id)), (None, None, None));
        }
    }
}
