//! `telereel export SESSION… --to FILE`: one self-contained file.

use std::io;
use std::path::Path;

use anyhow::bail;
use serde::Serialize;

use super::context::Context;
use super::output::{StdoutClosed, print};
use super::progress::Progress;
use super::selection::{self, choose, unsealed};
use super::{Outcome, Usage};
use crate::archive::Archive;
use crate::cli::{Export, FileFormat, Filters};
use crate::clock::Clock;
use crate::decode::Role;
use crate::exchange::export::{Exported, export, sensitive, stream};
use crate::exchange::{ExchangeError, Format};
use crate::units::{human_count, human_size};

/// What `--json` prints.
#[derive(Serialize)]
struct Told<'a> {
    file: &'a Path,
    format: &'static str,
    sessions: Vec<&'a str>,
    #[serde(flatten)]
    exported: Exported,
}

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Reel => Format::Reel,
            FileFormat::Parquet => Format::Parquet,
            FileFormat::Jsonl => Format::Jsonl,
            FileFormat::Csv => Format::Csv,
            FileFormat::Mcap => Format::Mcap,
        }
    }
}

pub(super) fn run(context: &Context, args: Export) -> anyhow::Result<Outcome> {
    let filters = Filters::from(args.filters);
    selection::check(&args.sessions, &filters)?;
    let to_stdout = args.file.as_os_str() == "-";
    let named = if to_stdout { Some(Format::Jsonl) } else { Format::of(&args.file) };
    let Some(format) = args.format.map(Format::from).or(named) else {
        let names: Vec<&str> = Format::ALL.iter().map(|(name, _)| *name).collect();
        let (file, names) = (args.file.display(), names.join(", ."));
        return Err(Usage(format!("{file}: its name says not what to write: .{names}, or --format")).into());
    };
    if to_stdout && !matches!(format, Format::Jsonl | Format::Csv) {
        return Err(Usage(format!("a .{} goes to a file, not to standard output", format.name())).into());
    }
    let opened = selection::open(context, &args.sessions)?;
    let archive = &opened.archive;
    let mut chosen = choose(archive, &opened.names, filters, Clock::System.now())?;
    chosen.options.data_only = false;
    chosen.require_some(archive)?;
    warn(context, archive, &chosen.options)?;
    if let Some(unsealed) = unsealed(archive, &chosen.sessions)? {
        context.screen.note(unsealed);
    }
    let progress = Progress::spinner(context);
    let tell = |messages, bytes| {
        if progress.is_shown() {
            progress.say(&format!("{} messages, {}", human_count(messages), human_size(bytes)));
        }
    };
    // What becomes of each row on its way out.
    let mut change = |row| row;
    let exported = if to_stdout {
        let out = (io::stdout(), args.file.as_path());
        stream(archive, &chosen.options, format, out, &mut change, &tell)
    } else {
        export(archive, &chosen.options, format, &args.file, &mut change, &tell)
    };
    drop(progress);
    let exported = match exported {
        Err(ExchangeError::Io { source, .. }) if to_stdout && source.kind() == io::ErrorKind::BrokenPipe => {
            return Err(StdoutClosed.into());
        }
        exported => exported?,
    };
    if exported.messages == 0 {
        bail!("nothing was selected");
    }
    if to_stdout {
        return Ok(Outcome::Done);
    }
    let sessions = chosen.sessions.iter().map(|session| session.name.as_str()).collect();
    let (messages, bytes) = (human_count(exported.messages), human_size(exported.bytes));
    let size = human_size(exported.file_bytes.unwrap_or(0));
    let told = Told { file: &args.file, format: format.name(), sessions, exported };
    print(context.json, &told, |out| {
        out.line(format!("{messages} messages, {bytes} as received, {size} in {}", args.file.display()))
    })?;
    Ok(Outcome::Done)
}

/// A word where people may be in what leaves the archive.
fn warn(context: &Context, archive: &Archive, options: &crate::archive::ScanOptions) -> anyhow::Result<()> {
    let roles = sensitive(archive, options)?;
    if roles.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = [Role::Health, Role::Location]
        .iter()
        .filter(|role| roles.contains(role))
        .map(|role| role.name())
        .collect();
    context.screen.note(format!(
        "warning: this holds data of {} with the identifiers of who or what it is of: give it to those only who may \
         have it",
        names.join(" and ")
    ));
    Ok(())
}
