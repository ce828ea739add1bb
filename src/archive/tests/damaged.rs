//! Every sort of file of an archive, damaged in every way: what `verify` names, what `recover` and `reindex` say, which
//! rows are still given, and that nothing which was whole is gone. One test for each.
//!
//! The archive has two sessions: one that is sealed and ended, whose files are damaged, and one that a crash has left
//! in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::support::*;
use crate::archive::*;
use crate::disk::RealDisk;
use crate::message::{Message, Selection, SessionId};

const N: u64 = 60;

/// What is damaged: a file that there is one of, or the sealed session's.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    /// The part that waits, of the other session.
    Journal,
    /// The last of its kind.
    Segment,
    Index,
    /// Of the first part.
    Manifest,
    Sidecar,
    Description,
    List,
    ZeroRows,
    Declaration,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Flip,
    Truncate,
    Delete,
    Duplicate,
}

/// What cannot be given any more.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gone {
    Nothing,
    /// Some messages at the place of the damage: what the journal part still holds is given.
    SomeOfPart,
    WholePart,
    OneSegment,
}
use Gone::*;
use How::*;
use Of::*;

struct Case {
    of: Of,
    how: How,
    /// What `verify` says at first, one of its problems each; nothing: no problem.
    found: &'static [&'static str],
    /// Whether `recover` has something to tell, for which it exits with 3.
    told: bool,
    gone: Gone,
    /// What `verify` says at last.
    left: &'static [&'static str],
}

macro_rules! damage {
    ($($name:ident: $of:ident $how:ident, $found:expr, $told:expr, $gone:ident, $left:expr;)*) => {$(
        #[test]
        fn $name() {
            check(&Case { of: $of, how: $how, found: &$found, told: $told, gone: $gone, left: &$left });
        }
    )*};
}

damage! {
    damage_journal_flip: Journal Flip, ["messages in it are damaged"], true, SomeOfPart, [];
    // Nothing tells these two from a cut while the last part was written: what was cut off, nobody was promised.
    damage_journal_truncate: Journal Truncate, [], false, SomeOfPart, [];
    damage_journal_delete: Journal Delete, [], false, WholePart, [];
    damage_journal_duplicate: Journal Duplicate, ["under another name"], true, Nothing, ["was set aside"];
    // Whether each byte is what it was only `verify` looks.
    damage_segment_flip: Segment Flip, ["has changed"], false, OneSegment, ["has changed"];
    damage_segment_truncate: Segment Truncate, ["its manifest says"], true, OneSegment, ["its manifest says"];
    damage_segment_delete: Segment Delete, ["is missing"], true, OneSegment, ["is missing"];
    damage_segment_duplicate: Segment Duplicate, ["named by no manifest"], true, Nothing, ["named by no manifest"];
    damage_index_flip: Index Flip, ["index.sqlite"], false, Nothing, [];
    damage_index_truncate: Index Truncate, ["index.sqlite"], false, Nothing, [];
    damage_index_delete: Index Delete, ["index.sqlite"], false, Nothing, [];
    damage_index_duplicate: Index Duplicate, [], false, Nothing, [];
    damage_manifest_flip: Manifest Flip, ["cannot be read"], true, Nothing, [];
    damage_manifest_truncate: Manifest Truncate, ["cannot be read"], true, Nothing, [];
    damage_manifest_delete: Manifest Delete, ["named by no manifest", "are missing"], true, Nothing, [];
    damage_manifest_duplicate: Manifest Duplicate, ["under another name"], true, Nothing, ["under another name"];
    damage_sidecar_flip: Sidecar Flip, ["cannot be read", "no sidecar"], true, Nothing, ["was set aside"];
    damage_sidecar_truncate: Sidecar Truncate, ["cannot be read", "no sidecar"], true, Nothing, ["was set aside"];
    damage_sidecar_delete: Sidecar Delete, ["no sidecar"], true, Nothing, [];
    damage_sidecar_duplicate: Sidecar Duplicate, ["under another name"], true, Nothing, ["under another name"];
    damage_description_flip: Description Flip, ["archive.json"], true, Nothing, [];
    damage_description_truncate: Description Truncate, ["archive.json"], true, Nothing, [];
    damage_description_delete: Description Delete, ["archive.json"], true, Nothing, [];
    damage_description_duplicate: Description Duplicate, [], false, Nothing, [];
    damage_list_flip: List Flip, ["segments.jsonl"], false, Nothing, [];
    damage_list_truncate: List Truncate, ["segments.jsonl"], false, Nothing, [];
    damage_list_delete: List Delete, ["segments.jsonl"], false, Nothing, [];
    damage_list_duplicate: List Duplicate, [], false, Nothing, [];
    damage_zero_rows_flip: ZeroRows Flip, ["schema.parquet"], false, Nothing, [];
    damage_zero_rows_truncate: ZeroRows Truncate, ["schema.parquet"], false, Nothing, [];
    damage_zero_rows_delete: ZeroRows Delete, ["schema.parquet is missing"], false, Nothing, [];
    damage_zero_rows_duplicate: ZeroRows Duplicate, ["named by no manifest"], true, Nothing,
        ["named by no manifest"];
    damage_declaration_flip: Declaration Flip, ["location.toml"], true, Nothing, ["was set aside"];
    damage_declaration_truncate: Declaration Truncate, ["location.toml"], true, Nothing, ["was set aside"];
    damage_declaration_delete: Declaration Delete, ["location.toml is missing"], true, Nothing, [];
    damage_declaration_duplicate: Declaration Duplicate, [], false, Nothing, [];
}

struct Fixture {
    dir: tempfile::TempDir,
    sealed: SessionId,
    crashed: SessionId,
    messages: BTreeMap<SessionId, Vec<Message>>,
    manifests: Vec<crate::archive::Manifest>,
    waiting: PathBuf,
}

fn fixture() -> Fixture {
    let dir = quick_dir();
    let (archive, header_1, messages_1) = sealed(dir.path(), N);
    let mut header_2 = header(2);
    archive.begin_session(&mut header_2).unwrap();
    let messages_2 = messages(&header_2, N);
    let waiting = record(archive.disk(), &archive, &header_2, &messages_2, 1 << 20).remove(0);
    let (sealed, crashed) = (header_1.session_id, header_2.session_id);
    let manifests = archive.read_manifests().unwrap();
    let messages = BTreeMap::from([(sealed, messages_1), (crashed, messages_2)]);
    Fixture { dir, sealed, crashed, messages, manifests, waiting }
}

impl Fixture {
    fn first_manifest(&self) -> &crate::archive::Manifest {
        self.manifests.iter().find(|manifest| manifest.session_id == self.sealed).unwrap()
    }

    /// Of positions, the last.
    fn segment(&self) -> &ManifestFile {
        let own = self.manifests.iter().filter(|manifest| manifest.session_id == self.sealed);
        let positions = own.flat_map(|manifest| &manifest.files).filter(|file| file.kind == "location");
        positions.max_by_key(|file| file.seq_min).unwrap()
    }

    fn path(&self, of: Of) -> PathBuf {
        let root = self.dir.path();
        let layout = Layout::new(root);
        match of {
            Journal => self.waiting.clone(),
            Segment => root.join(&self.segment().path),
            Index => layout.index(),
            Manifest => layout.manifest(self.first_manifest().name()),
            Sidecar => layout.sidecar(self.sealed),
            Description => layout.archive_json(),
            List => layout.segments(),
            ZeroRows => root.join(layout::schema_path("jointech", "location")),
            Declaration => layout.schema().join("jointech/location.toml"),
        }
    }

    fn damage(&self, of: Of, how: How) {
        let path = self.path(of);
        let mut bytes = fs::read(&path).unwrap();
        let at = match of {
            // In the last alarm, behind which there are three messages.
            Journal => bytes.windows(14).rposition(|bytes| bytes == br#""alarmType":40"#).unwrap(),
            // The root of its tables.
            Index => 100,
            _ => bytes.len() / 2,
        };
        match how {
            // In no text and no number of this form is there such a byte.
            Flip => bytes[at] ^= 0x80,
            Truncate => bytes.truncate(at),
            Delete => return fs::remove_file(path).unwrap(),
            Duplicate => {
                let (stem, name) = match of {
                    Journal => (PartName::of(&path).unwrap().session_id.to_string(), "-000007.journal"),
                    Manifest | Sidecar => (String::new(), "backup.json"),
                    _ => ("copy-of-".to_owned(), path.file_name().unwrap().to_str().unwrap()),
                };
                return fs::write(path.with_file_name(stem + name), bytes).unwrap();
            }
        }
        fs::write(path, bytes).unwrap();
    }

    /// Every file that nobody has a reason to change or to remove, with its checksum.
    fn kept(&self, but_for: &Path) -> BTreeMap<PathBuf, String> {
        let (root, mut files) = (self.dir.path(), BTreeMap::new());
        let mut folders = vec![root.to_owned()];
        let changes = [Layout::new(root).sidecar(self.crashed), Layout::new(root).lock()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let own = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                let is_derived = ["journal", "tmp", "views", "index.sqlite", "segments.jsonl"]
                    .iter()
                    .any(|d| own.starts_with(d));
                if is_derived || changes.contains(&path) || path == but_for {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let sum = durable::checksum(&path).unwrap();
                    files.insert(path, sum);
                }
            }
        }
        files
    }

    /// The seqs of a session that are given, kind by kind; each row must be the one that was recorded.
    fn given(&self, archive: &Archive, session: SessionId) -> BTreeSet<u64> {
        let mut given = BTreeSet::new();
        for kind in ["person_position", "location", "alarm", "link", "other"] {
            let selection = Selection { kinds: vec![kind.into()], ..Selection::default() };
            let options = ScanOptions { sessions: vec![session], selection, ..ScanOptions::default() };
            for row in scan(archive, &options).unwrap().map_while(Result::ok) {
                assert_eq!(row.payload, self.messages[&session][row.seq as usize].payload);
                assert!(given.insert(row.seq), "given twice: {}", row.seq);
            }
        }
        given
    }

    /// The seqs that may be missing, of which session.
    fn gone(&self, gone: Gone) -> (SessionId, BTreeSet<u64>) {
        match gone {
            Nothing => (self.sealed, BTreeSet::new()),
            OneSegment => {
                let file = self.segment();
                let is_it = |seq: &u64| [1, 5].contains(&(seq % 6));
                (self.sealed, (file.seq_min..=file.seq_max).filter(is_it).collect())
            }
            SomeOfPart | WholePart => (self.crashed, (0..N).collect()),
        }
    }
}

/// Asserts that each of `expected` is in one of the problems, and that there are none without.
fn assert_named(report: &VerifyReport, expected: &[&str]) {
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    for wanted in expected {
        assert!(problems.iter().any(|said| said.contains(wanted)), "no `{wanted}` in {problems:#?}");
    }
    assert_eq!(problems.is_empty(), expected.is_empty(), "{problems:#?}");
}

fn check(case: &Case) {
    let fixture = fixture();
    let root = fixture.dir.path();
    fixture.damage(case.of, case.how);
    let mended =
        [Description, ZeroRows, Manifest, Sidecar, Declaration].contains(&case.of) && case.how != Duplicate;
    let but_for = if mended { fixture.path(case.of) } else { PathBuf::new() };
    let before = fixture.kept(&but_for);

    let description = match Archive::open(root) {
        Ok(archive) => {
            assert_named(&verify(&archive, VerifyOptions::default()).unwrap(), case.found);
            None
        }
        Err(error) => {
            let error = error.to_string();
            assert!(
                case.found.iter().all(|wanted| error.contains(wanted)) && !case.found.is_empty(),
                "{error}"
            );
            Archive::mend_description(Arc::new(RealDisk::default()), root).unwrap()
        }
    };
    let archive = Archive::open(root).unwrap();
    assert_eq!(archive.site(), "home-12");
    let recovered = recover(&archive).unwrap();
    let told = recovered.has_loss() || !recovered.lost.is_empty() || description.is_some();
    assert_eq!(told, case.told, "{recovered:?}");
    if (case.of, case.how) == (Journal, Truncate) {
        assert!(recovered.torn_tail_bytes > 0, "{recovered:?}");
    }
    let reindexed = reindex(&archive).unwrap();
    // What was set aside beside the data it sees, a sidecar only `verify`.
    let unseen =
        |said: &&str| said.contains("has changed") || (said.contains("set aside") && case.of != Declaration);
    let can_see = |said: &&str| !unseen(said);
    assert_eq!(!reindexed.problems.is_empty(), case.left.iter().any(can_see), "{reindexed:?}");
    assert_named(&verify(&archive, VerifyOptions::default()).unwrap(), case.left);

    let after = fixture.kept(&but_for);
    for (path, sum) in &before {
        assert_eq!(after.get(path), Some(sum), "{} is not what it was", path.display());
    }
    let (session, gone) = fixture.gone(case.gone);
    for id in [fixture.sealed, fixture.crashed] {
        let all: BTreeSet<u64> = (0..N).collect();
        let missing: BTreeSet<u64> = all.difference(&fixture.given(&archive, id)).copied().collect();
        if id != session {
            assert!(missing.is_empty(), "{missing:?} are gone of the other session");
        } else if case.gone == SomeOfPart {
            assert!(!missing.is_empty() && missing.is_subset(&gone) && missing != gone, "{missing:?}");
        } else {
            assert_eq!(missing, gone);
        }
    }
    // A recorder would begin all the same.
    add_session(&archive, 3, 6);
}
