//! The verbs that keep an archive whole, small and tidy.

use std::time::Duration;

use clap::{ArgGroup, Args};

use super::{Filters, positive_duration};
use crate::units::parse_size;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel verify                    exit code 3 if anything is damaged
  telereel doctor --json | jq .problems")]
pub struct Verify {}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel recover                   also done whenever `record` starts
  telereel --archive /data/reel recover --json")]
pub struct Recover {}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel reindex
  telereel --archive /data/reel reindex --json")]
pub struct Reindex {}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel compact                    every session: one file for each vendor, kind and day
  telereel compact tuesday --dry-run  only say what would be done
  telereel compact --redecode         also derive the typed columns anew, by this telereel's declarations
  telereel -c city.toml compact --redecode   and those of generic sources by the schema files of city.toml

Nothing can be lost: new files are complete before one rename makes them count, and the old ones go after that.
Ctrl-C leaves the session at hand as it was. Not while a recorder runs.")]
pub struct Compact {
    /// Names, ids or their beginnings, or `latest` [default: all sessions]
    #[arg(value_name = "SESSION")]
    pub sessions: Vec<String>,
    /// Derive typed columns, device_id, event_at and decode_error again from the payloads
    #[arg(long)]
    pub redecode: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel rm tuesday             asks first
  telereel rm 0199f4 --yes
  telereel rm latest --dry-run")]
pub struct Rm {
    /// Names, ids or their beginnings, or `latest`
    #[arg(value_name = "SESSION", required = true)]
    pub sessions: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel erase --device ATR_GN_P4-250120-09527 --dry-run   what would go, and from where
  telereel erase --device ATR_GN_P4-250120-09527             asks first
  telereel erase --source ward-3 --from 2026-03-01T00:00:00Z --to 2026-06-01T00:00:00Z --yes
  telereel erase tuesday --kind alarm --where 'speed_kmh > 200' --yes

A device is looked for by its name: its own messages go, and all others that name it as a whole word, in whatever
text, link events and configurations included; so do settings, clips and marks that name it. The index is made again.
Then every file of the archive is searched for it: exit code 0 says that it is nowhere, 1 that it is left somewhere, 3
that something damaged could not be searched, all else being erased. Other filters select
messages as everywhere, of kind `link` and `control`, too; these are read again afterwards. Manifests record that
messages were removed, and not what was looked for.

Not reached are files that were exported or copied before, and what is compressed or encrypted within a payload. A
name that could be any number or word (`7`) is not looked for in texts: only what has it as device_id goes.")]
pub struct Erase {
    /// Names, ids or their beginnings, `latest`, or clips [default: all sessions]
    #[arg(value_name = "SESSION")]
    pub sessions: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    // Last: its help heading is that of everything after it.
    #[command(flatten)]
    pub filters: Filters,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel rename latest tuesday
  telereel rename 0199f4 ward-3-night")]
pub struct Rename {
    /// A name, an id or its beginning, or `latest`
    #[arg(value_name = "SESSION")]
    pub session: String,
    /// The new name: 1 to 64 of A-Z a-z 0-9 _ . - that no session or clip has
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").args(["older_than", "max_bytes"]).required(true).multiple(true)))]
#[command(after_help = "Examples:
  telereel prune --older-than 400d
  telereel prune --max-bytes 500GiB --dry-run
  telereel prune --older-than 30d --vendor pontosense --kind location

Clips are kept, and so are link events and configurations of a session of which something is left: they say how the
rest was recorded: where they keep more than --max-bytes, that is said. What goes is written down in the manifests, by its place and not by its content.")]
pub struct Prune {
    /// Remove what was received longer ago than this, as in 30d
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub older_than: Option<Duration>,
    /// Remove the oldest until what is selected takes no more than this, as in 500GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_bytes: Option<u64>,
    /// Only of this kind (may be given several times)
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<String>,
    /// Only of this vendor (may be given several times)
    #[arg(long, value_name = "VENDOR")]
    pub vendor: Vec<String>,
    /// Keep what lies in clips: it always does, this only says so
    #[arg(long)]
    pub keep_clips: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}
