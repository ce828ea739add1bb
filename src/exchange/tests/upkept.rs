//! What an archive knows of itself and a file must not lose.

use std::fs::File;

use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use super::*;
use crate::archive::{CompactOptions, SeqRange, Watch};

fn import(file: &Path, root: &Path) -> Archive {
    let back = Archive::create_or_open(root, "").unwrap();
    plan(file, ImportOptions::default(), &|_, _| ()).unwrap().take(&back, &|_, _| ()).unwrap();
    back
}

#[test]
fn damage_does_not_pass_for_what_was_left_out() {
    let dir = quick_dir();
    let header = header(1);
    let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
    let rows = rows_to_keep(&header);
    let lost: Vec<SeqRange> = vec![(2..4).into(), (9..10).into()];
    let mut intake = Intake::begin(&archive, header.clone(), "import").unwrap().with_lost(lost.clone());
    // Of what is missing behind 5 one number was lost.
    let there = |row: &&Row| matches!(row.seq, 0 | 1 | 4 | 5 | 12..=20);
    intake.part(|part| rows.iter().filter(there).try_for_each(|row| part.push(row))).unwrap();
    intake.commit(|_| ()).unwrap();
    let known = |archive: &Archive| {
        let verified = verify(archive, VerifyOptions::default()).unwrap();
        assert!(verified.problems.is_empty(), "{verified:?}");
        verified.known_lost.iter().map(|lost| lost.range).collect::<Vec<_>>()
    };
    assert_eq!(known(&archive), lost);
    let file = dir.path().join("x.reel");
    // What a filter leaves out between is no damage.
    let selection = Selection { sources: vec!["damoov-1".into()], ..Selection::default() };
    let options = ScanOptions { selection, ..ScanOptions::default() };
    write(&archive, &options, Format::Reel, &file);
    assert_eq!(known(reel::open(&file).unwrap().archive()), lost);
    assert_eq!(known(&import(&file, &dir.path().join("b"))), lost);
}

#[test]
fn columns_say_what_they_mean_after_import_and_compaction() {
    let dir = quick_dir();
    let header = header(1);
    let (archive, _) = archive_of(&dir.path().join("a"), &header, &rows_to_keep(&header));
    let file = dir.path().join("x.reel");
    write(&archive, &ScanOptions::default(), Format::Reel, &file);
    let back = import(&file, &dir.path().join("b"));
    back.compact(header.session_id, CompactOptions::default(), &Watch::NONE).unwrap();
    assert_clean(&back);
    let mut seen = 0;
    let folder = back.root().join("data/vendor=jointech/kind=location");
    let dates = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for path in dates.flat_map(|date| std::fs::read_dir(date).unwrap()).map(|entry| entry.unwrap().path()) {
        let file = File::open(&path).unwrap();
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
        let field = metadata.schema().field_with_name("speed_kmh").unwrap();
        assert_eq!(field.metadata()["unit"], "km/h");
        assert!(!field.metadata()["description"].is_empty());
        seen += 1;
    }
    assert!(seen > 1, "segments besides the one without rows");
}

#[test]
fn texts_of_any_length_that_were_received_go_out_and_come_back() {
    let dir = quick_dir();
    let mut header = header(1);
    header.sources.retain(|source| source.vendor == "jointech");
    let like = rows_to_keep(&header).remove(0);
    let long = |letter: char, kib: usize| String::from(letter).repeat(kib << 10);
    // More together than a group of rows may mean that nobody received.
    let texts = [&long('x', 300), "short", &long('y', 2_048), &long('x', 300)];
    let texts = texts.into_iter().cycle().take(36);
    let rows: Vec<Row> = (0..)
        .zip(texts)
        .map(|(seq, text)| Row {
            seq,
            elapsed_ns: seq,
            kind: "alarm".into(),
            channel: "/alarm".into(),
            duplicate_of: None,
            payload: format!("{{\"assetId\":\"1\",\"alarmType\":40,\"describe\":\"{text}\"}}").into(),
            ..like.clone()
        })
        .collect();
    let (archive, kept) = archive_of(&dir.path().join("a"), &header, &rows);
    for compacted in [false, true] {
        if compacted {
            archive.compact(header.session_id, CompactOptions::default(), &Watch::NONE).unwrap();
        }
        let file = dir.path().join(format!("{compacted}.reel"));
        write(&archive, &ScanOptions::default(), Format::Reel, &file);
        let back = import(&file, &dir.path().join(format!("b-{compacted}")));
        assert!(all(&back) == kept, "{compacted}");
        assert_clean(&back);
    }
}
