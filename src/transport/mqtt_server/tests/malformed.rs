//! What the standard has the server close the connection for, clause by clause, byte by byte.

use tokio::io::AsyncReadExt;

use super::*;

const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c";
const CONNACK: &[u8] = b"\x20\x02\0\0";

/// What the server says to `bytes` until it closes, or none if it does not.
async fn answer_to(bytes: &[u8]) -> Option<Vec<u8>> {
    let (_, server) = server();
    let (mut ours, theirs) = duplex(1 << 16);
    tokio::spawn(async move { server.serve(theirs, "mqtt").await });
    ours.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // Nothing but a time limit would end it; the clock is not the system's.
    let within = std::time::Duration::from_secs(5);
    tokio::time::timeout(within, ours.read_to_end(&mut answer)).await.ok()?.unwrap();
    Some(answer)
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_breaks_a_rule_is_closed_without_a_connack() {
    let cases: [(&str, &[u8]); 18] = [
        ("[MQTT-3.1.0-1] the first packet is a CONNECT", b"\xC0\0"),
        ("[MQTT-2.2.2-2] flags of the fixed header", b"\x11\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c"),
        ("[MQTT-3.1.2-3] the reserved flag", b"\x10\x0d\0\x04MQTT\x04\x03\0\x3c\0\x01c"),
        ("[MQTT-3.1.2-11] no will, but its QoS", b"\x10\x0d\0\x04MQTT\x04\x0a\0\x3c\0\x01c"),
        ("[MQTT-3.1.2-15] no will, but to be retained", b"\x10\x0d\0\x04MQTT\x04\x22\0\x3c\0\x01c"),
        ("[MQTT-3.1.2-14] a will at QoS 3", b"\x10\x12\0\x04MQTT\x04\x1e\0\x3c\0\x01c\0\x01w\0\0"),
        ("[MQTT-3.1.2-9] a will that is not there", b"\x10\x0d\0\x04MQTT\x04\x06\0\x3c\0\x01c"),
        ("[MQTT-3.1.2-22] a password without a user name", b"\x10\x10\0\x04MQTT\x04\x42\0\x3c\0\x01c\0\x01p"),
        ("[MQTT-3.1.2-19] a user name that is not there", b"\x10\x0d\0\x04MQTT\x04\x82\0\x3c\0\x01c"),
        ("[MQTT-3.1.2-18] a user name without its flag", b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x01c\0\x01u"),
        ("[MQTT-3.1.3-3] no client identifier", b"\x10\x0a\0\x04MQTT\x04\x02\0\x3c"),
        ("[MQTT-3.1.3-4] ill-formed UTF-8", b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01\xff"),
        ("[MQTT-1.5.3-1] a surrogate", b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x03\xed\xa0\x80"),
        ("[MQTT-1.5.3-2] U+0000", b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01\0"),
        (
            "[MQTT-3.1.3-10] a will's topic in ill-formed UTF-8",
            b"\x10\x12\0\x04MQTT\x04\x06\0\x3c\0\x01c\0\x01\xff\0\0",
        ),
        (
            "[MQTT-3.3.2-2] a will's topic with a wildcard",
            b"\x10\x12\0\x04MQTT\x04\x06\0\x3c\0\x01c\0\x01#\0\0",
        ),
        (
            "[MQTT-4.7.3-1] a will's topic without a character",
            b"\x10\x11\0\x04MQTT\x04\x06\0\x3c\0\x01c\0\0\0\0",
        ),
        ("2.2.3: a remaining length of five bytes", b"\x10\xff\xff\xff\xff\x01"),
    ];
    for (clause, bytes) in cases {
        assert_eq!(answer_to(bytes).await.as_deref(), Some(&b""[..]), "{clause}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_packet_that_breaks_a_rule_closes_the_connection() {
    let cases: [(&str, &[u8]); 40] = [
        ("[MQTT-3.1.0-2] a second CONNECT", CONNECT),
        ("2.2.1: a reserved type", b"\x00\0"),
        ("2.2.1: a reserved type", b"\xf0\0"),
        ("2.2.1: a server's packet", b"\x20\x02\0\0"),
        ("2.2.1: a server's packet", b"\x90\x03\0\x01\0"),
        ("2.2.1: a server's packet", b"\xb0\x02\0\x01"),
        ("2.2.1: a server's packet", b"\xd0\0"),
        ("[MQTT-3.3.1-2] DUP at QoS 0", b"\x38\x03\0\x01t"),
        ("[MQTT-3.3.1-4] QoS 3", b"\x36\x05\0\x01t\0\x01"),
        ("[MQTT-3.3.2-1] ill-formed UTF-8", b"\x30\x03\0\x01\xff"),
        ("[MQTT-1.5.3-1] a surrogate", b"\x30\x05\0\x03\xed\xbf\xbf"),
        ("[MQTT-1.5.3-2] U+0000", b"\x30\x03\0\x01\0"),
        ("[MQTT-3.3.2-2] a wildcard in a topic name", b"\x30\x03\0\x01+"),
        ("[MQTT-3.3.2-2] a wildcard in a topic name", b"\x30\x05\0\x03a/#"),
        ("[MQTT-4.7.3-1] a topic without a character", b"\x30\x02\0\0"),
        ("[MQTT-2.3.1-1] packet identifier 0", b"\x32\x05\0\x01t\0\0"),
        ("[MQTT-2.3.1-1] packet identifier 0", b"\x34\x05\0\x01t\0\0"),
        ("3.3.2: a topic longer than its packet", b"\x30\x03\0\x09t"),
        ("3.3.2: no packet identifier", b"\x32\x03\0\x01t"),
        ("[MQTT-2.2.2-2] flags of a PUBACK", b"\x41\x02\0\x01"),
        ("[MQTT-2.2.2-2] flags of a PUBREC", b"\x51\x02\0\x01"),
        ("[MQTT-3.6.1-1] flags of a PUBREL", b"\x60\x02\0\x01"),
        ("[MQTT-2.2.2-2] flags of a PUBCOMP", b"\x71\x02\0\x01"),
        ("3.4: a PUBACK with more than its identifier", b"\x40\x03\0\x01\0"),
        ("3.6: a PUBREL with less than its identifier", b"\x62\x01\0"),
        ("[MQTT-3.8.1-1] flags of a SUBSCRIBE", b"\x80\x06\0\x01\0\x01t\0"),
        ("[MQTT-3.8.3-1] ill-formed UTF-8", b"\x82\x06\0\x01\0\x01\xff\0"),
        ("[MQTT-3.8.3-3] no filter", b"\x82\x02\0\x01"),
        ("[MQTT-3-8.3-4] reserved bits beside the QoS", b"\x82\x06\0\x01\0\x01t\x04"),
        ("[MQTT-3-8.3-4] QoS 3", b"\x82\x06\0\x01\0\x01t\x03"),
        ("[MQTT-2.3.1-1] packet identifier 0", b"\x82\x06\0\0\0\x01t\0"),
        ("[MQTT-4.7.1-2] # not at the end", b"\x82\x08\0\x01\0\x03#/t\0"),
        ("[MQTT-4.7.1-2] # not alone in its level", b"\x82\x07\0\x01\0\x02t#\0"),
        ("[MQTT-4.7.1-3] + not alone in its level", b"\x82\x07\0\x01\0\x02t+\0"),
        ("[MQTT-4.7.3-1] a filter without a character", b"\x82\x05\0\x01\0\0\0"),
        ("[MQTT-3.10.1-1] flags of an UNSUBSCRIBE", b"\xa0\x05\0\x01\0\x01t"),
        ("[MQTT-3.10.3-2] no filter", b"\xa2\x02\0\x01"),
        ("[MQTT-2.3.1-1] packet identifier 0", b"\xa2\x05\0\0\0\x01t"),
        ("3.12: a PINGREQ with a body", b"\xc0\x01\0"),
        ("[MQTT-3.14.1-1] flags of a DISCONNECT", b"\xe1\0"),
    ];
    for (clause, bytes) in cases {
        let answer = answer_to(&[CONNECT, bytes].concat()).await;
        assert_eq!(answer.as_deref(), Some(CONNACK), "{clause}");
    }
}

#[tokio::test]
async fn what_the_standard_allows_is_no_reason_to_close() {
    let cases: [(&str, &[u8], &[u8]); 9] = [
        ("[MQTT-1.5.3-3] U+FEFF", b"\x32\x07\0\x03\xef\xbb\xbf\0\x01", b"\x40\x02\0\x01"),
        ("an empty payload", b"\x32\x05\0\x01t\0\x01", b"\x40\x02\0\x01"),
        ("DUP at QoS 1", b"\x3a\x05\0\x01t\0\x01", b"\x40\x02\0\x01"),
        ("a topic that begins with $", b"\x32\x06\0\x02$t\0\x01", b"\x40\x02\0\x01"),
        ("a PUBREL for what is not known", b"\x62\x02\0\x07", b"\x70\x02\0\x07"),
        ("a PUBREC for what is not known", b"\x50\x02\0\x07", b"\x62\x02\0\x07"),
        ("[MQTT-3.10.4-5] an UNSUBSCRIBE for what is not known", b"\xa2\x05\0\x01\0\x01t", b"\xb0\x02\0\x01"),
        (
            "[MQTT-3.8.4-5] two filters in one",
            b"\x82\x0a\0\x01\0\x01t\x01\0\x01#\x02",
            b"\x90\x04\0\x01\x01\x02",
        ),
        ("a remaining length with more bytes than it needs", b"\xc0\x80\0", b"\xd0\0"),
    ];
    for (what, bytes, expected) in cases {
        let (_, server) = server();
        let (mut ours, theirs) = duplex(1 << 16);
        tokio::spawn(async move { server.serve(theirs, "mqtt").await });
        ours.write_all(&[CONNECT, bytes, b"\xc0\0"].concat()).await.unwrap();
        let expected = [CONNACK, expected, b"\xd0\0"].concat();
        let mut answer = vec![0; expected.len()];
        ours.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, expected, "{what}");
    }
}

#[tokio::test]
async fn other_levels_are_refused_with_their_code() {
    let (_, server) = server();
    for connect in [
        // MQTT 5, a bridge's 3.1.1, and 3.1 with its own name.
        &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 0][..],
        &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 0x84, 2, 0, 60, 0, 0],
        &[0x10, 15, 0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, 2, 0, 60, 0, 1, b'c'],
    ] {
        let mut client = Client::open(&server);
        client.say_bytes(connect).await;
        client.expect(Packet::ConnAck(ConnAck::new(ConnectReturnCode::RefusedProtocolVersion, false))).await;
        assert_eq!(client.hear().await, None);
    }
}
