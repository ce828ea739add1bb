//! A walk through a JSON text that finds the declared times where they stand.
//!
//! The text is known to be JSON, so that ends of values are all that is looked for. Depth is that of the
//! plan, whatever the text's is.

use std::borrow::Cow;
use std::ops::Range;

use super::respell::{Written, piece, respell};
use super::{is_json, json};
use crate::decode::plan::{ListPlan, NodeId, Plan, ROOT};
use crate::decode::value::trim;

/// Bytes and what stands there instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) new: String,
}

#[derive(Debug)]
pub(super) struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    shift_us: i64,
    edits: Vec<Edit>,
}

/// What a bracket begins and what ends it.
const OBJECT: (u8, u8) = (b'{', b'}');
const ARRAY: (u8, u8) = (b'[', b']');

impl<'a> Walk<'a> {
    pub(super) fn new(text: &'a [u8], shift_us: i64) -> Self {
        Self { text, at: 0, shift_us, edits: Vec::new() }
    }

    pub(super) fn into_edits(self) -> Vec<Edit> {
        self.edits
    }

    /// Passes the value that is next and notes what is to change in it. None where the text ends too early:
    /// it was not JSON.
    pub(super) fn value(&mut self, plan: &Plan, node: NodeId, inside_string: u8) -> Option<()> {
        match self.peek()? {
            b'"' => {
                let content = self.string()?;
                // Broken characters, or half of a surrogate pair: no time.
                let unescaped = Unescaped::of(self.text.get(content.clone())?, content.start);
                if let Some(unescaped) = unescaped {
                    self.in_text(&unescaped, plan, node, inside_string);
                }
                Some(())
            }
            b'{' => self.object(plan, node),
            b'[' => self.array(plan, node),
            _ => {
                let range = self.token()?;
                if inside_string == 0 {
                    let digits = std::str::from_utf8(self.text.get(range.clone())?).ok()?;
                    let is_number = digits.starts_with(|c: char| c == '-' || c.is_ascii_digit());
                    for leaf in plan.nodes[node].leaves.iter().filter(|_| is_number) {
                        let number = Written::Number(digits);
                        let new = respell(&plan.fields[leaf.slot], number, number, self.shift_us);
                        self.edits.extend(new.iter().flat_map(|new| differences(digits, new, range.start)));
                    }
                }
                Some(())
            }
        }
    }

    fn object(&mut self, plan: &Plan, node: NodeId) -> Option<()> {
        let (children, list) = (&plan.nodes[node].children, list_at(plan, node));
        if children.is_empty() && !list.is_some_and(|list| list.is_struct) {
            return self.skip();
        }
        let mut first = true;
        self.at += 1;
        while self.is_more(&mut first, OBJECT)? {
            let content = self.string()?;
            let key = Unescaped::of(self.text.get(content.clone())?, content.start);
            (self.peek()? == b':').then(|| self.at += 1)?;
            if let Some(list) = list.filter(|list| list.is_struct) {
                if let (Some(leaf), Some(key)) = (list.key, &key) {
                    self.take(&list.plan, leaf.slot, key);
                }
                self.value(&list.plan, ROOT, 0)?;
                continue;
            }
            let child = key.and_then(|key| children.iter().find(|(name, _)| **name == *key.text));
            match child {
                Some((_, child)) => self.value(plan, *child, 0)?,
                None => self.skip()?,
            }
        }
        Some(())
    }

    fn array(&mut self, plan: &Plan, node: NodeId) -> Option<()> {
        let (at, list) = (&plan.nodes[node], list_at(plan, node));
        if !at.has_indices && list.is_none() {
            return self.skip();
        }
        let mut first = true;
        self.at += 1;
        let mut index = 0_usize;
        while self.is_more(&mut first, ARRAY)? {
            let child = at.children.iter().find(|(key, _)| key.parse() == Ok(index)).map(|(_, child)| *child);
            match (list, child) {
                (Some(list), _) => self.value(&list.plan, ROOT, 0)?,
                (None, Some(child)) => self.value(plan, child, 0)?,
                (None, None) => self.skip()?,
            }
            index += 1;
        }
        Some(())
    }

    /// A text: a time, or JSON that holds some.
    fn in_text(&mut self, content: &Unescaped<'_>, plan: &Plan, node: NodeId, inside_string: u8) {
        let at = &plan.nodes[node];
        if inside_string == 0 {
            for leaf in &at.leaves {
                self.take(plan, leaf.slot, content);
            }
        }
        let text = trim(&content.text);
        let is_wanted = at.list.is_some() || !at.children.is_empty();
        if !is_wanted || inside_string == json::STRINGS_DEEP_MAX || !is_json(text.as_bytes()) {
            return;
        }
        let mut walk = Walk::new(text.as_bytes(), self.shift_us);
        if walk.value(plan, node, inside_string + 1).is_some() {
            let start = offset_in(&content.text, text);
            self.edits.extend(walk.edits.into_iter().map(|edit| content.outside(start, edit)));
        }
    }

    /// Notes what is to change in a text that may be a time.
    fn take(&mut self, plan: &Plan, slot: usize, content: &Unescaped<'_>) {
        let field = &plan.fields[slot];
        let Some(piece) = piece(field, &content.text) else { return };
        let (whole, written) = (Written::Text(&content.text), Written::Text(piece));
        let Some(new) = respell(field, whole, written, self.shift_us) else { return };
        let start = offset_in(&content.text, piece);
        self.edits.extend(differences(piece, &new, 0).map(|edit| content.outside(start, edit)));
    }

    /// The content of the text that is a member of the object that the text is; of repeated ones the last.
    pub(super) fn text_of_member(&mut self, name: &str) -> Option<Range<usize>> {
        (self.peek()? == b'{').then(|| self.at += 1)?;
        let (mut first, mut found) = (true, None);
        while self.is_more(&mut first, OBJECT)? {
            let content = self.string()?;
            let key = Unescaped::of(self.text.get(content.clone())?, content.start);
            (self.peek()? == b':').then(|| self.at += 1)?;
            let is_text = self.peek()? == b'"';
            let start = self.at;
            self.skip()?;
            if is_text && key.is_some_and(|key| key.text == name) {
                found = Some(start + 1..self.at - 1);
            }
        }
        found
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while matches!(self.text.get(self.at)?, b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Whether another member or element follows; if not, the closing bracket is passed.
    fn is_more(&mut self, first: &mut bool, (_, close): (u8, u8)) -> Option<bool> {
        let mut next = self.peek()?;
        if next == b',' && !*first {
            self.at += 1;
            next = self.peek()?;
        }
        *first = false;
        let is_end = next == close;
        self.at += usize::from(is_end);
        Some(!is_end)
    }

    /// Passes a string; where its content is.
    fn string(&mut self) -> Option<Range<usize>> {
        (self.peek()? == b'"').then_some(())?;
        let start = self.at + 1;
        let mut at = start;
        loop {
            match self.text.get(at)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Some(start..at)
    }

    /// Passes a number or a word.
    fn token(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        self.at += self.text.get(start..)?.iter().take_while(|byte| is_part(byte)).count();
        (self.at > start).then_some(start..self.at)
    }

    /// Passes the value that is next.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => self.at += 1,
                _ => {
                    self.token()?;
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

fn list_at(plan: &Plan, node: NodeId) -> Option<&ListPlan> {
    plan.lists.get(plan.nodes[node].list?.slot)?.as_ref()
}

/// A string's content, and where each of its bytes stands in the text around it.
struct Unescaped<'a> {
    text: Cow<'a, str>,
    start: usize,
    /// Per byte of the text, and one more for its end; none where nothing is escaped.
    places: Option<Vec<usize>>,
}

impl<'a> Unescaped<'a> {
    /// `start` is where `raw` stands. None if `raw` is no text.
    fn of(raw: &'a [u8], start: usize) -> Option<Self> {
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
    fn outside(&self, part: usize, edit: Edit) -> Edit {
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
fn offset_in(whole: &str, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// The runs of bytes in which two texts of ASCII differ; one, where their lengths do.
fn differences(old: &str, new: &str, start: usize) -> impl Iterator<Item = Edit> {
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

/// The text with all edits made; none if there are none. What two fields would change is changed once.
pub(super) fn edited(text: &[u8], mut edits: Vec<Edit>) -> Option<Vec<u8>> {
    if edits.is_empty() {
        return None;
    }
    edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
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
