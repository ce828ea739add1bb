//! Verbs that are killed, or asked to end, in their midst.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use telereel::archive::Archive;

use super::support::telereel;
use super::{
    START_US, copy_folder, files, header, is_committed, is_new, manifests_in, record, recorded, segments,
};

/// Runs a verb until the archive is as `reached` says, or to its end.
fn run_until(folder: &Path, args: &[&str], reached: impl Fn(&Path) -> bool) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_telereel"))
        .args(args)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let root = folder.join("archive");
    let deadline = Instant::now() + Duration::from_secs(120);
    while child.try_wait().unwrap().is_none() && !reached(&root) {
        assert!(Instant::now() < deadline, "{args:?} does not come so far");
        std::thread::yield_now();
    }
    child
}

fn kill_when(folder: &Path, args: &[&str], reached: impl Fn(&Path) -> bool) {
    let mut child = run_until(folder, args, reached);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn copy_of(template: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(template, folder.path());
    folder
}

/// No file of a segment is left that is not listed.
fn assert_tidy(folder: &Path, round: usize) {
    telereel(folder, &["recover"], 0);
    telereel(folder, &["verify"], 0);
    let data = files(&folder.join("archive/data"));
    let left = data.into_iter().filter(|path| !path.ends_with("schema.parquet"));
    assert_eq!(left.count(), segments(folder), "round {round}: no file is left over");
}

/// How many manifests were written anew.
fn committed(root: &Path) -> usize {
    let is_new = |path: &&std::path::PathBuf| {
        fs::read_to_string(path).is_ok_and(|text| text.contains("\"generation\": 1"))
    };
    manifests_in(root).iter().filter(is_new).count()
}

#[test]
fn a_killed_compaction_loses_nothing() {
    let template = recorded(20_000);
    let cat = telereel(template.path(), &["cat", "walk"], 0);
    let many = segments(template.path());
    let mut compacted = 0;
    for round in 0..8 {
        let folder = copy_of(template.path());
        // In the copying, the renaming, the commit, the removal.
        kill_when(folder.path(), &["compact", "--json"], |root| match round {
            0 | 1 => fs::read_dir(root.join("tmp")).unwrap().count() > round,
            2 | 3 => files(&root.join("data")).iter().filter(|p| is_new(p)).count() > 3 * (round - 2),
            4 | 5 => is_committed(root),
            _ => is_committed(root) && files(&root.join("data")).len() < many - 10 * (round - 5),
        });
        // Even before recovery nobody sees less, or anything twice.
        assert_eq!(telereel(folder.path(), &["cat", "walk"], 0), cat, "round {round}");
        assert_tidy(folder.path(), round);
        assert_eq!(telereel(folder.path(), &["cat", "walk"], 0), cat, "round {round}");
        compacted += usize::from(segments(folder.path()) < many);
        telereel(folder.path(), &["compact"], 0);
        telereel(folder.path(), &["verify"], 0);
    }
    assert!(compacted > 0 && compacted < 8, "{compacted} of the kills came after the commit");
}

/// Kills a verb that removes some rows, in the copying, the renaming, between the commits of parts, late; whatever
/// is gone then is of what `goes`, and done again the verb finishes it.
fn killed_while_removing(args: &[&str], goes: &dyn Fn(&str) -> bool) {
    let template = recorded(10_000);
    let cat = telereel(template.path(), &["cat", "walk"], 0);
    let stays: Vec<&str> = cat.lines().filter(|line| !goes(line)).collect();
    assert!(stays.len() > 1_000 && stays.len() < cat.lines().count());
    let mut halves = 0;
    for round in 0..6 {
        let folder = copy_of(template.path());
        kill_when(folder.path(), args, |root| match round {
            0 => fs::read_dir(root.join("tmp")).unwrap().count() > 0,
            1 => files(&root.join("data")).iter().any(|path| is_new(path)),
            5 => root.join("tmp/index.sqlite").exists() || committed(root) > 18,
            _ => committed(root) >= round * 3,
        });
        for what in ["before recovery", "after it"] {
            let left = telereel(folder.path(), &["cat", "walk"], 0);
            let others: Vec<&str> = left.lines().filter(|line| !goes(line)).collect();
            assert!(others == stays, "round {round}, {what}: something else is gone");
            let mut all = cat.lines();
            assert!(left.lines().all(|line| all.any(|known| known == line)), "round {round}, {what}");
            halves += usize::from(left.lines().count() > stays.len() && left.len() < cat.len());
            assert_tidy(folder.path(), round);
        }
        telereel(folder.path(), args, 0);
        telereel(folder.path(), &["verify"], 0);
        let left = telereel(folder.path(), &["cat", "walk"], 0);
        assert!(left.lines().eq(stays.iter().copied()), "round {round}: done again, it is done");
        assert_eq!(fs::read_dir(folder.path().join("archive/tmp")).unwrap().count(), 0);
    }
    assert!(halves > 0, "no kill came in the midst");
}

#[test]
fn a_killed_prune_has_removed_nothing_else() {
    let args = ["prune", "--older-than", "30d", "--kind", "location"];
    killed_while_removing(&args, &|line| line.contains("\"kind\":\"location\""));
}

#[test]
fn a_killed_erasure_has_removed_nothing_else() {
    killed_while_removing(&["erase", "--device", "8200123403", "--yes"], &|line| line.contains("8200123403"));
}

#[test]
fn a_killed_removal_leaves_a_session_whole_or_gone() {
    let template = recorded(10_000);
    let archive = Archive::open(template.path().join("archive")).unwrap();
    record(&archive, header(2, "other", START_US + 86_400_000_000), 400, 20_000);
    let (walk, other) =
        (telereel(template.path(), &["cat", "walk"], 0), telereel(template.path(), &["cat", "other"], 0));
    let many = segments(template.path());
    let mut gone = 0;
    for round in 0..6 {
        let folder = copy_of(template.path());
        let is_going = |root: &Path| {
            files(&root.join("sessions")).iter().any(|path| path.extension().is_some_and(|e| e == "removed"))
        };
        kill_when(folder.path(), &["rm", "walk", "--yes"], |root| match round {
            0 => root.join("lock").exists(),
            1 | 2 => is_going(root),
            3 | 4 => files(&root.join("data")).len() < many - 10 * (round - 3),
            _ => manifests_in(root).len() < 15,
        });
        for _ in 0..2 {
            assert_eq!(telereel(folder.path(), &["cat", "other"], 0), other, "round {round}");
            let list = telereel(folder.path(), &["list"], 0);
            if list.contains("walk") {
                assert_eq!(telereel(folder.path(), &["cat", "walk"], 0), walk, "round {round}");
            }
            assert_tidy(folder.path(), round);
        }
        if telereel(folder.path(), &["list"], 0).contains("walk") {
            telereel(folder.path(), &["rm", "walk", "--yes"], 0);
        } else {
            gone += 1;
        }
        telereel(folder.path(), &["verify"], 0);
        assert!(!telereel(folder.path(), &["list"], 0).contains("walk"));
    }
    assert!(gone > 0, "no kill came after the commit");
}

/// Stopped where it is in its midst, a verb is sent the signal; it has it before it goes on.
#[test]
fn an_erasure_ends_between_two_parts_when_it_is_interrupted() {
    let template = recorded(10_000);
    let args = ["erase", "--device", "8200123403", "--yes"];
    let parts = manifests_in(&template.path().join("archive")).len();
    let deadline = Instant::now() + Duration::from_secs(120);
    let (folder, child) = loop {
        let folder = copy_of(template.path());
        let mut child = run_until(folder.path(), &args, |root| committed(root) > 0);
        let pid = Pid::from_child(&child);
        let is_stopped = child.try_wait().unwrap().is_none() && kill_process(pid, Signal::STOP).is_ok();
        if is_stopped && committed(&folder.path().join("archive")) < parts / 3 {
            kill_process(pid, Signal::INT).unwrap();
            kill_process(pid, Signal::CONT).unwrap();
            break (folder, child);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Instant::now() < deadline, "it is never stopped in its midst");
    };
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted: what is said above is gone, the rest is as it was"), "{said}");
    // Nothing is left to be recovered.
    telereel(folder.path(), &["verify"], 0);
    assert_eq!(fs::read_dir(folder.path().join("archive/tmp")).unwrap().count(), 0);
    assert!(telereel(folder.path(), &["cat", "walk"], 0).contains("8200123403"), "the rest is as it was");
    let done = telereel(folder.path(), &args, 0);
    assert!(done.contains("nothing is left"), "{done}");
}
