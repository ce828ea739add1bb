//! `clip` and `mark`.

use clap::Args;

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
