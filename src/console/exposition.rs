//! Prometheus's text format, version 0.0.4: families of samples, their labels and values.

use std::fmt::{self, Write as _};

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// What the answer to a scrape is.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Counter,
    Gauge,
    Summary,
}

/// A sample's value. Times are in seconds, exact to what was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Whole(u64),
    Ns(u64),
    /// A moment, microseconds since the Unix epoch, or a difference of two.
    Us(i64),
    Ratio(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Whole(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Whole(u64::from(value))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::Whole(value) => value.fmt(f),
            Value::Ns(ns) => write!(f, "{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000),
            Value::Us(us) => {
                let (sign, us) = (if us < 0 { "-" } else { "" }, us.unsigned_abs());
                write!(f, "{sign}{}.{:06}", us / 1_000_000, us % 1_000_000)
            }
            Value::Ratio(value) => value.fmt(f),
        }
    }
}

/// A sample's labels, by name.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// The answer to a scrape, in the making.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    name: &'static str,
}

impl Exposition {
    /// Begins the family `name`; its samples follow.
    pub(super) fn family(&mut self, r#type: Type, name: &'static str, help: &str) -> &mut Self {
        let r#type = match r#type {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Summary => "summary",
        };
        // Help texts are ours: no backslash and no line's end is in them.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {type}\n");
        self.name = name;
        self
    }

    /// A family of one sample, without labels.
    pub(super) fn single(&mut self, r#type: Type, name: &'static str, help: &str, value: impl Into<Value>) {
        self.family(r#type, name, help).sample(&[], value);
    }

    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Into<Value>) -> &mut Self {
        self.part("", labels, value)
    }

    /// A sample of a summary whose name has a suffix.
    pub(super) fn part(&mut self, suffix: &str, labels: Labels<'_>, value: impl Into<Value>) -> &mut Self {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (n, (name, value)) in labels.iter().enumerate() {
            self.text.push(if n == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            value.chars().for_each(|c| match c {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                c => self.text.push(c),
            });
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {}", value.into());
        self
    }

    pub(super) fn respond(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, CONTENT_TYPE),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (headers, self.text).into_response()
    }
}

/// What every process tells of itself, under the names that are usual.
pub(super) fn of_process(page: &mut Exposition) {
    let version = env!("CARGO_PKG_VERSION");
    page.family(Type::Gauge, "telereel_build_info", "Which Telereel this is.")
        .sample(&[("version", version)], 1);
    // The second number of statm is what is resident, in pages.
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    if let Some(pages) = pages {
        let bytes = pages * rustix::param::page_size() as u64;
        page.single(Type::Gauge, "process_resident_memory_bytes", "Memory that is in use.", bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.single(Type::Gauge, "process_open_fds", "Open file descriptors.", open.count() as u64);
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Value::Whole(u64::try_from(value).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_values_exact() {
        let mut page = Exposition::default();
        page.family(Type::Gauge, "a_seconds", "How long.")
            .sample(&[("source", "a\"b\\c\nd"), ("kind", "ü")], Value::Ns(1_000_000_007))
            .sample(&[], Value::Us(-1_500_000));
        page.single(Type::Counter, "b_total", "How many.", u64::MAX);
        assert_eq!(
            page.text,
            "# HELP a_seconds How long.\n# TYPE a_seconds gauge\n\
             a_seconds{source=\"a\\\"b\\\\c\\nd\",kind=\"ü\"} 1.000000007\na_seconds -1.500000\n\
             # HELP b_total How many.\n# TYPE b_total counter\nb_total 18446744073709551615\n"
        );
    }
}
