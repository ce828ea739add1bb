//! What a user wants of outages, as `--outages` says it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::units::{format_duration, parse_duration};

/// Long enough for a client to be at rest between two bursts.
const SKIP_TO: Duration = Duration::from_secs(2);

/// What becomes of outages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutagesWanted {
    Reproduce,
    Silence,
    /// Gaps are cut to this length.
    Skip(Duration),
}

impl fmt::Display for OutagesWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reproduce => f.write_str("reproduce"),
            Self::Silence => f.write_str("silence"),
            Self::Skip(longest) => write!(f, "skip={}", format_duration(*longest)),
        }
    }
}

impl FromStr for OutagesWanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            None if text == "reproduce" => Ok(Self::Reproduce),
            None if text == "silence" => Ok(Self::Silence),
            None if text == "skip" => Ok(Self::Skip(SKIP_TO)),
            Some(("skip", length)) => Ok(Self::Skip(parse_duration(length)?)),
            _ => Err("expected reproduce, silence, skip or a length as in skip=2s".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_cut_to_the_length_that_is_said_or_to_two_seconds() {
        let wanted = |text: &str| text.parse::<OutagesWanted>();
        assert_eq!(wanted("skip"), Ok(OutagesWanted::Skip(Duration::from_secs(2))));
        assert_eq!(wanted("skip=250ms"), Ok(OutagesWanted::Skip(Duration::from_millis(250))));
        assert_eq!(wanted("reproduce"), Ok(OutagesWanted::Reproduce));
        assert_eq!(wanted("silence"), Ok(OutagesWanted::Silence));
        for wrong in ["", "skip=", "skip=2", "cut", "silence=1s"] {
            assert!(wanted(wrong).is_err(), "{wrong}");
        }
    }
}
