//! What a message is about, by the key that its kind's declaration names: the later of two messages with
//! the same key replaces the earlier.

use super::declaration::{Declaration, Encrypted};
use super::json;
use super::plan::Plan;
use super::row::{Row, Value};

/// The name in a key that stands for the envelope's column.
const DEVICE_ID: &str = "device_id";

/// Reads the key's columns of messages of one kind, and nothing else of them.
#[derive(Debug)]
pub struct StateKeyReader {
    parts: Vec<Part>,
    /// None where the envelope alone has the key, so that payloads are not looked at.
    columns: Option<Columns>,
}

/// One column of a key.
#[derive(Clone, Copy, Debug)]
enum Part {
    Device,
    /// A slot of the plan.
    Column(usize),
}

#[derive(Debug)]
struct Columns {
    plan: Plan,
    row: Row,
    encrypted: Option<Encrypted>,
    /// A payload with its decrypted content in place.
    whole: Vec<u8>,
}

impl StateKeyReader {
    /// Reads the columns `key` of messages that `declaration` declares: its own
    /// [`Declaration::state_key`], or that of a kind whose state it ends. None if the key is empty, or
    /// names something that the declaration does not have as a single value.
    pub fn new(declaration: &Declaration, key: &[String]) -> Option<Self> {
        let mut fields = Vec::new();
        let mut parts = Vec::with_capacity(key.len());
        for name in key {
            if name == DEVICE_ID {
                parts.push(Part::Device);
                continue;
            }
            parts.push(Part::Column(fields.len()));
            fields.push(declaration.fields.iter().find(|field| field.name == *name)?.clone());
        }
        let columns = match fields.is_empty() {
            true => None,
            false => {
                let plan = Plan::new(&fields).ok()?;
                let row = Row::new(&plan);
                Some(Columns { plan, row, encrypted: declaration.encrypted.clone(), whole: Vec::new() })
            }
        };
        (!parts.is_empty()).then_some(Self { parts, columns })
    }

    /// Appends the message's key to `key`: equal for two messages exactly if all its columns are. False, and
    /// nothing of use in `key`, where one of them is null: it is not known what the message is about.
    pub fn read(
        &mut self,
        device_id: Option<&str>,
        payload: &[u8],
        clear: Option<&[u8]>,
        key: &mut Vec<u8>,
    ) -> bool {
        if let Some(columns) = &mut self.columns
            && !columns.read(payload, clear)
        {
            return false;
        }
        self.parts.iter().all(|part| match (part, &self.columns) {
            (Part::Device, _) => device_id.map(|id| text(id, key)).is_some(),
            (Part::Column(slot), Some(columns)) => columns.value(*slot, key),
            (Part::Column(_), None) => false,
        })
    }
}

impl Columns {
    /// Reads a message; false if it cannot be read.
    fn read(&mut self, payload: &[u8], clear: Option<&[u8]>) -> bool {
        let body = match (&self.encrypted, clear) {
            (Some(encrypted), Some(clear)) if encrypted.join(payload, clear, &mut self.whole) => &self.whole,
            (None, Some(clear)) => clear,
            _ => payload,
        };
        self.row.begin();
        json::read(&self.plan, &mut self.row, body).is_ok()
    }

    /// Appends a value, with its type and, where it has no length of its own, its length.
    fn value(&self, slot: usize, key: &mut Vec<u8>) -> bool {
        match self.row.value(slot) {
            Value::Absent | Value::Null | Value::Items(_) => return false,
            Value::Int(n) => {
                key.push(b'i');
                key.extend_from_slice(&n.to_be_bytes());
            }
            Value::Double(n) => {
                key.push(b'd');
                key.extend_from_slice(&n.to_bits().to_be_bytes());
            }
            Value::Bool(b) => key.extend_from_slice(&[b'b', u8::from(*b)]),
            Value::Text(range) => text(self.row.text(range), key),
        }
        true
    }
}

fn text(text: &str, key: &mut Vec<u8>) {
    key.push(b't');
    // A payload is below 4 GiB: the journal's records are.
    key.extend_from_slice(&(text.len() as u32).to_be_bytes());
    key.extend_from_slice(text.as_bytes());
}
