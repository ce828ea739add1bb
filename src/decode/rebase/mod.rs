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

#[cfg(test)]
mod tests;

pub(super) use self::respell::respell;
use super::declaration::{Declaration, Encrypted, Field, FieldType};
use super::edit::{Edit, differences, edited, offset_in};
use super::json;
use super::plan::{NodeId, Plan, ROOT};
use super::row::{Row, Value};
use super::walk::{Fate, Visit, Walk, Written, is_json, piece};

/// Moves the declared times in the messages of one kind.
#[derive(Debug)]
pub struct Rebase {
    /// One for each declaration that the kind has.
    parts: Vec<Part>,
    whole: Vec<u8>,
}

/// What one declaration says of times.
#[derive(Debug)]
struct Part {
    /// The times alone.
    plan: Plan,
    /// Slots of the plan that say when the message was made; the first that has a value counts.
    event_at: Vec<usize>,
    encrypted: Option<Encrypted>,
    /// The place of what is encrypted, if times are declared in it.
    inside: Option<NodeId>,
    row: Row,
}

impl Rebase {
    /// By what the kind's declarations say together: several sources, or several versions of one, may have
    /// declared it differently. None for a kind that declares no times: there is nothing to move in it.
    pub fn new(declarations: &[Declaration]) -> Option<Self> {
        let parts: Vec<Part> = declarations.iter().filter_map(Part::new).collect();
        (!parts.is_empty()).then_some(Self { parts, whole: Vec::new() })
    }

    /// The payload with its times moved by `shift_us` microseconds; none: it stays as it is.
    pub fn payload(&self, payload: &[u8], shift_us: i64) -> Option<Vec<u8>> {
        self.moved(payload, shift_us, |_| Some(ROOT))
    }

    /// The same for what was decrypted of a message. Where nothing is declared of what is encrypted, all
    /// of it was.
    pub fn clear(&self, clear: &[u8], shift_us: i64) -> Option<Vec<u8>> {
        self.moved(clear, shift_us, |part| if part.encrypted.is_some() { part.inside } else { Some(ROOT) })
    }

    /// Whether the kind declares times in what its vendor encrypts, so that moving them takes the key.
    pub fn is_in_clear(&self) -> bool {
        self.parts.iter().any(|part| part.inside.is_some())
    }

    /// The payload with `sealed` (plain ASCII) as its ciphertext; none if it has no place for one.
    pub fn with_sealed(&self, payload: &[u8], sealed: &str) -> Option<Vec<u8>> {
        let member = self.parts.iter().find_map(|part| part.encrypted.as_ref())?.member();
        is_json(payload).then_some(())?;
        let range = Walk::new(payload, &mut Shift { us: 0 }).text_of_member(&member)?;
        edited(payload, vec![Edit { range, new: sealed.to_owned() }])
    }

    /// The time that the vendor put into the message, as it is decoded.
    pub fn event_at_us(&mut self, payload: &[u8], clear: Option<&[u8]>) -> Option<i64> {
        self.parts.iter_mut().find_map(|part| part.event_at_us(payload, clear, &mut self.whole))
    }

    fn moved(&self, body: &[u8], shift_us: i64, node: impl Fn(&Part) -> Option<NodeId>) -> Option<Vec<u8>> {
        // What is no JSON to its end is not decoded either.
        if shift_us == 0 || !is_json(body) {
            return None;
        }
        let mut edits = Vec::new();
        for part in &self.parts {
            let Some(node) = node(part) else { continue };
            let mut shift = Shift { us: shift_us };
            let mut walk = Walk::new(body, &mut shift);
            walk.value(&part.plan, node, 0)?;
            edits.extend(walk.into_edits());
        }
        edited(body, edits)
    }
}

impl Part {
    fn new(declaration: &Declaration) -> Option<Self> {
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
        })
    }

    fn event_at_us(&mut self, payload: &[u8], clear: Option<&[u8]>, whole: &mut Vec<u8>) -> Option<i64> {
        let body = match (clear, &self.encrypted) {
            (Some(clear), Some(encrypted)) if encrypted.join(payload, clear, whole) => whole,
            (Some(clear), None) => clear,
            _ => payload,
        };
        self.row.begin();
        json::read(&self.plan, &mut self.row, body).ok()?;
        self.event_at.iter().find_map(|slot| match self.row.value(*slot) {
            Value::Int(us) => Some(*us),
            _ => None,
        })
    }
}

/// Moves every time that it meets.
struct Shift {
    us: i64,
}

impl Visit for Shift {
    fn declared(&mut self, fields: &mut dyn Iterator<Item = &Field>, written: Written<'_>) -> Fate {
        let mut edits = Vec::new();
        for field in fields {
            match written {
                Written::Number(digits) => {
                    let new = respell(field, written, written, self.us);
                    edits.extend(new.iter().flat_map(|new| differences(digits, new, 0)));
                }
                Written::Text(text) => {
                    let Some(piece) = piece(field, text) else { continue };
                    let new = respell(field, written, Written::Text(piece), self.us);
                    let start = offset_in(text, piece);
                    edits.extend(new.iter().flat_map(|new| differences(piece, new, start)));
                }
            }
        }
        Fate::Edits(edits)
    }

    fn key(&mut self, field: Option<&Field>, key: &str) -> Fate {
        field.map_or(Fate::Stays, |field| self.declared(&mut std::iter::once(field), Written::Text(key)))
    }
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
