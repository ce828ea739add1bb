//! The rules of the source tree that a reader relies on: imports run one way, files stay readable, nothing is left
//! unfinished or says where it was made.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up: a module may use those in the groups above its own, and its own.
const LAYERS: &[&[&str]] = &[
    &["allocator", "fuzz"],
    &["clock", "secret", "printable", "disk", "units"],
    &["message", "section"],
    &["envelope", "journal", "decode", "index"],
    &["vendors"],
    &["config", "transport", "archive"],
    &["recorder", "player", "exchange"],
    &["cli", "console"],
    &["commands"],
];

/// Past this a file has a seam that was not found; tests may be longer.
const LINES_MAX: usize = 500;

#[test]
fn imports_run_one_way() {
    let layer: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(n, layer)| layer.iter().map(move |module| (*module, n)))
        .collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        if module == "main" || module == "lib" {
            continue;
        }
        let own = layer.get(&*module).unwrap_or_else(|| panic!("{module} has no layer"));
        for used in text.split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if let Some(other) = layer.get(&*used)
                && used != module
                && other >= own
            {
                wrong.push(format!("{} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_stay_readable() {
    let long: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| !is_test(path) && text.lines().count() > LINES_MAX)
        .map(|(path, _)| path)
        .collect();
    assert!(long.is_empty(), "look for the seam: {long:?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    for (path, text) in sources() {
        assert!(is_test(&path) || text.starts_with("//! "), "{} begins without a sentence", path.display());
    }
}

#[test]
fn nothing_is_left_unfinished() {
    for (path, text) in sources() {
        for mark in ["todo!", "unimplemented!", "FIXME", "XXX", "In the making"] {
            assert!(!text.contains(mark), "{} holds {mark}", path.display());
        }
    }
}

#[test]
fn every_file_is_text_to_all_tools() {
    for (path, text) in sources() {
        let strange = text.lines().position(|line| line.chars().any(char::is_control));
        assert_eq!(strange, None, "{} has a control character: write it as an escape", path.display());
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 50);
    found
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = inside.iter().next().unwrap().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

fn is_test(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs" || name == "testing.rs")
        || path.iter().any(|part| part == "tests")
}
