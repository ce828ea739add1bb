//! What `telereel schema` says of the kinds that every source has, and of `generic`'s `message`: they
//! have the envelope's columns only, and their payload is described here.

use std::fmt;

use serde::Serialize;

/// A kind without columns of its own.
#[derive(Debug, Serialize)]
pub(super) struct Common {
    vendor: String,
    kind: &'static str,
    meaning: &'static str,
    /// The members of its payload, a JSON object, and what they mean.
    payload: &'static [(&'static str, &'static str)],
}

const LINK: &str = "What happened to the connection. No columns of its own; its payload is a JSON object, \
                    shown with `telereel cat SESSION --kind link`. An outage lasts from `disconnected` to the \
                    next `reconnected`; the view `outages` has them all.";

/// Kept in step with `vendors::lifecycle` and the recorder's sources.
const LINK_MEMBERS: &[(&str, &str)] = &[
    (
        "event",
        "connecting, connected, subscribed, renewed, reconnected, refused, disconnected, stalled, overflow, \
         continued",
    ),
    ("connection", "the n-th connection of the source in this recording, as in the column"),
    ("reason", "why, in words"),
    ("gap_ns", "reconnected: how long nothing was received, since the last frame before the loss"),
    ("down_ns", "reconnected: how long since the loss was noticed, which is later"),
    ("cause", "disconnected, refused: unreachable, http_status, mqtt_refused, by_peer, broken, by_us, …"),
    ("code", "the code that came with the cause: HTTP status, MQTT return code, close code"),
    ("attempt", "connecting: the n-th attempt, from 0"),
    ("options", "connecting, continued: the source's settings, without its secrets"),
    ("sn", "pontosense: the sensor that it is about; each has connections and outages of its own"),
    (
        "flowing",
        "pontosense: true where the sensor's data can come before and after: no outage begins or ends",
    ),
    ("planned", "connecting, disconnected: true where one connection takes over from another"),
    ("what", "renewed: reporting or token"),
    ("call", "refused (pontosense): the REST call that was refused, token or start"),
    ("session_present", "connected (MQTT): whether the broker still knew the session"),
    ("granted_qos", "subscribed (MQTT): QoS of each topic filter"),
    ("topics", "refused (MQTT): topic filters that the broker refused; the connection goes on"),
    ("silent_ns", "stalled: how long nothing has come; see stall_after"),
    ("dropped", "overflow: messages that were not stored, because the disk did not keep up"),
    ("dropped_bytes", "overflow: their size"),
    ("first_at", "overflow: when the first of them came"),
    ("last_at", "overflow: when the last of them came"),
];

pub(super) fn describe(vendor: &str, kind: &str) -> Option<Common> {
    let (kind, meaning, payload): (_, _, &'static [_]) = match kind {
        "link" => ("link", LINK, LINK_MEMBERS),
        "control" => (
            "control",
            "Frames of the vendor's protocol that carry no data, as they came: handshake, heartbeats. No columns \
             of its own; a replay makes its own, and emits these only where --kind asks for them.",
            &[],
        ),
        "other" => (
            "other",
            "Messages that are of none of the vendor's kinds, as they came. No columns of its own.",
            &[],
        ),
        "message" if vendor == "generic" => (
            "message",
            "Messages that are of none of the declared kinds. No columns of its own, unless a `schema` file \
             declares it.",
            &[],
        ),
        _ => return None,
    };
    Some(Common { vendor: vendor.to_owned(), kind, meaning, payload })
}

impl fmt::Display for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}: {}", self.vendor, self.kind, self.meaning)?;
        for (name, meaning) in self.payload {
            write!(f, "\n  {name:<16} {meaning}")?;
        }
        Ok(())
    }
}
