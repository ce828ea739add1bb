//! `clip`, `mark`, `export` and `import`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Filters;
use super::privacy::Privacy;
use crate::units::{Moment, parse_moment};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel clip tuesday fall --from +10m --to +12m --note 'the fall in room 3'
  telereel clip latest rush-hour --from 2026-03-01T16:00:00Z --to 2026-03-01T18:00:00Z
  telereel replay fall                      a clip goes wherever a session does
  telereel clip --remove fall               its messages stay

`telereel info SESSION` lists the clips of a session.")]
pub struct Clip {
    /// A name, an id or its beginning, or `latest`
    #[arg(value_name = "SESSION", required_unless_present = "remove")]
    pub session: Option<String>,
    /// What to call the clip
    #[arg(value_name = "NAME", required_unless_present = "remove")]
    pub name: Option<String>,
    /// From this time on: RFC 3339 with offset, +90s after the session's start, or -2h before now
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_hyphen_values = true)]
    pub from: Option<Moment>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_hyphen_values = true)]
    pub to: Option<Moment>,
    /// What there is to say about it
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Leave out what cannot be read of damaged segments, say what is missing, and end with 3
    #[arg(long)]
    pub skip_damaged: bool,
    /// Forget this clip
    #[arg(long, value_name = "NAME", conflicts_with_all = ["session", "name", "from", "to", "note"])]
    pub remove: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel mark 'light switched on'             in what is being recorded, now
  telereel mark 'patient left the bed' --at -2m
  telereel mark 'shift change' tuesday --at 2026-03-03T06:00:00Z
  curl -d '{\"note\": \"door open\"}' http://127.0.0.1:7080/api/v1/marks

`telereel info SESSION` lists the marks of a session.")]
pub struct Mark {
    /// What happened
    #[arg(value_name = "NOTE")]
    pub note: String,
    /// A name, an id or its beginning, or `latest`; none: what a running recorder records
    #[arg(value_name = "SESSION", requires = "at")]
    pub session: Option<String>,
    /// When: RFC 3339 with offset, +90s after the session's start, or -2m before now [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_hyphen_values = true)]
    pub at: Option<Moment>,
}

/// What a file is, where its name does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    Reel,
    Parquet,
    Jsonl,
    Csv,
    Mcap,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel export tuesday --to tuesday.reel             a session whole, in one file
  telereel export fall --to fall.reel                   a clip, small enough to be checked in
  telereel export tuesday --to tuesday.parquet --vendor jointech
  telereel export tuesday --to tuesday.mcap             for Foxglove and the mcap tools
  telereel export latest --to - --kind alarm | jq .payload
  telereel export --from -2h --to last.jsonl            whatever was recorded then
  telereel export fall --to fall.reel --pseudonymize env:REEL_KEY --shift-time key --shift-place key

A reel goes wherever a session does (`telereel replay fall.reel`). All but Parquet come back with
`telereel import`, byte for byte. Everything is exported, link and control messages too, unless a filter says less.")]
// `--to` is the file.
#[command(mut_arg("to", |to| to.long("until")), mut_arg("kind", |kind| kind.help("Only of this kind")))]
pub struct Export {
    /// Names, ids or their beginnings, `latest`, clips, or a .reel; none: whatever was recorded from --from on
    #[arg(value_name = "SESSION")]
    pub sessions: Vec<String>,
    /// The file: .reel, .parquet, .jsonl, .csv or .mcap; - is standard output. It is replaced when the new one is whole
    #[arg(long = "to", value_name = "FILE", required = true)]
    pub file: PathBuf,
    /// What to write, where the name does not say it [default on standard output: jsonl]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<FileFormat>,
    /// Leave out what cannot be read of damaged segments, say what is missing, and end with 3
    #[arg(long)]
    pub skip_damaged: bool,
    #[command(flatten)]
    pub privacy: Privacy,
    #[command(flatten)]
    pub filters: Filters,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel import fall.reel
  telereel import tuesday.jsonl --session tuesday-again
  mosquitto_sub -h broker -t '#' -F %j > city.jsonl; telereel import city.jsonl --source city
  telereel import drive.mcap --source car-7
  telereel import track.csv --source van --map time=received_at --map imei=channel

What a file does not say is as a recording would have it: a new session, seq in the order of the file, elapsed_ns
from received_at. Original times are kept; the session is replayed like any other. The columns of a CSV file are
called as in the archive, or mapped; without one for the payload, the others become a JSON object.
Payloads of any bytes from mosquitto: -F '{\"tst\":\"%U\",\"topic\":\"%t\",\"qos\":%q,\"retain\":%r,\"payload_hex\":\"%x\"}'

Nothing is written where a line is bad; with --skip-bad all others are, and the exit code is 3. A file whose very bytes
have come in before is refused, unless --again is given; of one whose import was cut, what is missing comes in.")]
pub struct Import {
    /// .reel, .jsonl, .mcap or .csv
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// What to call the session [default: as the file does, or as it is called]
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// The source of rows that name none [default: import]
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// The vendor of rows that name none [default: generic]
    #[arg(long, value_name = "VENDOR")]
    pub vendor: Option<String>,
    /// The kind of rows that name none [default: message; of a vendor's: other]
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// A column of a CSV file, and which field it is, as in time=received_at; separated by commas, or as often as wanted
    #[arg(long, value_name = "COLUMN=FIELD", value_delimiter = ',', value_parser = mapping)]
    pub map: Vec<(String, String)>,
    /// What the files are, where their names do not say it
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<FileFormat>,
    /// Take in what has come in before, too: its messages are there twice then
    #[arg(long)]
    pub again: bool,
    /// Leave out what cannot be taken in, and count it
    #[arg(long)]
    pub skip_bad: bool,
}

fn mapping(text: &str) -> Result<(String, String), &'static str> {
    let (column, field) = text.split_once('=').ok_or("expected COLUMN=FIELD, as in `time=received_at`")?;
    Ok((column.to_owned(), field.to_owned()))
}
