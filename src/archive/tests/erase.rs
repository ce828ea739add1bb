//! Erasing: what names it goes, wherever it stands and however it is spelled; nothing else does; the proof finds what
//! is left; wherever it is cut, doing it again finishes it.

use std::cell::Cell;
use std::fs;

use super::rewrite::{Template, assert_clean, cut_everywhere};
use super::support::*;
use crate::archive::*;
use crate::message::{Message, Row, Selection, SessionHeader};

/// A lock, and others whose names are longer.
const LOCK: &str = "8200123456";
const OTHERS: [&str; 2] = ["82001234567", "8200123456-b"];

fn options(archive: &Archive, selection: Selection) -> EraseOptions {
    let sessions = archive.list().unwrap().iter().map(|session| session.session_id).collect();
    let scan = ScanOptions { sessions, selection, ..ScanOptions::default() };
    EraseOptions { scan, all_sessions: true, at_us: START_US }
}

fn device(archive: &Archive, device: &str) -> EraseOptions {
    options(archive, Selection { devices: vec![device.into()], ..Selection::default() })
}

fn erase(archive: &Archive, options: EraseOptions) -> (Vec<Erased>, Proof) {
    let plan = archive.plan_erase(options, &Watch::NONE).unwrap();
    let planned: Vec<Erased> = plan.sessions().cloned().collect();
    let mut done = Vec::new();
    let failed = archive.erase(&plan, &Watch::NONE, &mut |erased| done.push(erased)).unwrap();
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(done, planned, "a dry run says what is done");
    archive.forget_erased().unwrap();
    let proof = archive.prove_erased(&plan, &Watch::NONE).unwrap();
    (done, proof)
}

fn location(of: &str) -> String {
    LOCATION.replace(LOCK, of)
}

/// Messages, and whether they name the lock.
fn home(header: &SessionHeader) -> Vec<(Message, bool)> {
    let mut all = Vec::new();
    let mut add = |source, kind: &str, payload: &str, is_named: bool| {
        let ms = all.len() as u64 * 100;
        all.push((message(header, source, kind, ms, payload.to_owned()), is_named));
        all.len() - 1
    };
    for of in [LOCK, OTHERS[0], OTHERS[1]] {
        add(1, "location", &location(of), of == LOCK);
    }
    add(0, "link", r#"{"event":"connected","connection":1,"sn":"8200123456"}"#, true);
    add(0, "link", r#"{"event":"connected","connection":1,"sn":"82001234567"}"#, false);
    add(1, "control", r#"{"text":"{\"id\":\"\\u00382001\u0032\u00334\u00356\"}"}"#, true);
    add(1, "control", r#"{"latitude":24.8200123456,"odometer":8200123456.5}"#, false);
    add(1, "control", r#"{"of":["8200123456-b","82001234567"]}"#, false);
    add(1, "control", r#"{"text":"lock\n8200123456!"}"#, true);
    let channel = add(1, "other", "1", true);
    let header_of = add(1, "other", "2", true);
    let clear = add(1, "other", "3", true);
    add(0, "person_position", POSITION, false);
    all[channel].0.channel = "/hooks/8200%3123456/alarm?x=1".into();
    all[header_of].0.headers = Some(vec![("x-device".into(), "lock 8200123456".into())]);
    all[clear].0.clear = Some(bytes::Bytes::from_static(b"{\"id\": 8200123456}"));
    all
}

/// An archive with a session of these messages, in several parts, and with notes that name the lock.
fn recorded(root: &std::path::Path) -> (Archive, SessionHeader, Vec<(Message, bool)>) {
    let archive = Archive::create_or_open(root, "home-12").unwrap();
    let mut header = header(1);
    header.name = format!("walk-{LOCK}");
    header.sources[1].settings = serde_json::json!({
        "sensors": [OTHERS[0], LOCK, OTHERS[1]],
        "topics": [format!("upload/AK/{LOCK}/#")],
        "names": {LOCK: "door"},
    });
    archive.begin_session(&mut header).unwrap();
    let home = home(&header);
    let messages: Vec<Message> = home.iter().map(|(message, _)| message.clone()).collect();
    for part in record(archive.disk(), &archive, &header, &messages, 1_000) {
        seal(&archive, &part).unwrap();
    }
    let id = header.session_id;
    archive.end_session(id, START_US + 60_000_000).unwrap();
    let clip = |name: &str, note: Option<String>| Clip { name: name.into(), seq_from: 0, seq_to: 9, note };
    archive.add_clip(id, clip("fall", Some(format!("of {LOCK}")))).unwrap();
    archive.add_clip(id, clip(&format!("{LOCK}_door"), None)).unwrap();
    for (elapsed_ns, note) in [(1, format!("{LOCK} opened")), (900_000_000, "x".into())] {
        let at_us = START_US + (elapsed_ns / 1_000) as i64;
        archive.add_mark(id, Mark { elapsed_ns, at_us, note }).unwrap();
    }
    fs::write(root.join("devices.csv"), format!("id,room\n{LOCK},Hall\n{},Bath\n", OTHERS[0])).unwrap();
    (archive, header, home)
}

fn seqs(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(|row| row.seq).collect()
}

fn all(archive: &Archive) -> Vec<Row> {
    rows(archive, &ScanOptions::default())
}

#[test]
fn what_names_a_device_goes_and_what_names_others_stays() {
    let dir = quick_dir();
    let (archive, header, home) = recorded(dir.path());
    let (done, proof) = erase(&archive, device(&archive, LOCK));
    let left: Vec<u64> = (0..).zip(&home).filter(|(_, (_, is_named))| !is_named).map(|(n, _)| n).collect();
    assert_eq!(seqs(&all(&archive)), left);
    assert_eq!((done[0].messages, done[0].only_name_it), (7, 6), "{done:?}");
    assert_eq!(done[0].beside, ["settings", "its name", "a clip", "a note of a clip", "a mark"]);
    assert!(proof.whole && proof.found.is_empty(), "{proof:?}");
    assert_eq!((proof.messages, proof.files > 5), (left.len() as u64, true), "{proof:?}");
    assert_clean(&archive);

    let sidecar = archive.read_sidecar(header.session_id).unwrap().unwrap();
    assert_eq!(sidecar.name, header.session_id.to_string());
    assert_eq!(
        sidecar.sources[1].settings,
        serde_json::json!({"sensors": OTHERS, "topics": ["upload/AK/erased/#"], "names": {}})
    );
    assert_eq!((sidecar.clips.len(), &sidecar.clips[0].note), (1, &None));
    assert_eq!(sidecar.marks.len(), 1);
    assert_eq!(fs::read_to_string(dir.path().join("devices.csv")).unwrap(), "id,room\n82001234567,Bath\n");
    let manifests = archive.read_manifests().unwrap();
    let removed: Vec<_> = manifests.iter().flat_map(|manifest| &manifest.removed).collect();
    assert!(removed.iter().all(|of| of.verb == "erase" && of.at_us == START_US), "{removed:?}");
    assert_eq!(removed.iter().map(|of| of.messages()).sum::<u64>(), 7);

    // Done again there is nothing to do, and the proof is the same.
    let (again, same) = erase(&archive, device(&archive, LOCK));
    assert_eq!((again, same), (Vec::new(), proof));
}

#[test]
fn the_search_finds_what_is_left_wherever_it_is() {
    let dir = quick_dir();
    let (archive, _, _) = recorded(dir.path());
    let old = verify::segment_files(&archive).unwrap();
    let read = |path: &std::path::PathBuf| fs::read(dir.path().join(path)).unwrap();
    let kept: Vec<_> = old.iter().map(|path| (path, read(path))).collect();
    let plan = archive.plan_erase(device(&archive, LOCK), &Watch::NONE).unwrap();
    archive.erase(&plan, &Watch::NONE, &mut |_| ()).unwrap();
    archive.forget_erased().unwrap();
    // A segment that came back, a note of somebody's that has it at the edge of what is read at a time, the index.
    let (path, bytes) = kept.iter().find(|(path, _)| path.to_string_lossy().contains("kind=other")).unwrap();
    fs::write(dir.path().join(path), bytes).unwrap();
    let mut note = vec![b' '; (1 << 20) - 3];
    note.extend_from_slice(LOCK.as_bytes());
    fs::write(dir.path().join("note.txt"), &note).unwrap();
    // Where a piece ends and the next begins, a longer name is none of it.
    let mut longer = vec![b' '; 1 << 20];
    let names: Vec<u8> = format!("7{LOCK}").bytes().collect();
    for at in 0..8 {
        longer[(1 << 20) - 24 * (at + 1)..][..names.len()].copy_from_slice(&names);
    }
    longer.truncate((1 << 20) - 10);
    longer.extend(format!("{LOCK}7 ").bytes());
    longer.extend(vec![b' '; 1 << 20]);
    for shift in 0..24 {
        fs::write(dir.path().join(format!("longer-{shift}.txt")), &longer[shift..]).unwrap();
    }
    fs::write(dir.path().join(format!("{LOCK}.md")), "").unwrap();
    let index = rusqlite::Connection::open(archive.layout().index()).unwrap();
    index.execute("UPDATE mark SET note = '{\"id\":\"\\u0038200123456\"}'", []).unwrap();
    index.execute("UPDATE mark SET note = '8200123456'", []).unwrap();
    drop(index);
    let proof = archive.prove_erased(&plan, &Watch::NONE).unwrap();
    let mut found: Vec<&str> = proof.found.iter().map(|found| found.path.as_str()).collect();
    found.dedup();
    assert_eq!(
        found,
        [&*format!("{LOCK}.md"), path.to_str().unwrap(), "index.sqlite", "note.txt"],
        "{proof:?}"
    );
}

#[test]
fn a_stretch_of_time_is_proved_for_itself() {
    let dir = quick_dir();
    let (archive, header, home) = recorded(dir.path());
    let mut options = device(&archive, LOCK);
    options.scan.to = Some(Bound::Wall(START_US + 400_000));
    let before = archive.read_sidecar(header.session_id).unwrap().unwrap();
    let (done, proof) = erase(&archive, options);
    assert_eq!((done[0].messages, proof.whole, proof.found.len()), (2, false, 0), "{done:?} {proof:?}");
    let expected: Vec<u64> = (0..home.len() as u64).filter(|seq| ![0, 3].contains(seq)).collect();
    assert_eq!(seqs(&all(&archive)), expected);
    let after = archive.read_sidecar(header.session_id).unwrap().unwrap();
    assert_eq!((after.marks.len(), &after.sources), (1, &before.sources), "the mark lies in it");
    assert_clean(&archive);
}

#[test]
fn a_source_goes_with_its_link_events_and_its_settings() {
    let dir = quick_dir();
    let (archive, header, home) = recorded(dir.path());
    let mut options = options(&archive, Selection { sources: vec!["shop".into()], ..Selection::default() });
    options.scan.from = Some(Bound::Elapsed(400_000_000));
    options.scan.to = Some(Bound::Elapsed(401_000_000));
    let (done, _) = erase(&archive, options.clone());
    assert_eq!((done[0].messages, done[0].beside.len()), (1, 0), "the link event, and no settings: {done:?}");
    (options.scan.from, options.scan.to) = (None, None);
    let (done, proof) = erase(&archive, options);
    assert_eq!((done[0].messages, &done[0].beside[..]), (2, &["a source".to_owned()][..]));
    assert_eq!((proof.found.len(), proof.messages), (0, home.len() as u64 - 3));
    assert!(all(&archive).iter().all(|row| &*row.source == "locks"));
    let sidecar = archive.read_sidecar(header.session_id).unwrap().unwrap();
    assert_eq!(sidecar.sources.iter().map(|source| &*source.name).collect::<Vec<_>>(), ["locks"]);
    assert_clean(&archive);
}

#[test]
fn of_a_name_that_could_be_anything_only_its_own_messages_go() {
    let dir = quick_dir();
    let (archive, _, home) = recorded(dir.path());
    let (done, proof) = erase(&archive, device(&archive, "1"));
    assert_eq!((done[0].messages, done[0].only_name_it, proof.whole), (1, 0, false), "{done:?}");
    assert_eq!(all(&archive).len(), home.len() - 1, "the position of location 1");
    assert_clean(&archive);
}

#[test]
fn everything_may_go_and_the_session_says_so() {
    let dir = quick_dir();
    let (archive, header, home) = recorded(dir.path());
    let mut options = options(&archive, Selection::default());
    options.scan.from = Some(Bound::Wall(0));
    let (done, proof) = erase(&archive, options);
    assert_eq!((done[0].messages, proof.found.len()), (home.len() as u64, 0));
    assert_clean(&archive);
    assert_eq!((all(&archive).len(), archive.list().unwrap()[0].messages), (0, 0));
    archive.info(header.session_id).unwrap();
    archive.compact(header.session_id, CompactOptions::default(), &Watch::NONE).unwrap();
    assert_clean(&archive);
}

#[test]
fn a_damaged_segment_stays_and_is_told_and_the_others_are_erased() {
    let dir = quick_dir();
    let (archive, _, home) = recorded(dir.path());
    let files = verify::segment_files(&archive).unwrap();
    let damaged = files.iter().find(|path| path.to_string_lossy().contains("kind=alarm"));
    assert_eq!(damaged, None);
    let damaged = files.iter().find(|path| path.to_string_lossy().contains("kind=person_position")).unwrap();
    let mut bytes = fs::read(dir.path().join(damaged)).unwrap();
    bytes[20] ^= 1;
    fs::write(dir.path().join(damaged), &bytes).unwrap();
    let plan = archive.plan_erase(device(&archive, LOCK), &Watch::NONE).unwrap();
    assert_eq!(plan.unreadable.len(), 1, "{:?}", plan.unreadable);
    assert!(plan.unreadable[0].contains("kind=person_position"), "{:?}", plan.unreadable);
    let mut messages = 0;
    archive.erase(&plan, &Watch::NONE, &mut |erased| messages += erased.messages).unwrap();
    assert_eq!(messages, home.iter().filter(|(_, is_named)| *is_named).count() as u64);
    assert_eq!(fs::read(dir.path().join(damaged)).unwrap(), bytes);
}

#[test]
fn interrupted_between_parts_it_is_whole_and_goes_on_when_done_again() {
    let dir = quick_dir();
    let (archive, _, home) = recorded(dir.path());
    let plan = archive.plan_erase(device(&archive, LOCK), &Watch::NONE).unwrap();
    let left = Cell::new(4);
    let goes_on = || left.replace(left.get().max(1) - 1) > 1;
    let mut done = Vec::new();
    let ended = archive.erase(&plan, &Watch { tell: &|_, _| (), goes_on: &goes_on }, &mut |e| done.push(e));
    assert!(matches!(ended, Err(ArchiveError::Interrupted)), "{ended:?}");
    let gone = home.len() - all(&archive).len();
    assert!((1..7).contains(&gone) && done[0].messages == gone as u64, "{gone} of 7 are gone: {done:?}");
    assert_clean(&archive);
    let (_, proof) = erase(&archive, device(&archive, LOCK));
    assert_eq!((proof.found.len(), all(&archive).len()), (0, home.len() - 7));
}

#[test]
fn wherever_an_erasure_is_cut_doing_it_again_finishes_it() {
    let template = Template::of(12, 1_500);
    assert!(fs::read_dir(template.dir.path().join("manifests")).unwrap().count() > 1);
    let names = |message: &Message| {
        String::from_utf8_lossy(&message.payload).contains(LOCK) || message.channel.contains(LOCK)
    };
    let stay: Vec<u64> =
        (0..).zip(&template.messages).filter(|(_, message)| !names(message)).map(|(n, _)| n).collect();
    let partly = Cell::new(0);
    let cuts = cut_everywhere(
        &template,
        &|archive| {
            let plan = archive.plan_erase(device(archive, LOCK), &Watch::NONE)?;
            let failed = archive.erase(&plan, &Watch::NONE, &mut |_| ())?;
            if failed.is_empty() { Ok(()) } else { Err(ArchiveError::Interrupted) }
        },
        &|archive, nth| {
            let left = seqs(&all(archive));
            assert!(stay.iter().all(|seq| left.contains(seq)), "cut at {nth}");
            partly.set(partly.get() + u64::from(left.len() < template.messages.len() && left != stay));
            let (_, proof) = erase(archive, device(archive, LOCK));
            assert_eq!((proof.found, seqs(&all(archive))), (Vec::new(), stay.clone()), "cut at {nth}");
            assert_clean(archive);
        },
    );
    assert!(cuts > 30 && partly.get() > 5, "{cuts} steps were cut, {} in its midst", partly.get());
}
