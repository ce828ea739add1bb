//! What a session and its clips are called that come out of a file: a name that can be asked for, whatever the file says.

use crate::archive::{Archive, ArchiveError};
use crate::message::{SessionHeader, SessionId};
use crate::printable::printable;

/// Names a session as is `wanted`, or else as the file does, so that it can be asked for and hides no other. Answers with
/// what the file calls it, where that is not its name now.
pub(super) fn name_session(
    archive: &Archive,
    header: &mut SessionHeader,
    wanted: Option<&str>,
) -> Result<Option<String>, ArchiveError> {
    let mut name = wanted.map_or_else(|| plain_name(&header.name), str::to_owned);
    if wanted.is_none() && archive.is_as_an_id(&name)? {
        name.push_str(IMPORTED);
    }
    let called = std::mem::replace(&mut header.name, name);
    let is_cleaned = wanted.is_none() && called != header.name;
    Ok(is_cleaned.then(|| called.chars().take(NAME_CHARS_MAX).collect()))
}

/// Behind a name that means something else.
const IMPORTED: &str = "-imported";

/// Longer ones are no names.
const NAME_CHARS_MAX: usize = 128;

/// A name that can be typed, shown, and told from a path, from an id and from `latest`.
pub(super) fn plain_name(name: &str) -> String {
    let is_plain =
        |c: char| printable(c.encode_utf8(&mut [0; 4])).len() == c.len_utf8() && !matches!(c, '/' | '\\');
    let name = name.chars().take(NAME_CHARS_MAX).map(|c| if is_plain(c) { c } else { '_' });
    let name: String = name.collect();
    let name = match name.trim() {
        "" => "imported".to_owned(),
        hidden if hidden.starts_with('.') => format!("_{hidden}"),
        plain => plain.to_owned(),
    };
    // Each is another way to say which session is meant.
    let means_another = name == "latest" || name.ends_with(".reel") || name.parse::<SessionId>().is_ok();
    if means_another { name + IMPORTED } else { name }
}
