use std::collections::BTreeMap;

use serde_json::Value;

use super::nodes::Mode;
use super::*;
use crate::decode::{Declaration, Decoder, builtin};
use crate::secret::Secret;
use crate::vendors::jointech::{KINDS, kind};
use crate::vendors::sensoro::cipher::Cipher;

/// Counts by kind, having checked what must hold for every stream.
fn check(messages: Vec<Timed>) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    assert!(messages.is_sorted_by_key(|m| m.offset_ns), "out of order");
    for message in messages {
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        for nested in ["statusJson", "expandInfo"] {
            if let Some(text) = body.get(nested) {
                serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap();
            }
        }
        *kinds.entry(message.kind).or_insert(0) += 1;
    }
    kinds
}

#[test]
fn a_seed_gives_the_same_stream_again() {
    let shop = |seed| Shop::default().messages(seed).take(2_000).collect::<Vec<_>>();
    let fleet = |seed| Fleet::default().messages(seed).take(2_000).collect::<Vec<_>>();
    assert_eq!(shop(7), shop(7));
    assert_ne!(shop(7), shop(8));
    let rooms = |seed| Rooms::default().messages(seed).take(2_000).collect::<Vec<_>>();
    let trips = |seed| Trips::default().messages(seed).take(2_000).collect::<Vec<_>>();
    let nodes = |seed| Nodes::default().messages(seed).take(2_000).collect::<Vec<_>>();
    assert_eq!(fleet(7), fleet(7));
    assert_ne!(fleet(7), fleet(8));
    assert_eq!(rooms(7), rooms(7));
    assert_ne!(rooms(7), rooms(8));
    assert_eq!(trips(7), trips(7));
    assert_ne!(trips(7), trips(8));
    assert_eq!(nodes(7), nodes(7));
    assert_ne!(nodes(7), nodes(8));
}

#[test]
fn a_shop_has_all_kinds_and_people_who_walk() {
    let messages: Vec<_> = Shop::default().messages(1).take(5_000).collect();
    let mut last: BTreeMap<i64, (u64, f64, f64)> = BTreeMap::new();
    let mut steps = Vec::new();
    for message in &messages {
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(message.device.as_deref(), Some(&*body["location_id"].to_string()));
        if let (Some(x), Some(y)) = (body["position"]["x"].as_f64(), body["position"]["y"].as_f64()) {
            let person = body["person_id"].as_i64().unwrap();
            if let Some((at_ns, x0, y0)) = last.insert(person, (message.offset_ns, x, y)) {
                steps.push((x - x0).hypot(y - y0) / ((message.offset_ns - at_ns) as f64 / 1e9));
            }
        }
    }
    assert!(steps.iter().all(|cm_per_s| *cm_per_s < 250.0), "somebody flies");
    steps.sort_by(f64::total_cmp);
    assert!((80.0..180.0).contains(&steps[steps.len() / 2]), "median {} cm/s", steps[steps.len() / 2]);
    let kinds = check(messages);
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

#[test]
fn a_fleet_has_all_documented_kinds_over_both_routes() {
    let hook = Fleet { route: Route::Webhook { path: "/hooks/locks".into() }, ..Fleet::default() };
    assert_eq!(check(hook.messages(1).take(3_000).collect()).len(), 5);
    let kinds = check(Fleet { status: true, ..Fleet::default() }.messages(1).take(3_000).collect());
    assert_eq!(kinds.len(), 6, "{kinds:?}");
}

#[test]
fn the_broker_sorts_members_and_webhooks_do_not() {
    let names = |message: &Timed| {
        let text = std::str::from_utf8(&message.payload).unwrap().to_owned();
        (text.find("\"assetId\"").unwrap(), text.find("\"alarmType\"").unwrap())
    };
    let alarm = |fleet: Fleet| fleet.messages(3).find(|m| m.kind == "alarm").unwrap();
    let (asset, code) = names(&alarm(Fleet::default()));
    assert!(code < asset);
    let hook = Fleet { route: Route::Webhook { path: "/h".into() }, ..Fleet::default() };
    let (asset, code) = names(&alarm(hook));
    assert!(asset < code);
}

#[test]
fn only_webhooks_say_a_file_in_an_event() {
    let hook = Route::Webhook { path: "/hooks/locks".into() };
    for (route, says_file) in [(hook, true), (Fleet::default().route, false)] {
        let messages = Fleet { route, ..Fleet::default() }.messages(1).take(1_000);
        let events: Vec<Timed> = messages.filter(|message| message.kind == "event").collect();
        assert!(!events.is_empty());
        for event in events {
            let body: Value = serde_json::from_slice(&event.payload).unwrap();
            assert_eq!(body.get("fileIndex").is_some(), says_file, "{body}");
        }
    }
}

#[test]
fn what_is_generated_is_recognised_as_its_kind() {
    let fleet = Fleet { status: true, ..Fleet::default() };
    for timed in fleet.messages(5).take(1_000) {
        let kind = kind::of_publish(&timed.channel, &timed.payload);
        assert_eq!(KINDS[usize::from(kind)], timed.kind, "{timed:?}");
    }
}

#[test]
fn the_pool_has_messages_of_about_330_bytes() {
    let pool = pool(1, 1_000);
    let mean = pool.iter().map(|m| m.payload.len()).sum::<usize>() / pool.len();
    assert!((310..=350).contains(&mean), "{mean} bytes on average");
}

#[test]
fn declarations_find_nothing_wrong_with_what_is_generated() {
    let hook = Fleet { route: Route::Webhook { path: "/h".into() }, ..Fleet::default() };
    let mut messages: Vec<Timed> = Shop::default().messages(1).take(3_000).collect();
    messages.extend(Fleet::default().messages(1).take(3_000));
    messages.extend(hook.messages(1).take(3_000));
    messages.extend(Rooms::default().messages(1).take(3_000));
    messages.extend(Trips::default().messages(1).take(3_000));
    messages.extend(Nodes::default().messages(1).take(3_000));
    let mut decoders: BTreeMap<(&str, &str), Decoder> = BTreeMap::new();
    for vendor in ["damoov", "delicode", "jointech", "pontosense", "sensoro"] {
        for (kind, text) in builtin(vendor).unwrap() {
            let declaration = Declaration::parse(text, kind).unwrap();
            decoders.insert((vendor, kind), Decoder::new(Some(&declaration)));
        }
    }
    for message in messages {
        let decoder = decoders.get_mut(&(message.vendor, message.kind)).unwrap();
        let decoded = decoder.push(&message.channel, &message.payload);
        assert_eq!(decoded.error, None, "{message:?}");
        assert_eq!(decoded.device_id, message.device.as_deref(), "{message:?}");
    }
}

/// What was said about one person at one time.
struct Seen {
    at_ns: u64,
    state: i64,
    x_cm: f64,
    y_cm: f64,
}

#[test]
fn people_at_home_rest_leave_and_now_and_then_fall() {
    let rooms = Rooms { sensors: Rooms::serials(1), walks_per_fall: 10, ..Rooms::default() };
    let mut people: BTreeMap<i64, Vec<Seen>> = BTreeMap::new();
    let mut empty = 0;
    for message in rooms.messages(1).take(20_000) {
        assert_eq!(message.channel, "/location/ATR_GN_P4-250120-09527");
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(body["method"], "location.report");
        let targets = body["params"].as_array().unwrap();
        empty += usize::from(targets.is_empty());
        for target in targets {
            let number = |name: &str| target[name].as_i64().unwrap();
            let (x_cm, y_cm) = (number("x"), number("y"));
            assert!((-200..=200).contains(&x_cm) && (0..=400).contains(&y_cm), "out of the room: {target}");
            assert_eq!(number("zoneId") == 1, (-190..-80).contains(&x_cm) && (230..390).contains(&y_cm));
            let seen = Seen {
                at_ns: message.offset_ns,
                state: number("state"),
                x_cm: x_cm as f64,
                y_cm: y_cm as f64,
            };
            people.entry(number("id")).or_default().push(seen);
        }
    }
    assert!((10..15_000).contains(&empty), "{empty} of 20,000 reports are of an empty room");
    let mut states = BTreeMap::new();
    for seen in people.values() {
        for (before, now) in seen.iter().zip(&seen[1..]) {
            *states.entry(now.state).or_insert(0) += 1;
            let seconds = (now.at_ns - before.at_ns) as f64 / 1e9;
            let cm = (now.x_cm - before.x_cm).hypot(now.y_cm - before.y_cm);
            assert!(cm / seconds < 110.0, "somebody old runs");
            assert!(now.state != 100 || [99, 100].contains(&before.state), "a fall is suspected first");
        }
    }
    assert_eq!(states.keys().copied().collect::<Vec<_>>(), [40, 80, 90, 99, 100]);
    let share = |state| f64::from(states[&state]) / f64::from(states.values().sum::<i32>());
    assert!(share(99) + share(100) < 0.2, "{states:?}");
    assert!(
        !Rooms { walks_per_fall: 0, ..Rooms::default() }
            .messages(1)
            .take(20_000)
            .any(|m| m.payload.windows(10).any(|w| w == b"\"state\":99" || w == b"\"state\":10"))
    );
}

#[test]
fn drivers_drive_as_fast_as_they_say() {
    let trips = Trips { drivers: 2, ..Trips::default() };
    let mut last: BTreeMap<String, (u64, f64, f64, String)> = BTreeMap::new();
    let mut trips_seen = std::collections::BTreeSet::new();
    for message in trips.messages(3).take(10_000) {
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(body["type"], "device_update");
        let position = &body["position"];
        let number = |name: &str| position[name].as_f64().unwrap();
        let at_s = 1_714_550_400 + message.offset_ns / 1_000_000_000;
        assert_eq!(position["Timestamp"], at_s, "the time is that of the message");
        let track = body["track_token"].as_str().unwrap().to_owned();
        trips_seen.insert(track.clone());
        let here = (message.offset_ns, number("Latitude"), number("Longitude"), track.clone());
        let device = body["device_token"].as_str().unwrap();
        assert_eq!(message.device.as_deref(), Some(device));
        if let Some((at_ns, latitude, longitude, before)) = last.insert(device.to_owned(), here) {
            if before != track {
                continue;
            }
            let metres = ((number("Latitude") - latitude) * 111_200.0)
                .hypot((number("Longitude") - longitude) * 67_700.0);
            let mps = metres / ((message.offset_ns - at_ns) as f64 / 1e9);
            assert!((mps - number("Speed")).abs() < 1.5, "{mps} m/s on the map, {} said", number("Speed"));
        }
    }
    assert!(trips_seen.len() > 4, "{} trips", trips_seen.len());
}

#[test]
fn nodes_report_and_now_and_then_finish_a_task() {
    let mut kinds = BTreeMap::new();
    let mut last_id = 0;
    for message in Nodes::default().messages(4).take(5_000) {
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        let id = body["msgId"].as_i64().unwrap();
        assert!(id > last_id, "message ids increase");
        last_id = id;
        assert!(body["createdTime"].as_i64().unwrap() >= 1_714_550_400_000);
        assert_eq!(body["data"].is_object(), body.get("encryptData").is_none());
        assert_eq!(message.device.as_deref(), body["sn"].as_str());
        assert_eq!(message.kind == "event", body["type"] == "event");
        *kinds.entry(message.kind).or_insert(0) += 1;
    }
    assert_eq!(kinds.len(), 2);
    assert!((150..400).contains(&kinds["event"]), "{kinds:?}");
}

#[test]
fn a_flat_event_holds_what_another_has_in_its_data() {
    let nodes = |flat_events| Nodes { flat_events, ..Nodes::default() }.messages(1).take(500);
    let mut events = 0;
    for (nested, flat) in nodes(false).zip(nodes(true)) {
        let mut nested: Value = serde_json::from_slice(&nested.payload).unwrap();
        let flat: Value = serde_json::from_slice(&flat.payload).unwrap();
        if nested["type"] == "event" {
            events += 1;
            let data = nested.as_object_mut().unwrap().remove("data").unwrap();
            nested.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
            assert!(flat["resultCode"].is_i64());
        }
        assert_eq!(flat, nested);
    }
    assert!(events > 5, "{events} of 500");
}

#[test]
fn safe_mode_hides_the_content_and_nothing_else() {
    let cipher = Cipher::new(&Secret::new("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")).unwrap();
    let mut safe_ones = 0;
    let nodes = |mode| Nodes { mode, ..Nodes::default() }.messages(1).take(200);
    for (plain, both) in nodes(Mode::Plain).zip(nodes(Mode::Both(cipher.clone()))) {
        let plain: Value = serde_json::from_slice(&plain.payload).unwrap();
        let mut both: Value = serde_json::from_slice(&both.payload).unwrap();
        if let Some(sealed) = both.as_object_mut().unwrap().remove("encryptData") {
            safe_ones += 1;
            let opened = cipher.open(sealed.as_str().unwrap()).unwrap();
            assert_eq!(opened.app_id, b"123456");
            both["data"] = serde_json::from_slice(&opened.message).unwrap();
        }
        assert_eq!(both, plain);
    }
    assert!((60..140).contains(&safe_ones), "{safe_ones} of 200");
    assert!(nodes(Mode::Safe(cipher)).all(|m| m.payload.windows(11).any(|w| w == b"encryptData")));
}
