//! Text from outside on a terminal or in a log: without what steers a terminal, ends a line or turns its direction.
//!
//! Names, topics, close reasons and error texts come from vendors, from files and from requests. What they hold is
//! stored as it is; shown, it is a text and nothing else.

use std::borrow::Cow;
use std::fmt::Write as _;

/// For a cell, or a word in a line: control characters and marks of direction are shown as `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    cleaned(text, |_| false)
}

/// For lines: ends of lines and tabs stay.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    cleaned(text, |c| matches!(c, '\n' | '\t'))
}

fn cleaned(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_plain = |c: char| !steers(c) || stays(c);
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_plain(c) {
            cleaned.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(cleaned, "\\u{{{:x}}}", u32::from(c));
        }
    }
    Cow::Owned(cleaned)
}

/// C0 and C1 controls; ends of lines and paragraphs; marks, embeddings, overrides and isolates of direction.
fn steers(c: char) -> bool {
    let is_direction =
        matches!(c, '\u{200E}' | '\u{200F}' | '\u{61C}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    c.is_control() || is_direction || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_as_a_number() {
        for (text, expected) in [
            ("Büro 3 🦀 \\u", "Büro 3 🦀 \\u"),
            ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("\u{9b}2J\u{7f}\0", "\\u{9b}2J\\u{7f}\\u{0}"),
            ("a\nERROR b\r\tc", "a\\u{a}ERROR b\\u{d}\\u{9}c"),
            ("fdp.\u{202e}exe\u{2066}\u{2028}", "fdp.\\u{202e}exe\\u{2066}\\u{2028}"),
        ] {
            assert_eq!(printable(text), expected);
        }
        assert_eq!(printable_lines("a\n\tb\r\u{1b}"), "a\n\tb\\u{d}\\u{1b}");
        assert!(matches!(printable("plain"), Cow::Borrowed(_)));
    }
}
