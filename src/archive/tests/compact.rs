//! Compaction never takes more room than there was: small sessions of every vendor, from the vendors' own examples.

use std::collections::BTreeMap;

use super::rewrite::assert_clean;
use super::support::*;
use crate::archive::*;
use crate::decode::builtin;
use crate::fuzz::{fixtures, lines_of};
use crate::message::{COMMON_KINDS, KindHeader, Message, SessionHeader, SourceHeader};

const VENDORS: [&str; 5] = ["damoov", "delicode", "jointech", "pontosense", "sensoro"];

fn header_of(vendor: &str) -> SessionHeader {
    let own = builtin(vendor).unwrap().iter();
    let own = own.map(|(name, text)| KindHeader { name: (*name).into(), declaration: Some((*text).into()) });
    let declared = |name: &str| crate::decode::declaration(vendor, name).map(str::to_owned);
    let common =
        COMMON_KINDS.iter().map(|name| KindHeader { name: (*name).into(), declaration: declared(name) });
    let kinds = own.chain(common).collect();
    let source =
        SourceHeader { name: "one".into(), vendor: vendor.into(), kinds, settings: serde_json::json!({}) };
    SessionHeader { sources: vec![source], ..header(1) }
}

/// Each example of a vendor as each of its kinds, `times` times.
fn examples(header: &SessionHeader, vendor: &str, times: usize) -> Vec<Message> {
    let folders: &[&str] = if vendor == "jointech" { &["jointech", "jointech/webhook"] } else { &[vendor] };
    let files: Vec<_> = folders.iter().copied().flat_map(fixtures).collect();
    let payloads = lines_of(&files);
    let kinds = header.sources[0].kinds.iter().filter(|kind| kind.name != "link");
    let each = kinds.flat_map(|kind| payloads.iter().map(|payload| (&*kind.name, payload)));
    let all = std::iter::repeat_n((), times).flat_map(|()| each.clone());
    all.enumerate().map(|(n, (kind, payload))| message(header, 0, kind, n as u64, payload.clone())).collect()
}

/// Bytes of each vendor, kind and day.
fn sizes(archive: &Archive) -> BTreeMap<(String, String, String), u64> {
    let mut sizes = BTreeMap::new();
    for file in archive.read_manifests().unwrap().into_iter().flat_map(|manifest| manifest.files) {
        *sizes.entry((file.vendor, file.kind, file.date)).or_default() += file.bytes;
    }
    sizes
}

#[test]
fn nothing_gets_larger_by_compaction() {
    for (vendor, parts) in VENDORS.into_iter().flat_map(|vendor| [(vendor, 1), (vendor, 5)]) {
        let dir = quick_dir();
        let archive = Archive::create_or_open(dir.path(), "home-12").unwrap();
        let mut header = header_of(vendor);
        archive.begin_session(&mut header).unwrap();
        let messages = examples(&header, vendor, 2);
        let bytes: u64 = messages.iter().map(|message| message.payload.len() as u64 + 60).sum();
        for part in record(archive.disk(), &archive, &header, &messages, bytes / parts + 1_000) {
            seal(&archive, &part).unwrap();
        }
        archive.end_session(header.session_id, START_US + 60_000_000).unwrap();
        let (before, first) = (sizes(&archive), archive.read_manifests().unwrap());

        let compact = |redecode| {
            let options = CompactOptions { redecode, ..CompactOptions::default() };
            archive.compact(header.session_id, options, &Watch::NONE).unwrap()
        };
        let done = compact(None);
        let after = sizes(&archive);
        assert!(before.keys().eq(after.keys()), "{vendor}");
        for (of, bytes) in &after {
            assert!(bytes <= &before[of], "{of:?} in {parts} parts: {} become {bytes}", before[of]);
        }
        assert!(done.bytes_after.unwrap() <= done.bytes_before, "{vendor}: {done:?}");
        if parts > 1 {
            assert!(first.len() > 1, "{vendor}: {bytes} in one part");
            assert!(done.segments_after < done.segments_before, "{vendor}: {done:?}");
            assert_eq!(archive.read_manifests().unwrap().len(), 1, "{vendor}");
        }
        assert_same(&header, &rows(&archive, &ScanOptions::default()), &messages);
        assert_clean(&archive);

        // What has been tried is not tried again.
        let manifest = archive.read_manifests().unwrap().remove(0);
        assert!(compact(None).already && compact(Some(&[])).already, "{vendor}");
        assert_eq!(archive.read_manifests().unwrap(), [manifest]);
    }
}
