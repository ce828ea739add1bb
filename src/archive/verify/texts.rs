//! What is written for people and for DuckDB: whether it is as it was written.

use super::{Problem, VerifyReport, relative};
use crate::archive::Archive;
use crate::archive::own_checksum::{Form, checked};
use crate::archive::views::{QUESTIONS, VIEWS};

pub(super) fn check(archive: &Archive, report: &mut VerifyReport) {
    let layout = &archive.layout;
    let folder = layout.views();
    for (path, form) in [(folder.join(VIEWS), Form::Sql), (folder.join(QUESTIONS), Form::Markdown)] {
        let (file, path) = (archive.disk.read(&path), relative(archive, &path));
        match file.map(|file| checked(form, &file).err()) {
            Ok(None) => {}
            Ok(Some(what)) => {
                let what = format!("{what}; `telereel recover` makes it again");
                report.problems.push(Problem::Unreadable { path, what });
            }
            // They come with the first session, and an early version had no questions.
            Err(_) if report.sessions == 0 => {}
            Err(_) if form == Form::Sql => report.problems.push(Problem::Missing { path }),
            Err(_) => report.leftovers.push(format!("{path} is missing: `telereel recover` writes it anew")),
        }
    }
    // Nothing depends on it, and somebody may have written into it.
    let readme = archive.disk.read(&layout.readme());
    match readme.map(|file| checked(Form::Markdown, &file).err()) {
        Ok(None) => {}
        Ok(Some(_)) => {
            let what = "README.md is not what was written: it is damaged, or somebody has changed it";
            report.leftovers.push(format!("{what} (without the line of its checksum, it is theirs)"));
        }
        Err(_) => {
            report.leftovers.push("README.md is missing: `telereel recover` writes it anew".to_owned());
        }
    }
}
