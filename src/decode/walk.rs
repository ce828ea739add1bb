//! A walk through a JSON text that finds the declared values where they stand.
//!
//! What becomes of them says a [`Visit`]: moving times changes a few of them and lets the rest be, hiding leaves
//! nothing that no declaration names. Either way nothing is parsed and printed: what is not edited is copied, blanks,
//! escapes and order included.
//!
//! The text is known to be JSON, so that ends of values are all that is looked for. Depth is that of the
//! plan, whatever the text's is.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::IgnoredAny;

use super::declaration::Field;
use super::json::STRINGS_DEEP_MAX;
use super::plan::{Leaf, ListPlan, NodeId, Plan, ROOT};
use super::value::{Scalar, trim};

/// Bytes and what stands there instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) new: String,
}

/// What stands at a declared place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Written<'a> {
    /// A JSON number as it is spelled.
    Number(&'a str),
    /// The content of a text, or a piece of it.
    Text(&'a str),
}

impl<'a> Written<'a> {
    pub(super) fn scalar(self) -> Option<Scalar<'a>> {
        match self {
            Written::Text(text) => Some(Scalar::Text(text)),
            Written::Number(digits) => match (digits.parse(), digits.parse()) {
                (Ok(int), _) => Some(Scalar::Int(int)),
                (_, Ok(unsigned)) => Some(Scalar::Unsigned(unsigned)),
                _ => digits.parse().ok().map(Scalar::Double),
            },
        }
    }
}

/// What becomes of a declared value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// Edits of what is written; new text is plain ASCII without quotes, and a number where a number stood.
    Edits(Vec<Edit>),
    /// It is to be no value.
    Goes,
}

/// Whoever walks.
pub(super) trait Visit {
    /// A value at a place of these fields.
    fn declared(&mut self, fields: &mut dyn Iterator<Item = &Field>, written: Written<'_>) -> Fate;

    /// A key of a map whose elements are declared; the field is the member that takes it, if one does.
    fn key(&mut self, field: Option<&Field>, key: &str) -> Fate;

    /// Whether what nobody declared goes: members, and what is not of the shape that is declared.
    fn is_strict(&self) -> bool {
        false
    }

    /// Whether an object or a list stays whole that a field takes as its JSON.
    fn keeps_json(&mut self, _: &Field) -> bool {
        true
    }

    /// Something went that nobody declared.
    fn dropped(&mut self) {}
}

pub(super) struct Walk<'a, 'v> {
    text: &'a [u8],
    at: usize,
    visit: &'v mut dyn Visit,
    edits: Vec<Edit>,
}

/// What a bracket begins and what ends it.
const OBJECT: (u8, u8) = (b'{', b'}');
const ARRAY: (u8, u8) = (b'[', b']');

impl<'a, 'v> Walk<'a, 'v> {
    pub(super) fn new(text: &'a [u8], visit: &'v mut dyn Visit) -> Self {
        Self { text, at: 0, visit, edits: Vec::new() }
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
                // Broken characters, or half of a surrogate pair: nothing that a column takes.
                let unescaped = Unescaped::of(self.text.get(content.clone())?, content.start);
                let is_known = match &unescaped {
                    Some(unescaped) => self.in_text(unescaped, plan, node, inside_string),
                    None => false,
                };
                if !is_known && self.visit.is_strict() {
                    self.erase(content.start - 1..content.end + 1);
                }
                Some(())
            }
            b'{' => self.object(plan, node),
            b'[' => self.array(plan, node),
            _ => {
                let range = self.token()?;
                let digits = std::str::from_utf8(self.text.get(range.clone())?).ok()?;
                if !digits.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
                    return Some(());
                }
                let leaves = &plan.nodes[node].leaves;
                if inside_string > 0 || leaves.is_empty() {
                    if self.visit.is_strict() {
                        self.erase(range);
                    }
                    return Some(());
                }
                match self.visit.declared(&mut fields(plan, leaves), Written::Number(digits)) {
                    Fate::Stays => {}
                    Fate::Edits(edits) => {
                        self.edits.extend(edits.into_iter().map(|edit| edit.behind(range.start)));
                    }
                    Fate::Goes => self.erase(range),
                }
                Some(())
            }
        }
    }

    fn object(&mut self, plan: &Plan, node: NodeId) -> Option<()> {
        let (children, list) = (&plan.nodes[node].children, list_at(plan, node));
        let list = list.filter(|list| list.is_struct);
        if children.is_empty() && list.is_none() {
            return self.whole(plan, node);
        }
        let mut first = true;
        self.at += 1;
        let mut kept = Kept::new(self.at);
        loop {
            let before = self.at;
            if !self.is_more(&mut first, OBJECT)? {
                self.edits.extend(kept.end());
                return Some(());
            }
            // Behind the comma, if there is one.
            let start = self.at;
            let content = self.string()?;
            let key = Unescaped::of(self.text.get(content.clone())?, content.start);
            (self.peek()? == b':').then(|| self.at += 1)?;
            let child = key.as_ref().and_then(|key| children.iter().find(|(name, _)| **name == *key.text));
            let stays = match (list, child) {
                (Some(list), _) => {
                    let stays = self.key(list, key.as_ref());
                    if stays {
                        self.value(&list.plan, ROOT, 0)?;
                    }
                    stays
                }
                (None, Some((_, child))) => {
                    self.value(plan, *child, 0)?;
                    true
                }
                (None, None) => !self.visit.is_strict(),
            };
            if child.is_none() && (list.is_none() || !stays) {
                self.skip()?;
            }
            if !stays {
                self.visit.dropped();
            }
            self.edits.extend(kept.member(before..self.at, start, stays));
        }
    }

    /// The key of a map's element; false if the element goes with it.
    fn key(&mut self, list: &ListPlan, key: Option<&Unescaped<'_>>) -> bool {
        let Some(key) = key else { return !self.visit.is_strict() };
        let field = list.key.map(|leaf| &list.plan.fields[leaf.slot]);
        match self.visit.key(field, &key.text) {
            Fate::Stays => true,
            Fate::Edits(edits) => {
                self.edits.extend(edits.into_iter().map(|edit| key.outside(0, edit)));
                true
            }
            Fate::Goes => false,
        }
    }

    fn array(&mut self, plan: &Plan, node: NodeId) -> Option<()> {
        let (at, list) = (&plan.nodes[node], list_at(plan, node));
        if !at.has_indices && list.is_none() {
            return self.whole(plan, node);
        }
        let mut first = true;
        self.at += 1;
        let mut index = 0_usize;
        while self.is_more(&mut first, ARRAY)? {
            let child = at.children.iter().find(|(key, _)| key.parse() == Ok(index)).map(|(_, child)| *child);
            match (list, child) {
                (Some(list), _) => self.value(&list.plan, ROOT, 0)?,
                (None, Some(child)) => self.value(plan, child, 0)?,
                (None, None) => self.passed()?,
            }
            index += 1;
        }
        Some(())
    }

    /// An object or a list that nothing is declared in; a field may take it as it is.
    fn whole(&mut self, plan: &Plan, node: NodeId) -> Option<()> {
        let visit = &mut *self.visit;
        let mut takers = fields(plan, &plan.nodes[node].leaves).filter(|field| field.takes_json);
        if takers.any(|field| visit.keeps_json(field)) { self.skip() } else { self.passed() }
    }

    /// Passes a value that nobody declared.
    fn passed(&mut self) -> Option<()> {
        self.peek()?;
        let start = self.at;
        self.skip()?;
        if self.visit.is_strict() {
            self.erase(start..self.at);
        }
        Some(())
    }

    /// No value where one stands, unless it says nothing.
    fn erase(&mut self, range: Range<usize>) {
        let is_empty = matches!(self.text.get(range.clone()), None | Some(b"\"\"" | b"{}" | b"[]" | b"null"));
        if !is_empty {
            self.visit.dropped();
            self.edits.push(Edit { range, new: "null".to_owned() });
        }
    }

    /// A text: a value, or JSON that holds some. False if it is neither.
    fn in_text(&mut self, content: &Unescaped<'_>, plan: &Plan, node: NodeId, inside_string: u8) -> bool {
        let at = &plan.nodes[node];
        let is_strict = self.visit.is_strict();
        let has_leaves = inside_string == 0 && !at.leaves.is_empty();
        let text = trim(&content.text);
        let is_wanted = (at.list.is_some() || !at.children.is_empty())
            && inside_string < STRINGS_DEEP_MAX
            && (!is_strict || text.starts_with(['{', '[']))
            && is_json(text.as_bytes());
        if is_wanted {
            let mut walk = Walk::new(text.as_bytes(), &mut *self.visit);
            if walk.value(plan, node, inside_string + 1).is_some() {
                let start = offset_in(&content.text, text);
                self.edits.extend(walk.edits.into_iter().map(|edit| content.outside(start, edit)));
                // A column may take all of the text besides: its parts are dealt with.
                if is_strict {
                    return true;
                }
            } else if is_strict {
                return false;
            }
        }
        if !has_leaves {
            return text.is_empty();
        }
        match self.visit.declared(&mut fields(plan, &at.leaves), Written::Text(&content.text)) {
            Fate::Stays => true,
            Fate::Edits(edits) => {
                self.edits.extend(edits.into_iter().map(|edit| content.outside(0, edit)));
                true
            }
            Fate::Goes => false,
        }
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

fn fields<'p>(plan: &'p Plan, leaves: &'p [Leaf]) -> impl Iterator<Item = &'p Field> {
    leaves.iter().map(|leaf| &plan.fields[leaf.slot])
}

pub(super) fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

/// Which members of an object go, and which comma with each: what is left is JSON.
struct Kept {
    /// Behind the bracket.
    start: usize,
    has_kept: bool,
    /// The end of what goes, while nothing before it stays.
    gone_to: Option<usize>,
}

impl Kept {
    fn new(start: usize) -> Self {
        Self { start, has_kept: false, gone_to: None }
    }

    /// A member with the comma before it; `start` is where its key begins.
    fn member(&mut self, all: Range<usize>, start: usize, stays: bool) -> Option<Edit> {
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

    fn end(&mut self) -> Option<Edit> {
        self.gone_to.take().map(|end| Edit { range: self.start..end, new: String::new() })
    }
}

fn list_at(plan: &Plan, node: NodeId) -> Option<&ListPlan> {
    plan.lists.get(plan.nodes[node].list?.slot)?.as_ref()
}

/// A string's content, and where each of its bytes stands in the text around it.
pub(super) struct Unescaped<'a> {
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

/// The piece of a text that holds the field's value, trimmed; none where a sentinel stands.
pub(super) fn piece<'a>(field: &Field, text: &'a str) -> Option<&'a str> {
    let is_value = |text: &&str| !field.sentinels.has_text(text);
    let text = Some(text).filter(is_value)?;
    match &field.split {
        Some(split) => split.piece(text).filter(is_value).map(trim),
        None => Some(trim(text)),
    }
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
