//! Which kind a message is of: the rule that a declaration gives for its kind.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::declaration::Path;
use super::raw::RawScalar;
use super::value::Scalar;
use crate::message::glob;

/// `match = { path = "type", equals = "x" }`, `{ path = "VP" }`, `{ channel = "up/*/status" }`, or both.
#[derive(Clone, Debug)]
pub(super) struct MatchRule {
    /// The first of these that leads to a value other than null decides.
    pub(super) paths: Vec<Path>,
    /// Which must then be this.
    pub(super) equals: Option<RawScalar>,
    pub(super) channel: Option<String>,
}

impl MatchRule {
    pub(super) fn matches(&self, channel: &str, body: &[u8]) -> bool {
        let is_channel = |pattern: &String| glob(pattern.as_bytes(), channel.as_bytes());
        self.channel.as_ref().is_none_or(is_channel)
            && (self.paths.is_empty() || self.paths.iter().find_map(|path| self.at(path, body)) == Some(true))
    }

    /// Whether the value at `path` is the wanted one; none if there is no value.
    fn at(&self, path: &Path, body: &[u8]) -> Option<bool> {
        let mut found = None;
        let probe = Probe { steps: path.steps(), equals: self.equals.as_ref(), found: &mut found };
        let mut json = serde_json::Deserializer::from_slice(body);
        // A body that is not JSON to its end is of no kind, whatever its beginning looks like.
        let is_json = probe.deserialize(&mut json).is_ok() && json.end().is_ok();
        found.filter(|_| is_json)
    }
}

/// Walks to one place. Of repeated keys the last counts, so nothing is decided before the end.
struct Probe<'a> {
    steps: &'a [String],
    equals: Option<&'a RawScalar>,
    found: &'a mut Option<bool>,
}

impl Probe<'_> {
    fn scalar(self, scalar: Scalar<'_>) {
        if let (true, Scalar::Text(text)) = (!self.steps.is_empty(), scalar) {
            // JSON in a string, as everywhere; anything else leads nowhere.
            let mut json = serde_json::Deserializer::from_str(text);
            let steps = if text.trim_start().starts_with(['{', '[']) { self.steps } else { return };
            let _ = Probe { steps, ..self }.deserialize(&mut json);
            return;
        }
        *self.found = self.steps.is_empty().then(|| match (self.equals, scalar) {
            (None, _) => true,
            (Some(RawScalar::Text(wanted)), Scalar::Text(text)) => wanted == text,
            (Some(RawScalar::Bool(wanted)), Scalar::Bool(value)) => *wanted == value,
            (Some(RawScalar::Number(wanted)), Scalar::Int(n)) => *wanted == n as f64,
            (Some(RawScalar::Number(wanted)), Scalar::Double(n)) => *wanted == n,
            _ => false,
        });
    }
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.scalar(Scalar::Bool(value));
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.scalar(Scalar::Int(value));
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.scalar(i64::try_from(value).map_or(Scalar::Unsigned(value), Scalar::Int));
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.scalar(Scalar::Double(value));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.scalar(Scalar::Text(text));
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        *self.found = None;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.steps.split_first() else {
            *self.found = Some(self.equals.is_none());
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        *self.found = None;
        while let Some(is_step) = map.next_key_seed(IsKey(step))? {
            if is_step {
                map.next_value_seed(Probe { steps: rest, equals: self.equals, found: &mut *self.found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        *self.found = self.steps.is_empty().then(|| self.equals.is_none());
        let wanted = self.steps.first().and_then(|step| step.parse::<usize>().ok());
        for index in 0_usize.. {
            let is_more = if wanted == Some(index) {
                let probe = Probe { steps: &self.steps[1..], equals: self.equals, found: &mut *self.found };
                seq.next_element_seed(probe)?.is_some()
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !is_more {
                break;
            }
        }
        Ok(())
    }
}

struct IsKey<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}
