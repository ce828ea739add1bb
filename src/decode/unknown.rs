//! What a payload holds that no declaration knows: how a changed vendor API is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::declaration::{Declaration, Encrypted, Field, FieldType, MAP_KEY};
use super::value::trim;

/// More places than these are not told of one message: a sender whose keys are data would fill any list.
const FOUND_MAX: usize = 64;

/// A longer path is cut; it may be anything that a sender calls a key.
const PATH_BYTES_MAX: usize = 200;

/// How often JSON may stand in a string in a string, as in decoding.
const STRINGS_DEEP_MAX: u8 = 3;

/// The places of a payload that are known: those of fields, of `match` and of `known`.
#[derive(Debug, Default)]
pub struct KnownPaths {
    root: Node,
    encrypted: Option<Encrypted>,
}

/// A member that is not known: where it stands, and the JSON type of its value.
pub type Unknown = (String, &'static str);

#[derive(Debug, Default)]
struct Node {
    children: BTreeMap<String, Node>,
    /// Of a list or a map of things: what one of them has.
    element: Option<Box<Node>>,
}

impl KnownPaths {
    /// Adds what `declaration` knows. Several of one kind may be added: what one of them knows is known.
    pub fn add(&mut self, declaration: &Declaration) {
        self.root.add_fields(&declaration.fields);
        let of_rule = declaration.rule.iter().flat_map(|rule| &rule.paths);
        for path in of_rule.chain(&declaration.known) {
            self.root.at(path.steps());
        }
        if let Some(encrypted) = &declaration.encrypted {
            self.root.at(&[encrypted.member()]);
            self.encrypted = Some(encrypted.clone());
        }
    }

    /// The unknown members of a message whose decrypted content is `clear`, where it was encrypted.
    pub fn unknown_of(&self, payload: &[u8], clear: Option<&[u8]>) -> Option<Vec<Unknown>> {
        let mut whole = Vec::new();
        match (&self.encrypted, clear) {
            (Some(encrypted), Some(clear)) if encrypted.join(payload, clear, &mut whole) => {
                self.unknown_in(&whole)
            }
            (None, Some(clear)) => self.unknown_in(clear),
            _ => self.unknown_in(payload),
        }
    }

    /// The members of `body` that are not known, each once; none if it is not JSON. Inside of one
    /// nothing further is told, elements of lists are written `[]`.
    pub(super) fn unknown_in(&self, body: &[u8]) -> Option<Vec<Unknown>> {
        let mut found = Found::default();
        let mut json = serde_json::Deserializer::from_slice(body);
        let walk = Walk { node: &self.root, found: &mut found, strings_deep: 0 };
        walk.deserialize(&mut json).and_then(|()| json.end()).ok()?;
        Some(found.list)
    }
}

impl Node {
    fn add_fields(&mut self, fields: &[Field]) {
        for field in fields {
            for path in field.paths.iter().filter(|path| path.steps() != [MAP_KEY]) {
                let node = self.at(path.steps());
                if let FieldType::Structs { members, .. } = &field.data_type {
                    node.element.get_or_insert_default().add_fields(members);
                }
            }
        }
    }

    fn at(&mut self, steps: &[String]) -> &mut Node {
        steps.iter().fold(self, |node, step| node.children.entry(step.clone()).or_default())
    }

    /// Whether the value is known whole, whatever is in it.
    fn is_whole(&self) -> bool {
        self.children.is_empty() && self.element.is_none()
    }
}

#[derive(Debug, Default)]
struct Found {
    list: Vec<Unknown>,
    /// Elements of one list mostly have the same members.
    seen: BTreeSet<String>,
    /// Where the walk is.
    path: String,
}

impl Found {
    /// Goes a step down, and says how to come back.
    fn enter(&mut self, step: &str) -> usize {
        let before = self.path.len();
        if before < PATH_BYTES_MAX {
            let dot = if before == 0 || step == "[]" { "" } else { "." };
            let step =
                if step == "[]" { step.to_owned() } else { step.replace('\\', "\\\\").replace('.', "\\.") };
            self.path.push_str(dot);
            self.path.push_str(&step);
            if self.path.len() > PATH_BYTES_MAX {
                self.path.truncate(self.path.floor_char_boundary(PATH_BYTES_MAX));
                self.path.push('…');
            }
        }
        before
    }

    fn leave(&mut self, before: usize) {
        self.path.truncate(before);
    }

    fn tell(&mut self, json_type: &'static str) {
        if self.list.len() < FOUND_MAX && self.seen.insert(self.path.clone()) {
            self.list.push((self.path.clone(), json_type));
        }
    }
}

/// Walks through what is known, as the decoder does.
struct Walk<'a> {
    node: &'a Node,
    found: &'a mut Found,
    strings_deep: u8,
}

impl Walk<'_> {
    fn at<'b>(&'b mut self, node: &'b Node) -> Walk<'b> {
        Walk { node, found: self.found, strings_deep: self.strings_deep }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.node.is_whole() {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let text = trim(text);
        if text.starts_with(['{', '[']) && self.strings_deep < STRINGS_DEEP_MAX {
            let told = self.found.list.len();
            let Walk { node, found, strings_deep } = self;
            let mut json = serde_json::Deserializer::from_str(text);
            let walk = Walk { node, found: &mut *found, strings_deep: strings_deep + 1 };
            let before = walk.found.path.len();
            if walk.deserialize(&mut json).and_then(|()| json.end()).is_err() {
                // Words that only look like JSON.
                found.leave(before);
                found.list.truncate(told);
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        if let Some(element) = self.node.element.as_deref() {
            let before = self.found.enter("[]");
            while map.next_key::<IgnoredAny>()?.is_some() {
                map.next_value_seed(self.at(element))?;
            }
            self.found.leave(before);
            return Ok(());
        }
        let node = self.node;
        while let Some(key) = map.next_key::<String>()? {
            let before = self.found.enter(&key);
            match node.children.get(&key) {
                Some(child) => map.next_value_seed(self.at(child))?,
                None => {
                    let json_type = map.next_value_seed(TypeOf)?;
                    self.found.tell(json_type);
                }
            }
            self.found.leave(before);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let node = self.node;
        for index in 0_usize.. {
            let (step, child) = match node.element.as_deref() {
                Some(element) => ("[]".to_owned(), Some(element)),
                None => (index.to_string(), node.children.get(&index.to_string())),
            };
            let before = self.found.enter(&step);
            let is_more = match child {
                Some(child) => seq.next_element_seed(self.at(child))?.is_some(),
                // Of an array that is stepped into, the further elements are no members of an object.
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            self.found.leave(before);
            if !is_more {
                break;
            }
        }
        Ok(())
    }
}

/// The JSON type of a value.
struct TypeOf;

impl<'de> DeserializeSeed<'de> for TypeOf {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TypeOf {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok("boolean")
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok("number")
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok("number")
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok("number")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok("string")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok("null")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok("object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok("array")
    }
}
