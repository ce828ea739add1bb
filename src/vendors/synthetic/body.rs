//! A JSON object in the making, member by member, in the order that a transport uses.

use bytes::Bytes;
use serde_json::Value;

/// Members with their values as JSON text, so that numbers keep the digits they were given.
#[derive(Debug, Default)]
pub(super) struct Body(Vec<(&'static str, String)>);

impl Body {
    pub(super) fn number(mut self, name: &'static str, value: impl std::fmt::Display) -> Self {
        self.0.push((name, value.to_string()));
        self
    }

    pub(super) fn text(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.push((name, Value::String(value.into()).to_string()));
        self
    }

    /// The members of `other` after its own.
    pub(super) fn and(mut self, other: Body) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn object(self, name: &'static str, value: Body) -> Self {
        let text = value.render();
        self.number(name, text)
    }

    /// An object inside a string, as Jointech nests them.
    pub(super) fn nested(self, name: &'static str, value: Body) -> Self {
        let text = value.render();
        self.text(name, text)
    }

    /// The members sorted by name: what Jointech's broker sends.
    pub(super) fn sorted(mut self) -> Self {
        self.0.sort_unstable_by_key(|member| member.0);
        self
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.render().into()
    }

    fn render(&self) -> String {
        let mut text = String::with_capacity(512);
        for (i, (name, value)) in self.0.iter().enumerate() {
            text.push_str(if i == 0 { "{\"" } else { ",\"" });
            text.push_str(name);
            text.push_str("\":");
            text.push_str(value);
        }
        text.push_str(if text.is_empty() { "{}" } else { "}" });
        text
    }
}
