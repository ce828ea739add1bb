//! What the README promises: each of its commands is understood, those that need nothing else are run, its
//! configuration is valid, and its analysis examples run as they stand on an archive in which some kinds have no
//! rows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use clap::Parser;
use support::python::{python, scripts};
use support::telereel;
use telereel::cli::Cli;
use telereel::config::Config;

const README: &str = include_str!("../README.md");

/// The indented command lines, without their comments.
fn commands() -> Vec<Vec<&'static str>> {
    let lines = README.lines().filter_map(|line| line.strip_prefix("    telereel "));
    lines.map(|line| words(line.split(" # ").next().unwrap_or(line))).collect()
}

/// The words of a command line, as a shell takes them apart: what stands in double quotes is one.
fn words(line: &str) -> Vec<&str> {
    let pieces = line.split('"').enumerate();
    pieces
        .flat_map(|(n, piece)| if n % 2 == 1 { vec![piece] } else { piece.split_whitespace().collect() })
        .collect()
}

#[test]
fn every_command_is_understood() {
    let commands = commands();
    assert!(commands.len() > 12, "the README lost its commands");
    for command in commands {
        let args = ["telereel"].iter().chain(&command);
        if let Err(error) = Cli::try_parse_from(args) {
            panic!("telereel {command:?}: {error}");
        }
    }
}

/// The bodies that are sent to a replay's controls.
#[test]
fn every_action_is_understood() {
    let bodies = README.lines().filter(|line| line.starts_with("    curl ")).filter_map(|line| {
        let (_, body) = line.split_once(" -d '")?;
        body.strip_suffix('\'')
    });
    let mut actions = 0;
    for body in bodies {
        let action = telereel::console::replay::action::parse(body.as_bytes(), 0);
        assert!(action.is_ok(), "{body}: {action:?}");
        actions += 1;
    }
    assert!(actions > 8, "the README lost its actions");
}

/// All that is called `fn` in the sources below a folder.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.lines().filter_map(|line| line.split_once("fn ")?.1.split_once('('));
            found.extend(names.map(|(name, _)| name.to_owned()));
        }
    }
}

#[test]
fn every_test_that_a_promise_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    functions(&root.join("src"), &mut known);
    functions(&root.join("tests"), &mut known);
    let page = README.split("\n## ").find(|section| section.starts_with("What Telereel promises")).unwrap();
    let promises: Vec<_> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(promises.len() > 15, "the README lost its promises");
    for promise in promises {
        let tests: Vec<_> = promise.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test of: {promise}");
        for test in tests {
            assert!(known.contains(test), "there is no {test}, of: {promise}");
        }
    }
}

#[test]
fn the_configuration_and_the_declaration_are_valid() {
    let blocks = README.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let (declarations, configurations): (Vec<_>, Vec<_>) =
        blocks.partition(|block| block.contains("[[field]]"));
    assert_eq!((declarations.len(), configurations.len()), (1, 2));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telereel.toml");
    std::fs::write(folder.path().join("delicode.jwt"), "token").unwrap();
    std::fs::write(folder.path().join("rooms.toml"), declarations[0]).unwrap();
    let with_columns = "[[source]]\nname = \"rooms\"\nvendor = \"generic\"\ntransport = \"webhook\"\n\
                        path = \"/rooms\"\nschema = \"rooms.toml\"\n";
    for text in configurations.into_iter().chain([with_columns]) {
        if let Err(error) = Config::parse(&path, text, &secret) {
            panic!("{error}");
        }
    }
}

#[test]
fn the_demo_and_everything_after_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let out = telereel(folder.path(), &["demo", "--seconds", "5"], 0);
    assert!(out.contains("What to try next"), "{out}");
    let demo = folder.path().join("telereel-demo");
    for command in commands() {
        let runs_alone = ["list", "info", "stats", "verify", "recover", "reindex"].contains(&command[0]);
        let is_upkeep = command[0] == "compact" && !command.contains(&"tuesday");
        if runs_alone || is_upkeep || command.starts_with(&["cat", "latest"]) {
            assert!(!telereel(&demo, &command, 0).is_empty(), "{command:?} said nothing");
        }
    }
    let info: serde_json::Value =
        serde_json::from_str(&telereel(&demo, &["info", "latest", "--json"], 0)).unwrap();
    assert_eq!(info["unknown_fields"], serde_json::json!([]), "what vendors are known to send is declared");
    analyse(&demo);
    telereel(&demo, &["verify"], 0);
}

/// The block of the README in this language.
fn block(language: &str) -> &'static str {
    let blocks: Vec<&str> = README.split(&format!("```{language}\n")).skip(1).collect();
    assert_eq!(blocks.len(), 1, "one block of {language}");
    blocks[0].split("```").next().unwrap()
}

/// A search path on which `telereel`, the folder's programs and the test's own Python come first.
fn search_path(folder: &Path) -> OsString {
    let telereel = Path::new(env!("CARGO_BIN_EXE_telereel")).parent().unwrap();
    let before = [telereel, folder, python().parent().unwrap()].map(Path::to_owned);
    let rest = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(before.into_iter().chain(std::env::split_paths(&rest))).unwrap()
}

#[test]
fn the_examples_of_tests_pass_as_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    telereel(folder.path(), &["demo", "--seconds", "4"], 0);
    let demo = folder.path().join("telereel-demo");
    let path = search_path(&demo);
    let run = |command: &mut Command| {
        let output = command.current_dir(&demo).env("PATH", &path).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command:?}:\n{out}\n{err}");
    };

    std::fs::write(demo.join("test_app.py"), block("py")).unwrap();
    run(Command::new(python()).args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_app.py"]));

    let app = scripts().join("my_app.py");
    let my_app = format!("#!/bin/sh\nexec {} {}\n", python().display(), app.display());
    std::fs::write(demo.join("my-app"), my_app).unwrap();
    std::fs::set_permissions(demo.join("my-app"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(demo.join("app.rs"), block("rust")).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    run(Command::new(rustc).args(["--test", "--edition", "2024", "-o", "app-test", "app.rs"]));
    run(&mut Command::new(demo.join("app-test")));
}

/// Any secret, but for one that has a form.
fn secret(name: &str) -> Option<String> {
    Some(if name.ends_with("APP_KEY") { "A".repeat(43) } else { "value".to_owned() })
}

fn analyse(demo: &Path) {
    let empty = demo.join("archive/data/vendor=jointech/kind=status");
    assert_eq!(std::fs::read_dir(empty).unwrap().count(), 1, "a kind without rows is part of what is tested");
    let output = Command::new(python())
        .arg(scripts().join("readers.py"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))
        .arg(demo)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
