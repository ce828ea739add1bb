//! Every file of a small archive that has everything, damaged at bytes all over it: bits flipped, cut, deleted, copied.
//!
//! `verify` names the file; what a scan gives is what was recorded, or an error; `recover` and `reindex` leave
//! everything that was whole as it was, bring back what can be made again, and say what is lost. Where `verify` says
//! nothing, the damage must mean nothing; these exceptions are all in [`Damaged::excuse`].
//!
//! `TELEREEL_FLIPS=1000` flips as many bits of each file, `TELEREEL_FLIPS=all` one of every byte; `TELEREEL_FILE=index`
//! does so to the files that are called so.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::support::*;
use crate::archive::*;
use crate::disk::RealDisk;
use crate::message::{Message, Row, Selection, SessionHeader, SessionId};

/// Flipped bits of each file, and places at which it is cut.
const FLIPS: usize = 4;
const CUTS: usize = 2;

/// Of so many damages one is recovered as well, which takes longer; each way of each sort of file in its turn.
const RECOVERED_EVERY: usize = 7;

const KINDS: [&str; 5] = ["person_position", "location", "alarm", "link", "other"];

/// A session of few kinds, so that there is little that is the same many times.
fn small_header(n: u8) -> SessionHeader {
    let mut header = header(n);
    for source in &mut header.sources {
        source.kinds.retain(|kind| KINDS.contains(&kind.name.as_str()));
    }
    header
}

fn begin(archive: &Archive, n: u8, messages_of: u64) -> (SessionHeader, Vec<Message>, Vec<PathBuf>) {
    let mut header = small_header(n);
    archive.begin_session(&mut header).unwrap();
    let messages = messages(&header, messages_of);
    let parts = record(archive.disk(), archive, &header, &messages, 2_500);
    (header, messages, parts)
}

fn seal_and_end(archive: &Archive, header: &SessionHeader, parts: &[PathBuf]) {
    parts.iter().for_each(|part| drop(seal(archive, part).unwrap()));
    archive.end_session(header.session_id, START_US + 9_000_000).unwrap();
}

/// Two vendors; a session that is compacted, with a clip and a mark; one of several parts; one in the journal.
struct Whole {
    dir: tempfile::TempDir,
    waiting: SessionId,
    rows: BTreeMap<SessionId, Vec<Row>>,
    files: Vec<Of>,
    index: Vec<String>,
}

/// A file, as it was.
struct Of {
    name: String,
    bytes: Vec<u8>,
}

fn whole() -> Whole {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path().join("a"), "home-12").unwrap();
    let (first, _, parts) = begin(&archive, 1, 24);
    seal_and_end(&archive, &first, &parts);
    archive.compact(first.session_id, CompactOptions::default(), &Watch::NONE).unwrap();
    let clip = Clip { name: "fall".into(), seq_from: 3, seq_to: 9, note: Some("in room 3".into()) };
    archive.add_clip(first.session_id, clip).unwrap();
    let mark = Mark { elapsed_ns: 700, at_us: START_US, note: "door".into() };
    archive.add_mark(first.session_id, mark).unwrap();
    let (second, _, parts) = begin(&archive, 2, 18);
    assert!(parts.len() > 1, "{parts:?}");
    seal_and_end(&archive, &second, &parts);
    let mut third = small_header(3);
    archive.begin_session(&mut third).unwrap();
    let parts = record(archive.disk(), &archive, &third, &messages(&third, 12), 1 << 20);
    assert_eq!(parts.len(), 1);

    // What the third will be is known from a copy.
    let copy = dir.path().join("copy");
    copy_folder(archive.root(), &copy);
    let recovered = Archive::open(&copy).unwrap();
    recover(&recovered).unwrap();
    let report = verify(&recovered, VerifyOptions::default()).unwrap();
    assert!(report.is_content() && report.leftovers.is_empty(), "{report:?}");
    let rows: BTreeMap<_, _> = [&first, &second, &third]
        .map(|header| (header.session_id, rows_of(&recovered, header.session_id).0))
        .into();
    assert_eq!(rows.values().map(Vec::len).collect::<Vec<_>>(), [24, 18, 12]);
    fs::remove_dir_all(copy).unwrap();

    let report = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(report.is_content(), "{report:?}");
    let mut files = Vec::new();
    for path in files_below(archive.root()) {
        let name = path.strip_prefix(archive.root()).unwrap().to_str().unwrap().to_owned();
        // Who held it last: nothing is read from it.
        if name != "lock" {
            files.push(Of { name, bytes: fs::read(path).unwrap() });
        }
    }
    let index = dump(&archive.layout().index()).unwrap();
    Whole { dir, waiting: third.session_id, rows, files, index }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// A session's rows up to the first that cannot be given, and why it cannot.
fn rows_of(archive: &Archive, session_id: SessionId) -> (Vec<Row>, Option<ArchiveError>) {
    rows_where(archive, session_id, Selection::default())
}

fn rows_where(
    archive: &Archive,
    session_id: SessionId,
    selection: Selection,
) -> (Vec<Row>, Option<ArchiveError>) {
    let options = ScanOptions { sessions: vec![session_id], selection, ..ScanOptions::default() };
    let mut error = None;
    let scanned = match scan(archive, &options) {
        Ok(scanned) => scanned,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let rows = scanned.map_while(|row| row.map_err(|found| error = Some(found)).ok()).collect();
    (rows, error)
}

/// Every row of every table, and what made them; none if it cannot be read.
fn dump(index: &Path) -> Option<Vec<String>> {
    let connection = rusqlite::Connection::open(index).ok()?;
    let mut all = Vec::new();
    let mut tables = vec!["sqlite_master".to_owned()];
    while let Some(table) = tables.pop() {
        let mut query = connection.prepare(&format!("SELECT * FROM {table}")).ok()?;
        let (columns, mut rows) = (query.column_count(), query.query([]).ok()?);
        while let Some(row) = rows.next().ok()? {
            let values: Option<Vec<rusqlite::types::Value>> =
                (0..columns).map(|at| row.get(at).ok()).collect();
            let values = values?;
            if let (true, [rusqlite::types::Value::Text(kind), rusqlite::types::Value::Text(name), ..]) =
                (table == "sqlite_master", &values[..])
                && kind == "table"
            {
                tables.push(name.clone());
            }
            all.push(format!("{table} {values:?}"));
        }
    }
    all.sort();
    Some(all)
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Flip { at: usize, bit: u8 },
    Cut { to: usize },
    Delete,
    Copy,
}

struct Damaged<'a> {
    whole: &'a Whole,
    of: &'a Of,
    how: How,
    archive: PathBuf,
}

impl Damaged<'_> {
    fn path(&self) -> PathBuf {
        self.archive.join(&self.of.name)
    }

    fn copy(&self) -> PathBuf {
        let path = self.path();
        path.with_file_name(format!("copy-of-{}", path.file_name().unwrap().to_str().unwrap()))
    }

    fn damage(&self) {
        let mut bytes = self.of.bytes.clone();
        match self.how {
            How::Flip { at, bit } => bytes[at] ^= 1 << bit,
            How::Cut { to } => bytes.truncate(to),
            How::Delete => return fs::remove_file(self.path()).unwrap(),
            How::Copy => return fs::write(self.copy(), bytes).unwrap(),
        }
        fs::write(self.path(), bytes).unwrap();
    }

    fn mend(&self) {
        let _ = fs::remove_file(self.copy());
        for beside in ["-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(self.archive.join(format!("index.sqlite{beside}")));
        }
        fs::write(self.path(), &self.of.bytes).unwrap();
    }

    fn is_in(&self, folder: &str) -> bool {
        self.of.name.starts_with(folder)
    }

    /// Whether `verify`, or opening the archive, says which file it is: by its path, or by the session that it is of.
    fn is_named(&self) -> bool {
        let report = match Archive::open(&self.archive) {
            Ok(archive) => verify(&archive, VerifyOptions::default()).unwrap(),
            Err(error) => return error.to_string().contains(&self.of.name),
        };
        let stem = Path::new(&self.of.name).file_stem().unwrap().to_str().unwrap();
        // `{session}-{part}`; of a session, 36 characters.
        let of_session =
            stem.get(..36).filter(|_| ["manifests/", "sessions/", "data/"].iter().any(|f| self.is_in(f)));
        let by_path = |said: &str| said.contains(&self.of.name) || said.contains(&format!("copy-of-{stem}"));
        let is_gone = self.how == How::Delete;
        report.problems.iter().map(ToString::to_string).any(|said| {
            by_path(&said) || (is_gone && of_session.is_some_and(|session| said.contains(session)))
        }) || (self.is_prose() && report.leftovers.iter().chain(&report.notes).any(|said| by_path(said)))
    }

    /// What nobody reads but people is told among what is left over, or worth knowing.
    fn is_prose(&self) -> bool {
        self.of.name == "README.md" || (self.of.name == "views/questions.md" && self.how == How::Delete)
    }

    /// Why it is right that `verify` says nothing: all that there is.
    fn excuse(&self) -> Option<&'static str> {
        let index = self.archive.join("index.sqlite");
        match self.how {
            // Of these another name means nothing; segments, manifests, sidecars and journal parts count by theirs.
            How::Copy if !["data/", "manifests/", "sessions/", "journal/"].iter().any(|f| self.is_in(f)) => {
                Some("a copy that nobody reads")
            }
            // The end of the last part, which a crash may have cut, and a part that nothing else tells of.
            How::Flip { at, .. } if self.is_in("journal/") && at >= self.last_record() => {
                Some("the last record of the journal, which looks like one that a crash has cut")
            }
            How::Cut { .. } | How::Delete if self.is_in("journal/") => {
                Some("the journal's end, as after a crash")
            }
            How::Flip { .. } if self.of.name == "index.sqlite" => {
                let same = dump(&index).is_some_and(|rows| rows == self.whole.index);
                same.then_some("a byte of SQLite's that no table and no row is made of")
            }
            _ => None,
        }
    }

    /// Where the last record of the journal part begins.
    fn last_record(&self) -> usize {
        self.of.bytes.windows(4).rposition(|bytes| bytes == b"\xF5rec").unwrap()
    }

    /// What is given of each session is what was recorded of it; some of it only where an error says so.
    fn check_scan(&self) {
        let Ok(archive) = Archive::open(&self.archive) else { return };
        for (session_id, all) in self.whole.rows.iter().filter(|(id, _)| **id != self.whole.waiting) {
            let (given, error) = rows_of(&archive, *session_id);
            assert!(given.len() <= all.len(), "{self}: too many rows");
            for (row, known) in given.iter().zip(all) {
                // The site stands in the sidecar, too, and of one that is lost it is not known.
                let known = Row { site: row.site.clone(), ..known.clone() };
                assert_eq!(*row, known, "{self}");
            }
            // Of what no manifest tells there is nothing to give, and `verify` says it.
            let may_miss = self.is_in("manifests/");
            assert!(given.len() == all.len() || error.is_some() || may_miss, "{self}: rows are left out");
        }
    }

    /// In a copy of the damaged archive.
    fn check_recovery(&self) {
        let folder = quick_dir();
        let root = folder.path().join("a");
        copy_folder(&self.archive, &root);
        let description = Archive::mend_description(Arc::new(RealDisk::default()), &root).unwrap();
        let archive = Archive::open(&root).unwrap();
        let recovered = recover(&archive).unwrap();
        let reindexed = reindex(&archive).unwrap();
        let told = recovered.has_loss() || !reindexed.problems.is_empty() || description.is_some();

        // What was whole is as it was, but for what is derived, and what recovery is there to change.
        let mended = ["journal/", "views/", "index.sqlite", "segments.jsonl"];
        for of in &self.whole.files {
            let is_waiting = of.name.contains(&self.whole.waiting.to_string());
            let is_damaged = of.name == self.of.name && self.how != How::Copy;
            if is_waiting || is_damaged || mended.iter().any(|known| of.name.starts_with(known)) {
                continue;
            }
            assert!(
                fs::read(root.join(&of.name)).is_ok_and(|bytes| bytes == of.bytes),
                "{self}: {}",
                of.name
            );
        }
        // Sessions that were not hit are given whole, the one in the journal, too.
        for (session_id, all) in &self.whole.rows {
            let is_hit = self.of.name.contains(&session_id.to_string()) && self.how != How::Copy;
            let (given, error) = rows_of(&archive, *session_id);
            if !is_hit {
                assert!(error.is_none() && given == *all, "{self}: {error:?}");
                continue;
            }
            // Of one that was, all that is whole can be had by asking for it.
            for kind in KINDS {
                let selection = Selection { kinds: vec![kind.into()], ..Selection::default() };
                let (given, _) = rows_where(&archive, *session_id, selection);
                let known = given
                    .iter()
                    .all(|row| all.iter().any(|known| known.payload == row.payload && known.seq == row.seq));
                assert!(known, "{self}: {kind}");
                if self.is_in("data/") && !self.of.name.contains(&format!("kind={kind}/")) {
                    let wanted = all.iter().filter(|row| *row.kind == *kind).count();
                    assert_eq!(given.len(), wanted, "{self}: {kind}");
                }
            }
        }
        // What cannot be made again is told. Whether a segment's bytes are what they were, only `verify` looks.
        let left = verify(&archive, VerifyOptions::default()).unwrap().problems;
        let unseen = |problem: &Problem| matches!(problem, Problem::Changed { .. });
        assert!(told || left.iter().all(unseen), "{self}: not told: {left:?}");
        let is_lost = self.is_in("data/") && !self.of.name.ends_with("schema.parquet");
        let is_lost = is_lost && self.how != How::Copy;
        if self.is_in("manifests/") && self.how != How::Copy {
            assert!(left.is_empty() && !recovered.rebuilt.is_empty(), "{self}: {left:?}");
            for (session_id, all) in &self.whole.rows {
                assert_eq!(rows_of(&archive, *session_id).0, *all, "{self}");
            }
        }
        assert!(!is_lost || !left.is_empty(), "{self}: forgotten");
    }
}

impl std::fmt::Display for Damaged<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.of.name, self.how)
    }
}

/// The ways in which a file is damaged: flips spread over it, with every bit in its turn.
fn ways(of: &Of, flips: usize) -> Vec<How> {
    let length = of.bytes.len();
    let spread = |count: usize| (0..count).map(move |n| n * length / count);
    let mix = |at: usize| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8 & 7;
    let flips = spread(flips.min(length)).map(|at| How::Flip { at, bit: mix(at) });
    let cuts = spread(CUTS.min(length)).map(|to| How::Cut { to });
    flips.chain(cuts).chain([How::Delete, How::Copy]).collect()
}

/// What came of damaging some of the files.
#[derive(Default)]
struct Found {
    damages: usize,
    /// How often what means nothing.
    excused: BTreeMap<&'static str, usize>,
    failed: Vec<String>,
}

/// Damages every `of`-th file from `nth` on.
fn damage_files(nth: usize, of: usize, flips: usize) -> Found {
    let whole = whole();
    let root = whole.dir.path().join("a");
    let mut found = Found::default();
    let asked = std::env::var("TELEREEL_FILE").unwrap_or_default();
    let files = whole.files.iter().filter(|file| file.name.contains(&asked));
    for file in files.skip(nth).step_by(of) {
        for how in ways(file, flips) {
            let damaged = Damaged { whole: &whole, of: file, how, archive: root.clone() };
            damaged.damage();
            let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                if !damaged.is_named() {
                    let excuse = damaged.excuse().unwrap_or_else(|| panic!("{damaged}: not named"));
                    *found.excused.entry(excuse).or_default() += 1;
                }
                damaged.check_scan();
                if found.damages.is_multiple_of(RECOVERED_EVERY) {
                    damaged.check_recovery();
                }
            }));
            found.failed.extend(looked.is_err().then(|| damaged.to_string()));
            damaged.mend();
            found.damages += 1;
        }
    }
    found
}

#[test]
fn every_damaged_byte_of_every_file_is_found_and_costs_nothing_else() {
    let asked = std::env::var("TELEREEL_FLIPS").ok();
    let flips = match asked.as_deref() {
        None => FLIPS,
        Some("all") => usize::MAX,
        Some(count) => count.parse().unwrap(),
    };
    let mut found = std::thread::scope(|scope| {
        let half = scope.spawn(move || damage_files(1, 2, flips));
        let mut found = damage_files(0, 2, flips);
        let other = half.join().unwrap();
        found.damages += other.damages;
        found.failed.extend(other.failed);
        other.excused.into_iter().for_each(|(excuse, n)| *found.excused.entry(excuse).or_default() += n);
        found
    });
    println!("{} damages, of which mean nothing: {:#?}", found.damages, found.excused);
    found.failed.truncate(100);
    assert!(found.failed.is_empty(), "see above: {:#?}", found.failed);
    assert!(found.damages > 250 || std::env::var_os("TELEREEL_FILE").is_some(), "{}", found.damages);
}
