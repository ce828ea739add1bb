//! What has been found of one message so far. All its memory is kept from row to row.

use std::fmt::Write;
use std::ops::Range;

use super::declaration::FieldType;
use super::plan::{Leaf, NodeId, Plan};
use super::value::{Converted, Printed, Scalar, convert};

/// One field's value in this row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Value {
    /// No path of the field occurred.
    #[default]
    Absent,
    /// JSON null, a sentinel, or not convertible.
    Null,
    Int(i64),
    Double(f64),
    Bool(bool),
    /// In [`Row::text`].
    Text(Range<usize>),
    /// In [`Row::items`].
    Items(Range<usize>),
}

/// A row in the making.
#[derive(Debug, Default)]
pub(super) struct Row {
    values: Vec<Value>,
    /// The slots that were set in this row, each once: what `begin` forgets and columns look at.
    touched: Vec<usize>,
    ranks: Vec<u8>,
    texts: String,
    items: Vec<Value>,
    /// The list of which elements were left out last.
    left_out: Option<String>,
    /// What went wrong, joined by `; `.
    pub(super) errors: String,
    /// Per node: the row in which it was last met, to notice a key that is repeated.
    met: Vec<u64>,
    number: u64,
    /// Per node: the place among its children of the one that came first the last time.
    pub(super) first_child: Vec<usize>,
    /// Per node: the place among its siblings of the one that came after it the last time.
    pub(super) next_sibling: Vec<usize>,
    /// Memory of texts that were unescaped, one per text that is open.
    pub(super) unescaped: Vec<String>,
    /// Per slot of a list: the row of one element.
    pub(super) elements: Vec<Option<Box<Row>>>,
}

/// Beyond this many bytes further errors of a row are not told.
const ERRORS_BYTES_MAX: usize = 500;

/// Values of all lists of a message, those of repeated keys included: 24 MiB.
const ITEMS_MAX: usize = 1 << 20;

/// What is kept for the next message, though a large one needed more.
const ITEMS_KEPT: usize = 1 << 14;
const TEXT_BYTES_KEPT: usize = 1 << 20;

/// So much of an unexpected text is shown.
const SHOWN_CHARS_MAX: usize = 40;

impl Row {
    pub(super) fn new(plan: &Plan) -> Self {
        let slots = plan.fields.len();
        Self {
            values: vec![Value::Absent; slots],
            ranks: vec![0; slots],
            met: vec![0; plan.nodes.len()],
            first_child: vec![0; plan.nodes.len()],
            next_sibling: vec![0; plan.nodes.len()],
            elements: plan.lists.iter().map(|list| Some(Box::new(Row::new(&list.as_ref()?.plan)))).collect(),
            ..Self::default()
        }
    }

    /// Forgets everything for the next message.
    pub(super) fn begin(&mut self) {
        for slot in self.touched.drain(..) {
            self.values[slot] = Value::Absent;
        }
        self.texts.clear();
        self.texts.shrink_to(TEXT_BYTES_KEPT);
        self.items.clear();
        self.items.shrink_to(ITEMS_KEPT);
        self.errors.clear();
        self.left_out = None;
        self.number += 1;
    }

    /// The slots that were met in this row, and their values.
    pub(super) fn values(&self) -> impl Iterator<Item = (usize, &Value)> {
        self.touched.iter().map(|slot| (*slot, &self.values[*slot]))
    }

    pub(super) fn value(&self, slot: usize) -> &Value {
        &self.values[slot]
    }

    pub(super) fn text(&self, range: &Range<usize>) -> &str {
        &self.texts[range.clone()]
    }

    pub(super) fn items(&self, range: &Range<usize>) -> &[Value] {
        &self.items[range.clone()]
    }

    pub(super) fn nullify(&mut self, slot: usize) {
        self.values[slot] = Value::Null;
    }

    /// Notes that a key was met; of repeated keys the last counts, so what an earlier one brought goes.
    #[inline]
    pub(super) fn meet(&mut self, plan: &Plan, node: NodeId) {
        if std::mem::replace(&mut self.met[node], self.number) == self.number {
            self.forget(plan, node);
        }
    }

    /// Forgets what was found at a node and below.
    pub(super) fn forget(&mut self, plan: &Plan, node: NodeId) {
        for leaf in &plan.nodes[node].below {
            if self.ranks[leaf.slot] == leaf.rank && !matches!(self.values[leaf.slot], Value::Absent) {
                self.values[leaf.slot] = Value::Null;
            }
        }
    }

    /// Takes a scalar for the field of `leaf`.
    #[inline]
    pub(super) fn take(&mut self, plan: &Plan, leaf: Leaf, scalar: Scalar<'_>) {
        match convert(&plan.fields[leaf.slot], scalar) {
            Ok(Converted::Null) => self.set(leaf, Value::Null),
            Ok(Converted::Int(n)) => self.set(leaf, Value::Int(n)),
            Ok(Converted::Double(n)) => self.set(leaf, Value::Double(n)),
            Ok(Converted::Bool(b)) => self.set(leaf, Value::Bool(b)),
            Ok(Converted::Text(text)) => {
                let range = self.keep(text);
                self.set(leaf, Value::Text(range));
            }
            Ok(Converted::Printed(printed)) => {
                let range = self.print(printed);
                self.set(leaf, Value::Text(range));
            }
            Err(expected) => {
                self.set(leaf, Value::Null);
                self.complain(&plan.fields[leaf.slot].name, expected, &Found(scalar));
            }
        }
    }

    /// The lower rank wins, a value wins over null, the later wins among equals.
    #[inline]
    pub(super) fn set(&mut self, leaf: Leaf, value: Value) {
        let (old, rank) = (&mut self.values[leaf.slot], &mut self.ranks[leaf.slot]);
        let is_null = matches!(value, Value::Null);
        let replace = match old {
            Value::Absent => {
                self.touched.push(leaf.slot);
                true
            }
            Value::Null => !is_null || leaf.rank <= *rank,
            _ => leaf.rank == *rank || (leaf.rank < *rank && !is_null),
        };
        if replace {
            *old = value;
            *rank = leaf.rank;
        }
    }

    /// Appends the finished element of a list to this row's items.
    pub(super) fn adopt(&mut self, element: &mut Row, name: &str, index: usize) {
        for value in &mut element.values {
            let value = match std::mem::take(value) {
                Value::Text(range) => Value::Text(self.keep(&element.texts[range])),
                other => other,
            };
            self.items.push(value);
        }
        if !element.errors.is_empty() {
            self.note(format_args!("{name}[{index}].{}", element.errors));
        }
    }

    /// Whether another element of a list fits.
    pub(super) fn has_room(&self) -> bool {
        self.items.len() < ITEMS_MAX
    }

    /// Tells, once for each list, from which element on they are left out.
    pub(super) fn leave_out(&mut self, name: &str, index: usize) {
        if self.left_out.as_deref() != Some(name) {
            self.left_out = Some(name.to_owned());
            self.note(format_args!("{name}: too many elements, left out from the {index}th on"));
        }
    }

    pub(super) fn items_len(&self) -> usize {
        self.items.len()
    }

    /// Sets a list from the items that were adopted since `start`.
    pub(super) fn close_list(&mut self, leaf: Leaf, start: usize) {
        let end = self.items.len();
        self.set(leaf, Value::Items(start..end));
    }

    pub(super) fn complain(&mut self, name: &str, expected: &str, found: &dyn std::fmt::Display) {
        self.note(format_args!("{name}: expected {expected}, found {found}"));
    }

    pub(super) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        if self.errors.len() > ERRORS_BYTES_MAX {
            return;
        }
        let joint = if self.errors.is_empty() { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(self.errors, "{joint}{what}");
    }

    fn keep(&mut self, text: &str) -> Range<usize> {
        let start = self.texts.len();
        self.texts.push_str(text);
        start..self.texts.len()
    }

    fn print(&mut self, printed: Printed) -> Range<usize> {
        let start = self.texts.len();
        let _ = match printed {
            Printed::Bool(value) => write!(self.texts, "{value}"),
            Printed::Int(value) => write!(self.texts, "{value}"),
            Printed::Unsigned(value) => write!(self.texts, "{value}"),
            // With its `.0`, as JSON had it.
            Printed::Double(value) => write!(self.texts, "{value:?}"),
        };
        start..self.texts.len()
    }
}

/// Whether a field takes a list, for errors about what it found instead.
pub(super) fn expected_type(data_type: &FieldType) -> &'static str {
    match data_type {
        FieldType::Strings { .. } => "an array",
        FieldType::Structs { .. } => "an array or an object of objects",
        FieldType::String => "a text",
        _ => "a single value",
    }
}

/// An unexpected value, cut to a length that fits a message.
pub(super) struct Found<'a>(pub(super) Scalar<'a>);

impl std::fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Scalar::Bool(value) => write!(f, "{value}"),
            Scalar::Int(value) => write!(f, "{value}"),
            Scalar::Unsigned(value) => write!(f, "{value}"),
            Scalar::Double(value) => write!(f, "{value:?}"),
            Scalar::Text(text) => match text.char_indices().nth(SHOWN_CHARS_MAX) {
                Some((end, _)) => write!(f, "{:?}…", &text[..end]),
                None => write!(f, "{text:?}"),
            },
        }
    }
}
