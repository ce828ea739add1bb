//! What is typed: `NAME[=[SHARE][@PLACE…][:SIZE]]`, separated by commas.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Fault;
use crate::units::parse_duration;

/// Which faults there are, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultSpec {
    /// At most one for each fault.
    pub(super) rules: Vec<Rule>,
    text: String,
}

impl fmt::Display for FaultSpec {
    /// As it was typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where one fault strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) fault: Fault,
    pub(super) share: Option<Share>,
    /// Emission numbers, from 0.
    pub(super) places: BTreeSet<u64>,
    /// Numbers of messages in their sessions.
    pub(super) seqs: BTreeSet<u64>,
    /// In nanoseconds; 0 where the fault has none.
    pub(super) size_ns: u64,
}

/// So many of so many, as in `1/20`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) of: u32,
    pub(super) so_many: u32,
}

/// A text that is no [`FaultSpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAFault {
    #[error("no fault `{0}`; there are {names}, separated by commas", names = Names)]
    Unknown(String),
    #[error("`{0}` is named twice: give all of it at once, as in {0}=1/100@5@9")]
    Twice(Fault),
    #[error(
        "`{fault}={value}`: expected a share of the messages or places among them{size}, as in {example}",
        size = if fault.has_size() { ", and a duration" } else { "" },
        example = fault.example()
    )]
    Value { fault: Fault, value: String },
}

struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        f.write_str(&names.join(", "))
    }
}

const MS: u64 = 1_000_000;

impl Fault {
    /// Which of the messages it strikes unless told, and how much of it there is: nanoseconds.
    fn usual(self) -> (Share, u64) {
        let (so_many, size_ns) = match self {
            Fault::Delay => (50, 250 * MS),
            Fault::Jitter => (1, 20 * MS),
            Fault::Reorder => (20, 100 * MS),
            Fault::Drop | Fault::Duplicate | Fault::Corrupt => (100, 0),
            Fault::Disconnect => (1_000, 0),
        };
        (Share { of: 1, so_many }, size_ns)
    }

    fn has_size(self) -> bool {
        matches!(self, Fault::Delay | Fault::Jitter | Fault::Reorder | Fault::Duplicate)
    }

    fn example(self) -> &'static str {
        match self {
            Fault::Delay => "delay=1/50:250ms or delay=@100@200:2s",
            Fault::Jitter => "jitter=20ms or jitter=1/10:20ms",
            Fault::Reorder => "reorder=1/20:100ms",
            Fault::Drop => "drop=1/1000 or drop=@5@9",
            Fault::Duplicate => "duplicate=1/500 or duplicate=@7:50ms",
            Fault::Corrupt => "corrupt=1/1000 or corrupt=@5",
            Fault::Disconnect => "disconnect=@5000 or disconnect=1/10000",
        }
    }
}

impl FromStr for FaultSpec {
    type Err = NotAFault;

    fn from_str(text: &str) -> Result<Self, NotAFault> {
        let mut spec = Self { text: text.to_owned(), ..Self::default() };
        for item in text.split(',') {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (item.trim(), None),
            };
            let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
            let fault = fault.ok_or_else(|| NotAFault::Unknown(name.to_owned()))?;
            if spec.rules.iter().any(|rule| rule.fault == fault) {
                return Err(NotAFault::Twice(fault));
            }
            let rule = Rule::read(fault, value.unwrap_or_default());
            let wrong = || NotAFault::Value { fault, value: value.unwrap_or_default().to_owned() };
            spec.rules.push(match value {
                Some("") => return Err(wrong()),
                _ => rule.ok_or_else(wrong)?,
            });
        }
        Ok(spec)
    }
}

impl Rule {
    /// Reads what stands behind `=`; an empty text is the usual.
    fn read(fault: Fault, text: &str) -> Option<Self> {
        let (share, size_ns) = fault.usual();
        let mut rule = Self { fault, share: None, places: BTreeSet::new(), seqs: BTreeSet::new(), size_ns };
        let (wher, size) = match text.split_once(':') {
            Some((wher, size)) => (wher, Some(size)),
            // A size alone.
            None if fault.has_size() && parse_duration(text).is_ok() => ("", Some(text)),
            None => (text, None),
        };
        if let Some(size) = size {
            let size =
                parse_duration(size.trim()).ok().filter(|size| fault.has_size() && *size > Duration::ZERO)?;
            rule.size_ns = u64::try_from(size.as_nanos()).ok()?;
        }
        let mut parts = wher.split('@').map(str::trim);
        match parts.next().unwrap_or_default() {
            "" if !wher.contains('@') => rule.share = Some(share),
            "" => {}
            text => rule.share = Some(Share::read(text)?),
        }
        for place in parts {
            match place.strip_prefix("seq") {
                Some(seq) => rule.seqs.insert(seq.parse().ok()?),
                None => rule.places.insert(place.parse().ok()?),
            };
        }
        Some(rule)
    }

    /// Whether it strikes at a place, where chance is a number that is as likely as any other.
    pub(super) fn strikes(&self, chance: u64, index: u64, seq: u64) -> bool {
        self.share.is_some_and(|share| share.falls(chance))
            || self.places.contains(&index)
            || self.seqs.contains(&seq)
    }
}

impl Share {
    fn read(text: &str) -> Option<Self> {
        let (of, so_many) = text.split_once('/')?;
        let share = Self { of: of.trim().parse().ok()?, so_many: so_many.trim().parse().ok()? };
        (0 < share.of && share.of <= share.so_many).then_some(share)
    }

    fn falls(self, chance: u64) -> bool {
        (u128::from(chance) * u128::from(self.so_many)) >> 64 < u128::from(self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> FaultSpec {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_form_is_read() {
        let text = "delay=1/50:250ms, jitter=20ms, drop=1/1000@5@seq9, duplicate=@7:50ms, reorder, corrupt=@0, disconnect=@5000";
        let rules = spec(text).rules;
        let rule = |fault, share: Option<(u32, u32)>, places: &[u64], seqs: &[u64], size_ms: u64| Rule {
            fault,
            share: share.map(|(of, so_many)| Share { of, so_many }),
            places: places.iter().copied().collect(),
            seqs: seqs.iter().copied().collect(),
            size_ns: size_ms * MS,
        };
        let expected = [
            rule(Fault::Delay, Some((1, 50)), &[], &[], 250),
            rule(Fault::Jitter, Some((1, 1)), &[], &[], 20),
            rule(Fault::Drop, Some((1, 1000)), &[5], &[9], 0),
            rule(Fault::Duplicate, None, &[7], &[], 50),
            rule(Fault::Reorder, Some((1, 20)), &[], &[], 100),
            rule(Fault::Corrupt, None, &[0], &[], 0),
            rule(Fault::Disconnect, None, &[5000], &[], 0),
        ];
        assert_eq!(rules, expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_an_example() {
        for (text, expected) in [
            ("", "no fault ``; there are delay, jitter, drop, duplicate, reorder, corrupt, disconnect"),
            ("dorp=1/2", "no fault `dorp`"),
            ("drop,delay,drop", "`drop` is named twice"),
            ("drop=", "`drop=`: expected a share of the messages or places among them, as in drop=1/1000"),
            ("drop=5", "`drop=5`"),
            ("drop=0/5", "`drop=0/5`"),
            ("drop=6/5", "`drop=6/5`"),
            ("drop=1/5:20ms", "`drop=1/5:20ms`"),
            ("drop=@", "`drop=@`"),
            ("drop=@seq", "`drop=@seq`"),
            ("delay=1/5:0ms", "and a duration, as in delay=1/50:250ms"),
            ("delay=1/5:fast", "`delay=1/5:fast`"),
            ("jitter=1.5", "`jitter=1.5`"),
        ] {
            let error = text.parse::<FaultSpec>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_share_of_all_is_all_and_shares_grow() {
        let share = |of, so_many| Share { of, so_many };
        assert!(share(7, 7).falls(0) && share(7, 7).falls(u64::MAX));
        assert!(share(1, u32::MAX).falls(0) && !share(u32::MAX - 1, u32::MAX).falls(u64::MAX));
        let chances = (0..1_000_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let few: Vec<u64> = chances.filter(|chance| share(1, 100).falls(*chance)).collect();
        assert!((5..15).contains(&few.len()), "{}", few.len());
        assert!(few.iter().all(|chance| share(2, 100).falls(*chance)), "who is struck stays struck");
    }
}
