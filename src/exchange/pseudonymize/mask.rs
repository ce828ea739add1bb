//! What is to be seen of a declared value, by its role.

use super::Told;
use super::channel::is_word;
use super::names::Names;
use super::place::Turn;
use crate::decode::{Field, FieldType, Mask, Role, Shown};

/// Whether a field, or one within it, is a longitude.
pub(super) fn is_on_earth(field: &Field) -> bool {
    let is_within = match &field.data_type {
        FieldType::Structs { members, .. } => members.iter().any(is_on_earth),
        _ => false,
    };
    is_within || is_longitude(field)
}

fn is_longitude(field: &Field) -> bool {
    field.role == Role::Location && field.name.ends_with("longitude")
}

/// What of a value is to be seen, by its role.
pub(super) struct Shade<'a> {
    pub(super) names: &'a mut Names,
    pub(super) told: &'a mut Told,
    pub(super) shift_us: i64,
    pub(super) turn: Option<Turn>,
    pub(super) keep_text: bool,
    pub(super) is_on_earth: bool,
}

impl Shade<'_> {
    fn name(&mut self, written: &str, is_number: bool) -> Shown {
        self.told.replaced += 1;
        if !is_number {
            return Shown::Instead(self.names.name(written));
        }
        // However it is spelled: 21000.0 is the same as 21000.
        let whole = |n: f64| (n.fract() == 0.0 && n.abs() < 1e15).then_some(n as i64);
        let digits = written.strip_prefix('-').unwrap_or(written);
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Shown::Instead(self.names.name(written));
        }
        match written.parse().ok().and_then(whole) {
            Some(value) => Shown::Instead(self.names.integer(value)),
            None => Shown::Nothing,
        }
    }

    /// Words stay, numbers and keys among them do not: they are what names somebody elsewhere.
    fn words(&mut self, written: &str) -> Shown {
        let mut parts = Vec::new();
        let is_in_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        for word in written.split(|c: char| !is_in_word(c)).filter(|word| !is_word(word)) {
            let start = word.as_ptr() as usize - written.as_ptr() as usize;
            self.told.replaced += 1;
            parts.push((start..start + word.len(), self.names.name(word)));
        }
        if parts.is_empty() { Shown::AsIs } else { Shown::Parts(parts) }
    }

    fn place(&mut self, field: &Field, written: &str, is_number: bool) -> Shown {
        let Some(turn) = self.turn else { return Shown::AsIs };
        if is_longitude(field) {
            return turn.longitude(written).map_or(Shown::Nothing, Shown::Instead);
        }
        let is_text = matches!(field.data_type, FieldType::String | FieldType::Strings { .. });
        // Metres, degrees and the like are of a room or a position; numbers without a unit are of cells.
        if is_text || (self.is_on_earth && field.unit.is_none() && !field.name.ends_with("latitude")) {
            return self.name(written, is_number);
        }
        Shown::AsIs
    }
}

impl Mask for Shade<'_> {
    fn value(&mut self, field: &Field, written: &str, is_number: bool) -> Shown {
        match field.role {
            Role::Identifier | Role::Credential => self.name(written, is_number),
            Role::Text if self.keep_text => self.words(written),
            Role::Text => self.name(written, is_number),
            Role::Location => self.place(field, written, is_number),
            Role::Health | Role::Time | Role::State | Role::Measurement => Shown::AsIs,
        }
    }

    fn key(&mut self, key: &str) -> Shown {
        Shown::Instead(self.names.name(key))
    }

    fn dropped(&mut self) {
        self.told.dropped_values += 1;
    }

    fn shift_us(&self) -> i64 {
        self.shift_us
    }

    fn unmoved(&mut self) {
        self.told.dropped_times += 1;
    }
}
