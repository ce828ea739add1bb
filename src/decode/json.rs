//! One pass over a JSON text that puts what the plan asks for into a row. No tree is built, but of what a column
//! takes as JSON; what nobody declared is skipped.

use std::fmt::{self, Display};

use serde::Deserialize as _;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use serde_json::de::Read;

use super::plain::{Plain, Unusual};
use super::plan::{Leaf, ListPlan, Node, NodeId, Plan, ROOT};
use super::row::{Found, Row, Value, expected_type};
use super::value::{Scalar, trim};

/// How often JSON may stand in a string in a string at one place of the plan.
pub(super) const STRINGS_DEEP_MAX: u8 = 3;

/// Reads a whole body into `row`, which has just begun; the error is the parser's.
pub(super) fn read(plan: &Plan, row: &mut Row, body: &[u8]) -> Result<(), serde_json::Error> {
    // Looked at once for the whole body, UTF-8 costs a fraction of what it does string by string.
    let Ok(text) = simdutf8::basic::from_utf8(body) else {
        // Broken characters do not matter in what nobody asks for.
        return Reader::new(plan, row, Parser::Thorough)
            .whole(&mut serde_json::Deserializer::from_slice(body));
    };
    if Reader::new(plan, row, Parser::Plain).plain(text).is_ok() {
        return Ok(());
    }
    row.begin();
    Reader::new(plan, row, Parser::Thorough).whole(&mut serde_json::Deserializer::from_str(text))
}

/// By which parser a body is read, with all JSON in its strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parser {
    /// [`Plain`]: what it refuses anywhere is read again as a whole, so that nothing half read counts.
    Plain,
    /// `serde_json`.
    Thorough,
}

/// Reads the value at one node of the plan.
struct Reader<'a> {
    plan: &'a Plan,
    row: &'a mut Row,
    parser: Parser,
    node: NodeId,
    /// How many strings were opened at this node. Inside of one, the node's leaves have already
    /// taken the whole text.
    inside_string: u8,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<(), E> {
        self.scalar(Scalar::Bool(value));
        Ok(())
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<(), E> {
        self.scalar(Scalar::Int(value));
        Ok(())
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<(), E> {
        self.scalar(i64::try_from(value).map_or(Scalar::Unsigned(value), Scalar::Int));
        Ok(())
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        self.scalar(Scalar::Double(value));
        Ok(())
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        self.take(Scalar::Text(text));
        self.unfold(text)
    }

    fn visit_unit<E: Error>(mut self) -> Result<(), E> {
        for leaf in self.node().leaves.iter().filter(|_| self.inside_string == 0).chain(&self.node().list) {
            self.row.set(*leaf, Value::Null);
        }
        if self.node == ROOT {
            self.mismatch(&"null");
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let parser = self.parser;
        if let Some((leaf, list)) = self.list().filter(|(_, list)| list.is_struct) {
            return self.elements(leaf, |element| {
                if map.next_key_seed(ElementKey { list, element })?.is_none() {
                    return Ok(false);
                }
                map.next_value_seed(Reader::new(&list.plan, element, parser))?;
                Ok(true)
            });
        }
        if self.takes_json() {
            return self.json(MapAccessDeserializer::new(map));
        }
        if self.node().children.is_empty() {
            self.mismatch(&"an object");
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let mut previous = None;
        while let Some(child) = map.next_key_seed(self.key(previous))? {
            match child {
                Some(child) => map.next_value_seed(self.child(child))?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
            previous = child.or(previous);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let parser = self.parser;
        if let Some((leaf, list)) = self.list() {
            return self.elements(leaf, |element| {
                element.begin();
                Ok(seq.next_element_seed(Reader::new(&list.plan, element, parser))?.is_some())
            });
        }
        if self.takes_json() {
            return self.json(SeqAccessDeserializer::new(seq));
        }
        if !self.node().has_indices {
            self.mismatch(&"an array");
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let children = &self.node().children;
        for index in 0_usize.. {
            let child = children.iter().find(|(key, _)| key.parse() == Ok(index)).map(|(_, id)| *id);
            let is_more = match child {
                Some(child) => seq.next_element_seed(self.child(child))?.is_some(),
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !is_more {
                break;
            }
        }
        Ok(())
    }
}

/// Of one list; what has more is no list of things, and a few bytes of each would take a hundred times as many.
pub(super) const ELEMENTS_MAX: usize = 65_536;

impl<'a> Reader<'a> {
    /// The reader of a body, or of an element of a list.
    fn new(plan: &'a Plan, row: &'a mut Row, parser: Parser) -> Self {
        Self { plan, row, parser, node: ROOT, inside_string: 0 }
    }

    /// Reads a text that is one plain value, to its end.
    fn plain(self, text: &str) -> Result<(), Unusual> {
        let Reader { plan, row, parser, node, inside_string } = self;
        let mut json = Plain::new(text, row.unescaped.pop().unwrap_or_default());
        let reader = Reader { plan, row: &mut *row, parser, node, inside_string };
        let read = reader.deserialize(&mut json).and_then(|()| json.end());
        row.unescaped.push(json.into_memory());
        read
    }

    /// Reads a text that is one value, to its end.
    fn whole<'de, R: Read<'de>>(
        self,
        json: &mut serde_json::Deserializer<R>,
    ) -> Result<(), serde_json::Error> {
        self.deserialize(&mut *json)?;
        json.end()
    }

    fn key(&mut self, previous: Option<NodeId>) -> Key<'_> {
        Key { plan: self.plan, row: self.row, node: self.node, previous }
    }

    fn node(&self) -> &'a Node {
        &self.plan.nodes[self.node]
    }

    fn list(&self) -> Option<(Leaf, &'a ListPlan)> {
        let leaf = self.node().list?;
        Some((leaf, self.plan.lists[leaf.slot].as_ref()?))
    }

    /// The reader of a key's value; of repeated keys the last counts.
    fn child(&mut self, node: NodeId) -> Reader<'_> {
        self.row.meet(self.plan, node);
        Reader { plan: self.plan, row: self.row, parser: self.parser, node, inside_string: 0 }
    }

    /// Reads elements as long as `next` finds one. They go through a row of their own.
    fn elements<E>(
        &mut self,
        leaf: Leaf,
        mut next: impl FnMut(&mut Row) -> Result<bool, E>,
    ) -> Result<(), E> {
        let Some(mut element) = self.row.elements[leaf.slot].take() else { return Ok(()) };
        let start = self.row.items_len();
        let name = &self.plan.fields[leaf.slot].name;
        let mut count = 0;
        let end = loop {
            match next(&mut element) {
                Ok(true) if count < ELEMENTS_MAX && self.row.has_room() => {
                    self.row.adopt(&mut element, name, count);
                }
                Ok(true) => self.row.leave_out(name, count),
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
            count += 1;
        };
        self.row.elements[leaf.slot] = Some(element);
        self.row.close_list(leaf, start);
        end
    }

    fn scalar(&mut self, scalar: Scalar<'_>) {
        self.take(scalar);
        let node = self.node();
        if node.leaves.is_empty() {
            self.mismatch(&Found(scalar));
        }
    }

    /// Whether all that is wanted of this node is its JSON.
    fn takes_json(&self) -> bool {
        let node = self.node();
        let mut leaves = node.leaves.iter();
        node.children.is_empty() && leaves.any(|leaf| self.plan.fields[leaf.slot].takes_json)
    }

    fn json<'de, D: Deserializer<'de>>(&mut self, value: D) -> Result<(), D::Error> {
        let value = serde_json::Value::deserialize(value)?;
        self.take(Scalar::Text(&value.to_string()));
        Ok(())
    }

    fn take(&mut self, scalar: Scalar<'_>) {
        if self.inside_string == 0 {
            for leaf in &self.node().leaves {
                self.row.take(self.plan, *leaf, scalar);
            }
        }
    }

    /// Reads the JSON in a string, if anything is wanted of it. Fails only where the body is to be read
    /// thoroughly.
    fn unfold<E: Error>(&mut self, text: &str) -> Result<(), E> {
        let node = self.node();
        let text = trim(text);
        if (node.list.is_none() && node.children.is_empty()) || text.is_empty() {
            return Ok(());
        }
        // What a column also takes whole need not be JSON: some senders put words there.
        let is_words_too = !node.leaves.is_empty();
        if is_words_too && !text.starts_with(['{', '[']) {
            return Ok(());
        }
        if self.inside_string == STRINGS_DEEP_MAX {
            self.mismatch(&Found(Scalar::Text(text)));
            return Ok(());
        }
        let errors = self.row.errors.len();
        let Reader { plan, parser, node: at, .. } = *self;
        let reader = Reader { plan, row: self.row, parser, node: at, inside_string: self.inside_string + 1 };
        if parser == Parser::Plain {
            return reader.plain(text).map_err(E::custom);
        }
        if reader.whole(&mut serde_json::Deserializer::from_str(text)).is_err() {
            self.row.errors.truncate(errors);
            // The leaves of this very node keep the text: only what is inside goes.
            for (_, child) in &node.children {
                self.row.forget(self.plan, *child);
            }
            if let Some(leaf) = node.list {
                self.row.set(leaf, Value::Null);
            }
            if !is_words_too {
                self.complain("JSON", &Found(Scalar::Text(text)));
            }
        }
        Ok(())
    }

    /// Says that a value has the wrong shape for what is wanted here.
    fn mismatch(&mut self, found: &dyn Display) {
        let node = self.node();
        if node.children.is_empty() && self.inside_string == 0 {
            for leaf in &node.leaves {
                let field = &self.plan.fields[leaf.slot];
                self.row.set(*leaf, Value::Null);
                self.row.complain(&field.name, expected_type(&field.data_type), found);
            }
        }
        if !node.leaves.is_empty() {
            return;
        }
        match node.list {
            Some(leaf) => {
                let field = &self.plan.fields[leaf.slot];
                self.row.set(leaf, Value::Null);
                self.row.complain(&field.name, expected_type(&field.data_type), found);
            }
            None => self.complain("an object", found),
        }
    }

    fn complain(&mut self, expected: &str, found: &dyn Display) {
        let path = &self.node().path;
        // Where nothing is wanted, any JSON will do.
        if !self.node().below.is_empty() {
            self.row.complain(if path.is_empty() { "all of it" } else { path }, expected, found);
        }
    }
}

/// The key of a map's element: begins its row.
struct ElementKey<'a> {
    list: &'a ListPlan,
    element: &'a mut Row,
}

impl<'de> DeserializeSeed<'de> for ElementKey<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ElementKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        self.element.begin();
        if let Some(leaf) = self.list.key {
            self.element.take(&self.list.plan, leaf, Scalar::Text(key));
        }
        Ok(())
    }
}

/// A key of an object: which child it leads to, if any.
struct Key<'a> {
    plan: &'a Plan,
    row: &'a mut Row,
    node: NodeId,
    /// The declared key before this one in the same object.
    previous: Option<NodeId>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<NodeId>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<NodeId>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        let children = &self.plan.nodes[self.node].children;
        // A sender keeps its order, whichever it is: what followed the last time is asked first.
        let expected = match self.previous {
            None => &mut self.row.first_child[self.node],
            Some(previous) => &mut self.row.next_sibling[previous],
        };
        if let Some((_, child)) = children.get(*expected).filter(|(name, _)| **name == *key) {
            return Ok(Some(*child));
        }
        Ok(children.iter().position(|(name, _)| **name == *key).map(|at| {
            *expected = at;
            children[at].1
        }))
    }
}
