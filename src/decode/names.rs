//! What a column's name may not be, and how it ends.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Columns of every file and of every view, and the folders' names.
pub(super) const ENVELOPE: [&str; 27] = [
    "site",
    "session_id",
    "source",
    "connection",
    "seq",
    "received_at",
    "elapsed_ns",
    "channel",
    "device_id",
    "event_at",
    "qos",
    "retain",
    "dup",
    "is_binary",
    "headers",
    "duplicate_of",
    "payload",
    "clear",
    "decode_error",
    "vendor",
    "kind",
    "date",
    "payload_text",
    "payload_base64",
    "lag_s",
    "row",
    "filename",
];

/// Units, and how the name of a quantity in that unit ends.
pub(super) const UNITS: [(&str, &str); 28] = [
    ("km/h", "kmh"),
    ("m/s", "mps"),
    ("mm", "mm"),
    ("cm", "cm"),
    ("m", "m"),
    ("km", "km"),
    ("m/s²", "mps2"),
    ("°", "deg"),
    ("°C", "c"),
    ("%", "percent"),
    ("Pa", "pa"),
    ("hPa", "hpa"),
    ("V", "v"),
    ("A", "a"),
    ("W", "w"),
    ("lx", "lux"),
    ("mg", "mg"),
    ("mdps", "mdps"),
    ("dB", "db"),
    ("dBm", "dbm"),
    ("Hz", "hz"),
    ("MHz", "mhz"),
    ("ppm", "ppm"),
    ("µg/m³", "ugm3"),
    ("years", "years"),
    ("s", "s"),
    ("ms", "ms"),
    ("B", "bytes"),
];

/// Names that everybody knows without their unit.
pub(super) const WITHOUT_SUFFIX: [(&str, &str); 2] = [("latitude", "°"), ("longitude", "°")];

const KEYWORDS: &str = include_str!("../../schema/sql_keywords.txt");

/// The dialect in which `name` is a keyword.
pub(super) fn keyword_of(name: &str) -> Option<&'static str> {
    DIALECTS.get(name).copied()
}

/// The first dialect of each word: a declaration asks for each of its names, and is read anew for each part that is
/// sealed.
static DIALECTS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    let (mut dialects, mut dialect) = (HashMap::new(), "");
    for line in KEYWORDS.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix('[') {
            Some(heading) => dialect = heading.trim_end_matches(']'),
            None => {
                for word in line.split(' ') {
                    dialects.entry(word).or_insert(dialect);
                }
            }
        }
    }
    dialects
});
