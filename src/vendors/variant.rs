//! What vendors' pages leave open, where an emulator may do otherwise than it does by default. Which of the
//! two the real service does nobody outside knows; a client should live with both.

use std::fmt;
use std::str::FromStr;

/// One such choice, by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// A token that is none is answered with HTTP 403, in place of 101 and a close without CONNACK.
    PontosenseToken403,
    /// A subscription to another sensor is answered with SUBACK 0x80, in place of a close.
    PontosenseSuback0x80,
    /// A request's timestamp may be off by any length of time, in place of 300 s.
    PontosenseAnyClock,
    /// A nonce may be used again at once, in place of after 600 s.
    PontosenseAnyNonce,
    /// What Jointech's receiver did not take is pushed again, after 5, 30 and 120 s, in place of never.
    JointechRepush,
    /// In SENSORO's plain events the result stands at the top, in place of in `data`.
    SensoroFlatEvents,
}

/// A name that no variant has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}", Variant::ALL.map(Variant::name).join(", "))]
pub struct NoVariant;

impl Variant {
    pub const ALL: [Self; 6] = [
        Self::PontosenseToken403,
        Self::PontosenseSuback0x80,
        Self::PontosenseAnyClock,
        Self::PontosenseAnyNonce,
        Self::JointechRepush,
        Self::SensoroFlatEvents,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::PontosenseToken403 => "pontosense-token-403",
            Self::PontosenseSuback0x80 => "pontosense-suback-0x80",
            Self::PontosenseAnyClock => "pontosense-any-clock",
            Self::PontosenseAnyNonce => "pontosense-any-nonce",
            Self::JointechRepush => "jointech-repush",
            Self::SensoroFlatEvents => "sensoro-flat-events",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Variant {
    type Err = NoVariant;

    fn from_str(text: &str) -> Result<Self, NoVariant> {
        Self::ALL.into_iter().find(|variant| variant.name() == text).ok_or(NoVariant)
    }
}
