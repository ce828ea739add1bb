//! The kinds of a generic source, and which of them a message is.

use super::MESSAGE;
use super::config::GenericConfig;
use crate::decode::Declaration;
use crate::message::KindHeader;
use crate::vendors::KindOf;

/// The declared kinds in their order, then `message` for what fits none of them.
pub(in crate::vendors) fn kinds(config: &GenericConfig) -> Vec<KindHeader> {
    let declared = declarations(config);
    let mut kinds: Vec<KindHeader> = declared
        .iter()
        .map(|d| KindHeader { name: d.kind().to_owned(), declaration: Some(d.text().to_owned()) })
        .collect();
    if !declared.iter().any(|d| d.kind() == MESSAGE) {
        kinds.push(KindHeader { name: MESSAGE.to_owned(), declaration: None });
    }
    kinds
}

/// Sorts messages into the kinds of [`kinds`], by index: the first declaration whose `match` fits; else
/// the first that has no `match`, so that a file that declares one kind needs none; else `message`.
pub(super) fn sorter(config: &GenericConfig) -> KindOf {
    let declared = declarations(config);
    let rest = declared.iter().position(|d| !d.has_match());
    let message = declared.iter().position(|d| d.kind() == MESSAGE).unwrap_or(declared.len());
    let rest = index(rest.unwrap_or(message));
    if declared.iter().all(|d| !d.has_match()) {
        return Box::new(move |_, _| rest);
    }
    Box::new(move |channel, body| {
        declared.iter().position(|d| d.matches(channel, body)).map(index).unwrap_or(rest)
    })
}

/// The configuration has checked the text already; one that is wrong all the same declares nothing, so
/// that messages are recorded whatever happens.
fn declarations(config: &GenericConfig) -> Vec<Declaration> {
    let text = config.declarations.as_deref();
    text.and_then(|text| Declaration::parse_all(text, "schema").ok()).unwrap_or_default()
}

fn index(position: usize) -> u16 {
    u16::try_from(position).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendors::generic::config::GenericTransport;

    const TWO: &str = r#"
[[kind]]
name = "position"
meaning = "Where a bus is."
match = { path = "VP" }
[[kind.field]]
name = "speed_mps"
id = 100
type = "double"
unit = "m/s"
role = "measurement"
path = "VP.spd"
meaning = "Speed."

[[kind]]
name = "door"
meaning = "A door opens."
match = { channel = "*/door" }
[[kind.field]]
name = "door_state"
id = 100
type = "string"
role = "state"
path = "door"
meaning = "State."
"#;

    fn config(declarations: Option<&str>) -> GenericConfig {
        let transport = GenericTransport::Webhook { path: "/".into() };
        GenericConfig { transport, declarations: declarations.map(str::to_owned) }
    }

    fn sort(config: &GenericConfig, channel: &str, body: &str) -> String {
        let index = sorter(config)(channel, body.as_bytes());
        kinds(config)[usize::from(index)].name.clone()
    }

    #[test]
    fn the_first_declaration_that_fits_names_the_kind() {
        Declaration::parse_all(TWO, "test").unwrap();
        let two = config(Some(TWO));
        let cases = [
            ("a/b", r#"{"VP":{"spd":1}}"#, "position"),
            ("a/door", r#"{"VP":{"spd":1}}"#, "position"),
            ("a/door", "open", "door"),
            ("a/b", "open", "message"),
            ("a/b", "", "message"),
        ];
        for (channel, body, kind) in cases {
            assert_eq!(sort(&two, channel, body), kind, "{channel} {body}");
        }
    }

    #[test]
    fn one_declaration_without_a_rule_takes_everything() {
        let text = TWO.split("\n[[kind]]\nname = \"door\"").next().unwrap();
        let text = text.replace("match = { path = \"VP\" }\n", "");
        Declaration::parse_all(&text, "test").unwrap();
        assert_eq!(sort(&config(Some(&text)), "a", "x"), "position");
        assert_eq!(sort(&config(None), "a", "x"), "message");
        assert_eq!(sort(&config(Some("not TOML [")), "a", "x"), "message");
    }

    #[test]
    fn headers_hold_declarations_that_can_be_read_again() {
        for kind in kinds(&config(Some(TWO))) {
            assert_eq!(kind.declaration.is_none(), kind.name == MESSAGE);
            if let Some(text) = &kind.declaration {
                assert_eq!(Declaration::parse(text, "again").unwrap().kind(), kind.name);
            }
        }
    }
}
