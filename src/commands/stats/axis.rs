//! Axes: which numbers stand beside them, and where.

use chrono::{DateTime, Utc};

use super::svg::Px;

/// A stretch of values on a stretch of pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub from: f64,
    pub to: f64,
    pub from_px: Px,
    pub to_px: Px,
}

impl Scale {
    pub(super) fn px(&self, value: f64) -> Px {
        let span = self.to - self.from;
        let share = if span > 0.0 { (value - self.from) / span } else { 0.5 };
        self.from_px + share * (self.to_px - self.from_px)
    }

    /// The same, not beyond the ends.
    pub(super) fn inside(&self, value: f64) -> Px {
        self.px(value.clamp(self.from, self.to))
    }
}

/// Round numbers of which a few cover the stretch, from below its start to above its end.
pub(super) fn ticks(from: f64, to: f64, about: f64) -> Vec<f64> {
    let span = (to - from).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf((span / about).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| span / step <= about);
    let step = step.unwrap_or(span);
    let (first, last) = ((from / step).floor() as i64, (to / step).ceil() as i64);
    (first..=last).map(|n| n as f64 * step).collect()
}

/// What divides a time axis, in seconds.
const STEPS_S: [i64; 20] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400,
    172_800, 604_800,
];

/// Times (microseconds) between two others, at most about so many, with how they are written: the time of day, and the
/// date where it is another one.
pub(super) fn times(from_us: i64, to_us: i64, about: i64) -> Vec<(i64, String)> {
    let span_s = to_us.saturating_sub(from_us) / 1_000_000;
    let step_s = STEPS_S.into_iter().find(|step| span_s / step <= about);
    let step_us = step_s.unwrap_or(span_s / about / 86_400 * 86_400 + 86_400).saturating_mul(1_000_000);
    let first = from_us.div_euclid(step_us) + i64::from(from_us.rem_euclid(step_us) != 0);
    let mut shown = String::new();
    let mut found = Vec::new();
    for number in first..=to_us.div_euclid(step_us) {
        let us = number.saturating_mul(step_us);
        let Some(time) = DateTime::<Utc>::from_timestamp_micros(us) else { continue };
        let date = time.format("%Y-%m-%d").to_string();
        let clock = time.format(if step_us < 60_000_000 { "%H:%M:%S" } else { "%H:%M" }).to_string();
        let text = match (step_us >= 86_400_000_000, shown == date) {
            (true, _) => date.clone(),
            (false, true) => clock,
            (false, false) => format!("{date} {clock}"),
        };
        shown = date;
        found.push((us, text));
    }
    found
}

/// The unit in which lengths of time up to `far_us` are read, and its length.
pub(super) fn unit(far_us: f64) -> (&'static str, f64) {
    match far_us {
        ..2e3 => ("µs", 1.0),
        ..2e6 => ("ms", 1e3),
        ..1.2e8 => ("s", 1e6),
        ..7.2e9 => ("min", 6e7),
        ..1.728e11 => ("h", 3.6e9),
        _ => ("d", 8.64e10),
    }
}

/// The unit in which a rate is read, and its length in seconds.
pub(super) fn rate_unit(hz: f64) -> (&'static str, f64) {
    match hz * 60.0 {
        6.0.. => ("/s", 1.0),
        0.1.. => ("/min", 60.0),
        0.002.. => ("/h", 3_600.0),
        _ => ("/d", 86_400.0),
    }
}

/// With three digits.
pub(super) fn human_rate(hz: f64) -> String {
    let (unit, seconds) = rate_unit(hz);
    let count = hz * seconds;
    match count {
        100.0.. => format!("{count:.0}{unit}"),
        10.0.. => format!("{count:.1}{unit}"),
        _ => format!("{count:.2}{unit}"),
    }
}

/// A number beside an axis whose ticks lie `step` apart.
pub(super) fn label(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.decimals$}");
    // Not `-0`.
    if value == 0.0 { "0".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(0.0, 7.3, 4.0), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks(-1.2, 12.0, 3.0), [-5.0, 0.0, 5.0, 10.0, 15.0]);
        assert_eq!(ticks(0.0, 0.3, 4.0).len(), 4);
        assert_eq!([label(0.25, 0.05), label(-0.0, 1.0), label(1_500.0, 500.0)], ["0.25", "0", "1500"]);
    }

    #[test]
    fn rates_are_read_in_their_own_unit() {
        let rates = [1_234.0, 14.16, 0.25, 0.01, 3.0 / 3_600.0, 2.0 / 86_400.0].map(human_rate);
        assert_eq!(rates, ["1234/s", "14.2/s", "0.25/s", "0.60/min", "3.00/h", "2.00/d"]);
    }

    #[test]
    fn times_are_utc_and_tell_the_day_once() {
        // 2026-11-22T23:50:10Z
        let from_us = 1_795_391_410_000_000;
        let found = times(from_us, from_us + 1_200_000_000, 5);
        let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["2026-11-22 23:55", "2026-11-23 00:00", "00:05", "00:10"]);
        let years = times(0, 3 * 366 * 86_400_000_000, 8);
        assert!(years.len() < 10 && years[0].1 == "1970-01-01", "{years:?}");
        assert_eq!(times(5, 6, 8), []);
    }
}
