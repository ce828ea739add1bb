//! Messages in, columns out.

use std::fmt::Write;

use arrow::array::ArrayRef;

use super::channel::ChannelPattern;
use super::columns::Columns;
use super::declaration::{Declaration, Encrypted, NullTogether};
use super::json;
use super::plan::Plan;
use super::row::{Row, Value};

/// Decodes messages of one kind, one after the other, into the kind's typed columns.
///
/// Its memory is reused: in steady state a flat message allocates nothing but the growth of the
/// columns. No bytes make it fail: what cannot be decoded is null, and [`Decoded::error`] says why.
#[derive(Debug)]
pub struct Decoder {
    kind: Option<Box<KindDecoder>>,
}

/// What the envelope wants to know of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The vendor's id of the device.
    pub device_id: Option<&'a str>,
    /// The time that the vendor put into the message, microseconds since the Unix epoch.
    pub event_at_us: Option<i64>,
    /// Why typed columns are null that could have a value: all of them, or those named.
    pub error: Option<&'a str>,
}

#[derive(Debug)]
struct KindDecoder {
    plan: Plan,
    row: Row,
    columns: Columns,
    device_id: Vec<usize>,
    device_id_channel: Option<ChannelPattern>,
    event_at: Vec<usize>,
    null_together: Vec<NullTogether>,
    encrypted: Option<Encrypted>,
    /// A payload with its decrypted content in place.
    whole: Vec<u8>,
    /// The device id of the last message; empty: none.
    device: String,
}

impl Decoder {
    /// A decoder by `declaration`; without one, messages have the envelope only and are never read.
    pub fn new(declaration: Option<&Declaration>) -> Self {
        Self { kind: declaration.and_then(KindDecoder::new).map(Box::new) }
    }

    /// Decodes one message: a row is added to every column, come what may.
    pub fn push(&mut self, channel: &str, body: &[u8]) -> Decoded<'_> {
        match &mut self.kind {
            Some(kind) => kind.push(channel, body, None),
            None => Decoded::default(),
        }
    }

    /// The same for a message of a vendor that encrypts: with `clear`, what was decrypted of it, if it was.
    pub fn push_decrypted(&mut self, channel: &str, payload: &[u8], clear: Option<&[u8]>) -> Decoded<'_> {
        match &mut self.kind {
            Some(kind) => kind.push_decrypted(channel, payload, clear),
            None => Decoded::default(),
        }
    }

    /// The columns of all messages since the last call, in the order of
    /// [`Declaration::arrow_fields`] and all of one length.
    pub fn finish(&mut self) -> Vec<ArrayRef> {
        self.kind.as_mut().map_or_else(Vec::new, |kind| kind.columns.finish())
    }
}

impl KindDecoder {
    fn new(declaration: &Declaration) -> Option<Self> {
        // A declaration was refused if no plan can be made of it.
        let plan = Plan::new(&declaration.fields).ok()?;
        Some(Self {
            row: Row::new(&plan),
            columns: Columns::new(&declaration.fields),
            plan,
            device_id: declaration.device_id.clone(),
            device_id_channel: declaration.device_id_channel.clone(),
            event_at: declaration.event_at.clone(),
            null_together: declaration.null_together.clone(),
            encrypted: declaration.encrypted.clone(),
            whole: Vec::new(),
            device: String::new(),
        })
    }

    fn push_decrypted(&mut self, channel: &str, payload: &[u8], clear: Option<&[u8]>) -> Decoded<'_> {
        let Some(encrypted) = &self.encrypted else {
            // Nothing is declared: all of it was encrypted.
            return self.push(channel, clear.unwrap_or(payload), None);
        };
        let Some(clear) = clear else {
            let sealed =
                encrypted.is_in(payload).then_some("encrypted, and not decrypted when it was recorded");
            return self.push(channel, payload, sealed);
        };
        let mut whole = std::mem::take(&mut self.whole);
        let is_whole = encrypted.join(payload, clear, &mut whole);
        self.push(channel, if is_whole { &whole } else { payload }, None);
        self.whole = whole;
        self.decoded(channel)
    }

    fn push(&mut self, channel: &str, body: &[u8], note: Option<&str>) -> Decoded<'_> {
        self.row.begin();
        if let Err(error) = json::read(&self.plan, &mut self.row, body) {
            self.row.begin();
            self.row.note(format_args!("not JSON: {error}"));
        }
        if let Some(note) = note {
            self.row.note(format_args!("{note}"));
        }
        for group in &self.null_together {
            let is_none =
                |slot: &usize| matches!(self.row.value(*slot), Value::Double(n) if *n == group.value);
            if group.fields.iter().all(is_none) {
                for slot in &group.fields {
                    self.row.nullify(*slot);
                }
            }
        }
        self.columns.push(&self.row, self.row.values());
        self.decoded(channel)
    }

    /// What the envelope wants to know of the row that was pushed last.
    fn decoded(&mut self, channel: &str) -> Decoded<'_> {
        let is_some = |value: &&Value| !matches!(value, Value::Absent | Value::Null);
        let found = self.device_id.iter().map(|slot| self.row.value(*slot)).find(is_some);
        self.device.clear();
        match found {
            Some(Value::Text(range)) => self.device.push_str(self.row.text(range)),
            // Writing to a String cannot fail.
            Some(Value::Int(id)) => drop(write!(self.device, "{id}")),
            _ => {
                let channel_id =
                    self.device_id_channel.as_ref().and_then(|pattern| pattern.device_id(channel));
                self.device.push_str(channel_id.unwrap_or_default());
            }
        }
        let device_id = (!self.device.is_empty()).then_some(self.device.as_str());
        let error = (!self.row.errors.is_empty()).then_some(self.row.errors.as_str());
        let event_at_us = self.event_at.iter().find_map(|slot| match self.row.value(*slot) {
            Value::Int(us) => Some(*us),
            _ => None,
        });
        Decoded { device_id, event_at_us, error }
    }
}
