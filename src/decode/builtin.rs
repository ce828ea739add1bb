//! The declarations that are built in.

/// The vendors that have built-in declarations.
pub fn vendors() -> &'static [&'static str] {
    &["damoov", "delicode", "jointech", "pontosense"]
}

/// A vendor's own kinds and their declarations, in the order of its kinds; none for a vendor that
/// has none built in.
pub fn builtin(vendor: &str) -> Option<&'static [(&'static str, &'static str)]> {
    match vendor {
        "damoov" => Some(DAMOOV),
        "delicode" => Some(DELICODE),
        "jointech" => Some(JOINTECH),
        "pontosense" => Some(PONTOSENSE),
        _ => None,
    }
}

/// The declaration of one kind. Unlike [`builtin`] it also knows `other`, where a vendor's
/// undecodable messages still have a device in their channel and a reason in `decode_error`.
pub fn declaration(vendor: &str, kind: &str) -> Option<&'static str> {
    let own = builtin(vendor)?.iter().find(|(name, _)| *name == kind).map(|(_, text)| *text);
    own.or(match (vendor, kind) {
        ("damoov", "other") => Some(include_str!("../../schema/vendors/damoov/other.toml")),
        ("delicode", "other") => Some(include_str!("../../schema/vendors/delicode/other.toml")),
        ("jointech", "other") => Some(include_str!("../../schema/vendors/jointech/other.toml")),
        ("pontosense", "other") => Some(include_str!("../../schema/vendors/pontosense/other.toml")),
        _ => None,
    })
}

const DAMOOV: &[(&str, &str)] =
    &[("device_update", include_str!("../../schema/vendors/damoov/device_update.toml"))];

const DELICODE: &[(&str, &str)] = &[
    ("person_position", include_str!("../../schema/vendors/delicode/person_position.toml")),
    ("person_lost", include_str!("../../schema/vendors/delicode/person_lost.toml")),
    ("demographics", include_str!("../../schema/vendors/delicode/demographics.toml")),
];

const JOINTECH: &[(&str, &str)] = &[
    ("location", include_str!("../../schema/vendors/jointech/location.toml")),
    ("alarm", include_str!("../../schema/vendors/jointech/alarm.toml")),
    ("event", include_str!("../../schema/vendors/jointech/event.toml")),
    ("command_response", include_str!("../../schema/vendors/jointech/command_response.toml")),
    ("sublock", include_str!("../../schema/vendors/jointech/sublock.toml")),
    ("status", include_str!("../../schema/vendors/jointech/status.toml")),
];

const PONTOSENSE: &[(&str, &str)] = &[
    ("location", include_str!("../../schema/vendors/pontosense/location.toml")),
    ("config", include_str!("../../schema/vendors/pontosense/config.toml")),
];
