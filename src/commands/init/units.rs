//! `telereel init --systemd UNIT`: the units that run `record` as a service.
//!
//! The socket is its own unit, so that it stays open while the service is not there: who pushes then waits in the
//! system's backlog, and is answered by the next recorder.

use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::Unit;
use crate::commands::context::Context;
use crate::commands::output::Out;
use crate::commands::{Outcome, Usage};
use crate::config::{self, DEFAULT_WEBHOOKS_LISTEN};

const SERVICE: &str = include_str!("telereel.service");
const SOCKET: &str = include_str!("telereel.socket");

pub(super) fn print(context: &Context, unit: Unit) -> anyhow::Result<Outcome> {
    let config = absolute(context.config_path())?;
    let text = match unit {
        Unit::Service => {
            let program = std::env::current_exe().context("cannot find out where this program is")?;
            let archive = absolute(&context.archive_path()?)?;
            context.screen.note(format!(
                "the user telereel of the unit must own {} (mode 600) and {} (mode 700): how, the unit says",
                config.display(),
                archive.display()
            ));
            let (program, config, archive) = (word(&program)?, word(&config)?, word(&archive)?);
            let unit = SERVICE.replace("{program}", &program).replace("{config}", &config);
            unit.replace("{archive}", &archive)
        }
        Unit::Socket => SOCKET.replace("{listen}", &listen(&config)?),
    };
    let mut out = Out::new();
    out.line(text.trim_end())?;
    out.flush()?;
    Ok(Outcome::Done)
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot find out where {} is", path.display()))
}

/// A path as one word of a command line of systemd's.
fn word(path: &Path) -> Result<String, Usage> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    let text = text.ok_or_else(|| Usage(format!("{} cannot be named in a unit", path.display())))?;
    // Specifiers and variables are written twice to mean themselves.
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    Ok(if text.contains(' ') || text.contains('"') { format!("\"{text}\"") } else { text })
}

/// Where webhooks are received, as systemd takes it: an address, no name.
fn listen(config: &Path) -> anyhow::Result<String> {
    let listen = match config.exists() {
        true => config::webhooks_listen(config)?,
        false => DEFAULT_WEBHOOKS_LISTEN.to_owned(),
    };
    let mut found = listen.to_socket_addrs().with_context(|| format!("webhooks.listen = {listen:?}"))?;
    Ok(found.next().with_context(|| format!("webhooks.listen = {listen:?} is no address"))?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_that_means_itself() {
        for (path, expected) in [
            ("/usr/bin/telereel", "/usr/bin/telereel"),
            ("/a b/%c", "\"/a b/%%c\""),
            ("/a$b", "/a$$b"),
            ("/a\\b", "/a\\\\b"),
        ] {
            assert_eq!(word(Path::new(path)).unwrap(), expected);
        }
        assert!(word(Path::new("/a\nb")).is_err());
    }
}
