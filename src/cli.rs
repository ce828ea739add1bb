//! The command line as it is typed: clap's types and nothing else. Each verb turns its arguments
//! into what it works with (`commands`).

mod exchange;
mod parse;
mod privacy;
mod service;
mod shaping;
mod stats;
mod upkeep;

use std::ffi::OsString;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use self::exchange::{Clip, Export, FileFormat, Import, Mark};
pub use self::parse::parse;
pub use self::privacy::{Privacy, PrivacyKey};
pub use self::service::{LogFormat, Unit};
pub use self::shaping::Shaping;
pub use self::stats::{By, Stats};
pub use self::upkeep::{Compact, Erase, Prune, Recover, Reindex, Rename, Rm, Verify};
use crate::archive::Filter;
use crate::player::{Listen, OutagesWanted, PublishTo, PushTo, Speed};
use crate::transport::misbehave::Spec;
use crate::units::{Moment, parse_duration, parse_moment};
use crate::vendors::synthetic::load::Rate;
use crate::vendors::variant::Variant;

/// Record live location and sensor streams, and replay them with their original timing.
#[derive(Debug, Parser)]
#[command(
    name = "telereel",
    version,
    arg_required_else_help = true,
    infer_subcommands = false,
    after_help = "Examples:
  telereel init                          write a configuration to start from
  telereel check --connect               is it right, and does every source answer?
  telereel record --session tuesday      record until Ctrl-C
  telereel replay tuesday                serve it again, at its own pace
  telereel cat tuesday | jq .payload     look at the messages

Exit codes: 0 done, 1 failed, 2 usage or configuration error, 3 done, but something was lost or is damaged."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The archive [default: what the configuration says, else ./archive]
    #[arg(long, global = true, value_name = "DIR", env = "TELEREEL_ARCHIVE")]
    pub archive: Option<PathBuf>,
    /// The configuration [default: ./telereel.toml]
    #[arg(short, long, global = true, value_name = "FILE", env = "TELEREEL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print JSON: one document, or one per line where results stream
    #[arg(long, global = true)]
    pub json: bool,
    /// Log more (-vv: everything)
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Log and errors as text, or as one JSON object per line: timestamp, level, target, message and more
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        env = "TELEREEL_LOG_FORMAT"
    )]
    pub log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Try the whole loop on this machine: record imitated vendors, replay, compare byte for byte
    Demo(Demo),
    /// Write a commented configuration to start from
    Init(Init),
    /// Validate a configuration
    Check(Check),
    /// Record all configured sources until Ctrl-C, SIGTERM or --for; then seal everything
    Record(Record),
    /// Show how a running recorder is doing, source by source
    Status(Status),
    /// Serve recorded sessions through endpoints like the vendors' own
    Replay(Box<Replay>),
    /// Run the vendors' sides under synthetic load, to record or to develop against
    Simulate(Simulate),
    /// List the sessions of the archive
    #[command(visible_alias = "ls")]
    List(List),
    /// Show one session: sources, kinds, channels, devices, times, gaps
    Info(Info),
    /// Print messages as JSON lines
    Cat(Cat),
    /// Show rates over time, gaps, sizes of payloads, lag and unknown fields
    Stats(Stats),
    /// Name a stretch of a session, without copying it
    Clip(Clip),
    /// Note something at a moment: in what is being recorded, or in a session
    Mark(Mark),
    /// Write sessions or clips to one self-contained file
    Export(Export),
    /// Take a file in: a reel, JSON lines, what mosquitto_sub printed, MCAP, CSV
    Import(Import),
    /// Check the archive: checksums, completeness, index and sidecars
    #[command(visible_alias = "doctor")]
    Verify(Verify),
    /// Seal what a crash left in the journal
    Recover(Recover),
    /// Rebuild the index from segments, manifests and sidecars
    Reindex(Reindex),
    /// Merge the many small segments of sessions into few
    Compact(Compact),
    /// Remove what is older than a retention, or the oldest until the rest fits
    Prune(Prune),
    /// Remove every trace of what a filter selects, and prove it by a search
    Erase(Box<Erase>),
    /// Give a session another name
    Rename(Rename),
    /// Remove sessions
    Rm(Rm),
    /// Show the fields that are declared for a vendor's messages
    Schema(Schema),
    /// Print the SQL views of the archive, for DuckDB
    Views(Views),
    /// Print completions for a shell
    Completions(Completions),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel demo                          into ./telereel-demo, in about half a minute
  telereel demo --dir /tmp/d --seconds 60")]
pub struct Demo {
    /// Where to put configuration and archive; an earlier demo there is replaced
    #[arg(long, value_name = "DIR", default_value = "telereel-demo")]
    pub dir: PathBuf,
    /// How long the imitated vendors send
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel init                        a webhook receiver that runs at once, and all vendors commented out
  telereel init delicode jointech      sources of these vendors, to be filled in
  telereel init generic --stdout       only show it
  telereel init --systemd service      a unit that runs this program on this configuration
  telereel -c city.toml init jointech  write it to city.toml")]
pub struct Init {
    /// damoov, delicode, jointech, pontosense, sensoro, generic
    #[arg(value_name = "VENDOR")]
    pub vendors: Vec<String>,
    /// Print it instead of writing the file
    #[arg(long)]
    pub stdout: bool,
    /// Print a systemd unit instead: the service, or the socket that keeps webhooks waiting over a restart
    #[arg(long, value_name = "UNIT", value_enum, conflicts_with_all = ["stdout", "vendors"])]
    pub systemd: Option<Unit>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel check
  telereel -c city.toml check --connect")]
pub struct Check {
    /// Also connect to each source, with a client id and a clean session of its own
    #[arg(long)]
    pub connect: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel record                              until Ctrl-C
  telereel record --session tuesday --for 2h
  telereel --archive /data/reel record --json  a summary as JSON at the end
  kill -HUP PID                                read the configuration and certificates anew

As a service: see `telereel init --systemd`.")]
pub struct Record {
    /// What to call the session [default: its date and time]
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// Stop after this long, as in 90s or 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = positive_duration)]
    pub duration: Option<Duration>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel status
  telereel -c city.toml status --json")]
pub struct Status {}

/// What is chosen from a recording.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filters (all but --where and the times may be given several times)")]
pub struct Filters {
    /// Only from this source
    #[arg(long, value_name = "SOURCE")]
    pub source: Vec<String>,
    /// Only from this vendor
    #[arg(long, value_name = "VENDOR")]
    pub vendor: Vec<String>,
    /// Only of this kind; `link` and `control` are left out unless named here (not by `erase`)
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<String>,
    /// Only of this device
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    /// Only on channels like this: `*` is any text, `?` any character
    #[arg(long, value_name = "GLOB")]
    pub channel: Vec<String>,
    /// Only where this holds, as in "speed_kmh > 80 and battery_percent < 20", "alarm_name = 'Lock rope cut'",
    /// "event_at >= 2026-03-01T14:00:00Z or not (qos = 1)", "latitude is null"; columns as in `telereel schema`
    #[arg(long = "where", value_name = "EXPR")]
    pub filter: Option<Filter>,
    /// From this time on: RFC 3339 with offset, +90s after the session's start, or -2h before now
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_hyphen_values = true)]
    pub from: Option<Moment>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_hyphen_values = true)]
    pub to: Option<Moment>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel replay latest
  telereel replay tuesday --from +10m --to +12m --speed 4
  telereel replay latest --listen http://127.0.0.1:0 --no-wait --report report.json
  telereel replay --from 2026-03-01T14:00:00Z --to 2026-03-01T15:00:00Z --vendor jointech
  telereel replay tuesday --listen mqtt://0.0.0.0:1883 --allow-any-credentials
  telereel replay tuesday --push city=http://127.0.0.1:9000 -c telereel.toml
  telereel replay tuesday --publish mqtt://user:password@broker:1883
  telereel replay tuesday --listen http://127.0.0.1:0 --pace max --exec pytest -x
  telereel replay tuesday --rebase-time --faults drop=1/100,disconnect=@500 --seed 7

Clients connect to ws://HOST/ws (any session), ws://HOST/realtime/api/v1/ws/realtime (Damoov's protocol),
ws://HOST/websocket_realtime (Delicode's) or mqtt://HOST (recorded topics; all else under telereel/{vendor}/{source}/{kind}/{device}).")]
pub struct Replay {
    /// A name, an id or its beginning, or `latest`; none: whatever was recorded between --from and --to
    #[arg(value_name = "SESSION")]
    pub sessions: Vec<String>,
    /// Where to serve: http, https, mqtt or mqtts, as often as wanted; port 0 picks one
    /// [default: http://127.0.0.1:7070 and mqtt://127.0.0.1:1883]
    #[arg(long, value_name = "URL")]
    pub listen: Vec<Listen>,
    /// Publish it to this broker as well, mqtt or mqtts, with user:password@ if it needs them: what came
    /// over MQTT on its own topic, all else under telereel/. As often as wanted
    #[arg(long, value_name = "URL")]
    pub publish: Vec<PublishTo>,
    /// Post a source's webhook messages to this URL with their recorded path appended; with -c signed
    /// afresh. As often as wanted. Without --listen nothing else is served then
    #[arg(long, value_name = "SOURCE=URL")]
    pub push: Vec<PushTo>,
    /// Twice as fast is 2, half as fast 1/2 or 0.5; from 1/100 to 1000 [default: 1]
    #[arg(long, value_name = "N|N/M")]
    pub speed: Option<Speed>,
    /// Keep the recording's time; go as fast as the slowest client takes it; send the next message only
    /// when the last is acknowledged by all who can; or start paused, each message by a step
    #[arg(long, value_enum, default_value_t)]
    pub pace: Pace,
    /// With --pace lockstep: who does not acknowledge for as long is disconnected [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub ack_timeout: Option<Duration>,
    /// Start only when told to: by the API, or the space bar
    #[arg(long)]
    pub start_paused: bool,
    /// Play it N times; without N, until stopped
    #[arg(long = "loop", value_name = "N", num_args = 0..=1, value_parser = times)]
    pub rounds: Option<Option<NonZeroU64>>,
    /// Start when this many clients are ready
    #[arg(long, value_name = "N", conflicts_with = "no_wait", default_value = "1", value_parser = at_least_one)]
    pub wait_for_clients: NonZeroUsize,
    /// Start at once, whether anybody listens or not
    #[arg(long)]
    pub no_wait: bool,
    /// What becomes of recorded outages: reproduce closes and refuses connections for as long; silence sends
    /// nothing; skip=2s cuts every gap that is longer, whatever it came from, to that length (skip alone: 2s)
    #[arg(long, value_name = "WHAT", default_value = "silence")]
    pub outages: OutagesWanted,
    /// Tell a client that comes late, after a seek and with --from, first the last message of each thing, as
    /// the kind's declaration names it (`telereel schema`): positions and measurements, never alarms
    #[arg(long)]
    pub state: bool,
    /// How long to wait at the end while no client takes or acknowledges anything and no push is made again
    /// [default: 10s, and with --push until the last one that the vendor makes again: 125s for SENSORO]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub drain: Option<Duration>,
    /// Write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write a JSON line for each message sent, and for all that clients send and answer
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Certificate chain (PEM) for https and mqtts [default: a self-signed one]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) for https and mqtts
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Believe only servers whose certificate this CA file (PEM) has signed, when pushing and publishing
    #[arg(long, value_name = "FILE", conflicts_with = "tls_insecure")]
    pub tls_ca: Option<PathBuf>,
    /// Believe any server, when pushing and publishing
    #[arg(long)]
    pub tls_insecure: bool,
    /// Where a vendor's pages leave it open, do this in place of the default: pontosense-token-403,
    /// pontosense-suback-0x80, pontosense-any-clock, pontosense-any-nonce, jointech-repush. As often as wanted
    #[arg(long, value_name = "NAME")]
    pub variant: Vec<Variant>,
    /// Accept only the credentials of the configuration
    #[arg(long, conflicts_with = "allow_any_credentials")]
    pub require_credentials: bool,
    /// Accept any credentials beyond this machine, too
    #[arg(long)]
    pub allow_any_credentials: bool,
    /// Run this client (all that follows is its command line), with the addresses in TELEREEL_HTTP and
    /// TELEREEL_MQTT; end when it ends, with its exit code, or with 1 if it did not connect
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true)]
    pub exec: Vec<OsString>,
    /// Leave out what cannot be read of damaged segments, say what is missing, and end with 3
    #[arg(long)]
    pub skip_damaged: bool,
    // These last: their help headings are those of everything after them.
    #[command(flatten)]
    pub shaping: Shaping,
    #[command(flatten)]
    pub filters: Filters,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel simulate --vendor delicode    in one terminal, and in another, with the source that it prints
  telereel record                        in telereel.toml
  telereel simulate                      all vendors, on the addresses where `replay` serves
  telereel simulate --push sensoro=http://127.0.0.1:7081 --rate 20
  telereel simulate --vendor jointech --broker mqtt://127.0.0.1:1883
  telereel -c city.toml simulate --for 10m --seed 7       what the sources of city.toml would receive
  telereel simulate --misbehave close=1000,refuse=1/5,garbage=1/100

Sources are called delicode, damoov, pontosense, sensoro, jointech (MQTT) and jointech-push (webhook), or as in the
configuration that -c names. The same seed gives the same messages, at the time of day of the run.")]
pub struct Simulate {
    /// Only this vendor: delicode, damoov, pontosense, sensoro or jointech (may be given several times)
    #[arg(long, value_name = "VENDOR")]
    pub vendor: Vec<String>,
    /// Where to serve: http, https, mqtt or mqtts, as often as wanted; port 0 picks one
    /// [default: http://127.0.0.1:7070 and mqtt://127.0.0.1:1883, unless there is only --push or --broker]
    #[arg(long, value_name = "URL")]
    pub listen: Vec<Listen>,
    /// Post a webhook source's messages to this URL, its path appended (may be given several times)
    #[arg(long, value_name = "SOURCE=URL")]
    pub push: Vec<PushTo>,
    /// Publish to this broker, as Jointech does to its own (may be given several times)
    #[arg(long, value_name = "URL")]
    pub broker: Vec<PublishTo>,
    /// Messages per second of each source [default: about what its vendor sends]
    #[arg(long, value_name = "R")]
    pub rate: Option<Rate>,
    /// Devices of each source: locations, drivers, sensors, vehicles and locks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub devices: Option<u64>,
    /// Of all chance, misbehaviour included
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub seed: u64,
    /// Do these wrong, separated by commas: refuse, stall, close, garbage, expired-token, slow-reader,
    /// half-packet. With a share of the connections (refuse=1/4) or messages (garbage=1/100), after about how
    /// many messages of a connection (stall=200, close=200, half-packet=200, expired-token=500), or the bytes
    /// read per second (slow-reader=256); these are the defaults. To --push and --broker it does the same on the
    /// connections that it makes (refuse: it makes none); no broker is shown a token that could expire
    #[arg(long, value_name = "SPEC")]
    pub misbehave: Option<Spec>,
    /// Where a vendor's pages leave it open, do this in place of the default: those of `replay`, and
    /// sensoro-flat-events. As often as wanted
    #[arg(long, value_name = "NAME")]
    pub variant: Vec<Variant>,
    /// Stop after this long, as in 90s or 2h [default: on Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = positive_duration)]
    pub duration: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Pace {
    #[default]
    Original,
    Max,
    Lockstep,
    Step,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel list
  telereel ls --json | jq '.[].name'")]
pub struct List {}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel info latest
  telereel info tuesday --json")]
pub struct Info {
    /// A name, an id or its beginning, or `latest`
    #[arg(value_name = "SESSION")]
    pub session: String,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel cat latest | head
  telereel cat tuesday --kind alarm --device 7001234567
  telereel cat tuesday --from +10m --to +11m
  telereel cat tuesday --where 'speed_kmh > 80 and latitude is not null'
  telereel cat --from -2h --channel 'upload/*/location'
  telereel cat latest --follow")]
pub struct Cat {
    /// A name, an id or its beginning, or `latest`; none: whatever was recorded between --from and --to
    #[arg(value_name = "SESSION")]
    pub session: Option<String>,
    /// Go on with what is sealed later, until the recording ends
    #[arg(long)]
    pub follow: bool,
    /// Leave out what cannot be read of damaged segments, say what is missing, and end with 3
    #[arg(long)]
    pub skip_damaged: bool,
    #[command(flatten)]
    pub filters: Filters,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel schema                    the vendors and their kinds
  telereel schema jointech           its kinds and all their fields
  telereel schema jointech alarm
  telereel schema delicode --json | jq '.kinds[0].fields[].name'")]
pub struct Schema {
    /// None: which there are
    #[arg(value_name = "VENDOR")]
    pub vendor: Option<String>,
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel views > views.sql
  telereel views --questions | less      example questions in SQL, pandas and Polars
  cd archive && duckdb -init views/duckdb.sql")]
pub struct Views {
    /// Print example questions with their answers instead, as Markdown; views/questions.md is the same
    #[arg(long)]
    pub questions: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel completions bash > ~/.local/share/bash-completion/completions/telereel
  telereel completions zsh > ~/.zfunc/_telereel
  telereel completions fish > ~/.config/fish/completions/telereel.fish")]
pub struct Completions {
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

fn times(text: &str) -> Result<NonZeroU64, &'static str> {
    text.parse().map_err(|_| {
        "expected how many times, a whole number from 1, or nothing; a session's name comes before --loop"
    })
}

fn at_least_one(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "expected a whole number from 1; --no-wait waits for nobody")
}

fn positive_duration(text: &str) -> Result<Duration, &'static str> {
    match parse_duration(text)? {
        Duration::ZERO => Err("expected a duration longer than zero"),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests;
