//! Messages as the vendors document them, one a second.

use super::recording::{End, Recording, Said};

/// 2026-05-01T12:00:00Z
pub const START_US: i64 = 1_777_636_800_000_000;

macro_rules! fixture {
    ($path:literal) => {
        include_str!(concat!("../../fixtures/", $path))
    };
}

pub fn recording() -> Recording {
    let mut messages: Vec<Said> = Vec::new();
    let mut say = |source, kind, channel: &str, payload: &str| {
        let at_us = START_US + (messages.len() as i64 + 1) * 1_000_000;
        messages.push(Said::new(at_us, source, kind, channel, payload.to_owned()));
    };
    for update in fixture!("damoov/device_update.jsonl").lines() {
        say("fleet", "device_update", "/realtime/api/v1/ws/realtime", update);
    }
    for message in fixture!("delicode/server.jsonl").lines() {
        let kind = match message {
            _ if message.contains("realtime_person_position") => "person_position",
            _ if message.contains("realtime_person_lost") => "person_lost",
            _ if message.contains("realtime_demographics") => "demographics",
            _ => "control",
        };
        say("shop", kind, "/websocket_realtime", message);
    }
    for line in fixture!("jointech/mqtt.jsonl").lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        let topic = message["topic"].as_str().unwrap();
        let kind = match topic.rsplit('/').next().unwrap() {
            "cmd" => "command_response",
            kind => {
                ["location", "alarm", "event", "sublock"].into_iter().find(|known| *known == kind).unwrap()
            }
        };
        say("locks", kind, topic, message["payload"].as_str().unwrap());
    }
    let sublock = fixture!("jointech/webhook/sublock_jt802.json");
    for (kind, body) in [
        ("location", fixture!("jointech/webhook/location_lock.json")),
        ("location", fixture!("jointech/webhook/location_vehicle.json")),
        ("location", fixture!("jointech/webhook/location_no_fix.json")),
        ("alarm", fixture!("jointech/webhook/alarm_rope_cut.json")),
        ("alarm", fixture!("jointech/webhook/alarm_custom.json")),
        ("event", fixture!("jointech/webhook/event_lock.json")),
        ("sublock", sublock),
        ("sublock", &sublock.replace(r#""eventType":-1"#, r#""eventType":4"#)),
        ("sublock", &sublock.replace(r#""eventType":-1"#, r#""eventType":8"#)),
        ("sublock", &sublock.replace(r#""eventType":-1"#, r#""eventType":2"#)),
    ] {
        say("locks", kind, "/hooks/locks", body);
    }
    for body in [
        fixture!("sensoro/telemetry_temperature.json"),
        fixture!("sensoro/telemetry_all.json"),
        fixture!("sensoro/telemetry_unknown_keys.json"),
    ] {
        say("city", "telemetry", "/hooks/city", body);
    }
    say("city", "event", "/hooks/city", fixture!("sensoro/event_data.json"));
    for sn in ["ATR_GN_P4-250120-09527", "ATR_GN_P2-250120-00001"] {
        let reply: serde_json::Value = serde_json::from_str(fixture!("pontosense/token_reply.json")).unwrap();
        say("ward", "config", &format!("/v1/iot/tokens?sn={sn}"), &reply["data"].to_string());
        for report in fixture!("pontosense/reports.jsonl").lines() {
            say("ward", "location", &format!("/location/{sn}"), report);
        }
        for other in fixture!("pontosense/other.jsonl").lines() {
            say("ward", "other", &format!("/location/{sn}"), other);
        }
    }
    Recording {
        site: "home-12",
        started_at_us: START_US,
        sources: &[
            ("fleet", "damoov"),
            ("shop", "delicode"),
            ("locks", "jointech"),
            ("city", "sensoro"),
            ("ward", "pontosense"),
        ],
        messages,
        end: End::Stopped(START_US + 600_000_000),
    }
}
