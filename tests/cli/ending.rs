//! How a recording ends that meets damage, or that is told to end before it has begun.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{folder, post, recorder, run, spawned, telereel, write};

/// Far longer than what it waits for takes anywhere.
const PATIENCE: Duration = Duration::from_secs(120);

fn configured() -> TempDir {
    let folder = folder();
    let source =
        "[[source]]\nname = \"door\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/in\"\n";
    let listen = "listen = \"127.0.0.1:0\"\n";
    write(&folder, "telereel.toml", &format!("[webhooks]\n{listen}[console]\n{listen}{source}"));
    folder
}

/// Records three messages into a part that is open still.
fn recording(folder: &TempDir) -> (Child, impl Iterator<Item = String>) {
    let (recorder, said, url) = recorder(folder, "walk");
    let (address, path) = url.split_at(url.find('/').unwrap());
    for payload in ["first", "the second", "third"] {
        assert!(post(address, path, payload).starts_with("HTTP/1.1 200"));
    }
    (recorder, said)
}

/// Changes one byte of the second message.
fn damage(folder: &TempDir) {
    let journal = folder.path().join("archive/journal");
    let parts: Vec<PathBuf> = fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(parts.len(), 1, "{parts:?}");
    let part = &parts[0];
    let mut bytes = fs::read(part).unwrap();
    let at = bytes.windows(10).rposition(|found| found == b"the second").unwrap();
    bytes[at] ^= 1;
    fs::write(part, bytes).unwrap();
}

fn end(recorder: &Child, signal: Signal) {
    kill_process(Pid::from_child(recorder), signal).unwrap();
}

#[test]
fn what_damage_took_from_the_journal_while_recording_is_said_at_its_end() {
    let folder = configured();
    let (mut recorder, said) = recording(&folder);
    damage(&folder);
    end(&recorder, Signal::TERM);
    let mut summary = String::new();
    recorder.stdout.take().unwrap().read_to_string(&mut summary).unwrap();
    let said: Vec<String> = said.collect();
    assert_eq!(recorder.wait().unwrap().code(), Some(3), "{said:?}");
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((&summary["lost"], &summary["sources"][0]["dropped"]), (&1.into(), &0.into()));
    assert!(said.iter().any(|line| line.contains("ERROR") && line.contains("lost: 1 message")), "{said:?}");
}

#[test]
fn a_recording_that_began_over_a_damaged_journal_ends_with_loss() {
    let folder = configured();
    let (mut first, _said) = recording(&folder);
    end(&first, Signal::KILL);
    first.wait().unwrap();
    damage(&folder);
    let (code, stdout, stderr) = run(telereel(&folder).args(["record", "--for", "1ms", "--json"]));
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("lost: 1 message"), "{stderr}");
    let summary: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(summary["lost"], 0, "of this recording nothing is");
    let (code, _, stderr) = run(telereel(&folder).args(["record", "--for", "1ms"]));
    assert_eq!(code, 0, "it has been said: {stderr}");
}

/// Recovery is held up by whoever holds the sidecars.
#[test]
fn a_start_that_has_much_to_recover_is_ended_by_a_signal() {
    let folder = configured();
    let (code, ..) = run(telereel(&folder).args(["record", "--for", "1ms"]));
    assert_eq!(code, 0);
    let sessions = folder.path().join("archive/sessions");
    let held = File::open(&sessions).unwrap();
    held.lock().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut recorder = spawned(&folder, &["record", "--json"]);
        // It shows itself, then recovers. There is no event to wait for from outside.
        let (lock, since) = (folder.path().join("archive/lock"), Instant::now());
        let is_shown = || {
            fs::read_to_string(&lock).is_ok_and(|text| text.contains(&format!("process {} ", recorder.id())))
        };
        while !is_shown() {
            assert!(since.elapsed() < PATIENCE, "it never began: {:?}", fs::read_to_string(&lock));
            thread::yield_now();
        }
        end(&recorder, signal);
        // Should it not end by itself, what it waits for is given to it, and it says so no more.
        let (ended, is_over) = std::sync::mpsc::channel::<()>();
        let held = held.try_clone().unwrap();
        let giving = thread::spawn(move || {
            if is_over.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                held.unlock().unwrap();
            }
        });
        let said: Vec<_> =
            BufReader::new(recorder.stderr.take().unwrap()).lines().map(Result::unwrap).collect();
        assert_eq!(recorder.wait().unwrap().code(), Some(0), "{said:?}");
        drop(ended);
        giving.join().unwrap();
        assert!(said.iter().any(|line| line.contains("next start goes on")), "{said:?}");
    }
    held.unlock().unwrap();
    let (code, _, stderr) = run(telereel(&folder).args(["record", "--for", "1ms"]));
    assert_eq!(code, 0, "{stderr}");
}
