//! On which MQTT topic a replay publishes a message.

use std::fmt::Write as _;

use bytestring::ByteString;

use crate::message::Row;

/// A topic holds at most 65,535 bytes, and a device id comes from a payload of any size: what is longer
/// than this per level is cut.
const LEVEL_MAX_BYTES: usize = 1024;

/// The topic for `row`: its own if it came over MQTT, else `telereel/{vendor}/{source}/{kind}/{device}`.
///
/// In each level `/ + # %` and control characters are percent-encoded byte by byte; where there is no
/// device the level is `_`.
pub fn replay_topic(row: &Row) -> ByteString {
    if row.mqtt.is_some() {
        return row.channel.clone();
    }
    let mut topic = String::with_capacity(96);
    topic.push_str("telereel");
    for level in [&*row.vendor, &*row.source, &*row.kind, row.device_id.as_deref().unwrap_or("")] {
        topic.push('/');
        push_level(&mut topic, level);
    }
    topic.into()
}

fn push_level(topic: &mut String, level: &str) {
    if level.is_empty() {
        topic.push('_');
        return;
    }
    let start = topic.len();
    for c in level.chars() {
        let before = topic.len();
        if matches!(c, '/' | '+' | '#' | '%') || c.is_control() {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(topic, "%{byte:02X}");
            }
        } else {
            topic.push(c);
        }
        if topic.len() - start > LEVEL_MAX_BYTES {
            topic.truncate(before);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Mqtt, SessionId};

    fn row(mqtt: Option<Mqtt>, channel: &str, device: Option<&str>) -> Row {
        Row {
            vendor: "jointech".into(),
            kind: "location".into(),
            site: "".into(),
            session_id: SessionId::new(0, [0; 10]),
            source: "locks".into(),
            connection: 0,
            seq: 0,
            received_at_us: 0,
            elapsed_ns: 0,
            channel: channel.into(),
            device_id: device.map(Into::into),
            event_at_us: None,
            mqtt,
            is_binary: false,
            headers: None,
            duplicate_of: None,
            payload: Default::default(),
            clear: None,
            decode_error: None,
        }
    }

    #[test]
    fn topics_are_the_recorded_or_the_derived_ones() {
        let mqtt = Some(Mqtt { qos: 1, retain: false, dup: false });
        let cases = [
            (mqtt, "upload/AK/1/location", Some("1"), "upload/AK/1/location"),
            (None, "/hooks/locks", Some("8012345678"), "telereel/jointech/locks/location/8012345678"),
            (None, "/hooks/locks", None, "telereel/jointech/locks/location/_"),
            (None, "/", Some(""), "telereel/jointech/locks/location/_"),
            (None, "/", Some("a/b+c#d%e"), "telereel/jointech/locks/location/a%2Fb%2Bc%23d%25e"),
            (None, "/", Some("x\n\0\u{85}é"), "telereel/jointech/locks/location/x%0A%00%C2%85é"),
        ];
        for (mqtt, channel, device, expected) in cases {
            assert_eq!(&*replay_topic(&row(mqtt, channel, device)), expected);
        }
    }

    #[test]
    fn a_huge_device_id_still_makes_a_legal_topic() {
        for c in ["é", "/"] {
            let topic = replay_topic(&row(None, "/", Some(&c.repeat(100_000))));
            assert!(topic.len() < 2048, "{}", topic.len());
        }
    }
}
