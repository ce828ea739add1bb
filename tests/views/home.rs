//! A night at home, a shop and a fleet, recorded from the evening of 28 March 2026 to the next morning in Vienna,
//! where the clocks go from 2:00 to 3:00 that night: what the example questions are asked about.
//!
//! Times here are UTC. The recorder is stopped for a quarter of an hour, and crashes once.

use std::time::Duration;

use serde_json::json;
use telereel::vendors::synthetic::rooms::Rooms;

use super::recording::{End, Recording, Said};

const SITE: &str = "home-12";
const SOURCES: &[(&str, &str)] =
    &[("ward", "pontosense"), ("fleet", "damoov"), ("locks", "jointech"), ("shop", "delicode")];

/// In a flat with a bed and a couch.
pub const BEDROOM: &str = "ATR_GN_P4-990101-00017";
/// Somebody walks about here in the evening; at night nobody is in.
pub const LOUNGE: &str = "ATR_GN_P4-990101-00018";
/// Sends the documented examples.
pub const LAB: &str = "ATR_GN_P4-159875-00001";

const LOCK: &str = "8231020045";
const VAN: &str = "87654321-4321-4321-4321-210987654321";

const SECOND_US: i64 = 1_000_000;
/// 2026-03-28T00:00:00Z
const SATURDAY_US: i64 = 1_774_656_000 * SECOND_US;

/// A moment of the night: hours from 0 on are of the Sunday, those from 18 on of the Saturday.
fn at(hour: i64, minute: i64, second: i64) -> i64 {
    let hour = if hour < 12 { hour + 24 } else { hour };
    SATURDAY_US + ((hour * 60 + minute) * 60 + second) * SECOND_US
}

pub fn recordings() -> Vec<Recording> {
    let mut messages = [bedroom(), lounge(), lab(), van(), lock(), shop(), connections()].concat_all();
    messages.sort_by_key(|said| said.at_us);
    let sessions = [
        (at(18, 0, 0), End::Stopped(at(0, 40, 0))),
        (at(0, 55, 0), End::Crashed),
        (at(3, 30, 0), End::Stopped(at(7, 0, 0))),
    ];
    let mut messages = messages.into_iter().peekable();
    let mut recordings = Vec::new();
    for (started_at_us, end) in sessions {
        let end_us = match end {
            End::Stopped(at_us) => at_us,
            End::Crashed => at(3, 10, 0),
        };
        let mut of_session = set_up(started_at_us);
        while let Some(said) = messages.next_if(|said| said.at_us <= end_us) {
            if said.at_us > started_at_us {
                of_session.push(said);
            }
        }
        recordings.push(Recording { site: SITE, started_at_us, sources: SOURCES, messages: of_session, end });
    }
    recordings
}

trait ConcatAll {
    fn concat_all(self) -> Vec<Said>;
}

impl<const N: usize> ConcatAll for [Vec<Said>; N] {
    fn concat_all(self) -> Vec<Said> {
        self.into_iter().flatten().collect()
    }
}

/// What each session begins with: connections, and what the sensors are set up with. On Sunday morning the couch is
/// called otherwise.
fn set_up(started_at_us: i64) -> Vec<Said> {
    let mut said = Vec::new();
    for (source, _) in SOURCES {
        for sn in if *source == "ward" { vec![Some(BEDROOM), Some(LOUNGE), Some(LAB)] } else { vec![None] } {
            let about = |second: i64, event: &str| {
                let more = sn.map_or_else(|| json!({}), |sn| json!({"sn": sn}));
                Said::link(started_at_us + second * 100_000, source, event, more)
            };
            said.extend([about(0, "connecting"), about(3, "connected"), about(4, "subscribed")]);
        }
    }
    for sn in [BEDROOM, LOUNGE] {
        let config = String::from_utf8(Rooms::configuration().to_vec()).unwrap();
        let config = if started_at_us >= at(3, 30, 0) { config.replace("Couch", "Sofa") } else { config };
        let channel = format!("/v1/iot/tokens?sn={sn}");
        said.push(Said::new(started_at_us + 100_000, "ward", "config", channel, config));
    }
    said
}

/// Id, state, zone.
type Target = (i64, i64, i64);

fn report(at_us: i64, sn: &str, targets: &[Target]) -> Said {
    let targets: Vec<String> = targets
        .iter()
        .map(|(id, state, zone)| {
            format!(
                r#"{{"id":{id},"x":{},"y":300,"z":{},"state":{state},"zoneId":{zone}}}"#,
                -130 + id,
                state / 2
            )
        })
        .collect();
    let payload = format!(r#"{{"method":"location.report","params":[{}]}}"#, targets.join(","));
    Said::new(at_us, "ward", "location", format!("/location/{sn}"), payload)
}

/// Each five seconds: who is how, until when.
fn bedroom() -> Vec<Said> {
    let (couch, bed, up) = ((1, 80, 2), (1, 90, 1), (1, 40, 0));
    let plan: [(i64, Vec<Target>); 17] = [
        (at(18, 30, 0), vec![up]),
        (at(20, 0, 0), vec![couch]),
        (at(20, 30, 0), vec![up]),
        (at(23, 58, 30), vec![bed]),
        (at(23, 59, 40), vec![up]),
        (at(23, 59, 50), vec![(1, 99, 0)]),
        // Over midnight of UTC.
        (at(0, 4, 0), vec![(1, 100, 0)]),
        (at(0, 6, 0), vec![(1, 40, 0), (2, 40, 0)]),
        (at(2, 0, 0), vec![bed]),
        (at(2, 10, 0), vec![]),
        // In the bathroom: the sensor counts people anew.
        (at(2, 11, 0), vec![(3, 40, 0)]),
        (at(5, 0, 0), vec![(3, 90, 1)]),
        (at(5, 10, 0), vec![(3, 40, 0)]),
        (at(5, 10, 10), vec![(3, 99, 0)]),
        (at(5, 40, 0), vec![(3, 40, 0)]),
        (at(6, 0, 0), vec![(3, 80, 2)]),
        (at(7, 0, 0), vec![]),
    ];
    let mut said = Vec::new();
    let mut now_us = at(18, 0, 1);
    for (until_us, targets) in plan {
        while now_us < until_us {
            said.push(report(now_us, BEDROOM, &targets));
            now_us += 5 * SECOND_US;
        }
    }
    said
}

/// A generated walk until 20:00, then nobody; an outage that is told, and a silence that is not.
fn lounge() -> Vec<Said> {
    let rooms = Rooms {
        sensors: vec![LOUNGE.into()],
        people: 2,
        report_every: Duration::from_secs(5),
        walks_per_fall: 40,
    };
    let walk = rooms.messages(3).map(|timed| {
        // On whole seconds, so that no sum lies on the edge of a rounding.
        let at_us = at(18, 0, 2) + (timed.offset_ns / 1_000_000_000) as i64 * SECOND_US;
        Said::new(at_us, "ward", "location", timed.channel.to_string(), timed.payload)
    });
    let mut said: Vec<Said> = walk.take_while(|said| said.at_us < at(20, 0, 0)).collect();
    let nobody = (0..).map(|n| at(20, 0, 3) + n * 5 * SECOND_US).take_while(|at_us| *at_us < at(7, 0, 0));
    let is_heard = |at_us: &i64| {
        let is_down = (at(21, 0, 0)..at(21, 45, 0)).contains(at_us);
        let is_silent = (at(22, 30, 0)..at(22, 40, 0)).contains(at_us);
        !is_down && !is_silent
    };
    said.extend(nobody.filter(is_heard).map(|at_us| report(at_us, LOUNGE, &[])));
    said
}

/// The documented reports, one a second.
fn lab() -> Vec<Said> {
    let reports = include_str!("../../fixtures/pontosense/reports.jsonl").lines();
    let said = |(n, report): (i64, &'static str)| {
        Said::new(at(19, 30, n), "ward", "location", format!("/location/{LAB}"), report)
    };
    (0..).zip(reports).map(said).collect()
}

/// Outages in the evening: of one sensor, and of the whole fleet over the end of local Saturday.
fn connections() -> Vec<Said> {
    vec![
        Said::link(at(21, 0, 0), "ward", "disconnected", json!({"sn": LOUNGE, "reason": "network"})),
        Said::link(
            at(21, 45, 0),
            "ward",
            "reconnected",
            json!({"sn": LOUNGE, "gap_ns": 2_700_000_000_000_i64}),
        ),
        Said::link(at(22, 50, 0), "fleet", "disconnected", json!({"reason": "network"})),
        Said::link(at(23, 20, 0), "fleet", "reconnected", json!({"gap_ns": 1_800_000_000_000_i64})),
        Said::link(at(6, 30, 0), "shop", "disconnected", json!({"reason": "closed"})),
    ]
}

/// East along the Danube canal at 48.21° N and back, each ten seconds, 2 s late; a trip on either day.
fn van() -> Vec<Said> {
    let mut said = Vec::new();
    for start_us in [at(18, 10, 0), at(5, 20, 0)] {
        for n in 0..240 {
            let at_us = start_us + n * 10 * SECOND_US;
            // Out for 20 minutes, back for 20.
            let (metres, heading) = if n <= 120 { (n * 150, 90) } else { ((240 - n) * 150, 270) };
            let speed = if (60..80).contains(&n) { 22.5 } else { 13.5 };
            let longitude = 16.30 + f64::from(metres as i32) / 74_160.0;
            let payload = format!(
                r#"{{"type":"device_update","device_token":"{VAN}","track_token":"A","position":{{"Latitude":48.21,"Longitude":{longitude:.6},"Speed":{speed},"Accuracy":5.0,"Timestamp":{},"Heading":{heading},"Altitude":{}}}}}"#,
                at_us / SECOND_US - 2,
                160 + metres / 500,
            );
            said.push(Said::new(at_us, "fleet", "device_update", "/realtime/api/v1/ws/realtime", payload));
        }
    }
    said
}

fn utc(at_us: i64) -> String {
    telereel::archive::format_us(at_us)
}

/// A padlock on a lorry that drives by, its alarms, and its sub-locks: warnings and everyday events.
fn lock() -> Vec<Said> {
    let mut said = Vec::new();
    for n in 0..120 {
        let at_us = at(22, 0, 0) + n * 30 * SECOND_US;
        let (latitude, speed) = (48.10 + f64::from(n as i32) * 0.002, if n % 40 < 5 { 95 } else { 27 });
        let payload = format!(
            r#"{{"assetId":"{LOCK}","longitude":16.42,"latitude":{latitude:.6},"speed":{speed},"direction":0,"mileage":{n},"gpsTime":"{}","recvTime":"{}","locType":1,"battery":80,"voltage":"3.9"}}"#,
            utc(at_us - 4 * SECOND_US),
            utc(at_us - SECOND_US),
        );
        said.push(Said::new(at_us, "locks", "location", format!("upload/AK/{LOCK}/location"), payload));
    }
    // Code, seconds between alarm and arrival; the last device's clock is ahead.
    for (n, (code, late)) in (0..).zip([(1, 3), (1, 5), (40, 2), (1, 70), (45, -6)]) {
        let at_us = at(22, 7 * n, 11);
        let payload = format!(
            r#"{{"assetId":"{LOCK}","alarmType":{code},"dateTime":"{}","longitude":16.42,"latitude":48.12,"speed":95,"mileage":1,"cells":"0,0,0,0","describe":"","fileIndex":""}}"#,
            utc(at_us - late * SECOND_US)
        );
        said.push(Said::new(at_us, "locks", "alarm", format!("upload/AK/{LOCK}/alarm"), payload));
    }
    // A heartbeat, a warning, none, and another warning.
    for (n, code) in (0..).zip([6, 4, -1, 17]) {
        let at_us = at(22, 10 + n, 30);
        let payload = format!(
            r#"{{"assetId":"{LOCK}","subAssetID":"0A1B2C3D4E","sensorType":4,"longitude":16.42,"latitude":48.12,"speed":0,"direction":0,"gpsTime":"{0}","subGpsTime":"{0}","battery":91,"voltage":"4.05","eventType":{code}}}"#,
            utc(at_us - (n + 1) * SECOND_US)
        );
        said.push(Said::new(
            at_us,
            "locks",
            "sublock",
            format!("upload/AK/{LOCK}/0A1B2C3D4E/sublock"),
            payload,
        ));
    }
    said
}

/// People who pass a shelf at x 0 to 2 m, y 0 to 1.5 m, once a second. Number 1 is given again.
fn shop() -> Vec<Said> {
    let mut said = Vec::new();
    // Person, start, seconds until the shelf, in front of it, and after.
    for (person, start_us, before, within, after) in [
        (1, at(18, 5, 0), 4, 42, 3),
        (2, at(18, 5, 20), 10, 0, 10),
        (1, at(18, 9, 0), 2, 7, 2),
        (3, at(6, 0, 0), 5, 95, 5),
    ] {
        for n in 0..before + within + after {
            let x = if n < before {
                -50 - n
            } else if n < before + within {
                40 + n
            } else {
                260 + n
            };
            let payload = format!(
                r#"{{"type":"realtime_person_position","person_id":{person},"location_id":7,"position":{{"x":{x},"y":60}}}}"#
            );
            let at_us = start_us + n * SECOND_US;
            said.push(Said::new(at_us, "shop", "person_position", "/websocket_realtime", payload));
        }
        let payload = format!(r#"{{"type":"realtime_person_lost","person_id":{person},"location_id":7}}"#);
        let at_us = start_us + (before + within + after) * SECOND_US;
        said.push(Said::new(at_us, "shop", "person_lost", "/websocket_realtime", payload));
    }
    said
}
