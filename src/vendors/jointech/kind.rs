//! Which kind a message is: by the topic's end where that settles it, else by which members its
//! top-level object has.
//!
//! The order of the tests matters: `eventType` occurs in events and in sub-lock messages, with
//! different code tables, so `subAssetID` is looked for first.
//!
//! A body that does not parse is searched for the same member names instead. The vendor's own example
//! of a waybill event is such a body: `describe` holds JSON whose quotes are not escaped. The search
//! wants the name in plain quotes, followed by a colon; a name inside a properly escaped string has a
//! backslash before its closing quote and is not found.
//!
//! The vendor's pages promise online/offline messages and do not show one; a third party subscribes to
//! topics that end in `status`. So what is none of the documented kinds is a `status` if its topic or
//! path ends so, or if it is an object that names a device and speaks of `online`, `offline` or a `status`.

use super::KINDS;
use crate::message::COMMON_KINDS;
use crate::vendors::sniff;

const LOCATION: u16 = 0;
const ALARM: u16 = 1;
const EVENT: u16 = 2;
const COMMAND_RESPONSE: u16 = 3;
const SUBLOCK: u16 = 4;
const STATUS: u16 = 5;
const OTHER: u16 = (KINDS.len() + COMMON_KINDS.len()) as u16 - 1;

/// The kind of a PUBLISH. Two topics hold one kind each, whatever the payload; `status` is known from
/// a third party's subscription only, and nobody has published what it carries.
pub(in crate::vendors) fn of_publish(topic: &str, payload: &[u8]) -> u16 {
    match topic.rsplit_once('/') {
        Some((_, "cmd")) => COMMAND_RESPONSE,
        Some((_, "status")) => STATUS,
        _ => of_body(payload),
    }
}

/// The kind of a pushed message: by its content, and only where that says nothing by its path, since a
/// rule may send any kind to any path.
pub(in crate::vendors) fn of_push(path_and_query: &str, body: &[u8]) -> u16 {
    let path = path_and_query.split('?').next().unwrap_or_default().trim_end_matches('/');
    match (of_body(body), path.rsplit_once('/')) {
        (OTHER, Some((_, last))) if last.eq_ignore_ascii_case("status") => STATUS,
        (kind, _) => kind,
    }
}

/// The kind of a message by its content.
pub(in crate::vendors) fn of_body(body: &[u8]) -> u16 {
    let mut seen = Seen::default();
    if sniff::each_member(body, |name, _| seen.note(name)) {
        return seen.kind();
    }
    let first = body.iter().find(|b| !b.is_ascii_whitespace());
    if first == Some(&b'{') { Seen::by_search(body).kind() } else { OTHER }
}

/// Which of the telling members there are, as bits.
#[derive(Clone, Copy, Default)]
struct Seen(u16);

const MEMBERS: [&str; 8] =
    ["subAssetID", "alarmType", "commandType", "eventType", "gpsTime", "locType", "cellSignal", "assetId"];

/// The bit after those of the members: some member speaks of being online or offline.
const OF_STATUS: u16 = 1 << MEMBERS.len();

impl Seen {
    fn note(&mut self, name: &str) {
        if let Some(i) = MEMBERS.iter().position(|member| *member == name) {
            self.0 |= 1 << i;
        } else if speaks_of_status(name) {
            self.0 |= OF_STATUS;
        }
    }

    fn has(self, member: &str) -> bool {
        MEMBERS.iter().position(|m| *m == member).is_some_and(|i| self.0 & (1 << i) != 0)
    }

    fn kind(self) -> u16 {
        if self.has("subAssetID") {
            SUBLOCK
        } else if self.has("alarmType") {
            ALARM
        } else if self.has("commandType") {
            COMMAND_RESPONSE
        } else if self.has("eventType") {
            EVENT
        } else if self.has("gpsTime") && (self.has("locType") || self.has("cellSignal")) {
            LOCATION
        } else if self.has("assetId") && self.0 & OF_STATUS != 0 {
            STATUS
        } else {
            OTHER
        }
    }

    fn by_search(body: &[u8]) -> Self {
        let mut seen = Seen::default();
        // Each quote may begin a name; names are short, so this is one pass.
        for (at, _) in body.iter().enumerate().filter(|(_, b)| **b == b'"') {
            let rest = &body[at + 1..];
            for member in MEMBERS {
                let after = rest.strip_prefix(member.as_bytes()).and_then(|rest| rest.strip_prefix(b"\""));
                let colon = after.and_then(|rest| rest.iter().find(|b| !b.is_ascii_whitespace()));
                if colon == Some(&b':') {
                    seen.note(member);
                }
            }
        }
        seen
    }
}

/// `online`, `isOffline`, `deviceStatus`, whatever their case.
fn speaks_of_status(name: &str) -> bool {
    let holds =
        |word: &str| name.as_bytes().windows(word.len()).any(|w| w.eq_ignore_ascii_case(word.as_bytes()));
    let ends = |word: &str| {
        name.len() >= word.len()
            && name.as_bytes()[name.len() - word.len()..].eq_ignore_ascii_case(word.as_bytes())
    };
    holds("online") || holds("offline") || ends("status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_told_by_content() {
        let cases = [
            (r#"{"subAssetID":"1","eventType":1,"gpsTime":"x","locType":1}"#, SUBLOCK),
            (r#"{"eventType":1,"subAssetID":"1"}"#, SUBLOCK),
            (r#"{"alarmType":40,"eventType":1}"#, ALARM),
            (r#"{"commandType":"BASE2","content":"[]"}"#, COMMAND_RESPONSE),
            (r#"{"eventType":13}"#, EVENT),
            (r#"{"gpsTime":"2024-01-01T00:00:00Z","cellSignal":3}"#, LOCATION),
            (r#"{"gpsTime":null,"locType":null}"#, LOCATION),
            (r#"{"gpsTime":"2024-01-01T00:00:00Z"}"#, OTHER),
            (r#"{"ksInfo":"{\"subInfo\":{\"1\":{\"eventType\":1}}}"}"#, OTHER),
            (r#"{"nested":{"alarmType":1}}"#, OTHER),
            ("{}", OTHER),
            ("", OTHER),
            ("offline", OTHER),
            (r#"[{"alarmType":1}]"#, OTHER),
            (r#"{"assetId":"1","online":true}"#, STATUS),
            (r#"{"deviceStatus":0,"assetId":"1"}"#, STATUS),
            (r#"{"assetId":"1","isOffline":1,"alarmType":2}"#, ALARM),
            (r#"{"assetId":"1","statusJson":"{}"}"#, OTHER),
            (r#"{"assetId":"1","mileage":3}"#, OTHER),
            (r#"{"online":true}"#, OTHER),
        ];
        for (body, kind) in cases {
            assert_eq!(of_body(body.as_bytes()), kind, "{body}");
        }
    }

    #[test]
    fn a_body_that_does_not_parse_is_searched() {
        let cases = [
            (r#"{"assetId":"1","eventType" : 13,"describe":"{"waybillGUID":"g","waybillNo":"1"}}"#, EVENT),
            (r#"{"alarmType":1,"#, ALARM),
            (r#" {"gpsTime":"x","locType":1,"voltage":}"#, LOCATION),
            (r#"{"describe":"\"alarmType\":1","eventType":1,,}"#, EVENT),
            (r#"{"describe":"alarmType","x"#, OTHER),
            (r#"say "alarmType":1"#, OTHER),
            ("{\"alarmType\"", OTHER),
        ];
        for (body, kind) in cases {
            assert_eq!(of_body(body.as_bytes()), kind, "{body}");
        }
    }

    #[test]
    fn two_topics_settle_the_kind() {
        let alarm = br#"{"alarmType":1}"#;
        assert_eq!(of_publish("upload/AK/1/cmd", alarm), COMMAND_RESPONSE);
        assert_eq!(of_publish("upload/AK/1/status", b"online"), STATUS);
        assert_eq!(of_publish("upload/AK/1/location", alarm), ALARM);
        assert_eq!(of_publish("cmd", alarm), ALARM);
    }

    #[test]
    fn a_path_counts_only_where_the_content_says_nothing() {
        assert_eq!(of_push("/hooks/locks/status?x=/alarm", br#"{"assetId":"1","state":1}"#), STATUS);
        assert_eq!(of_push("/hooks/locks/Status/", b"offline"), STATUS);
        assert_eq!(of_push("/hooks/locks/status", br#"{"alarmType":1}"#), ALARM);
        assert_eq!(of_push("/hooks/locks/alarm", br#"{"assetId":"1","state":1}"#), OTHER);
        assert_eq!(of_push("/hooks/locks?path=/status", b"{}"), OTHER);
        assert_eq!(of_push("", b"{}"), OTHER);
    }
}
