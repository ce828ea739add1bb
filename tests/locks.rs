//! One recorder to an archive, by name and by process, whoever looks on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

mod support;

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
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
    begun(&mut recorder, folder);
    recorder
}

fn begun(recorder: &mut Child, folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_begun = || std::fs::read_dir(folder.join("archive/journal")).is_ok_and(|parts| parts.count() > 0);
    while !is_begun() {
        assert!(recorder.try_wait().unwrap().is_none() && Instant::now() < deadline, "it does not record");
        std::thread::yield_now();
    }
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

/// What Python's SQLite answers to an analyst: one of the group where there can be one (the tests run as root), else
/// somebody who may open no file for writing.
fn sessions_as_an_analyst_reads_them(folder: &Path) -> String {
    const ASK: &str = "import sqlite3, sys\n\
        index = sqlite3.connect(sys.argv[1], uri=True)\n\
        print([name for (name,) in index.execute('SELECT name FROM session ORDER BY started_at_us')])";
    let index = folder.join("archive/index.sqlite");
    let root = std::fs::metadata(folder).unwrap();
    let mut command = Command::new("python3");
    command.arg("-c").arg(ASK).arg(format!("file:{}?mode=ro&readonly_shm=1", index.display()));
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        command.uid(65_534).gid(root.gid()).arg("as another");
    }
    let output = command.output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn who_may_only_read_reads_the_index_while_recording_after_a_kill_and_at_rest_under_any_umask() {
    let folder = folder();
    let config = folder.path().join("telereel.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("[archive]\ngroup_readable = true\n{text}")).unwrap();
    let record = |name: &str| {
        let begin = format!("umask 077; exec {} record --session {name}", env!("CARGO_BIN_EXE_telereel"));
        let mut recorder = Command::new("sh")
            .args(["-c", &begin])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        begun(&mut recorder, folder.path());
        recorder
    };
    let read = || sessions_as_an_analyst_reads_them(folder.path());
    let index = |end: &str| folder.path().join(format!("archive/index.sqlite{end}"));

    let mut first = record("first");
    assert_eq!(read(), "['first']\n", "while it is recorded");
    first.kill().unwrap();
    first.wait().unwrap();
    for entry in walk(&folder.path().join("archive")) {
        let (mode, is_folder) = (entry.metadata().unwrap().mode() & 0o777, entry.is_dir());
        assert_eq!(mode, if is_folder { 0o750 } else { 0o640 }, "{}", entry.display());
    }
    assert!(index("-wal").exists() && index("-shm").exists());
    assert_eq!(read(), "['first']\n", "killed");
    telereel(folder.path(), &["list"], 0);
    assert_eq!(read(), "['first']\n", "and somebody has looked");

    telereel(folder.path(), &["recover"], 0);
    end(record("second"));
    assert!(!index("-wal").exists() && !index("-shm").exists());
    assert_eq!(read(), "['first', 'second']\n", "at rest");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}
