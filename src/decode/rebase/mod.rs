//! Moving the declared times of a payload, and nothing else of it.
//!
//! Which places hold times is what the kind's declaration says: every field and list member of the type
//! `timestamp`, at every place where one of its paths leads, through JSON in strings as when decoding. Each
//! is moved by the same shift and spelled as it was:
//!
//! * **Numbers**, bare or in a text, keep their unit, sign and fraction digits (`1640995200.50`), and their
//!   exponent (`1.6409952E9`, whose digits grow only if the moved moment needs more). Leading zeros stay.
//! * **RFC 3339** keeps its separators, offset and fraction digits; the wall digits move. So it is for times
//!   with an offset of another spelling (`+0800`), and for local times without one (`2021-12-31 19:00:00`),
//!   of which nobody can say when they were, and whose digits move all the same: a change between summer and
//!   winter time on the way is not seen.
//! * **A format coarser than the shift** is rounded down: of a time in whole seconds that is moved by 1.5 s,
//!   what is written is the second in which the moved moment lies. So a shift in whole seconds is exact for
//!   every format, and any shift is within one unit of the last digit.
//!
//! What is a sentinel, null or no time stays, and so does a time that its format could not say after the shift
//! (beyond the year 9999, or, where milliseconds are told from seconds by their size, of the other size). A
//! body that is not JSON stays whole. Of repeated keys all are moved, though the last counts.
//!
//! Places are found in the text as it is. Nothing is parsed and printed: what does not belong to the digits
//! of a time that differ is copied, blanks, escapes and order included.

mod respell;
mod walk;

#[cfg(test)]
mod tests;

use serde::de::IgnoredAny;

use self::walk::{Edit, Walk, edited};
use super::declaration::{Declaration, Encrypted, Field, FieldType};
use super::json;
use super::plan::{NodeId, Plan, ROOT};
use super::row::{Row, Value};

/// Moves the declared times in the messages of one kind.
#[derive(Debug)]
pub struct Rebase {
    /// The kind's times alone.
    plan: Plan,
    /// Slots of the plan that say when the message was made; the first that has a value counts.
    event_at: Vec<usize>,
    encrypted: Option<Encrypted>,
    /// The place of what is encrypted, if times are declared in it.
    inside: Option<NodeId>,
    row: Row,
    whole: Vec<u8>,
}

impl Rebase {
    /// None for a kind that declares no times: there is nothing to move in it.
    pub fn new(declaration: &Declaration) -> Option<Self> {
        let is_wanted = |field: &&Field| !times(field).is_empty();
        let fields: Vec<Field> = declaration.fields.iter().filter(is_wanted).map(only_times).collect();
        if fields.is_empty() {
            return None;
        }
        // The whole declaration was refused if no plan can be made of it, and this is a part of it.
        let plan = Plan::new(&fields).ok()?;
        let slot = |field: &usize| {
            let name = &declaration.fields[*field].name;
            fields.iter().position(|field| field.name == *name)
        };
        let encrypted = declaration.encrypted.clone();
        let inside = encrypted.as_ref().and_then(|encrypted| {
            let clear = encrypted.clear();
            plan.nodes[ROOT].children.iter().find(|(key, _)| **key == *clear).map(|(_, node)| *node)
        });
        Some(Self {
            event_at: declaration.event_at.iter().filter_map(slot).collect(),
            row: Row::new(&plan),
            plan,
            encrypted,
            inside,
            whole: Vec::new(),
        })
    }

    /// The payload with its times moved by `shift_us` microseconds; none: it stays as it is.
    pub fn payload(&self, payload: &[u8], shift_us: i64) -> Option<Vec<u8>> {
        self.moved(payload, ROOT, shift_us)
    }

    /// The same for what was decrypted of a message.
    pub fn clear(&self, clear: &[u8], shift_us: i64) -> Option<Vec<u8>> {
        match (&self.encrypted, self.inside) {
            (Some(_), inside) => self.moved(clear, inside?, shift_us),
            // Nothing is declared of what is encrypted: all of it was.
            (None, _) => self.moved(clear, ROOT, shift_us),
        }
    }

    /// Whether the kind declares times in what its vendor encrypts, so that moving them takes the key.
    pub fn is_in_clear(&self) -> bool {
        self.inside.is_some()
    }

    /// The payload with `sealed` (plain ASCII) as its ciphertext; none if it has no place for one.
    pub fn with_sealed(&self, payload: &[u8], sealed: &str) -> Option<Vec<u8>> {
        let member = self.encrypted.as_ref()?.member();
        is_json(payload).then_some(())?;
        let range = Walk::new(payload, 0).text_of_member(&member)?;
        edited(payload, vec![Edit { range, new: sealed.to_owned() }])
    }

    /// The time that the vendor put into the message, as it is decoded.
    pub fn event_at_us(&mut self, payload: &[u8], clear: Option<&[u8]>) -> Option<i64> {
        let joined = match (&self.encrypted, clear) {
            (Some(encrypted), Some(clear)) => encrypted.join(payload, clear, &mut self.whole),
            _ => false,
        };
        let body = match clear {
            _ if joined => &self.whole,
            Some(clear) if self.encrypted.is_none() => clear,
            _ => payload,
        };
        self.row.begin();
        json::read(&self.plan, &mut self.row, body).ok()?;
        self.event_at.iter().find_map(|slot| match self.row.value(*slot) {
            Value::Int(us) => Some(*us),
            _ => None,
        })
    }

    fn moved(&self, body: &[u8], node: NodeId, shift_us: i64) -> Option<Vec<u8>> {
        // What is no JSON to its end is not decoded either.
        if shift_us == 0 || !is_json(body) {
            return None;
        }
        let mut walk = Walk::new(body, shift_us);
        walk.value(&self.plan, node, 0)?;
        edited(body, walk.into_edits())
    }
}

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

/// The field itself or its members, as far as they are times.
fn times(field: &Field) -> Vec<Field> {
    match &field.data_type {
        FieldType::Timestamp(_) => vec![field.clone()],
        FieldType::Structs { members, .. } => members.iter().flat_map(times).collect(),
        _ => Vec::new(),
    }
}

fn only_times(field: &Field) -> Field {
    let data_type = match &field.data_type {
        FieldType::Structs { element_id, .. } => {
            FieldType::Structs { element_id: *element_id, members: times(field) }
        }
        other => other.clone(),
    };
    Field { data_type, ..field.clone() }
}
