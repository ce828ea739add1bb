//! What a session and its clips are called that come out of a file: a name that can be asked for, whatever the file says.

use crate::message::SessionHeader;
use crate::printable::printable;

/// Names a session as is `wanted`, or else as the file does, so that it can be asked for. Answers with what the file
/// calls it, where that is not its name now.
pub(super) fn name_session(header: &mut SessionHeader, wanted: Option<&str>) -> Option<String> {
    let name = wanted.map_or_else(|| plain_name(&header.name), str::to_owned);
    let called = std::mem::replace(&mut header.name, name);
    let is_cleaned = wanted.is_none() && called != header.name;
    is_cleaned.then(|| called.chars().take(NAME_CHARS_MAX).collect())
}

/// Longer ones are no names.
const NAME_CHARS_MAX: usize = 128;

/// A name that can be typed, shown, and told from a path and from `latest`.
pub(super) fn plain_name(name: &str) -> String {
    let is_plain =
        |c: char| printable(c.encode_utf8(&mut [0; 4])).len() == c.len_utf8() && !matches!(c, '/' | '\\');
    let name = name.chars().take(NAME_CHARS_MAX).map(|c| if is_plain(c) { c } else { '_' });
    let name: String = name.collect();
    match name.trim() {
        "" => "imported".to_owned(),
        "latest" => "latest-imported".to_owned(),
        hidden if hidden.starts_with('.') => format!("_{hidden}"),
        plain => plain.to_owned(),
    }
}
