//! A walk through a JSON text that finds the declared values where they stand.
//!
//! What becomes of them says a [`Visit`]: moving times changes a few of them and lets the rest be, hiding leaves
//! nothing that no declaration names. Either way nothing is parsed and printed: what is not edited is copied, blanks,
//! escapes and order included.
//!
//! The text is known to be JSON, so that ends of values are all that is looked for. Depth is that of the
//! plan, whatever the text's is.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::declaration::Field;
use super::edit::{Edit, Kept, Unescaped, offset_in};
use super::json::STRINGS_DEEP_MAX;
use super::plan::{Leaf, ListPlan, NodeId, Plan, ROOT};
use super::value::{Scalar, trim};

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

fn list_at(plan: &Plan, node: NodeId) -> Option<&ListPlan> {
    plan.lists.get(plan.nodes[node].list?.slot)?.as_ref()
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
