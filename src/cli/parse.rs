//! Parsing what was typed. What is wrong with it is said without the passwords and tokens in it.

use std::ffi::OsString;

use clap::Parser as _;
use clap::error::{ContextKind, ContextValue};

use super::Cli;
use crate::player::shown;

/// The command line of this process; where it is wrong, or asks for help, says so and ends.
pub fn parse() -> Cli {
    parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

fn parse_from(typed: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(typed).map_err(|mut error| {
        // clap quotes what was typed; a URL may hold a password.
        for kind in [ContextKind::InvalidValue, ContextKind::InvalidArg, ContextKind::InvalidSubcommand] {
            if let Some(ContextValue::String(text)) = error.get(kind) {
                let shown = shown(text);
                error.insert(kind, ContextValue::String(shown));
            }
        }
        error
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_do_not_quote_passwords() {
        for typed in [
            "replay x --publish me:geheim@broker",
            "replay x --publish=http://me:geheim@broker",
            "replay x --publish mqtt://broker/?token=geheim",
            "replay x --push city=http://me:geheim@x",
            "replay x --push city=http://x/?token=geheim",
            "simulate --broker mqtt://me:geheim@broker/topic",
            "replay x --listen http://me:geheim@127.0.0.1:1",
            "cat x y=http://me:geheim@x",
            "mqtt://me:geheim@broker",
        ] {
            let typed = std::iter::once("telereel").chain(typed.split(' ')).map(OsString::from);
            let error = parse_from(typed).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
