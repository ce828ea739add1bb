//! Edits of a text, made where it stands: strings that are escaped, members that go with their comma.

use std::borrow::Cow;
use std::ops::Range;

/// Bytes and what stands there instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) new: String,
}

/// A string's content, and where each of its bytes stands in the text around it.
pub(super) struct Unescaped<'a> {
    pub(super) text: Cow<'a, str>,
    start: usize,
    /// Per byte of the text, and one more for its end; none where nothing is escaped.
    places: Option<Vec<usize>>,
}

impl<'a> Unescaped<'a> {
    /// `start` is where `raw` stands. None if `raw` is no text.
    pub(super) fn of(raw: &'a [u8], start: usize) -> Option<Self> {
        let raw = std::str::from_utf8(raw).ok()?;
        if !raw.contains('\\') {
            return Some(Self { text: raw.into(), start, places: None });
        }
        let (mut text, mut places) = (String::with_capacity(raw.len()), Vec::with_capacity(raw.len()));
        let mut rest = raw;
        while let Some(next) = rest.chars().next() {
            let at = start + raw.len() - rest.len();
            let (character, bytes) = if next == '\\' { unescape(rest)? } else { (next, next.len_utf8()) };
            text.push(character);
            places.resize(text.len(), at);
            rest = &rest[bytes..];
        }
        places.push(start + raw.len());
        Some(Self { text: text.into(), start, places: Some(places) })
    }

    /// Where an edit of the part of the content that begins at `part` is to be made outside.
    pub(super) fn outside(&self, part: usize, edit: Edit) -> Edit {
        let Edit { range, new } = edit;
        let place = |at: usize| match &self.places {
            None => self.start + part + at,
            Some(places) => places[part + at],
        };
        Edit { range: place(range.start)..place(range.end), new }
    }
}

/// The character that an escape stands for, and how long the escape is.
fn unescape(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| u16::from_str_radix(text.get(at..at + 4)?, 16).ok();
    Some(match text.as_bytes().get(1)? {
        b'b' => ('\u{8}', 2),
        b'f' => ('\u{c}', 2),
        b'n' => ('\n', 2),
        b'r' => ('\r', 2),
        b't' => ('\t', 2),
        b'u' => {
            let first = unit(2)?;
            if let Some(character) = char::from_u32(first.into()) {
                return Some((character, 6));
            }
            let second = text.get(6..8).filter(|escape| *escape == "\\u").and_then(|_| unit(8))?;
            (char::decode_utf16([first, second]).next()?.ok()?, 12)
        }
        other => (char::from(*other), 2),
    })
}

/// Where `part`, a piece of `whole`, begins in it.
pub(super) fn offset_in(whole: &str, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

impl Edit {
    /// The same in a text in which this one's begins at `start`.
    pub(super) fn behind(self, start: usize) -> Self {
        Self { range: self.range.start + start..self.range.end + start, new: self.new }
    }
}

/// The runs of bytes in which two texts of ASCII differ; one, where their lengths do.
pub(super) fn differences(old: &str, new: &str, start: usize) -> impl Iterator<Item = Edit> {
    let (old, new_bytes) = (old.as_bytes(), new.as_bytes());
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut tail = 0;
    if old.len() == new_bytes.len() {
        for at in (0..old.len()).filter(|at| old[*at] != new_bytes[*at]) {
            match runs.last_mut() {
                Some(run) if run.end == at => run.end = at + 1,
                _ => runs.push(at..at + 1),
            }
        }
    } else {
        let same = |(a, b): &(&u8, &u8)| a == b;
        let head = old.iter().zip(new_bytes).take_while(same).count();
        let (old_rest, new_rest) = (&old[head..], &new_bytes[head..]);
        tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(same).count();
        runs.push(head..old.len() - tail);
    }
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    runs.into_iter().map(move |run| {
        let end = if run.end == old_end { new_end } else { run.end };
        Edit { new: new[run.start..end].to_owned(), range: start + run.start..start + run.end }
    })
}

/// The text with all edits made; none if there are none. What two fields would change is changed once, by the one that
/// takes more of it.
pub(super) fn edited(text: &[u8], mut edits: Vec<Edit>) -> Option<Vec<u8>> {
    if edits.is_empty() {
        return None;
    }
    edits.sort_by_key(|edit| (edit.range.start, std::cmp::Reverse(edit.range.end)));
    edits.dedup_by(|later, earlier| later.range == earlier.range);
    let grown: usize = edits.iter().map(|edit| edit.new.len()).sum();
    let mut out = Vec::with_capacity(text.len() + grown);
    let mut copied = 0;
    for edit in edits {
        let Some(before) = text.get(copied..edit.range.start) else { continue };
        out.extend_from_slice(before);
        out.extend_from_slice(edit.new.as_bytes());
        copied = edit.range.end;
    }
    out.extend_from_slice(text.get(copied..)?);
    Some(out)
}

/// Which members of an object go, and which comma with each: what is left is JSON.
pub(super) struct Kept {
    /// Behind the bracket.
    start: usize,
    has_kept: bool,
    /// The end of what goes, while nothing before it stays.
    gone_to: Option<usize>,
}

impl Kept {
    pub(super) fn new(start: usize) -> Self {
        Self { start, has_kept: false, gone_to: None }
    }

    /// A member with the comma before it; `start` is where its key begins.
    pub(super) fn member(&mut self, all: Range<usize>, start: usize, stays: bool) -> Option<Edit> {
        let gone = |range| Some(Edit { range, new: String::new() });
        if !stays && self.has_kept {
            return gone(all);
        }
        if !stays {
            self.gone_to = Some(all.end);
            return None;
        }
        self.has_kept = true;
        // With the comma before the first that stays.
        self.gone_to.take().and_then(|_| gone(self.start..start))
    }

    pub(super) fn end(&mut self) -> Option<Edit> {
        self.gone_to.take().map(|end| Edit { range: self.start..end, new: String::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_that_begin_together_the_longer_counts() {
        let edit = |range, new: &str| Edit { range, new: new.to_owned() };
        for edits in [[edit(1..3, "x"), edit(1..6, "y")], [edit(1..6, "y"), edit(1..3, "x")]] {
            assert_eq!(edited(b"abcdefg", edits.into()).unwrap(), b"ayg");
        }
    }
}
