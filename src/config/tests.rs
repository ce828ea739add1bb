//! What a configuration may say, and how each mistake is answered: line, key, expectation.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::vendors::VendorConfig;
use crate::vendors::generic::config::GenericTransport;
use crate::vendors::jointech::config::JointechConfig;

mod secrets;
mod vendors;

fn env(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("from-env".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("dir/telereel.toml"), text, &env)
}

/// Asserts that `text` has exactly these problems: line, key, and what the message must contain.
#[track_caller]
fn check(text: &str, expected: &[(usize, &str, &str)]) {
    let Err(ConfigError::Invalid { problems }) = parse(text) else { panic!("accepted:\n{text}") };
    let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, (line, key, what)) in found.iter().zip(expected) {
        let start = format!("dir/telereel.toml:{line}: {key}");
        assert!(found.starts_with(&start) && found.contains(what), "{found}\nnot {start} … {what}");
    }
}

const DELICODE: &str = "[[source]]\nname = \"shop\"\nvendor = \"delicode\"\n";
const JOINTECH: &str = "[[source]]\nname = \"locks\"\nvendor = \"jointech\"\ntransport = \"mqtt\"\n\
                        username = \"u\"\naccess_key = \"K\"\n";
const GENERIC: &str = "[[source]]\nname = \"any\"\nvendor = \"generic\"\n";

#[test]
fn an_empty_file_is_all_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.archive.path, Path::new("dir/archive"));
    assert_eq!(config.archive.site, "");
    assert_eq!(config.archive.sync_interval, Duration::from_millis(50));
    assert_eq!(config.archive.segment_max_bytes, 128 << 20);
    assert_eq!(config.archive.segment_max_age, Duration::from_secs(3_600));
    assert_eq!(config.archive.session_roll, Some(Duration::from_secs(86_400)));
    assert_eq!(config.archive.min_free_disk, 1 << 30);
    assert_eq!(config.limits.memory, 256 << 20);
    assert_eq!(config.webhooks.listen, "127.0.0.1:7081");
    assert_eq!(config.webhooks.max_body, 1 << 20);
    assert_eq!(config.console.listen, "127.0.0.1:7080");
    assert!(config.sources.is_empty());
}

#[test]
fn the_documented_configuration_is_read_whole() {
    let text = include_str!("documented.toml");
    let config = parse(text).unwrap();
    let names: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["ward-3", "fleet", "shop", "city", "locks-push", "locks", "buses"]);
    assert_eq!(config.archive.retain, Some(Duration::from_secs(400 * 86_400)));
    assert_eq!(config.console.token.unwrap().expose(), "from-env");
}

#[test]
fn every_source_takes_what_all_sources_take() {
    let own = [
        ("pontosense", "api_url = \"https://a\"\napi_key = \"k\"\nsecret = \"s\"\nsensors = [\"A\"]"),
        ("damoov", "access_token = \"t\"\ninstance_id = \"i\""),
        ("delicode", "token = \"t\"\nlocations = [1]"),
        ("sensoro", "path = \"/s\"\napp_id = \"1\"\napp_secret = \"s\""),
        ("jointech", "transport = \"mqtt\"\nusername = \"u\"\npassword = \"p\"\naccess_key = \"K\""),
        ("jointech", "transport = \"webhook\"\npath = \"/j\""),
        ("generic", "transport = \"websocket\"\nurl = \"wss://h\""),
        ("generic", "transport = \"mqtt\"\nurl = \"mqtt://h\"\ntopics = [\"#\"]"),
        ("generic", "transport = \"webhook\"\npath = \"/g\""),
    ];
    for vendor in VENDORS {
        assert!(own.iter().any(|(known, _)| *known == vendor), "{vendor} is not in the table");
    }
    for (vendor, keys) in own {
        let kind = crate::vendors::kinds(vendor).unwrap()[0];
        let text = format!(
            "[[source]]\nname = \"s\"\nvendor = \"{vendor}\"\n{keys}\nstall_after = \"10m\"\nretain = \"7d\"\n\
             exclude_kinds = [\"{kind}\", \"other\", \"control\"]\nredact_query = [\"sig\"]\nredact_headers = [\"X-Key\"]"
        );
        let config = parse(&text).unwrap_or_else(|error| panic!("{vendor}: {error}"));
        let source = &config.sources[0];
        assert_eq!(source.stall_after, Some(Duration::from_secs(600)), "{vendor}");
        assert_eq!(source.exclude_kinds, [kind, "other", "control"]);
        assert_eq!(
            (&source.redact_query[..], &source.redact_headers[..]),
            (&["sig".to_owned()][..], &["x-key".to_owned()][..])
        );
        // Told in the archive, so that nobody looks for what was left out.
        let settings = crate::vendors::source_header(source).settings;
        assert_eq!(settings["exclude_kinds"][0], kind, "{vendor}");
        let redaction = crate::vendors::Source::secrets(source);
        assert!(
            redaction.iter().all(|secret| !settings.to_string().contains(&format!("\"{secret}\""))),
            "{vendor}"
        );
    }
}

#[test]
fn mistakes_name_line_key_and_expectation() {
    check("[archive]\n\nsync_interval = 50", &[(3, "`sync_interval` in [archive]", "such as `250ms`")]);
    check("[archive]\nsync_interval = \"fast\"", &[(2, "`sync_interval`", "found \"fast\"")]);
    check("[archive]\nsegment_max_bytes = \"128MB\"", &[(2, "`segment_max_bytes`", "powers of 1024")]);
    check("[archive]\nsession_roll = \"0s\"", &[(2, "`session_roll`", "longer than zero")]);
    check("[archive]\ncompact = \"weekly\"", &[(2, "`compact` in [archive]", "\"daily\"")]);
    for (key, value) in [("retain", "7d"), ("retain_max_bytes", "1GiB"), ("compact", "daily")] {
        let text = format!("[archive]\nsession_roll = \"never\"\n{key} = \"{value}\"");
        check(&text, &[(3, &format!("`{key}` in [archive]"), "set `session_roll`")]);
    }
    let text = format!(
        "[archive]\nsession_roll = \"never\"\n{DELICODE}retain = \"7d\"\ntoken = \"t\"\nlocations = [1]"
    );
    check(&text, &[(6, "`retain` in source \"shop\"", "set `session_roll`")]);
    check("[limits]\nmemory = \"1MiB\"", &[(2, "`memory` in [limits]", "at least `64MiB`")]);
    let text = "[limits]\nmemory = \"64MiB\"\n[webhooks]\nmax_body = \"4MiB\"\n[[source]]\nname = \"a\"\nvendor = \"generic\"\n\
                transport = \"webhook\"\npath = \"/a\"";
    check(
        text,
        &[(
            2,
            "`memory` in [limits]",
            "bodies of up to 4.0 MiB (max_body in [webhooks]), need at least `137MiB`",
        )],
    );
    check("[archve]\npath = \"x\"", &[(1, "`archve`", "did you mean `archive`?")]);
    check("[archive]\npth = \"x\"", &[(2, "`pth` in [archive]", "did you mean `path`?")]);
    check("[limits]\nzzz = 1", &[(2, "`zzz` in [limits]", "known here: memory")]);
    check("archive = 3", &[(1, "`archive`", "a table `[archive]`")]);
    check("[source]\nname = \"x\"", &[(1, "`source`", "tables `[[source]]`")]);
    check("[archive]\npath = ", &[(2, "not valid TOML", "")]);
    check("[webhooks]\nlisten = \"8443\"", &[(2, "`listen` in [webhooks]", "`host:port`")]);
    check("[webhooks]\nlisten = \"0.0.0.0:70000\"", &[(2, "`listen`", "0 to 65535")]);
    check("[webhooks]\nlisten = \"127.0.0.1:7080\"", &[(1, "`listen` in [console]", "another address")]);
    check(
        "[webhooks]\ntls = { cert = \"no.pem\" }",
        &[(2, "`tls.cert` in [webhooks]", "dir/no.pem"), (2, "`tls.key` in [webhooks]", "missing")],
    );
}

#[test]
fn a_console_beyond_loopback_needs_a_token() {
    for listen in ["0.0.0.0:7080", "[::]:7080", "192.168.1.5:7080", "example.com:7080"] {
        check(
            &format!("[console]\nlisten = {listen:?}"),
            &[(2, "`listen` in [console]", "`token` is required")],
        );
        assert!(parse(&format!("[console]\nlisten = {listen:?}\ntoken = \"t\"")).is_ok(), "{listen}");
    }
    for listen in ["localhost:0", "127.0.0.9:80", "[::1]:7080"] {
        assert!(parse(&format!("[console]\nlisten = {listen:?}")).is_ok(), "{listen}");
    }
}

#[test]
fn mistakes_in_sources_name_the_source() {
    check(
        "[[source]]\nvendor = \"delicode\"\ntoken = \"t\"\nlocations = [1]",
        &[(1, "`name` in source 1", "missing")],
    );
    check(
        "[[source]]\nname = \"a b\"\nvendor = \"x\"",
        &[
            (2, "`name` in source \"a b\"", "1 to 64 letters"),
            (
                3,
                "`vendor` in source \"a b\"",
                "unknown vendor `x`, available: damoov, delicode, generic, jointech, pontosense, sensoro",
            ),
        ],
    );
    check("[[source]]\nname = \"a\"\nvendor = \"delicod\"", &[(3, "`vendor`", "did you mean `delicode`?")]);
    check(
        &format!("{DELICODE}token = \"t\"\nlocations = [1, \"2\"]"),
        &[(5, "`locations[1]` in source \"shop\"", "expected a whole number, found \"2\"")],
    );
    check(&format!("{DELICODE}token = \"t\"\nlocations = []"), &[(5, "`locations`", "not empty")]);
    check(
        &format!("{DELICODE}url = \"https://x\""),
        &[
            (1, "`token` in source \"shop\"", "missing"),
            (1, "`locations` in source \"shop\"", "missing"),
            (4, "`url` in source \"shop\"", "`wss://` or `ws://`"),
        ],
    );
    check(
        &format!("{DELICODE}token = \"t\"\nlocations = [1]\nexclude_kinds = [\"people\"]"),
        &[(6, "`exclude_kinds`", "person_position, person_lost, demographics, control, link, other")],
    );
    check(&format!("{JOINTECH}password = \"p\"\nqos = 3"), &[(8, "`qos`", "0, 1 or 2")]);
    check(&format!("{JOINTECH}password = \"p\"\npassword_md5 = \"p\""), &[(8, "`password_md5`", "either")]);
    check(JOINTECH, &[(1, "`password` in source \"locks\"", "missing")]);
    check(
        &format!("{JOINTECH}password = \"p\"\ntopics = [\"a/#/b\", \"a+\"]"),
        &[
            (8, "`topics[0]`", "`#` only as the whole last level"),
            (8, "`topics[1]`", "`+` only as a whole level"),
        ],
    );
    check(
        &format!("{JOINTECH}password = \"p\"\ntoppics = [\"a\"]"),
        &[(8, "`toppics`", "did you mean `topics`?")],
    );
    check(
        &format!("{GENERIC}transport = \"tcp\""),
        &[(4, "`transport`", "\"websocket\" or \"mqtt\" or \"webhook\"")],
    );
    check(
        &format!("{GENERIC}transport = \"webhook\"\npath = \"hooks\""),
        &[(5, "`path`", "begins with `/`")],
    );
    check(
        &format!("{GENERIC}transport = \"mqtt\"\nurl = \"mqtt://h\"\ntopics = [\"#\"]\npassword = \"p\""),
        &[(7, "`password`", "needs a `username`")],
    );
    check(
        &format!("{GENERIC}transport = \"webhook\"\npath = \"/a\"\ntls_insecure = true"),
        &[(6, "`tls_insecure`", "unknown key")],
    );
}

#[test]
fn sources_share_neither_names_nor_paths_nor_clients() {
    let webhook = |name: &str, path: &str| {
        format!(
            "[[source]]\nname = {name:?}\nvendor = \"generic\"\ntransport = \"webhook\"\npath = {path:?}\n"
        )
    };
    check(
        &(webhook("a", "/x") + &webhook("a", "/y")),
        &[(7, "`name` in source \"a\"", "called \"a\" already")],
    );
    for (one, other) in [("/h", "/h"), ("/h", "/h/locks"), ("/h/locks/", "/h"), ("/", "/h"), ("/h/", "/h")] {
        check(
            &(webhook("a", one) + &webhook("b", other)),
            &[(10, "`path` in source \"b\"", "of source \"a\"")],
        );
    }
    assert!(parse(&(webhook("a", "/hook") + &webhook("b", "/hooks"))).is_ok());

    let mqtt = |name: &str| {
        format!(
            "[[source]]\nname = {name:?}\nvendor = \"generic\"\ntransport = \"mqtt\"\nurl = \"mqtt://h\"\n\
             topics = [\"#\"]\nclient_id = \"same\"\n"
        )
    };
    check(&(mqtt("a") + &mqtt("b")), &[(14, "`client_id` in source \"b\"", "source \"a\" uses \"same\"")]);
}

#[test]
fn a_part_of_the_file_is_read_without_the_secrets_of_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("telereel.toml");
    let secret = "token = { env = \"TELEREEL_TEST_NOT_SET\" }";
    std::fs::write(&file, format!("[archive]\npath = \"a\"\n{DELICODE}{secret}\nlocations = [1]")).unwrap();
    assert_eq!(archive_path(&file).unwrap(), folder.path().join("a"));
    assert_eq!(console(&file).unwrap().listen, DEFAULT_CONSOLE_LISTEN);
    assert!(Config::load(&file).is_err());
}

#[test]
fn hostile_configurations_are_read_or_refused_line_by_line() {
    let starts = ["damoov", "delicode", "generic", "hello", "jointech", "pontosense", "sensoro"];
    let starts = starts.map(|vendor| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands/init");
        std::fs::read_to_string(folder.join(format!("{vendor}.toml"))).unwrap()
    });
    let words = [
        "[[source]]",
        "[archive]",
        "[limits]",
        "name = ",
        "vendor = ",
        "transport = ",
        "{ env = \"TOKEN\" }",
        "{ file = \"none\" }",
        "\"\"\"",
        "'''",
        "1s",
        "128MiB",
        "[[",
        "inf",
        "nan",
        "0x7f",
        "1979-05-27",
    ];
    let target = crate::fuzz::Target::new("config").cases(1_000).words(&words).memory(4 << 20, 1_024);
    target.inputs(starts).inputs([include_str!("documented.toml")]).run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        match parse(text) {
            Ok(config) => {
                let names: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
                assert!(names.iter().all(|name| is_source_name(name)), "{names:?}");
                true
            }
            Err(ConfigError::Invalid { problems }) => {
                assert!(!problems.is_empty());
                for problem in problems {
                    assert!((1..=text.lines().count() + 1).contains(&problem.line), "{problem}");
                    crate::fuzz::assert_words(&problem.what, text.len());
                }
                false
            }
            Err(error) => panic!("{error}"),
        }
    });
}
