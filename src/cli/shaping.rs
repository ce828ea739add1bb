//! What `replay` is asked to do to the recording on its way.

use clap::Args;

use crate::player::faults::FaultSpec;
use crate::units::{MOMENT_EXPECTED, Moment, parse_moment};

/// What is not to be as recorded.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Changes to what was recorded")]
pub struct Shaping {
    /// Move the times in payloads as if all of it were recorded now, or from T on (RFC 3339 with offset, or -2h
    /// before now): declared times only, in their own format; no other byte changes
    #[arg(
        long,
        value_name = "T",
        num_args = 0..=1,
        require_equals = true,
        value_parser = moment,
        allow_hyphen_values = true
    )]
    pub rebase_time: Option<Option<Moment>>,
    /// Faults for the client under test, separated by commas: delay=1/50:250ms, jitter=20ms, drop=1/1000,
    /// duplicate=1/500, reorder=1/20:100ms, corrupt=1/1000, disconnect=@5000. Each with a share of the messages,
    /// or places among them (@5 the message with index 5 of this replay, from 0; @seq5 by its `seq`; several:
    /// drop=1/100@5@9), and a size where it has one. Without =: delay=1/50:250ms, jitter=20ms, drop=1/100,
    /// duplicate=1/100, reorder=1/20:100ms, corrupt=1/100, disconnect=1/1000
    #[arg(long, value_name = "SPEC")]
    pub faults: Option<FaultSpec>,
    /// Of all chance in --faults: the same seed strikes the same messages
    #[arg(long, value_name = "K", default_value_t = 1, requires = "faults")]
    pub seed: u64,
}

/// Unlike elsewhere, no session's start is counted from.
const EXPECTED: &str = "expected a time such as `2026-03-01T14:30:00Z` or `-2h` (from now)";

fn moment(text: &str) -> Result<Moment, String> {
    match parse_moment(text) {
        Ok(Moment::AfterStart(_)) => Err(EXPECTED.to_owned()),
        Ok(moment) => Ok(moment),
        Err(error) if error.to_string() == MOMENT_EXPECTED => Err(EXPECTED.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
