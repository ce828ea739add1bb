//! The stream that precision is measured on: devices at 10 Hz, bursts closer than a wake-up, messages at the same
//! moment, and a silence.

use bytes::Bytes;
use serde_json::json;
use telereel::clock::Now;
use telereel::message::{COMMON_KINDS, KindHeader, Message, Mqtt, SessionHeader, SessionId, SourceHeader};

const MS: u64 = 1_000_000;
const DEVICES: u64 = 10;
const BURST: u64 = 200;
const BURST_GAP_NS: u64 = 50_000;
const AT_ONCE: u64 = 50;
/// As long as a vendor's position.
const PAYLOAD_BYTES: usize = 350;

/// What a message belongs to; each is judged for itself, and all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Device,
    Burst,
    AtOnce,
}

/// When each message of a stream of `seconds` is recorded, in order.
pub fn plan(seconds: u64) -> Vec<(u64, Part)> {
    let length_ns = seconds * 1_000 * MS;
    let silence = (length_ns * 9 / 20)..(length_ns * 12 / 20);
    let mut plan = Vec::new();
    for device in 0..DEVICES {
        // Not in step with each other, nor with the bursts.
        let phase_ns = device * 7_310_000 + 1_234_567;
        let times = (phase_ns..length_ns).step_by(100 * MS as usize);
        plan.extend(times.filter(|at_ns| !silence.contains(at_ns)).map(|at_ns| (at_ns, Part::Device)));
    }
    for twentieth in [2, 5, 8, 14, 17] {
        let start_ns = length_ns * twentieth / 20 + 40 * MS;
        plan.extend((0..BURST).map(|n| (start_ns + n * BURST_GAP_NS, Part::Burst)));
    }
    for twentieth in [4, 13, 18] {
        let at_ns = length_ns * twentieth / 20 + 87 * MS;
        plan.extend((0..AT_ONCE).map(|_| (at_ns, Part::AtOnce)));
    }
    plan.sort_by_key(|(at_ns, _)| *at_ns);
    plan
}

/// The plan as a recorder would have heard it.
pub fn messages(plan: &[(u64, Part)], started: Now) -> impl Iterator<Item = Message> {
    plan.iter().enumerate().map(move |(n, (at_ns, part))| Message {
        source: 0,
        kind: 0,
        connection: 0,
        at: Now { wall_us: started.wall_us + (at_ns / 1_000) as i64, steady_ns: started.steady_ns + at_ns },
        channel: format!("precision/{part:?}").into(),
        mqtt: Some(Mqtt { qos: 0, retain: false, dup: false }),
        is_binary: false,
        headers: None,
        duplicate_of: None,
        payload: payload(n),
        clear: None,
    })
}

fn payload(n: usize) -> Bytes {
    let mut text = json!({"n": n}).to_string();
    text.truncate(text.len() - 1);
    text.push_str(r#","pad":""#);
    let pad = PAYLOAD_BYTES - 2 - text.len();
    text.extend(std::iter::repeat_n('x', pad));
    text.push_str("\"}");
    text.into()
}

/// The number that [`payload`] was made with.
pub fn number(payload: &[u8]) -> Option<usize> {
    let digits = payload.strip_prefix(br#"{"n":"#)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// A session of a generic source.
pub fn header(started: Now) -> SessionHeader {
    let names = std::iter::once("message").chain(COMMON_KINDS);
    let kinds = names.map(|name| KindHeader { name: name.to_owned(), declaration: None }).collect();
    SessionHeader {
        session_id: SessionId::new(started.wall_us, [9; 10]),
        name: "precision".to_owned(),
        site: String::new(),
        started_at_us: started.wall_us,
        sources: vec![SourceHeader {
            name: "devices".to_owned(),
            vendor: "generic".to_owned(),
            kinds,
            settings: json!({}),
        }],
    }
}
