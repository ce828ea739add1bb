//! What rumqttc's codec lets pass and the standard does not: all of it closes the connection [MQTT-4.8.0-1].

use rumqttc::mqttbytes::v4::{Connect, Packet, Subscribe, Unsubscribe};

use super::topic;

/// Whether `bytes` begin with a packet that has no body, and has one (MQTT 3.1.1, sections 3.12 to 3.14).
pub fn has_needless_body(bytes: &[u8]) -> bool {
    const PINGREQ: u8 = 12;
    const DISCONNECT: u8 = 14;
    let Some((first, length)) = bytes.split_first() else { return false };
    if !(PINGREQ..=DISCONNECT).contains(&(first >> 4)) {
        return false;
    }
    // Seven bits of the length in each byte, and one that says whether another follows.
    let goes_on = length.iter().position(|byte| byte & 0x80 == 0).map_or(length.len(), |last| last + 1);
    length.iter().take(goes_on.min(4)).any(|byte| byte & 0x7F != 0)
}

/// Which rule `packet` breaks.
pub fn broken_by(packet: &Packet) -> Option<&'static str> {
    match packet {
        Packet::Connect(Connect { last_will: Some(will), .. }) if !topic::is_name(&will.topic) => {
            Some("a will on what is no topic name [MQTT-3.3.2-2]")
        }
        Packet::Subscribe(Subscribe { filters, .. })
            if !filters.iter().all(|asked| topic::is_filter(&asked.path)) =>
        {
            Some("a malformed topic filter [MQTT-4.7.1-2]")
        }
        Packet::Unsubscribe(Unsubscribe { topics, .. }) if topics.is_empty() => {
            Some("an UNSUBSCRIBE without a filter [MQTT-3.10.3-2]")
        }
        Packet::Unsubscribe(Unsubscribe { topics, .. })
            if !topics.iter().all(|filter| topic::is_filter(filter)) =>
        {
            Some("a malformed topic filter [MQTT-4.7.1-2]")
        }
        _ => None,
    }
}
