use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::decode::{Declaration, Decoder, builtin};
use crate::vendors::jointech::{KINDS, kind};

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
    assert_eq!(fleet(7), fleet(7));
    assert_ne!(fleet(7), fleet(8));
}

#[test]
fn a_shop_has_all_kinds_and_people_who_walk() {
    let messages: Vec<_> = Shop::default().messages(1).take(5_000).collect();
    let mut last: BTreeMap<i64, (u64, f64, f64)> = BTreeMap::new();
    let mut steps = Vec::new();
    for message in &messages {
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(message.device, body["location_id"].to_string());
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
    let mut decoders: BTreeMap<&str, Decoder> = BTreeMap::new();
    for (kind, text) in ["delicode", "jointech"].into_iter().flat_map(|vendor| builtin(vendor).unwrap()) {
        decoders.insert(kind, Decoder::new(Some(&Declaration::parse(text, kind).unwrap())));
    }
    for message in messages {
        let decoded = decoders.get_mut(message.kind).unwrap().push(&message.channel, &message.payload);
        assert_eq!(decoded.error, None, "{message:?}");
        assert_eq!(decoded.device_id, Some(&*message.device), "{message:?}");
    }
}
