//! What is typed: `NAME[=WHERE]`, separated by commas.

use std::fmt;
use std::str::FromStr;

use rand::RngExt;
use rand_pcg::Pcg64;

/// Which misbehaviour there is, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// Of the connections, these are refused.
    pub refuse: Option<Share>,
    /// After about so many messages, a connection falls silent, and a little later breaks.
    pub stall: Option<u64>,
    /// After about so many messages, a connection breaks.
    pub close: Option<u64>,
    /// Before so many of the messages comes noise.
    pub garbage: Option<Share>,
    /// After about so many messages, a client's token has expired.
    pub expired_token: Option<u64>,
    /// What clients send is read at so many bytes per second.
    pub slow_reader: Option<u32>,
    /// After about so many messages, a connection breaks in the middle of one.
    pub half_packet: Option<u64>,
}

/// So many of so many, as in `1/20`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub of: u32,
    pub so_many: u32,
}

impl Share {
    pub(super) fn falls(self, rng: &mut Pcg64) -> bool {
        rng.random_range(0..self.so_many) < self.of
    }
}

/// A text that is no [`Spec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASpec {
    #[error(
        "no misbehaviour `{0}`; there are refuse, stall, close, garbage, expired-token, slow-reader and \
         half-packet, separated by commas"
    )]
    Unknown(String),
    #[error("`{0}` is named twice")]
    Twice(&'static str),
    #[error("`{name}={value}`: expected a share, as in {name}=1/20")]
    Share { name: &'static str, value: String },
    #[error("`{name}={value}`: expected after how many messages, as in {name}=200")]
    Place { name: &'static str, value: String },
    #[error("`slow-reader={0}`: expected bytes per second, at least 10, as in slow-reader=256")]
    Speed(String),
}

const CLOSE_AFTER: u64 = 200;
const STALL_AFTER: u64 = 200;
const HALF_PACKET_AFTER: u64 = 200;
const EXPIRED_AFTER: u64 = 500;
const REFUSED: Share = Share { of: 1, so_many: 4 };
const GARBAGE: Share = Share { of: 1, so_many: 100 };
const READ_BYTES_PER_S: u32 = 256;

impl FromStr for Spec {
    type Err = NotASpec;

    fn from_str(text: &str) -> Result<Self, NotASpec> {
        let mut spec = Self::default();
        for item in text.split(',') {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (item.trim(), None),
            };
            match name {
                "refuse" => set("refuse", &mut spec.refuse, share("refuse", value, REFUSED)?)?,
                "garbage" => set("garbage", &mut spec.garbage, share("garbage", value, GARBAGE)?)?,
                "stall" => set("stall", &mut spec.stall, place("stall", value, STALL_AFTER)?)?,
                "close" => set("close", &mut spec.close, place("close", value, CLOSE_AFTER)?)?,
                "half-packet" => {
                    let after = place("half-packet", value, HALF_PACKET_AFTER)?;
                    set("half-packet", &mut spec.half_packet, after)?;
                }
                "expired-token" => {
                    let after = place("expired-token", value, EXPIRED_AFTER)?;
                    set("expired-token", &mut spec.expired_token, after)?;
                }
                "slow-reader" => set("slow-reader", &mut spec.slow_reader, speed(value)?)?,
                unknown => return Err(NotASpec::Unknown(unknown.to_owned())),
            }
        }
        Ok(spec)
    }
}

fn set<T>(name: &'static str, member: &mut Option<T>, value: T) -> Result<(), NotASpec> {
    match member.replace(value) {
        None => Ok(()),
        Some(_) => Err(NotASpec::Twice(name)),
    }
}

fn share(name: &'static str, value: Option<&str>, usual: Share) -> Result<Share, NotASpec> {
    let Some(value) = value else { return Ok(usual) };
    let read = || {
        let (of, so_many) = value.split_once('/').unwrap_or((value, "1"));
        let share = Share { of: of.parse().ok()?, so_many: so_many.parse().ok()? };
        (0 < share.of && share.of <= share.so_many).then_some(share)
    };
    read().ok_or_else(|| NotASpec::Share { name, value: value.to_owned() })
}

fn place(name: &'static str, value: Option<&str>, usual: u64) -> Result<u64, NotASpec> {
    let Some(value) = value else { return Ok(usual) };
    let read = value.parse().ok().filter(|after| (1..=1_000_000_000_000).contains(after));
    read.ok_or_else(|| NotASpec::Place { name, value: value.to_owned() })
}

fn speed(value: Option<&str>) -> Result<u32, NotASpec> {
    let Some(value) = value else { return Ok(READ_BYTES_PER_S) };
    let read = value.parse().ok().filter(|bytes| *bytes >= 10);
    read.ok_or_else(|| NotASpec::Speed(value.to_owned()))
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares = [("refuse", self.refuse), ("garbage", self.garbage)];
        let places = [
            ("stall", self.stall),
            ("close", self.close),
            ("half-packet", self.half_packet),
            ("expired-token", self.expired_token),
            ("slow-reader", self.slow_reader.map(u64::from)),
        ];
        let shares = shares
            .into_iter()
            .filter_map(|(name, share)| share.map(|Share { of, so_many }| format!("{name}={of}/{so_many}")));
        let places = places.into_iter().filter_map(|(name, at)| at.map(|at| format!("{name}={at}")));
        f.write_str(&shares.chain(places).collect::<Vec<_>>().join(","))
    }
}
