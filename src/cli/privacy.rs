//! What `export` is asked to hide.

use std::path::PathBuf;

use clap::Args;

use crate::exchange::pseudonymize::{PlaceShift, TimeShift, Turn};
use crate::secret::Secret;
use crate::units::parse_duration;

/// What is not to be seen in what leaves the archive.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Privacy")]
pub struct Privacy {
    /// Replace identifiers, by the roles of the declarations, in columns, payloads, channels and settings: the same by
    /// the same, under this key. env:NAME or file:PATH keep it out of the list of processes. Words that people write
    /// are replaced too; what no declaration names, or cannot be decoded, is left out and counted; encrypted content
    /// is written in clear. Names of sources, webhooks' paths and topic filters stay as configured, but for numbers and
    /// keys in them
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub pseudonymize: Option<PrivacyKey>,
    /// Move all times by this: -37d, +3h; or `key`: whole weeks back that the key gives
    #[arg(long, value_name = "D", value_parser = time_shift, allow_hyphen_values = true, requires = "pseudonymize")]
    pub shift_time: Option<TimeShift>,
    /// Turn longitudes by so many degrees to the east, or `key`: by what the key gives. Latitudes, distances and
    /// directions stay; cells and addresses are replaced; positions within a room stay
    #[arg(long, value_name = "DEGREES", value_parser = place_shift, allow_hyphen_values = true, requires = "pseudonymize")]
    pub shift_place: Option<PlaceShift>,
    /// Keep the words that people write, but for numbers and keys in them: descriptions, names of zones, answers to
    /// commands
    #[arg(long, requires = "pseudonymize")]
    pub keep_text: bool,
}

/// Where the key of pseudonyms is.
#[derive(Clone, Debug)]
pub enum PrivacyKey {
    Given(Secret),
    Env(String),
    File(PathBuf),
}

fn key(text: &str) -> Result<PrivacyKey, &'static str> {
    match (text.strip_prefix("env:"), text.strip_prefix("file:")) {
        (Some(name), _) if !name.is_empty() => Ok(PrivacyKey::Env(name.to_owned())),
        (_, Some(path)) if !path.is_empty() => Ok(PrivacyKey::File(path.into())),
        (None, None) if !text.is_empty() => Ok(PrivacyKey::Given(Secret::new(text))),
        _ => Err("a key is needed: a text, env:NAME or file:PATH"),
    }
}

fn time_shift(text: &str) -> Result<TimeShift, &'static str> {
    const EXPECTED: &str = "expected a duration with its sign, as in `-37d`, or `key`";
    if text == "key" {
        return Ok(TimeShift::OfKey);
    }
    let (sign, rest) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
        (Some(rest), _) => (-1, rest),
        (_, Some(rest)) => (1, rest),
        _ => return Err(EXPECTED),
    };
    let us = parse_duration(rest).map_err(|_| EXPECTED)?.as_micros();
    i64::try_from(us).map(|us| TimeShift::By(sign * us)).map_err(|_| EXPECTED)
}

fn place_shift(text: &str) -> Result<PlaceShift, &'static str> {
    match text {
        "key" => Ok(PlaceShift::OfKey),
        _ => Turn::parse(text).map(PlaceShift::By).ok_or("expected degrees from -360 to 360, or `key`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown_and_never_empty() {
        assert!(!format!("{:?}", key("s3cret").unwrap()).contains("s3cret"));
        assert!(matches!(key("env:NAME"), Ok(PrivacyKey::Env(name)) if name == "NAME"));
        assert!(matches!(key("file:k.txt"), Ok(PrivacyKey::File(path)) if path.ends_with("k.txt")));
        assert!(["", "env:", "file:"].into_iter().all(|text| key(text).is_err()));
    }

    #[test]
    fn shifts_have_a_sign() {
        assert_eq!(time_shift("-37d"), Ok(TimeShift::By(-37 * 86_400_000_000)));
        assert_eq!(time_shift("+1h30m"), Ok(TimeShift::By(5_400_000_000)));
        assert_eq!(time_shift("key"), Ok(TimeShift::OfKey));
        assert!(["37d", "-", "", "-37", "keys"].into_iter().all(|text| time_shift(text).is_err()));
        assert_eq!(place_shift("-12.5"), Ok(PlaceShift::By(Turn::parse("-12.5").unwrap())));
        assert!(["", "400", "north"].into_iter().all(|text| place_shift(text).is_err()));
    }
}
