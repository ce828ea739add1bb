//! The little of SVG that a plot needs. What comes from outside goes through [`escaped`].

use std::fmt::Write as _;

/// A document in the making.
#[derive(Debug, Default)]
pub(super) struct Svg(String);

/// A coordinate in pixels, written with a tenth at most.
pub(super) type Px = f64;

impl Svg {
    /// Adds markup, with its line feed.
    pub(super) fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
        self.0.push('\n');
    }

    pub(super) fn text(&mut self, class: &str, (x, y): (Px, Px), text: &str) {
        let text = escaped(text);
        let _ = writeln!(self.0, r#"<text class="{class}" x="{}" y="{}">{text}</text>"#, px(x), px(y));
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): (Px, Px), (x2, y2): (Px, Px)) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(px);
        let _ = writeln!(self.0, r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#);
    }

    /// `title` is what a pointer that rests on it shows.
    pub(super) fn rect(&mut self, class: &str, (x, y): (Px, Px), (width, height): (Px, Px), title: &str) {
        let [x, y, width, height] = [x, y, width, height].map(px);
        let title = escaped(title);
        let _ = writeln!(
            self.0,
            r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}"><title>{title}</title></rect>"#
        );
    }

    pub(super) fn path(&mut self, class: &str, path: &Path) {
        if !path.0.is_empty() {
            let _ = writeln!(self.0, r#"<path class="{class}" d="{}"/>"#, path.0.trim_end());
        }
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// The data of a path.
#[derive(Debug, Default)]
pub(super) struct Path(String);

impl Path {
    pub(super) fn to(&mut self, command: char, (x, y): (Px, Px)) {
        let _ = write!(self.0, "{command}{} {} ", px(x), px(y));
    }

    pub(super) fn close(&mut self) {
        self.0.push_str("Z ");
    }
}

/// Tenths, and no more digits than that takes.
fn px(at: Px) -> String {
    let text = format!("{at:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// As text or an attribute in XML, which has no place for most control characters, however they are written.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => escaped.push('\u{FFFD}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_are_text_and_nothing_else() {
        assert_eq!(
            escaped("<script>&\"a'\u{0}\u{1b}\n\u{FFFF}ä"),
            "&lt;script&gt;&amp;&quot;a&#39;\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}ä"
        );
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!([px(1.0), px(1.26), px(-0.5), px(120.0)], ["1", "1.3", "-0.5", "120"]);
    }
}
