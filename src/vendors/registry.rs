//! Which vendors there are: their kinds, their recording sides, their emulators.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Collector, Emulator, Recorded, damoov, delicode, generic, jointech, pontosense, sensoro};
use crate::decode;
use crate::message::{COMMON_KINDS, KindHeader, Selection, SourceHeader};
use crate::vendors::{Source, VendorConfig};

/// The vendors that are built in, `generic` included.
pub const VENDORS: [&str; 6] = ["damoov", "delicode", "jointech", "pontosense", "sensoro", "generic"];

/// The vendor's own kinds in the order of their declarations, without [`COMMON_KINDS`]; none for an
/// unknown vendor. A generic source may declare further ones.
pub fn kinds(vendor: &str) -> Option<&'static [&'static str]> {
    match vendor {
        "damoov" => Some(&damoov::KINDS),
        "delicode" => Some(&delicode::KINDS),
        "jointech" => Some(&jointech::KINDS),
        "pontosense" => Some(&pontosense::KINDS),
        "sensoro" => Some(&sensoro::KINDS),
        "generic" => Some(&[generic::MESSAGE]),
        _ => None,
    }
}

/// The recording side of a source.
pub fn collector(source: &Source) -> Box<dyn Collector> {
    match &source.vendor {
        VendorConfig::Damoov(config) => Box::new(damoov::collector::DamoovCollector::new(config.clone())),
        VendorConfig::Delicode(config) => {
            Box::new(delicode::collector::DelicodeCollector::new(config.clone()))
        }
        VendorConfig::Jointech(config) => jointech::collector(config),
        VendorConfig::Pontosense(config) => {
            Box::new(pontosense::collector::PontosenseCollector::new(config.clone()))
        }
        VendorConfig::Sensoro(config) => Box::new(sensoro::collector::SensoroCollector::new(config.clone())),
        VendorConfig::Generic(config) => generic::collector(config),
    }
}

/// What a session keeps about a source: its kinds with their declarations, and its options without secrets.
pub fn source_header(source: &Source) -> SourceHeader {
    let (vendor, mut kinds) = match &source.vendor {
        VendorConfig::Damoov(_) => ("damoov", declared("damoov")),
        VendorConfig::Delicode(_) => ("delicode", declared("delicode")),
        VendorConfig::Jointech(_) => ("jointech", declared("jointech")),
        VendorConfig::Pontosense(_) => ("pontosense", declared("pontosense")),
        VendorConfig::Sensoro(_) => ("sensoro", declared("sensoro")),
        VendorConfig::Generic(config) => ("generic", generic::kinds(config)),
    };
    kinds.extend(COMMON_KINDS.iter().map(|kind| header(vendor, kind)));
    SourceHeader { name: source.name.clone(), vendor: vendor.to_owned(), kinds, settings: settings(source) }
}

fn declared(vendor: &str) -> Vec<KindHeader> {
    kinds(vendor).unwrap_or_default().iter().map(|kind| header(vendor, kind)).collect()
}

fn header(vendor: &str, kind: &str) -> KindHeader {
    KindHeader { name: kind.to_owned(), declaration: decode::declaration(vendor, kind).map(str::to_owned) }
}

fn settings(source: &Source) -> Value {
    let mut settings = match &source.vendor {
        VendorConfig::Damoov(config) => damoov::settings(config),
        VendorConfig::Delicode(config) => delicode::settings(config),
        VendorConfig::Jointech(config) => jointech::settings(config),
        VendorConfig::Pontosense(config) => pontosense::settings(config),
        VendorConfig::Sensoro(config) => sensoro::settings(config),
        VendorConfig::Generic(config) => generic::settings(config),
    };
    // What every source may be told, where it is: names only, no values.
    for (option, names) in [
        ("exclude_kinds", &source.exclude_kinds),
        ("redact_query", &source.redact_query),
        ("redact_headers", &source.redact_headers),
    ] {
        if !names.is_empty() {
            settings[option] = json!(names);
        }
    }
    if let Some(stall_after) = source.stall_after {
        settings["stall_after_ms"] = json!(u64::try_from(stall_after.as_millis()).unwrap_or(u64::MAX));
    }
    if source.tls.insecure {
        settings["tls_insecure"] = json!(true);
    }
    settings
}

/// Whether a replay emits rows of a kind that nobody asked for by name: what a vendor sends of its own
/// accord, but neither the frames around it nor what an emulator answers requests from.
pub fn is_emitted(vendor: &str, kind: &str) -> bool {
    !matches!((vendor, kind), (_, "link" | "control") | ("pontosense", "config"))
}

/// The sensors of a recorded source that has a connection for each of them, and the channels of their messages.
pub fn sensors(source: &SourceHeader) -> Vec<(String, String)> {
    let list =
        source.settings.get("sensors").and_then(Value::as_array).filter(|_| source.vendor == "pontosense");
    let names = list.into_iter().flatten().filter_map(Value::as_str);
    names.map(|sn| (sn.to_owned(), pontosense::topic(sn))).collect()
}

/// Whether a source was recorded by subscribing to a broker's topics.
pub fn was_subscribed(source: &SourceHeader) -> bool {
    source.settings.get("transport").and_then(Value::as_str) == Some("mqtt")
}

/// The emulator for a WebSocket client that asked for `path` (without query); none if nothing is served there.
pub fn emulator(path: &str, recorded: Arc<Recorded>) -> Option<Box<dyn Emulator>> {
    match path {
        damoov::PATH => Some(Box::new(damoov::emulator::DamoovEmulator::new(recorded))),
        delicode::PATH => Some(Box::new(delicode::emulator::DelicodeEmulator::new(recorded))),
        generic::emulator::PATH => Some(Box::new(generic::emulator::GenericEmulator::new(recorded))),
        _ => None,
    }
}

/// What a client that asks for `path` with this raw query could get at most; none if nothing is served there, or
/// not for that query.
pub fn reach(path: &str, query: &str) -> Option<Selection> {
    let of = |vendor: &str| Selection { vendors: vec![vendor.to_owned()], ..Selection::default() };
    match path {
        damoov::PATH => Some(of("damoov")),
        delicode::PATH => Some(of("delicode")),
        generic::emulator::PATH => generic::emulator::selection(query),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests;
