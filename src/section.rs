//! A table of a TOML file that is read key by key and checked while it is read.
//!
//! Nothing stops at the first mistake: a getter that finds one notes a [`Problem`] with file, line
//! and key and answers with none, so that one run shows all of them. A caller reads every key first
//! and puts the result together afterwards, with `?`. What was never asked for is unknown
//! ([`Section::finish`]), and answered with the nearest key that was.
//!
//! Values that may hold a credential are never repeated in a problem.

pub mod values;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// Looks up an environment variable; handed in, so that tests own it.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The file being read, and what was found wrong with it.
pub struct File<'a> {
    /// As the user named it: what problems begin with.
    path: &'a Path,
    text: &'a str,
    env: Env<'a>,
    problems: RefCell<Vec<Problem>>,
}

/// One mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// The key, with its table; none where the file is no TOML.
    pub key: Option<String>,
    /// What was expected, what was found, what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.what)
    }
}

impl<'a> File<'a> {
    pub fn new(path: &'a Path, text: &'a str, env: Env<'a>) -> Self {
        Self { path, text, env, problems: RefCell::default() }
    }

    /// Reads the file's outermost table with `read`; all problems at once if there are any.
    pub fn read<T>(self, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Result<T, Vec<Problem>> {
        let table = match DeTable::parse(self.text) {
            Ok(table) => table,
            Err(error) => {
                // Only the message: the error's own Display shows the line, which may hold a secret.
                let line = self.line(error.span().map_or(0, |span| span.start));
                let what = format!("not valid TOML: {}", error.message());
                return Err(vec![Problem { file: self.path.into(), line, key: None, what }]);
            }
        };
        let root = Section::new(&self, table.get_ref(), table.span(), String::new(), String::new());
        let read = root.closed(read);
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        match read {
            Some(value) if problems.is_empty() => Ok(value),
            _ => Err(problems),
        }
    }

    fn resolve(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count()
    }
}

/// A table of the file.
pub struct Section<'a> {
    file: &'a File<'a>,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    /// How people call it: `[archive]`, `source "shop"`; empty for the outermost.
    place: String,
    /// What the keys of a nested table begin with: `tls.`.
    prefix: String,
    /// What was asked for so far.
    known: RefCell<Vec<&'static str>>,
    any_key: Cell<bool>,
}

impl<'a> Section<'a> {
    fn new(
        file: &'a File<'a>,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        place: String,
        prefix: String,
    ) -> Self {
        Self { file, table, span, place, prefix, known: RefCell::default(), any_key: Cell::new(false) }
    }

    /// The value of `key` as `parse` reads it; none if it is missing, or wrong and noted.
    pub fn get<T>(&self, key: &'static str, parse: impl FnOnce(&Item<'_>) -> Option<T>) -> Option<T> {
        parse(&self.item(key)?)
    }

    /// The value of `key`, or `default` where it is missing.
    pub fn get_or<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&Item<'_>) -> Option<T>,
        default: impl Into<T>,
    ) -> Option<T> {
        match self.item(key) {
            Some(item) => parse(&item),
            None => Some(default.into()),
        }
    }

    /// The value of a key that must be there; `what` says what it is, for those who left it out.
    pub fn need<T>(
        &self,
        key: &'static str,
        what: &str,
        parse: impl FnOnce(&Item<'_>) -> Option<T>,
    ) -> Option<T> {
        match self.item(key) {
            Some(item) => parse(&item),
            None => {
                self.note(self.span.start, key, format!("missing: {what}"));
                None
            }
        }
    }

    /// The table `[key]`, read as an empty one where it is missing, so that its defaults apply.
    pub fn header<T>(&self, key: &'static str, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Option<T> {
        let place = format!("[{key}]");
        let Some(item) = self.item(key) else {
            let empty = DeTable::new();
            return Section::new(self.file, &empty, self.span.clone(), place, String::new()).closed(read);
        };
        let table =
            item.value.as_table().or_else(|| item.expected(&format!("expected a table `{place}`")))?;
        Section::new(self.file, table, item.span, place, String::new()).closed(read)
    }

    /// The tables of `[[key]]`, each read by `read` with its place in the list, from 0.
    pub fn headers<T>(&self, key: &'static str, read: impl Fn(&Section<'_>) -> Option<T>) -> Option<Vec<T>> {
        let Some(item) = self.item(key) else { return Some(Vec::new()) };
        let wanted = format!("expected tables `[[{key}]]`");
        let list = item.value.as_array().or_else(|| item.expected(&wanted))?;
        let read_one = |(i, element): (usize, &toml::Spanned<DeValue<'_>>)| {
            let Some(table) = element.get_ref().as_table() else { return item.expected(&wanted) };
            let name = table.get("name").and_then(|name| name.get_ref().as_str());
            let place = name.map_or_else(|| format!("{key} {}", i + 1), |name| format!("{key} {name:?}"));
            Section::new(self.file, table, element.span(), place, String::new()).closed(&read)
        };
        // Read all before the first failure ends it: every problem is to be noted.
        list.iter().enumerate().map(read_one).collect::<Vec<_>>().into_iter().collect()
    }

    /// Whether `key` is there, without reading it.
    pub fn has(&self, key: &'static str) -> bool {
        self.table.contains_key(key)
    }

    /// Notes a problem with `key`, at its line.
    pub fn wrong(&self, key: &'static str, what: impl Into<String>) {
        let at = self.table.get_key_value(key).map_or(self.span.start, |(key, _)| key.span().start);
        self.note(at, key, what.into());
    }

    /// A path in the file: relative ones are relative to the file's folder.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.file.resolve(path)
    }

    /// Takes all other keys as known: only a part of the table is wanted, or it is not known which
    /// keys it may have.
    pub fn ignore_rest(&self) {
        self.any_key.set(true);
    }

    fn closed<T>(self, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Option<T> {
        let value = read(&self);
        self.finish();
        value
    }

    /// Notes every key that was never asked for.
    pub fn finish(&self) {
        if self.any_key.get() {
            return;
        }
        let known = self.known.borrow();
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let what = match nearest(name, known.iter().copied()) {
                Some(near) => format!("unknown key, did you mean `{near}`?"),
                None => format!("unknown key; known here: {}", known.join(", ")),
            };
            self.note(key.span().start, name, what);
        }
    }

    fn item(&self, key: &'static str) -> Option<Item<'_>> {
        if !self.known.borrow().contains(&key) {
            self.known.borrow_mut().push(key);
        }
        let value = self.table.get(key)?;
        Some(Item {
            file: self.file,
            value: value.get_ref(),
            span: value.span(),
            place: &self.place,
            key: format!("{}{key}", self.prefix),
        })
    }

    fn note(&self, at: usize, key: &str, what: String) {
        note(self.file, at, &self.place, &format!("{}{key}", self.prefix), what);
    }
}

/// One value of the file.
pub struct Item<'a> {
    file: &'a File<'a>,
    value: &'a DeValue<'a>,
    span: Range<usize>,
    place: &'a str,
    key: String,
}

impl<'a> Item<'a> {
    pub fn as_str(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    pub fn as_bool(&self) -> Option<bool> {
        self.value.as_bool()
    }

    pub fn as_integer(&self) -> Option<i64> {
        let integer = self.value.as_integer()?;
        i64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// The elements of a list; none if it is no list.
    pub fn elements(&self) -> Option<Vec<Item<'a>>> {
        let element = |(i, element): (usize, &'a toml::Spanned<DeValue<'a>>)| Item {
            file: self.file,
            value: element.get_ref(),
            span: element.span(),
            place: self.place,
            key: format!("{}[{i}]", self.key),
        };
        Some(self.value.as_array()?.iter().enumerate().map(element).collect())
    }

    /// The keys and values of a table whose keys are the user's own.
    pub fn entries(&self) -> Option<Vec<(&'a str, Item<'a>)>> {
        let entry =
            |(name, value): (&'a toml::Spanned<toml::de::DeString<'a>>, &'a toml::Spanned<DeValue<'a>>)| {
                let name: &'a str = name.get_ref();
                let key = format!("{}.{name}", self.key);
                (
                    name,
                    Item {
                        file: self.file,
                        value: value.get_ref(),
                        span: value.span(),
                        place: self.place,
                        key,
                    },
                )
            };
        Some(self.value.as_table()?.iter().map(entry).collect())
    }

    /// The value as a table with known keys, which `read` asks for; none if it is no table.
    pub fn table<T>(&self, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Option<Option<T>> {
        let table = self.value.as_table()?;
        let prefix = format!("{}.", self.key);
        let section = Section::new(self.file, table, self.span.clone(), self.place.into(), prefix);
        Some(section.closed(read))
    }

    /// A path in the file: relative ones are relative to the file's folder.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.file.resolve(path)
    }

    pub fn env(&self, name: &str) -> Option<String> {
        (self.file.env)(name)
    }

    /// Notes what was expected and what is there instead; for values that are no secret.
    pub fn expected<T>(&self, expected: &str) -> Option<T> {
        /// Long enough to recognise a value, short enough for one line.
        const SHOWN_CHARS: usize = 60;
        let source = self.file.text.get(self.span.clone()).unwrap_or("");
        let mut shown: String = source.lines().next().unwrap_or("").chars().take(SHOWN_CHARS).collect();
        if shown.len() < source.len() {
            shown.push('…');
        }
        self.wrong(format!("{expected}, found {shown}"))
    }

    /// Notes what was expected, and only the type of what is there: it may be a secret.
    pub fn expected_secret<T>(&self, expected: &str) -> Option<T> {
        self.wrong(format!("{expected}, found a value of type {}", self.value.type_str()))
    }

    /// Notes a problem with this value.
    pub fn wrong<T>(&self, what: impl Into<String>) -> Option<T> {
        note(self.file, self.span.start, self.place, &self.key, what.into());
        None
    }
}

fn note(file: &File<'_>, at: usize, place: &str, key: &str, what: String) {
    let key = if place.is_empty() { format!("`{key}`") } else { format!("`{key}` in {place}") };
    let problem = Problem { file: file.path.into(), line: file.line(at), key: Some(key), what };
    file.problems.borrow_mut().push(problem);
}

// What was read may be a secret: Debug shows the place only.
impl fmt::Debug for File<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section").field("place", &self.place).finish_non_exhaustive()
    }
}

impl fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The name most like `wanted`, if any is like it at all.
pub fn nearest<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    /// Below this a suggestion confuses more than it helps (`url` for `cert`).
    const ALIKE: f64 = 0.75;
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
