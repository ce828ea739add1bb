//! `telereel export SESSION… --to FILE`: one self-contained file.

use std::io;
use std::path::Path;

use anyhow::bail;
use serde::Serialize;

use super::context::Context;
use super::destination::outside_archives;
use super::output::{StdoutClosed, print};
use super::progress::Progress;
use super::selection::{self, choose, skipped_told, unsealed};
use super::{Outcome, Usage};
use crate::archive::{Archive, SkippedSegment};
use crate::cli::{Export, FileFormat, Privacy, PrivacyKey};
use crate::clock::Clock;
use crate::decode::Role;
use crate::exchange::export::{Change, Exported, Unchanged, export, sensitive, stream};
use crate::exchange::pseudonymize::{Pseudonymize, Told as Hidden, Wanted};
use crate::exchange::{ExchangeError, Format};
use crate::secret::Secret;
use crate::units::{counted, human_count, human_size};

/// A shorter key is soon found by trying.
const KEY_BYTES_MIN: usize = 12;

/// What `--json` prints.
#[derive(Serialize)]
struct Told<'a> {
    file: &'a Path,
    format: &'static str,
    sessions: Vec<&'a str>,
    #[serde(flatten)]
    exported: Exported,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    skipped: &'a [SkippedSegment],
    #[serde(skip_serializing_if = "Option::is_none")]
    pseudonymized: Option<&'a Hidden>,
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
    let filters = args.filters;
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
    if !to_stdout {
        outside_archives("--to", &args.file)?;
    }
    let opened = selection::open(context, &args.sessions)?;
    let archive = &opened.archive;
    let mut chosen = choose(archive, &opened.names, filters, Clock::System.now())?;
    chosen.options.data_only = false;
    chosen.skip_damaged(args.skip_damaged);
    chosen.require_some(archive)?;
    let mut hidden = match args.privacy {
        Privacy { pseudonymize: Some(key), shift_time: time, shift_place: place, keep_text } => {
            let wanted = Wanted { key: read_key(context, &key)?, time, place, keep_text };
            Some(Pseudonymize::new(archive, &chosen.options, wanted)?)
        }
        Privacy { pseudonymize: None, .. } => {
            warn(context, archive, &chosen.options)?;
            None
        }
    };
    if let Some(unsealed) = unsealed(archive, &chosen.sessions)? {
        context.screen.note(unsealed);
    }
    let progress = Progress::spinner(context);
    let tell = |messages, bytes| {
        if progress.is_shown() {
            progress.say(&format!("{}, {}", counted(messages, "message"), human_size(bytes)));
        }
    };
    // What becomes of each row on its way out.
    let change: &mut dyn Change = match &mut hidden {
        Some(hidden) => hidden,
        None => &mut Unchanged,
    };
    let exported = if to_stdout {
        let out = (io::stdout(), args.file.as_path());
        stream(archive, &chosen.options, format, out, change, &tell)
    } else {
        export(archive, &chosen.options, format, &args.file, change, &tell)
    };
    drop(progress);
    let exported = match exported {
        Err(ExchangeError::Io { source, .. }) if to_stdout && source.kind() == io::ErrorKind::BrokenPipe => {
            return Err(StdoutClosed.into());
        }
        exported => exported?,
    };
    if let Some(hidden) = &hidden {
        tell_hidden(context, hidden);
    }
    if exported.messages == 0 {
        bail!(if hidden.is_some() {
            "nothing is left that could be exported"
        } else {
            "nothing was selected"
        });
    }
    let skipped = chosen.skipped();
    let outcome = skipped_told(context, &skipped);
    if to_stdout {
        return Ok(outcome);
    }
    let sessions = chosen.sessions.iter().map(|session| session.name.as_str()).collect();
    let (messages, bytes) = (counted(exported.messages, "message"), human_size(exported.bytes));
    let size = human_size(exported.file_bytes.unwrap_or(0));
    let pseudonymized = hidden.as_ref().map(Pseudonymize::told);
    let told = Told {
        file: &args.file,
        format: format.name(),
        sessions,
        exported,
        skipped: &skipped,
        pseudonymized,
    };
    print(context.json, &told, |out| {
        out.line(format!("{messages}, {bytes} as received, {size} in {}", args.file.display()))
    })?;
    Ok(outcome)
}

/// A word where people may be in what leaves the archive.
fn warn(context: &Context, archive: &Archive, options: &crate::archive::ScanOptions) -> anyhow::Result<()> {
    let found = sensitive(archive, options)?;
    if found.is_empty() {
        return Ok(());
    }
    let of = |(role, kinds): &(Role, Vec<String>)| format!("{} ({})", role.name(), kinds.join(", "));
    let of: Vec<String> = found.iter().map(of).collect();
    context.screen.note(format!(
        "warning: this holds data of {} with the identifiers of who or what it is of: give it to those only who may \
         have it, or export it with --pseudonymize",
        of.join(" and ")
    ));
    Ok(())
}

/// The key, from wherever it is.
fn read_key(context: &Context, key: &PrivacyKey) -> anyhow::Result<Secret> {
    let read = match key {
        PrivacyKey::Given(key) => key.clone(),
        PrivacyKey::Env(name) => match std::env::var(name) {
            Ok(key) => Secret::new(key),
            Err(_) => {
                return Err(
                    Usage(format!("--pseudonymize: the environment variable {name} is not set")).into()
                );
            }
        },
        PrivacyKey::File(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| Usage(format!("--pseudonymize: {}: {error}", path.display())))?;
            // Editors and `echo` end a file with a newline that is no part of the key.
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Secret::new(text.strip_suffix('\r').unwrap_or(text))
        }
    };
    match read.expose().len() {
        0 => Err(Usage("--pseudonymize: the key is empty".into()).into()),
        1..KEY_BYTES_MIN => {
            let what = "the key is short: who guesses it can tell which identifier a pseudonym stands for";
            context.screen.note(format!("warning: {what}"));
            Ok(read)
        }
        _ => Ok(read),
    }
}

/// What became of names, and what is not there.
fn tell_hidden(context: &Context, hidden: &Pseudonymize) {
    let told = hidden.told();
    context.screen.note(format!(
        "{} replaced, {} left out that no declaration names",
        counted(told.replaced, "value"),
        human_count(told.dropped_values)
    ));
    if told.dropped_times > 0 {
        let times = counted(told.dropped_times, "time");
        context
            .screen
            .note(format!("{times} left out, which cannot be written as they are spelled once moved"));
    }
    if !told.left_out.is_empty() {
        let kinds = told.left_out.iter().map(|(kind, rows)| format!("{} of {kind}", human_count(*rows)));
        let kinds: Vec<String> = kinds.collect();
        let what = "messages left out, since nobody knows what they name:";
        context.screen.note(format!("{what} {}", kinds.join(", ")));
    }
    if hidden.keeps_places() {
        context.screen.note("places are as they were: --shift-place moves them");
    }
}
