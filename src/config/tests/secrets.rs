//! Secrets: where they come from, and that they are never told.

use super::*;

#[test]
fn a_secret_file_loses_its_newline() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("jwt"), "abc\n").unwrap();
    let text = format!("{DELICODE}token = {{ file = \"jwt\" }}\nlocations = [1]");
    let config = Config::parse(&folder.path().join("telereel.toml"), &text, &env).unwrap();
    let VendorConfig::Delicode(delicode) = &config.sources[0].vendor else { panic!() };
    assert_eq!(delicode.token.expose(), "abc");
}

#[test]
fn secrets_that_are_not_there_are_named() {
    let source = |token: &str| format!("{DELICODE}token = {token}\nlocations = [1]");
    for (token, key, what) in [
        ("{ env = \"MISSING\" }", "`token.env` in source \"shop\"", "variable MISSING is not set"),
        ("{ env = \"EMPTY\" }", "`token.env` in", "variable EMPTY is empty"),
        ("{ file = \"nowhere.jwt\" }", "`token.file` in", "dir/nowhere.jwt"),
        ("{ env = \"TOKEN\", file = \"x\" }", "`token.file`", "cannot read"),
        ("{ evn = \"TOKEN\" }", "`token", "`env`"),
        ("\"\"", "`token` in", "is empty"),
        ("12345", "`token` in", "a value of type integer"),
    ] {
        let Err(ConfigError::Invalid { problems }) = parse(&source(token)) else { panic!("{token}") };
        let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(
            found.iter().any(|p| p.starts_with(&format!("dir/telereel.toml:4: {key}")) && p.contains(what)),
            "{token}: {found:#?}"
        );
    }
}

#[test]
fn no_error_repeats_a_secret() {
    for text in [
        format!("{DELICODE}token = [\"hunter2\"]\nlocations = [1]"),
        format!("{DELICODE}token = \"x\"\nurl = \"https://a/?token=hunter2\"\nlocations = [1]"),
        format!("{DELICODE}token = \"x\"\nurl = \"wss://me:hunter2@a/\"\nlocations = [1]"),
        format!("{JOINTECH}password_md5 = \"hunter2\""),
        format!("{DELICODE}token = \"hunter2\nlocations = [1]"),
        format!("{GENERIC}transport = \"websocket\"\nurl = \"ws://a\"\nheaders = [\"hunter2\"]"),
        format!(
            "{GENERIC}transport = \"websocket\"\nurl = \"ws://a\"\nheaders = {{ \"a b\" = \"hunter2\" }}"
        ),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}
