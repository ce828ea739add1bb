//! Turning places around the axis of the earth.
//!
//! A constant is added to each longitude. That alone is a motion of the whole sphere which leaves north in the north:
//! all distances, directions, speeds and the shapes of tracks stay as they are, and so do latitudes. What is turned
//! is no longer where it was; but whoever knows the shape of a track, or how far from the equator it was, may find it.

/// Of a degree: as fine as positions are given.
const DECIMALS: usize = 7;
const UNIT: i128 = 10_i128.pow(DECIMALS as u32);
const CIRCLE: i128 = 360 * UNIT;

/// No number of a place has more.
const DIGITS_MAX: usize = 30;

/// By how much longitudes are turned to the east.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// In 10⁻⁷ degrees.
    units: i128,
}

impl Turn {
    /// `12.5` or `-120`, degrees to the east.
    pub fn parse(text: &str) -> Option<Self> {
        let (units, decimals) = decimal(text)?;
        let units =
            units.checked_mul(10_i128.checked_pow(u32::try_from(DECIMALS.checked_sub(decimals)?).ok()?)?)?;
        (units.abs() <= CIRCLE).then_some(Self { units })
    }

    /// Some whole degrees from 20 to 340, by what a key gives.
    pub(super) fn of(bytes: [u8; 32]) -> Self {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[..8]);
        Self { units: (20 + i128::from(u64::from_be_bytes(word)) % 321) * UNIT }
    }

    /// A longitude with as many decimals as before, more only if the turn needs them; none if it is no number.
    pub(super) fn longitude(self, text: &str) -> Option<String> {
        let (value, decimals) = decimal(text)?;
        let mut shift = self.units;
        let mut shift_decimals = DECIMALS;
        while shift_decimals > decimals && shift % 10 == 0 {
            (shift, shift_decimals) = (shift / 10, shift_decimals - 1);
        }
        let places = decimals.max(shift_decimals);
        let scaled = |value: i128, has: usize| {
            value.checked_mul(10_i128.checked_pow(u32::try_from(places - has).ok()?)?)
        };
        let one = 10_i128.checked_pow(u32::try_from(places).ok()?)?;
        let (circle, half) = (one.checked_mul(360)?, one.checked_mul(180)?);
        let value = scaled(value, decimals)?;
        // What is no longitude is no place.
        (value.abs() <= half).then_some(())?;
        let turned = (value + scaled(shift, shift_decimals)? + half).rem_euclid(circle) - half;
        let sign = if turned < 0 { "-" } else { "" };
        let digits = format!("{:0width$}", turned.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let point = if places > 0 { "." } else { "" };
        Some(format!("{sign}{whole}{point}{fraction}"))
    }
}

/// A decimal number as an integer and how many of its digits are decimals.
fn decimal(text: &str) -> Option<(i128, usize)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || whole.len() + fraction.len() > DIGITS_MAX
        || !is_digits(whole)
        || !is_digits(fraction)
    {
        return None;
    }
    Some((sign * format!("{whole}{fraction}").parse::<i128>().ok()?, fraction.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longitudes_keep_their_decimals_and_come_round() {
        let turned = |turn: &str, text: &str| Turn::parse(turn).unwrap().longitude(text);
        for (turn, old, new) in [
            ("100", "114.057868", "-145.942132"),
            ("-30", "-74.006", "-104.006"),
            ("-30", "24.90", "-5.10"),
            ("180", "0.0", "-180.0"),
            ("12.5", "7", "19.5"),
            ("12.50", "7.25", "19.75"),
            ("200", "160", "0"),
            ("10", "-10.000", "0.000"),
            ("5", "-5.04", "-0.04"),
        ] {
            assert_eq!(turned(turn, old).as_deref(), Some(new), "{old} by {turn}");
        }
        for other in ["", "east", "181", "1e2", ".5", "NaN"] {
            assert_eq!(turned("10", other), None, "{other}");
        }
    }

    #[test]
    fn distances_between_longitudes_stay() {
        let turn = Turn::of([7; 32]);
        let at = |text: &str| turn.longitude(text).unwrap().parse::<f64>().unwrap();
        let apart = (at("24.940312") - at("24.940301")).rem_euclid(360.0);
        assert!((apart - 0.000011).abs() < 1e-9, "{apart}");
        for bytes in [[0; 32], [255; 32], [9; 32]] {
            assert!((20 * UNIT..=340 * UNIT).contains(&Turn::of(bytes).units));
        }
    }
}
