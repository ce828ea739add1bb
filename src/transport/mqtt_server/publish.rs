//! PUBLISH on the way out: its header is encoded once per QoS and shared by all subscribers, which
//! put their packet identifier into their copy; the payload is copied once, into the write buffer.

use bytes::{BufMut, Bytes, BytesMut};

use crate::transport::fanout::Item;

/// What a remaining length can say in its four bytes.
const REMAINING_MAX: usize = 268_435_455;

/// Fixed and variable header up to the payload; the packet identifier (QoS 1 and 2) is its last two
/// bytes, zero. None if the topic or the packet is longer than MQTT can say, or the topic is empty.
pub fn head(topic: &str, qos: u8, retain: bool, payload_bytes: usize) -> Option<Bytes> {
    let topic_bytes = u16::try_from(topic.len()).ok().filter(|bytes| *bytes > 0)?;
    let id_bytes = if qos > 0 { 2 } else { 0 };
    let mut remaining = payload_bytes.checked_add(2 + topic.len() + id_bytes)?;
    if remaining > REMAINING_MAX {
        return None;
    }
    let mut head = BytesMut::with_capacity(5 + 2 + topic.len() + id_bytes);
    head.put_u8(0x30 | (qos << 1) | u8::from(retain));
    loop {
        // Seven bits at a time, the lowest first.
        let low = (remaining & 0x7F) as u8;
        remaining >>= 7;
        head.put_u8(if remaining > 0 { low | 0x80 } else { low });
        if remaining == 0 {
            break;
        }
    }
    head.put_u16(topic_bytes);
    head.put_slice(topic.as_bytes());
    head.put_bytes(0, id_bytes);
    Some(head.freeze())
}

/// Appends the PUBLISH of `item` to `out`, with `packet_id` where its QoS has one. Nothing is appended
/// for what MQTT cannot say.
pub fn write(item: &Item, packet_id: u16, out: &mut BytesMut) {
    let Some(head) = item.publish_head() else { return };
    let payload = item.emission.payload();
    out.reserve(head.len() + payload.len());
    match head.split_last_chunk::<2>() {
        Some((start, _)) if item.qos > 0 => {
            out.put_slice(start);
            out.put_u16(packet_id);
        }
        _ => out.put_slice(&head),
    }
    out.put_slice(payload);
}

/// Appends a PUBLISH of `noise` at QoS 0 to `out`, on the topic of `item`.
pub fn write_noise(item: &Item, noise: &[u8], out: &mut BytesMut) {
    let topic = item.topic.as_ref().unwrap_or_else(|| item.emission.topic());
    if let Some(head) = head(topic, 0, false, noise.len()) {
        out.put_slice(&head);
        out.put_slice(noise);
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::mqttbytes::QoS;
    use rumqttc::mqttbytes::v4::Packet;

    use super::*;

    #[test]
    fn a_client_reads_what_was_written() {
        for payload_bytes in [0, 1, 100, 120, 127, 128, 16_383, 16_384, 2_097_152] {
            for (qos, expected) in [(0, QoS::AtMostOnce), (1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce)] {
                let head = head("/ü/b", qos, qos == 1, payload_bytes).unwrap();
                let mut stream = BytesMut::from(&head[..]);
                let end = stream.len();
                if qos > 0 {
                    stream[end - 2..].copy_from_slice(&77u16.to_be_bytes());
                }
                stream.put_bytes(b'x', payload_bytes);
                let Packet::Publish(publish) = Packet::read(&mut stream, usize::MAX).unwrap() else {
                    panic!("not a PUBLISH")
                };
                assert!(stream.is_empty());
                assert_eq!(publish.topic, "/ü/b".as_bytes());
                assert_eq!((publish.qos, publish.retain, publish.dup), (expected, qos == 1, false));
                assert_eq!(publish.pkid, if qos > 0 { 77 } else { 0 });
                assert_eq!(publish.payload, vec![b'x'; payload_bytes]);
            }
        }
    }

    #[test]
    fn what_mqtt_cannot_say_is_told() {
        assert!(head(&"t".repeat(65_535), 0, false, 0).is_some());
        assert!(head(&"t".repeat(65_536), 0, false, 0).is_none());
        assert!(head("", 0, false, 0).is_none());
        assert!(head("t", 0, false, REMAINING_MAX - 3).is_some());
        assert!(head("t", 0, false, REMAINING_MAX - 2).is_none());
        assert!(head("t", 2, false, usize::MAX).is_none());
    }
}
