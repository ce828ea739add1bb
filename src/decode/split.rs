//! Texts that hold several values, such as `460,0,9365,4433`.

use super::value::trim;

/// Which part of a text is the value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Split {
    /// `a,b,c`: the n-th piece, from 0.
    Position { separator: char, position: usize },
    /// `x:1;y:2`: the piece after the key.
    Key { separator: char, key: String, key_separator: char },
}

impl Split {
    /// What stands between the parts.
    pub(super) fn separator(&self) -> char {
        match self {
            Split::Position { separator, .. } | Split::Key { separator, .. } => *separator,
        }
    }

    /// The piece of `text`, if there is one.
    pub(super) fn piece<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Split::Position { separator, position } => nth_piece(text, *separator, *position).map(trim),
            Split::Key { separator, key, key_separator } => pieces(text, *separator).find_map(|pair| {
                let (name, value) = pair.split_once(*key_separator)?;
                (trim(name) == key).then(|| trim(value))
            }),
        }
    }
}

/// The n-th piece, from 0. Separators are ASCII nearly always, and then no part of another character.
fn nth_piece(text: &str, separator: char, n: usize) -> Option<&str> {
    let Some(separator) = u8::try_from(separator).ok().filter(u8::is_ascii) else {
        return text.split(separator).nth(n);
    };
    let (mut start, mut before) = (0, n);
    for (at, byte) in text.bytes().enumerate() {
        if byte == separator {
            if before == 0 {
                return text.get(start..at);
            }
            before -= 1;
            start = at + 1;
        }
    }
    if before == 0 { text.get(start..) } else { None }
}

/// As [`str::split`], which prepares for long texts and so loses more than it gains on short ones.
fn pieces(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let whole = rest?;
        let end = match u8::try_from(separator) {
            Ok(separator) if separator.is_ascii() => whole.bytes().position(|byte| byte == separator),
            _ => whole.find(separator),
        };
        rest = end.map(|at| &whole[at + separator.len_utf8()..]);
        Some(&whole[..end.unwrap_or(whole.len())])
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_those_of_str_split(text in "[a,é，]{0,12}", separator in "[,，]", position in 0_usize..6) {
            let separator = separator.chars().next().unwrap_or(',');
            let split = Split::Position { separator, position };
            prop_assert_eq!(split.piece(&text), text.split(separator).nth(position));
        }
    }
}
