//! A replay over real sockets.

use bytes::Bytes;

use super::*;

pub(super) fn row(seq: u64, elapsed_ns: u64, payload: &str) -> Row {
    Row {
        vendor: "generic".into(),
        kind: "message".into(),
        site: "".into(),
        session_id: SessionId::new(0, [0; 10]),
        source: "src".into(),
        connection: 0,
        seq,
        received_at_us: 0,
        elapsed_ns,
        channel: "/stream".into(),
        device_id: None,
        event_at_us: None,
        mqtt: None,
        is_binary: false,
        headers: None,
        duplicate_of: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        clear: None,
        decode_error: None,
    }
}
