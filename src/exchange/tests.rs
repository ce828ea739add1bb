//! What goes out comes back: every format, every vendor's fixtures, and what no vendor should send.

use std::path::Path;

use bytes::Bytes;

use super::export::{Unchanged, export};
use super::import::{ImportOptions, plan};
use super::{Format, reel};
use crate::archive::tests::support::{START_US, quick_dir};
use crate::archive::{Archive, Clip, Intake, Mark, ScanOptions, VerifyOptions, scan, verify};
use crate::decode::builtin;
use crate::message::{
    COMMON_KINDS, KindHeader, Mqtt, Row, Selection, SessionHeader, SessionId, SourceHeader,
};

mod hostile;
mod upkept;

const VENDORS: [&str; 6] = ["damoov", "delicode", "jointech", "pontosense", "sensoro", "generic"];

pub(super) fn header(n: u8) -> SessionHeader {
    let source = |vendor: &str| {
        let own = builtin(vendor).unwrap_or_default().iter();
        let own =
            own.map(|(name, text)| KindHeader { name: (*name).into(), declaration: Some((*text).into()) });
        let declared = |kind: &str| crate::decode::declaration(vendor, kind).map(str::to_owned);
        let common = ["message"].iter().filter(|_| vendor == "generic").chain(&COMMON_KINDS);
        let common = common.map(|name| KindHeader { name: (*name).into(), declaration: declared(name) });
        SourceHeader {
            name: format!("{vendor}-1"),
            vendor: vendor.into(),
            kinds: own.chain(common).collect(),
            settings: serde_json::json!({"of": vendor}),
        }
    };
    SessionHeader {
        session_id: SessionId::new(START_US + i64::from(n), [n; 10]),
        name: "walk".into(),
        site: "home-12".into(),
        started_at_us: START_US,
        sources: VENDORS.map(source).into(),
    }
}

/// The fixtures of a vendor, line by line and file by file.
fn fixtures(folder: &Path, payloads: &mut Vec<Vec<u8>>) {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            fixtures(&path, payloads);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        payloads.extend(bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
        payloads.push(bytes);
    }
}

/// All of them, in every kind, with everything that an envelope can hold.
pub(super) fn rows_to_keep(header: &SessionHeader) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for source in &header.sources {
        let mut payloads: Vec<Vec<u8>> = vec![
            vec![],
            vec![0xFF, 0xFE, 0, b'"', b'\n'],
            b"a,\"b\"\r\n\x00\x1f".to_vec(),
            "{\"x\":-0.0, \"u\":\"\u{10FF41}\u{2028}\"}".into(),
            br#"{"event":"connecting","options":{"of":"a link row"}}"#.to_vec(),
        ];
        fixtures(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(&source.vendor), &mut payloads);
        for (n, payload) in payloads.into_iter().enumerate() {
            let seq = rows.len() as u64;
            let kind = &source.kinds[n % source.kinds.len()].name;
            rows.push(Row {
                vendor: source.vendor.as_str().into(),
                kind: kind.as_str().into(),
                site: header.site.as_str().into(),
                session_id: header.session_id,
                source: source.name.as_str().into(),
                connection: (n % 3) as i32,
                seq,
                // Over midnight, and back a little, as a clock that is set does.
                received_at_us: START_US + seq as i64 * 40_000 - i64::from(n % 7 == 3) * 90_000,
                elapsed_ns: seq * 40_000_000 + 7,
                channel: ["upload/AK/7/location", "/hooks/a?x=1,2&y=\"q\"", "link", ""][n % 4].into(),
                device_id: None,
                event_at_us: None,
                mqtt: (n % 4 == 0).then_some(Mqtt {
                    qos: (n % 3) as u8,
                    retain: n % 8 == 0,
                    dup: n % 12 == 0,
                }),
                is_binary: n % 5 == 1,
                headers: (n % 4 == 1).then(|| match n % 8 {
                    1 => vec![("accept".into(), "*/*, \"x\"\r\n".into()), ("x-n".into(), n.to_string())],
                    _ => vec![],
                }),
                duplicate_of: (n % 6 == 5).then(|| seq - 4),
                payload: payload.into(),
                clear: [
                    None,
                    Some(Bytes::new()),
                    Some(Bytes::from_static(b"{\"c\": 1}")),
                    Some(vec![0xC0].into()),
                ][n / 2 % 4]
                    .clone(),
                decode_error: None,
            });
        }
    }
    rows
}

/// An archive that holds them, and the rows as it gives them back.
pub(super) fn archive_of(root: &Path, header: &SessionHeader, rows: &[Row]) -> (Archive, Vec<Row>) {
    let archive = Archive::create_or_open(root, "home-12").unwrap();
    let mut intake = Intake::begin(&archive, header.clone(), "import").unwrap();
    for rows in rows.chunks(200) {
        intake.part(|part| rows.iter().try_for_each(|row| part.push(row))).unwrap();
    }
    intake.commit(|_| ()).unwrap();
    let kept = all(&archive);
    assert_eq!(kept.len(), rows.len());
    (archive, kept)
}

pub(super) fn all(archive: &Archive) -> Vec<Row> {
    scan(archive, &ScanOptions::default()).unwrap().map(Result::unwrap).collect()
}

#[track_caller]
pub(super) fn assert_clean(archive: &Archive) {
    let verified = verify(archive, VerifyOptions::default()).unwrap();
    assert!(verified.is_content() && verified.leftovers.is_empty(), "{verified:?}");
    assert_eq!(std::fs::read_dir(archive.layout().tmp()).unwrap().count(), 0, "nothing is left in tmp");
}

fn write(archive: &Archive, options: &ScanOptions, format: Format, to: &Path) -> u64 {
    export(archive, options, format, to, &mut Unchanged, &|_, _| ()).unwrap().messages
}

#[test]
fn every_format_gives_back_what_it_was_given() {
    let dir = quick_dir();
    let header = header(1);
    let (archive, kept) = archive_of(&dir.path().join("a"), &header, &rows_to_keep(&header));
    for (name, format) in Format::ALL {
        let file = dir.path().join(format!("out.{name}"));
        assert_eq!(write(&archive, &ScanOptions::default(), format, &file), kept.len() as u64);
        if format == Format::Parquet {
            continue;
        }
        let back = Archive::create_or_open(dir.path().join(name), "").unwrap();
        let planned = plan(&file, ImportOptions::default(), &|_, _| ()).unwrap();
        assert_eq!(
            (planned.bad, planned.messages),
            (0, kept.len() as u64),
            "{name}: {:?}",
            planned.described
        );
        let imported = planned.take(&back, &|_, _| ()).unwrap();
        assert_eq!(imported.len(), 1);
        assert_eq!((imported[0].session_id, imported[0].was), (header.session_id, None), "{name}");
        for (found, expected) in all(&back).iter().zip(&kept) {
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(all(&back).len(), kept.len(), "{name}");
        assert_clean(&back);
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 10, "five files and five archives: {left:?}");
}

#[test]
fn a_reel_is_the_archive_of_what_was_selected() {
    let dir = quick_dir();
    let header = header(1);
    let (archive, kept) = archive_of(&dir.path().join("a"), &header, &rows_to_keep(&header));
    let id = header.session_id;
    archive
        .add_clip(id, Clip { name: "fall".into(), seq_from: 3, seq_to: 9, note: Some("n".into()) })
        .unwrap();
    archive
        .add_clip(id, Clip { name: "late".into(), seq_from: 100_000, seq_to: 100_001, note: None })
        .unwrap();
    archive.add_mark(id, Mark { elapsed_ns: 5, at_us: START_US, note: "m".into() }).unwrap();
    let file = dir.path().join("x.reel");
    let selection = Selection { vendors: vec!["jointech".into(), "damoov".into()], ..Selection::default() };
    let options = ScanOptions { selection: selection.clone(), ..ScanOptions::default() };
    let expected: Vec<Row> = kept.iter().filter(|row| selection.matches(row)).cloned().collect();
    assert_eq!(write(&archive, &options, Format::Reel, &file), expected.len() as u64);

    let unpacked = reel::open(&file).unwrap();
    let small = unpacked.archive().clone();
    assert_eq!(all(&small), expected);
    let sidecar = small.read_sidecar(id).unwrap().unwrap();
    assert_eq!((sidecar.name.as_str(), sidecar.started_at_us), ("walk", START_US));
    assert_eq!(sidecar.sources.len(), VENDORS.len());
    assert_eq!(sidecar.sources[2].settings, serde_json::json!({"of": "jointech"}));
    assert_eq!(sidecar.clips.iter().map(|clip| clip.name.as_str()).collect::<Vec<_>>(), ["fall"]);
    assert_eq!(sidecar.marks.len(), 1);
    let root = small.root().to_owned();
    drop(unpacked);
    assert!(!root.exists(), "the folder goes with it");

    // Beside the session that it came from it is another, and so are its clips.
    let imported =
        plan(&file, ImportOptions::default(), &|_, _| ()).unwrap().take(&archive, &|_, _| ()).unwrap();
    assert_eq!((imported[0].was, imported[0].session.as_str()), (Some(id), "walk-2"));
    let (session, clip) = archive.resolve_stretch("fall-2").unwrap();
    assert_eq!((session.session_id, clip.unwrap().seqs()), (imported[0].session_id, 3..9));
    assert_clean(&archive);
}

#[test]
fn each_source_of_a_reel_has_the_columns_that_it_had() {
    let text = |column: &str, id: i32| {
        format!(
            "kind = \"reading\"\nmeaning = \"A reading.\"\ndevice_id = [\"{column}\"]\n[[field]]\nname = \"{column}\"\n\
             id = {id}\ntype = \"string\"\nrole = \"identifier\"\npath = \"{column}\"\nmeaning = \"It.\"\n"
        )
    };
    let source = |name: &str, text: String| SourceHeader {
        name: name.into(),
        vendor: "generic".into(),
        kinds: vec![KindHeader { name: "reading".into(), declaration: Some(text) }],
        settings: serde_json::json!({}),
    };
    let mut header = header(1);
    let row = rows_to_keep(&header).remove(0);
    header.sources = vec![source("one", text("sensor", 100)), source("two", text("room_id", 101))];
    let row = |n: u64, source: &str| Row {
        vendor: "generic".into(),
        kind: "reading".into(),
        source: source.into(),
        seq: n,
        payload: Bytes::from_static(br#"{"sensor":"s","room_id":"r"}"#),
        clear: None,
        ..row.clone()
    };
    let dir = quick_dir();
    let rows = [row(0, "one"), row(1, "two"), row(2, "one")];
    let (archive, kept) = archive_of(&dir.path().join("a"), &header, &rows);
    let devices: Vec<_> = kept.iter().map(|row| row.device_id.as_deref().unwrap()).collect();
    assert_eq!(devices, ["s", "r", "s"]);
    let file = dir.path().join("x.reel");
    write(&archive, &ScanOptions::default(), Format::Reel, &file);
    assert_eq!(all(reel::open(&file).unwrap().archive()), kept);
}

#[test]
fn a_damaged_reel_is_refused() {
    let dir = quick_dir();
    let header = header(1);
    let (archive, _) = archive_of(&dir.path().join("a"), &header, &rows_to_keep(&header)[..40]);
    let file = dir.path().join("x.reel");
    write(&archive, &ScanOptions::default(), Format::Reel, &file);
    let bytes = std::fs::read(&file).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        reel::open(&file).unwrap_err().to_string()
    };
    // The last segment's name stands at its head; its bytes follow.
    let name = bytes.windows(9).rposition(|window| window == b"date=2026").unwrap();
    let mut changed = bytes.clone();
    changed[name + 640] ^= 1;
    assert!(refused(&changed).contains("damaged"));
    assert!(refused(&bytes[..bytes.len() / 2]).contains("damaged"));
    assert!(refused(b"{}").contains("no reel"));
    // Nothing outside of it is read for it.
    let named = b"\"path\": \"data/vendor=";
    let mut elsewhere = bytes.clone();
    let at = bytes.windows(named.len()).position(|window| window == named).unwrap();
    elsewhere[at + 9..at + named.len()].copy_from_slice(b"../../../tmp");
    assert!(refused(&elsewhere).contains("which is no file of an archive"));
    std::fs::write(&file, &bytes).unwrap();
    reel::open(&file).unwrap();
}

#[test]
fn an_mcap_that_lost_its_envelopes_comes_in_with_what_its_channels_say() {
    let dir = quick_dir();
    let header = header(1);
    let (archive, kept) = archive_of(&dir.path().join("a"), &header, &rows_to_keep(&header));
    let file = dir.path().join("x.mcap");
    write(&archive, &ScanOptions::default(), Format::Mcap, &file);
    let mut bytes = std::fs::read(&file).unwrap();
    let name = b"telereel.envelopes";
    for at in 0..bytes.len() - name.len() {
        if bytes[at..].starts_with(name) {
            bytes[at + name.len() - 1] = b'X';
        }
    }
    std::fs::write(&file, &bytes).unwrap();
    let back = Archive::create_or_open(dir.path().join("b"), "").unwrap();
    let imported =
        plan(&file, ImportOptions::default(), &|_, _| ()).unwrap().take(&back, &|_, _| ()).unwrap();
    assert_ne!(imported[0].session_id, header.session_id);
    let found = all(&back);
    assert_eq!(found.len(), kept.len());
    for (n, (found, expected)) in found.iter().zip(&kept).enumerate() {
        assert_eq!((&found.payload, found.seq), (&expected.payload, n as u64));
        assert_eq!(
            (&found.vendor, &found.kind, &found.source),
            (&expected.vendor, &expected.kind, &expected.source)
        );
        assert_eq!((&found.channel, found.received_at_us), (&expected.channel, expected.received_at_us));
    }
    assert_clean(&back);

    for cut in [bytes.len() / 3, bytes.len() / 4] {
        std::fs::write(&file, &bytes[..cut]).unwrap();
        let said = plan(&file, ImportOptions::default(), &|_, _| ()).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("cut short") && said.contains("byte "), "{said}");
    }
}
