//! The playback clock: one anchor that ties recorded time to steady time, and a rate.
//!
//! Every due time is computed from the anchor, never from the message before, so that no error adds
//! up. Pause, seek and a change of speed set the anchor anew. Integers only: a rate of 1/3 is exact.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// How fast a replay runs: recorded time over real time, as a ratio of two integers in lowest terms. What a
/// user can ask for lies between [`Speed::SLOWEST`] and [`Speed::FASTEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed {
    numerator: NonZeroU32,
    denominator: NonZeroU32,
}

/// A text that is no speed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASpeed {
    #[error("{text:?} is not a speed: expected a number or a ratio of two whole ones, as in 2, 1.5 or 1/4")]
    Unreadable { text: String },
    #[error("{text:?} has more than {DECIMALS_MAX} decimals: a ratio says it exactly, as in 1/3")]
    TooFine { text: String },
    #[error("{text:?} is out of bounds: expected a speed from {} to {}", Speed::SLOWEST, Speed::FASTEST)]
    OutOfBounds { text: String },
}

/// A millionth of a speed is a second in eleven days.
const DECIMALS_MAX: usize = 6;

impl Speed {
    /// For show: what is played keeps to the exact ratio.
    pub fn as_f64(self) -> f64 {
        f64::from(self.numerator.get()) / f64::from(self.denominator.get())
    }

    /// The recording's own speed.
    pub const ORIGINAL: Self = Self { numerator: NonZeroU32::MIN, denominator: NonZeroU32::MIN };
    pub const SLOWEST: Self = Self { denominator: NonZeroU32::new(100).unwrap(), ..Self::ORIGINAL };
    pub const FASTEST: Self = Self { numerator: NonZeroU32::new(1_000).unwrap(), ..Self::ORIGINAL };

    /// `numerator / denominator` in lowest terms; none where that is no speed.
    fn ratio(numerator: u64, denominator: u64) -> Option<Self> {
        let (mut divisor, mut rest) = (numerator, denominator);
        while rest > 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        let lowest = |term: u64| NonZeroU32::new(u32::try_from(term.checked_div(divisor)?).ok()?);
        Some(Self { numerator: lowest(numerator)?, denominator: lowest(denominator)? })
    }

    fn is_within_bounds(self) -> bool {
        let (numerator, denominator) = (u64::from(self.numerator.get()), u64::from(self.denominator.get()));
        numerator * u64::from(Self::SLOWEST.denominator.get()) >= denominator
            && numerator <= denominator * u64::from(Self::FASTEST.numerator.get())
    }
}

/// The speeds that are gone through by [`Speed::faster`] and [`Speed::slower`].
const LADDER: [(u32, u32); 18] = [
    (1, 100),
    (1, 64),
    (1, 32),
    (1, 16),
    (1, 8),
    (1, 4),
    (1, 2),
    (1, 1),
    (2, 1),
    (4, 1),
    (8, 1),
    (16, 1),
    (32, 1),
    (64, 1),
    (128, 1),
    (256, 1),
    (512, 1),
    (1_000, 1),
];

impl Speed {
    /// The next whole step up: twice as fast, mostly.
    pub fn faster(self) -> Self {
        let above = LADDER.iter().find(|(n, d)| self.products(*n, *d).0 < self.products(*n, *d).1);
        above.map_or(self, |rung| Self::of(*rung))
    }

    /// The next whole step down.
    pub fn slower(self) -> Self {
        let below = LADDER.iter().rev().find(|(n, d)| self.products(*n, *d).0 > self.products(*n, *d).1);
        below.map_or(self, |rung| Self::of(*rung))
    }

    /// This and `n/d` over one denominator.
    fn products(self, n: u32, d: u32) -> (u64, u64) {
        let (own_n, own_d) = (u64::from(self.numerator.get()), u64::from(self.denominator.get()));
        (own_n * u64::from(d), u64::from(n) * own_d)
    }

    fn of((n, d): (u32, u32)) -> Self {
        let whole = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self { numerator: whole(n), denominator: whole(d) }
    }
}

impl Default for Speed {
    fn default() -> Self {
        Self::ORIGINAL
    }
}

impl FromStr for Speed {
    type Err = NotASpeed;

    fn from_str(text: &str) -> Result<Self, NotASpeed> {
        let unreadable = || NotASpeed::Unreadable { text: text.to_owned() };
        let out_of_bounds = || NotASpeed::OutOfBounds { text: text.to_owned() };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let whole = |part: &str| match digits(part) {
            true => part.parse::<u64>().map_err(|_| out_of_bounds()),
            false => Err(unreadable()),
        };
        let (numerator, denominator) = match (text.split_once('/'), text.split_once('.')) {
            (Some((numerator, denominator)), _) => (whole(numerator.trim())?, whole(denominator.trim())?),
            (None, Some((units, decimals))) if digits(units) && digits(decimals) => {
                let decimals = decimals.trim_end_matches('0');
                if decimals.len() > DECIMALS_MAX {
                    return Err(NotASpeed::TooFine { text: text.to_owned() });
                }
                (whole(&format!("{units}{decimals}"))?, 10u64.pow(decimals.len() as u32))
            }
            (None, _) => (whole(text)?, 1),
        };
        let speed = Self::ratio(numerator, denominator).ok_or_else(out_of_bounds)?;
        if speed.is_within_bounds() { Ok(speed) } else { Err(out_of_bounds()) }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denominator.get() {
            1 => write!(f, "{}", self.numerator),
            denominator => write!(f, "{}/{denominator}", self.numerator),
        }
    }
}

/// Maps recorded time to steady time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaybackClock {
    recorded_ns: u64,
    steady_ns: u64,
    speed: Speed,
}

impl PlaybackClock {
    /// A clock that shows `recorded_ns` at the steady time `steady_ns`.
    pub fn new(recorded_ns: u64, steady_ns: u64, speed: Speed) -> Self {
        Self { recorded_ns, steady_ns, speed }
    }

    /// The same clock at another speed from the steady time `now_ns` on; what it shows then does not jump.
    pub fn at_speed(&self, now_ns: u64, speed: Speed) -> Self {
        Self { recorded_ns: self.recorded_ns(now_ns), steady_ns: self.steady_ns.max(now_ns), speed }
    }

    /// The steady time at which what was recorded at `recorded_ns` is due. Rounded up, so that
    /// nothing is early; what lies before the anchor is due at the anchor; a time that a `u64`
    /// cannot hold (centuries) is due at its end.
    pub fn due_ns(&self, recorded_ns: u64) -> u64 {
        let ahead_ns = u128::from(recorded_ns.saturating_sub(self.recorded_ns));
        let real_ns = (ahead_ns * u128::from(self.speed.denominator.get()))
            .div_ceil(u128::from(self.speed.numerator.get()));
        u64::try_from(real_ns).map_or(u64::MAX, |real_ns| self.steady_ns.saturating_add(real_ns))
    }

    /// The recorded time that is shown at the steady time `steady_ns`.
    pub fn recorded_ns(&self, steady_ns: u64) -> u64 {
        let gone_ns = u128::from(steady_ns.saturating_sub(self.steady_ns));
        let recorded_ns =
            gone_ns * u128::from(self.speed.numerator.get()) / u128::from(self.speed.denominator.get());
        u64::try_from(recorded_ns).map_or(u64::MAX, |ns| self.recorded_ns.saturating_add(ns))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn speed(text: &str) -> Speed {
        text.parse().unwrap()
    }

    fn ratio(numerator: u32, denominator: u32) -> Speed {
        Speed::ratio(numerator.into(), denominator.into()).unwrap()
    }

    #[test]
    fn speeds_are_read_and_written_as_ratios() {
        for text in ["1", "2", "1000", "1/4", "3/2", "1/100"] {
            assert_eq!(speed(text).to_string(), text);
        }
        for (text, read) in [
            ("1.5", "3/2"),
            ("0.25", "1/4"),
            ("0.01", "1/100"),
            ("2.0", "2"),
            ("1.000001", "1000001/1000000"),
            ("999.9999990", "999999999/1000000"),
            ("10/4", "5/2"),
            ("0.1000000000000000000000", "1/10"),
        ] {
            assert_eq!(speed(text).to_string(), read, "{text}");
        }
        for (text, expected) in [
            ("", "expected a number"),
            ("-1", "expected a number"),
            (".5", "expected a number"),
            ("1.", "expected a number"),
            ("1.5/2", "expected a number"),
            ("1/2/3", "expected a number"),
            ("1e3", "expected a number"),
            ("0.0000001", "more than 6 decimals"),
            ("0", "from 1/100 to 1000"),
            ("1/0", "from 1/100 to 1000"),
            ("0/1", "from 1/100 to 1000"),
            ("1/101", "from 1/100 to 1000"),
            ("0.009999", "from 1/100 to 1000"),
            ("1001", "from 1/100 to 1000"),
            ("1000.000001", "from 1/100 to 1000"),
            ("4294967296", "from 1/100 to 1000"),
            ("18446744073709551616", "from 1/100 to 1000"),
        ] {
            let error = text.parse::<Speed>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn speeds_go_up_and_down_a_ladder_from_wherever_they_are() {
        for (from, up, down) in [
            ("1", "2", "1/2"),
            ("3", "4", "2"),
            ("2/4", "1", "1/4"),
            ("1/3", "1/2", "1/4"),
            ("1/64", "1/32", "1/100"),
            ("1/100", "1/64", "1/100"),
            ("512", "1000", "256"),
            ("1000", "1000", "512"),
            ("999", "1000", "512"),
        ] {
            let from = speed(from);
            assert_eq!((from.faster(), from.slower()), (speed(up), speed(down)), "{from}");
        }
    }

    #[test]
    fn a_change_of_speed_keeps_what_is_shown() {
        let clock = PlaybackClock::new(100, 5_000, speed("2")).at_speed(5_050, speed("1/2"));
        assert_eq!((clock.recorded_ns(5_050), clock.recorded_ns(5_150)), (200, 250));
        // One that has not begun to run begins when it would have.
        let clock = PlaybackClock::new(100, 5_000, speed("2")).at_speed(4_000, speed("1"));
        assert_eq!((clock.recorded_ns(5_000), clock.due_ns(130)), (100, 5_030));
    }

    #[test]
    fn due_times_scale_by_the_speed() {
        let at = |text, recorded_ns| PlaybackClock::new(100, 5_000, speed(text)).due_ns(recorded_ns);
        assert_eq!(at("1", 100), 5_000);
        assert_eq!(at("1", 350), 5_250);
        assert_eq!(at("2", 300), 5_100);
        assert_eq!(at("1/4", 200), 5_400);
        assert_eq!(at("3", 110), 5_004, "rounded up: a message is never early");
        assert_eq!(at("1", 40), 5_000, "what precedes the anchor is due at once");
        assert_eq!(PlaybackClock::new(100, 5_000, ratio(1, u32::MAX)).due_ns(u64::MAX), u64::MAX);
    }

    proptest! {
        /// A thousand years at any speed: the error of a due time is below one nanosecond and does
        /// not depend on how many messages came before.
        #[test]
        fn no_error_adds_up(
            recorded_ns in 0..30_000_000_000_000_000u64,
            numerator in 1..10_000u32,
            denominator in 1..600u32,
        ) {
            let clock = PlaybackClock::new(0, 0, ratio(numerator, denominator));
            let due_ns = clock.due_ns(recorded_ns);
            let exact = u128::from(recorded_ns) * u128::from(denominator);
            let shown = u128::from(due_ns) * u128::from(numerator);
            prop_assert!(shown >= exact && shown < exact + u128::from(numerator));
        }

        #[test]
        fn order_is_kept(a in any::<u64>(), b in any::<u64>(), numerator in 1..u32::MAX, denominator in 1..u32::MAX) {
            let clock = PlaybackClock::new(7, 9, ratio(numerator, denominator));
            prop_assert!(clock.due_ns(a.min(b)) <= clock.due_ns(a.max(b)));
        }

        #[test]
        fn the_time_shown_at_a_due_time_is_the_recorded_one(
            recorded_ns in 1_000..1_000_000_000_000_000u64,
            denominator in 1..600u32,
        ) {
            // At a whole number of real nanoseconds for each recorded one, the two are inverse.
            let clock = PlaybackClock::new(1_000, 77, ratio(1, denominator));
            prop_assert_eq!(clock.recorded_ns(clock.due_ns(recorded_ns)), recorded_ns);
        }
    }
}
