//! What is written for people and for DuckDB: whether it is as it was written.

use std::io::ErrorKind;
use std::path::Path;

use super::{Problem, VerifyReport, relative};
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, IoContext};
use crate::archive::own_checksum::{Form, checked};
use crate::archive::views::{QUESTIONS, VIEWS};

pub(super) fn check(archive: &Archive, report: &mut VerifyReport) -> Result<(), ArchiveError> {
    let layout = &archive.layout;
    let folder = layout.views();
    for (path, form) in [(folder.join(VIEWS), Form::Sql), (folder.join(QUESTIONS), Form::Markdown)] {
        let state = state(archive, &path, form)?;
        let path = relative(archive, &path);
        match state {
            State::AsWritten => {}
            State::Changed(what) => {
                let what = format!("{what}; `telereel recover` makes it again");
                report.problems.push(Problem::Unreadable { path, what });
            }
            // They come with the first session, and an early version had no questions.
            State::Missing if report.sessions == 0 => {}
            State::Missing if form == Form::Sql => report.problems.push(Problem::Missing { path }),
            State::Missing => {
                report.leftovers.push(format!("{path} is missing: `telereel recover` writes it anew"));
            }
        }
    }
    // Whoever keeps the archive writes into it what is to be known of it: that is neither damage nor left over, and
    // which of a changed letter it is, nobody can tell.
    match state(archive, &layout.readme(), Form::Markdown)? {
        State::AsWritten => {}
        State::Changed(_) => report.notes.push(
            "README.md has been changed since it was written, by hand or by damage; nothing depends on it (if it is \
             not yours, remove it: `telereel recover` writes it anew)"
                .to_owned(),
        ),
        State::Missing => {
            report.leftovers.push("README.md is missing: `telereel recover` writes it anew".to_owned());
        }
    }
    Ok(())
}

enum State {
    AsWritten,
    Changed(&'static str),
    Missing,
}

fn state(archive: &Archive, path: &Path, form: Form) -> Result<State, ArchiveError> {
    match archive.disk.read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(State::Missing),
        file => {
            Ok(checked(form, &file.doing("read", path)?).map_or_else(State::Changed, |_| State::AsWritten))
        }
    }
}
