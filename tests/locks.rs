//! One recorder to an archive, by name and by process, whoever looks on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{free_port, telereel};
use telereel::archive::Archive;

/// Two configurations of the same archive that share no port.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["telereel.toml", "second.toml"] {
        let text = format!(
            "[webhooks]\nlisten = \"127.0.0.1:{}\"\n[console]\nlisten = \"127.0.0.1:{}\"\n\
             [[source]]\nname = \"hooks\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/in\"\n",
            free_port(),
            free_port()
        );
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn spawn(folder: &Path, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telereel"));
    command.args(args).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A recorder that holds the archive.
fn recorder(folder: &Path) -> Child {
    let mut recorder = spawn(folder, &["record", "--session", "first"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_begun = || std::fs::read_dir(folder.join("archive/journal")).is_ok_and(|parts| parts.count() > 0);
    while !is_begun() {
        assert!(recorder.try_wait().unwrap().is_none() && Instant::now() < deadline, "it does not record");
        std::thread::yield_now();
    }
    recorder
}

fn end(mut recorder: Child) {
    kill_process(Pid::from_child(&recorder), Signal::TERM).unwrap();
    let said: Vec<String> =
        BufReader::new(recorder.stderr.take().unwrap()).lines().map(Result::unwrap).collect();
    assert_eq!(recorder.wait().unwrap().code(), Some(0), "{said:#?}");
}

/// Expects a verb to be refused, and to name the process that is in its way, if that is known.
fn is_refused(folder: &Path, args: &[&str], by: Option<u32>) {
    let output = spawn(folder, args).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(said.contains("archive"), "{said}");
    if let Some(pid) = by {
        assert!(said.contains(&format!("process {pid} since")), "{said}");
    }
}

#[test]
fn a_second_recorder_is_refused_and_told_who_the_first_is_also_where_the_lock_file_was_removed() {
    let folder = folder();
    let first = recorder(folder.path());
    let second = ["-c", "second.toml", "record", "--session", "second"];
    is_refused(folder.path(), &second, Some(first.id()));
    // By another name of the same folder.
    std::os::unix::fs::symlink("archive", folder.path().join("other")).unwrap();
    is_refused(folder.path(), &["--archive", "other", "recover"], Some(first.id()));

    std::fs::remove_file(folder.path().join("archive/lock")).unwrap();
    is_refused(folder.path(), &second, None);
    is_refused(folder.path(), &["recover"], None);
    assert!(telereel(folder.path(), &["list"], 0).contains("recording"));
    end(first);
    telereel(folder.path(), &["verify"], 0);
    let list = telereel(folder.path(), &["list"], 0);
    assert!(list.contains("first") && !list.contains("second"), "{list}");
    telereel(folder.path(), &["-c", "second.toml", "record", "--session", "second", "--for", "1ms"], 0);
}

#[test]
fn a_recorder_starts_though_a_hundred_readers_look_on() {
    let folder = folder();
    telereel(folder.path(), &["record", "--session", "before", "--for", "1ms"], 0);
    let archive = Archive::open(folder.path().join("archive")).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    archive.is_locked();
                    std::thread::yield_now();
                }
            });
        }
        let codes: Vec<_> = (0..3)
            .map(|_| spawn(folder.path(), &["record", "--for", "1ms"]).wait().unwrap().code())
            .collect();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(codes, [Some(0); 3]);
    });
}
