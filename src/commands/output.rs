//! Standard output: lines, JSON and aligned tables; a reader that has gone away ends the command
//! quietly.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use crate::printable::{printable, printable_lines};

/// Whoever read standard output has closed it.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(super) struct StdoutClosed;

/// Buffered standard output.
pub(super) struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    pub(super) fn new() -> Self {
        Self(BufWriter::with_capacity(64 << 10, io::stdout().lock()))
    }

    /// A line for people: what would steer a terminal is shown as a number.
    pub(super) fn line(&mut self, line: impl Display) -> anyhow::Result<()> {
        writeln!(self.0, "{}", printable_lines(&line.to_string())).map_err(closed)
    }

    /// A line for programs, as it is.
    pub(super) fn data(&mut self, line: &str) -> anyhow::Result<()> {
        self.0.write_all(line.as_bytes()).and_then(|()| self.0.write_all(b"\n")).map_err(closed)
    }

    /// One JSON document on a line of its own.
    pub(super) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.0.write_all(&line).map_err(closed)
    }

    /// Hands over what is buffered; to be called before waiting and at the end.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.0.flush().map_err(closed)
    }
}

fn closed(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => StdoutClosed.into(),
        _ => anyhow::Error::new(error).context("cannot write to standard output"),
    }
}

/// Prints one JSON document, or what `people` writes.
pub(super) fn print(
    json: bool,
    value: &impl Serialize,
    people: impl FnOnce(&mut Out) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut out = Out::new();
    if json {
        out.json(value)?
    } else {
        people(&mut out)?
    }
    out.flush()
}

/// Prints an error with its causes, each on a line of its own where it says something new.
pub(super) fn print_error(error: &anyhow::Error) {
    let mut said = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if said.contains(&text) {
            continue;
        }
        let (start, indent) =
            if said.is_empty() { ("error: ", "       ") } else { ("  caused by: ", "    ") };
        let text = printable_lines(&text).replace('\n', &format!("\n{indent}"));
        // A terminal that is gone reads it no more, and `eprintln!` would panic.
        let _ = writeln!(io::stderr(), "{start}{text}");
        said.push_str(&cause.to_string());
    }
}

/// Rows under a header, columns aligned.
pub(super) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns whose header begins with `>` are aligned to the right.
    pub(super) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell).into_owned()).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Of its longest line, in characters.
    pub(super) fn width(&self) -> usize {
        self.lines().iter().map(|line| line.chars().count()).max().unwrap_or(0)
    }

    pub(super) fn print(&self, out: &mut Out) -> anyhow::Result<()> {
        for line in self.lines() {
            out.line(line)?;
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let right: Vec<bool> = self.header.iter().map(|name| name.starts_with('>')).collect();
        let header: Vec<String> =
            self.header.iter().map(|name| name.trim_start_matches('>').into()).collect();
        let all = || std::iter::once(&header).chain(&self.rows);
        let width =
            |i: usize| all().filter_map(|row| row.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        all()
            .map(|row| {
                let cells = row.iter().zip(&widths).zip(&right).map(|((cell, width), right)| {
                    if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                });
                cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new(&["name", ">rows", "state"]);
        table.row(["a".into(), "12345".into(), "up".into()]);
        table.row(["höme".into(), "1".into(), String::new()]);
        table.row(["\u{1b}\n".into(), "2".into(), String::new()]);
        assert_eq!(
            table.lines(),
            [
                "name          rows  state",
                "a            12345  up",
                "höme             1",
                "\\u{1b}\\u{a}      2"
            ]
        );
    }
}
