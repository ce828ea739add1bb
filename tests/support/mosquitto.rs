//! mosquitto's broker and clients: those on the `PATH`, or else Debian's, unpacked under `target/`.
//!
//! They are fetched with a state of apt's own, so that nothing is installed and no rights are needed. Where there is no
//! apt either, the test that needs them fails and says so.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::python::run;

/// Lets `command`, and what it starts, find `mosquitto`, `mosquitto_pub` and `mosquitto_sub`.
pub fn provide(command: &mut Command) {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &str| env::split_paths(&path).any(|folder| folder.join(program).is_file());
    // Debian has the broker where only root looks.
    let mut folders = vec![PathBuf::from("/usr/sbin")];
    if !is_there("mosquitto_sub") || !(is_there("mosquitto") || folders[0].join("mosquitto").is_file()) {
        let root = unpacked();
        folders = vec![root.join("usr/bin"), root.join("usr/sbin")];
        let libraries = fs::read_dir(root.join("usr/lib")).unwrap().map(|entry| entry.unwrap().path());
        command.env("LD_LIBRARY_PATH", joined(libraries));
    }
    folders.extend(env::split_paths(&path));
    command.env("PATH", joined(folders.into_iter()));
}

fn joined(folders: impl Iterator<Item = PathBuf>) -> OsString {
    env::join_paths(folders).unwrap()
}

fn unpacked() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    // Test binaries may run side by side.
    let lock = File::create(target.join("mosquitto.lock")).unwrap();
    lock.lock().unwrap();
    let (root, making) = (target.join("mosquitto"), target.join("mosquitto-making"));
    if root.is_dir() {
        return root;
    }
    let _ = fs::remove_dir_all(&making);
    for folder in ["state/lists/partial", "cache/archives/partial", "root"] {
        fs::create_dir_all(making.join(folder)).unwrap();
    }
    let option = |name: &str, folder: &str| format!("{name}={}", making.join(folder).display());
    let apt = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(["-q", "-o", &option("Dir::State", "state"), "-o", &option("Dir::Cache", "cache")]);
        apt.args(["-o", "Dir::State::status=/var/lib/dpkg/status", "-o", "Debug::NoLocking=1"]);
        assert!(
            apt.args(args).output().is_ok_and(|output| output.status.success()),
            "mosquitto is not installed, and apt gives none: the test of imports needs its broker and clients"
        );
    };
    apt(&["update"]);
    apt(&["-y", "--no-install-recommends", "--download-only", "install", "mosquitto", "mosquitto-clients"]);
    for entry in fs::read_dir(making.join("cache/archives")).unwrap() {
        let package = entry.unwrap().path();
        if package.extension().is_some_and(|e| e == "deb") {
            run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(making.join("root")));
        }
    }
    fs::rename(making.join("root"), &root).unwrap();
    fs::remove_dir_all(making).unwrap();
    root
}
