//! The command line's definition.

use clap::CommandFactory;

use super::*;

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_teaches_by_example() {
    for verb in Cli::command().get_subcommands() {
        let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("telereel "), "{} has no example", verb.get_name());
    }
}

#[test]
fn numbers_are_refused_in_our_words() {
    for (args, expected) in [
        (["replay", "x", "--wait-for-clients", "0"], "from 1"),
        (["replay", "--loop", "latest", "--no-wait"], "before --loop"),
    ] {
        let error = Cli::try_parse_from(["telereel"].into_iter().chain(args)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn relative_times_may_begin_with_a_minus() {
    let cli = Cli::try_parse_from(["telereel", "cat", "--from", "-2h", "--to", "+90s", "x"]).unwrap();
    let Verb::Cat(cat) = cli.verb else { panic!() };
    assert_eq!(cat.filters.from, Some(Moment::BeforeNow(Duration::from_secs(7_200))));
    assert_eq!(cat.filters.to, Some(Moment::AfterStart(Duration::from_secs(90))));
}

#[test]
fn of_an_export_to_is_the_file_and_until_the_time() {
    let args = ["telereel", "export", "x", "--from", "+1s", "--until", "+2s", "--to", "x.reel"];
    let Verb::Export(export) = Cli::try_parse_from(args).unwrap().verb else { panic!() };
    assert_eq!(export.file.to_str(), Some("x.reel"));
    assert_eq!(export.filters.to, Some(Moment::AfterStart(Duration::from_secs(2))));
}
