//! Showing of a message only what its declaration names, and of that only what a [`Mask`] lets through.
//!
//! Every declared value is asked about, at every place where one of its paths leads, through JSON in strings as when
//! decoding. What no declaration names goes: members, elements, texts and numbers where something else is declared.
//! So does a value that does not convert to its field's type: nobody knows what it is. The places by which a message
//! is known to be of its kind (`match`) stay, where they say what they must. All other bytes are copied.
//!
//! Times are moved on the way, where that is wanted, each in its own spelling; one that its spelling cannot say then
//! goes.
//!
//! A message with decrypted content is shown in the form that its vendor uses without encryption: the content stands
//! where the declaration reads it, the ciphertext is gone.

#[cfg(test)]
mod tests;

use std::ops::Range;

use super::declaration::{Declaration, Encrypted, Field, FieldType, NullTogether, Role, Sentinels};
use super::edit::{Edit, edited, offset_in};
use super::json;
use super::matching::MatchRule;
use super::plan::{Plan, ROOT};
use super::raw::RawScalar;
use super::rebase::respell;
use super::row::{Row, Value};
use super::time;
use super::value::{Converted, convert};
use super::walk::{Fate, Visit, Walk, Written, is_json, piece};

/// What is to be seen of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All of it, as it is written.
    AsIs,
    /// This, plain ASCII without quotes; a number where a number stood.
    Instead(String),
    /// All of it but these pieces of what is written, which are replaced likewise.
    Parts(Vec<(Range<usize>, String)>),
    Nothing,
}

/// Decides what is to be seen.
pub trait Mask {
    /// Of a declared value as it is written: digits of a number, or a text.
    fn value(&mut self, field: &Field, written: &str, is_number: bool) -> Shown;

    /// Of the key of a map whose elements are declared and whose keys are not.
    fn key(&mut self, key: &str) -> Shown;

    /// Something was left out that nobody declared.
    fn dropped(&mut self);

    /// By how much times that are shown are moved, in microseconds.
    fn shift_us(&self) -> i64 {
        0
    }

    /// A time is left out, since it cannot be written as it would have to be.
    fn unmoved(&mut self) {}
}

/// Conceals the messages of one kind.
#[derive(Debug)]
pub struct Conceal {
    /// What is shown, the places of `match` besides.
    plan: Plan,
    /// What is declared, as a decoder reads it.
    declared: Plan,
    row: Row,
    rule: Option<MatchRule>,
    encrypted: Option<Encrypted>,
    null_together: Vec<NullTogether>,
}

/// The name of the field that stands for the places of `match`: no column is called so.
const RULE: &str = "$match";

impl Conceal {
    /// None for a kind that declares no field: nothing of it can be shown.
    pub fn new(declaration: &Declaration) -> Option<Self> {
        let mut fields = declaration.fields.clone();
        if fields.is_empty() {
            return None;
        }
        let declared = Plan::new(&fields).ok()?;
        fields.extend(declaration.rule.as_ref().and_then(|rule| rule_field(rule, &declaration.fields)));
        Some(Self {
            plan: Plan::new(&fields).ok()?,
            row: Row::new(&declared),
            declared,
            rule: declaration.rule.clone(),
            encrypted: declaration.encrypted.clone(),
            null_together: declaration.null_together.clone(),
        })
    }

    /// The message as it may be shown; none if it cannot be read.
    pub fn message(&mut self, payload: &[u8], clear: Option<&[u8]>, mask: &mut dyn Mask) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        let body = match (clear, &self.encrypted) {
            (Some(clear), Some(encrypted)) if encrypted.join(payload, clear, &mut whole) => &whole,
            (Some(_), Some(_)) => return None,
            (Some(clear), None) => clear,
            (None, Some(encrypted)) if encrypted.is_in(payload) => return None,
            (None, _) => payload,
        };
        if !is_json(body) {
            return None;
        }
        let none_together = self.none_together(body);
        let mut curtain = Curtain { mask, rule: self.rule.as_ref(), none_together };
        let mut walk = Walk::new(body, &mut curtain);
        walk.value(&self.plan, ROOT, 0)?;
        Some(edited(body, walk.into_edits()).unwrap_or_else(|| body.to_vec()))
    }

    /// Names of fields that mean nothing in this message, since all of a group say so together.
    fn none_together(&mut self, body: &[u8]) -> Vec<String> {
        if self.null_together.is_empty() {
            return Vec::new();
        }
        self.row.begin();
        if json::read(&self.declared, &mut self.row, body).is_err() {
            return Vec::new();
        }
        let is_none = |group: &&NullTogether| {
            let has = |slot: &usize| matches!(self.row.value(*slot), Value::Double(n) if *n == group.value);
            group.fields.iter().all(has)
        };
        let groups = self.null_together.iter().filter(is_none);
        groups.flat_map(|group| &group.fields).map(|slot| self.plan.fields[*slot].name.clone()).collect()
    }
}

/// The places by which a message is known to be of its kind, but for those that lead to declared ones.
fn rule_field(rule: &MatchRule, fields: &[Field]) -> Option<Field> {
    let leads_on = |steps: &[String]| {
        fields.iter().flat_map(|field| &field.paths).any(|path| path.steps().starts_with(steps))
    };
    let paths: Vec<_> = rule.paths.iter().filter(|path| !leads_on(path.steps())).cloned().collect();
    (!paths.is_empty()).then(|| Field {
        name: RULE.to_owned(),
        id: 0,
        data_type: FieldType::String,
        paths,
        unit: None,
        role: Role::Identifier,
        meaning: String::new(),
        sentinels: Sentinels::default(),
        split: None,
        codes: None,
        true_values: Vec::new(),
        takes_json: false,
        line: 0,
    })
}

/// The parts of a text of several values that no field takes.
fn undeclared_parts(fields: &[&Field], text: &str) -> Vec<Range<usize>> {
    let Some(splits) = fields.iter().map(|field| field.split.as_ref()).collect::<Option<Vec<_>>>() else {
        return Vec::new();
    };
    let Some(separator) = splits.first().map(|split| split.separator()) else { return Vec::new() };
    let declared: Vec<usize> =
        splits.iter().filter_map(|split| Some(offset_in(text, split.piece(text)?))).collect();
    let mut found = Vec::new();
    for part in text.split(separator) {
        let start = offset_in(text, part);
        let range = start..start + part.len();
        if !part.is_empty() && !declared.iter().any(|at| range.contains(at)) {
            found.push(range);
        }
    }
    found
}

/// A mask on the walk.
struct Curtain<'a> {
    mask: &'a mut dyn Mask,
    rule: Option<&'a MatchRule>,
    none_together: Vec<String>,
}

impl Curtain<'_> {
    fn shown(&mut self, field: &Field, whole: Written<'_>, piece: Written<'_>) -> Shown {
        let (Written::Text(text) | Written::Number(text)) = piece;
        if self.is_constant(field, whole) || self.none_together.contains(&field.name) {
            return Shown::AsIs;
        }
        let is_time = matches!(field.data_type, FieldType::Timestamp(_));
        match whole.scalar().map(|scalar| convert(field, scalar)) {
            // A sentinel.
            Some(Ok(Converted::Null)) if !(is_time && time::is_local(text)) => return Shown::AsIs,
            Some(Ok(_)) => {}
            _ => return Shown::Nothing,
        }
        let shift_us = self.mask.shift_us();
        match self.mask.value(field, text, matches!(piece, Written::Number(_))) {
            Shown::AsIs if is_time && shift_us != 0 => match respell(field, whole, piece, shift_us) {
                Some(moved) => Shown::Instead(moved),
                None => {
                    self.mask.unmoved();
                    Shown::Nothing
                }
            },
            shown => shown,
        }
    }

    /// Whether it is what `match` asks for, at one of its places.
    fn is_constant(&self, field: &Field, whole: Written<'_>) -> bool {
        let Some(rule) = self.rule else { return false };
        let is_place = field.paths.iter().any(|path| rule.paths.contains(path));
        is_place
            && match (&rule.equals, whole) {
                (Some(RawScalar::Text(wanted)), Written::Text(text)) => wanted == text,
                (Some(RawScalar::Number(wanted)), Written::Number(digits)) => digits.parse() == Ok(*wanted),
                _ => false,
            }
    }
}

impl Visit for Curtain<'_> {
    fn declared(&mut self, fields: &mut dyn Iterator<Item = &Field>, written: Written<'_>) -> Fate {
        let (mut edits, mut stays, mut is_moment) = (Vec::new(), false, false);
        // What a field of words alone would change.
        let mut in_words = Vec::new();
        let fields: Vec<&Field> = fields.collect();
        if let Written::Text(text) = written {
            for range in undeclared_parts(&fields, text) {
                self.mask.dropped();
                edits.push(Edit { range, new: String::new() });
            }
        }
        for field in fields {
            let whole = match written {
                Written::Number(text) | Written::Text(text) => text,
            };
            let part = match written {
                Written::Number(_) => whole,
                Written::Text(text) => match piece(field, text) {
                    Some(part) => part,
                    // A sentinel, or fewer parts than there could be.
                    None => {
                        stays = true;
                        continue;
                    }
                },
            };
            let of_part = match written {
                Written::Number(_) => written,
                Written::Text(_) => Written::Text(part),
            };
            let is_time = matches!(field.data_type, FieldType::Timestamp(_));
            let start = offset_in(whole, part);
            let is_piece = field.split.is_some() && matches!(written, Written::Text(_));
            let edits = if field.role == Role::Text { &mut in_words } else { &mut edits };
            match self.shown(field, written, of_part) {
                Shown::AsIs => {
                    stays = true;
                    is_moment |= is_time;
                }
                Shown::Instead(new) => {
                    is_moment |= is_time;
                    edits.push(Edit { range: start..start + part.len(), new });
                }
                Shown::Parts(parts) => {
                    stays = true;
                    edits.extend(parts.into_iter().map(|(range, new)| Edit { range, new }.behind(start)));
                }
                Shown::Nothing if is_piece => {
                    edits.push(Edit { range: start..start + part.len(), new: String::new() });
                }
                // Nor as what another field takes it for.
                Shown::Nothing if is_time && self.mask.shift_us() != 0 => return Fate::Goes,
                Shown::Nothing => {}
            }
        }
        // What takes a time as words takes it as it is written.
        if !is_moment {
            edits.append(&mut in_words);
        }
        match (edits.is_empty(), stays) {
            (false, _) => Fate::Edits(edits),
            (true, true) => Fate::Stays,
            (true, false) => Fate::Goes,
        }
    }

    fn key(&mut self, field: Option<&Field>, key: &str) -> Fate {
        let shown = match field {
            Some(field) => self.shown(field, Written::Text(key), Written::Text(key)),
            None => self.mask.key(key),
        };
        match shown {
            Shown::AsIs => Fate::Stays,
            Shown::Instead(new) => Fate::Edits(vec![Edit { range: 0..key.len(), new }]),
            Shown::Parts(parts) => {
                Fate::Edits(parts.into_iter().map(|(range, new)| Edit { range, new }).collect())
            }
            Shown::Nothing => Fate::Goes,
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn keeps_json(&mut self, field: &Field) -> bool {
        // Words are asked about as words, and nobody declared what else is in it.
        field.role != Role::Text && self.mask.value(field, "", false) == Shown::AsIs
    }

    fn dropped(&mut self) {
        self.mask.dropped();
    }
}
