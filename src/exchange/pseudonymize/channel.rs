//! Channels: the topics and paths that messages came by.
//!
//! A level stays if it is one of the vendor's own words, one that the kind's declaration spells out, or one that was
//! configured (a webhook's path, a topic filter), if it neither looks like a number or a key nor is an identifier that
//! was configured. Every other level, and every value of a query, is an identifier: it becomes what the same text becomes
//! in a payload.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::names::Names;
use super::settings::identifiers;
use crate::decode::Declaration;

/// The words of vendors' own topics and paths.
const WORDS: [&str; 19] = [
    "link",
    "upload",
    "location",
    "alarm",
    "event",
    "cmd",
    "sublock",
    "status",
    "v1",
    "iot",
    "tokens",
    "tenants",
    "realtime",
    "api",
    "ws",
    "websocket_realtime",
    "+",
    "#",
    "",
];

/// So many digits in a row are a number of something.
const DIGITS_MIN: usize = 3;

/// A level as long as this may be a key.
const KEY_MIN: usize = 20;

/// Which levels of a source's channels stay.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    known: BTreeSet<String>,
    /// What the settings call by name: no word, whatever it looks like.
    ids: BTreeSet<String>,
    /// A webhook's path, with all below it.
    path: Option<String>,
    /// What says where a source is goes.
    pub(super) hides_places: bool,
}

impl Words {
    pub(super) fn new(settings: &Value, hides_places: bool) -> Self {
        let path = settings.get("path").and_then(Value::as_str).map(str::to_owned);
        let mut ids = Vec::new();
        identifiers(settings, &mut ids);
        let ids = ids.into_iter().collect();
        let mut words = Self { known: BTreeSet::new(), ids, path, hides_places };
        for filter in settings.get("topics").and_then(Value::as_array).into_iter().flatten() {
            words.add(filter.as_str().unwrap_or_default());
        }
        words
    }

    pub(super) fn declared(&mut self, declaration: &Declaration) {
        for pattern in declaration.channel_patterns() {
            self.add(&pattern);
        }
    }

    fn add(&mut self, pattern: &str) {
        let levels =
            pattern.split(['/', '?', '&']).filter(|level| !level.contains(['*', '{']) && is_word(level));
        self.known.extend(levels.map(str::to_owned));
    }

    fn has(&self, level: &str) -> bool {
        WORDS.contains(&level) || (self.known.contains(level) && !self.ids.contains(level))
    }

    /// The channel, with names in it replaced.
    pub(super) fn channel(&self, channel: &str, names: &mut Names) -> String {
        let (path, query) = match channel.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (channel, None),
        };
        let own = self.path.as_deref().filter(|own| path.strip_prefix(*own).is_some_and(is_below));
        let (own, rest) = path.split_at(own.map_or(0, str::len));
        let own = own.split('/').map(|level| self.own(level, names)).collect::<Vec<_>>().join("/");
        let levels: Vec<String> = rest.split('/').map(|level| self.level(level, names)).collect();
        let mut new = format!("{own}{}", levels.join("/"));
        if let Some(query) = query {
            let pairs: Vec<String> = query.split('&').map(|pair| self.pair(pair, names)).collect();
            new.push('?');
            new.push_str(&pairs.join("&"));
        }
        new
    }

    /// A level of a webhook's path.
    fn own(&self, level: &str, names: &mut Names) -> String {
        let is_kept = is_word(level) && !self.ids.contains(level);
        if is_kept { level.to_owned() } else { self.level(level, names) }
    }

    fn level(&self, level: &str, names: &mut Names) -> String {
        if self.has(level) {
            return level.to_owned();
        }
        // In a path an identifier may be spelled in another way than in a payload.
        names.name(&percent_decode_str(level).decode_utf8_lossy())
    }

    fn pair(&self, pair: &str, names: &mut Names) -> String {
        match pair.split_once('=') {
            Some((name, value)) if is_word(name) => format!("{name}={}", self.value(value, names)),
            Some((name, value)) => format!("{}={}", self.value(name, names), self.value(value, names)),
            None => self.value(pair, names),
        }
    }

    fn value(&self, value: &str, names: &mut Names) -> String {
        let plain = value.replace('+', " ");
        names.name(&percent_decode_str(&plain).decode_utf8_lossy())
    }
}

/// Whether the rest of a path is whole levels.
fn is_below(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

/// Whether it is a word rather than a number or a key.
pub(super) fn is_word(text: &str) -> bool {
    let runs = text.split(|c: char| !c.is_ascii_digit()).map(str::len);
    text.len() < KEY_MIN && runs.max().unwrap_or(0) < DIGITS_MIN
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::Secret;

    #[test]
    fn words_stay_and_names_become_those_of_payloads() {
        let mut names = Names::new(Secret::new("k"));
        let (id, key) = (names.name("8231020045"), names.name("0123456789ABCDEF0123456789ABCDEF"));
        let words = Words::new(
            &json!({"transport": "mqtt", "topics": ["upload/0123456789ABCDEF0123456789ABCDEF/#"]}),
            false,
        );
        let channel = "upload/0123456789ABCDEF0123456789ABCDEF/8231020045/location";
        assert_eq!(words.channel(channel, &mut names), format!("upload/{key}/{id}/location"));
        let words = Words::new(&json!({"topics": ["/hfp/v2/journey/#", "site/8231020045/#"]}), false);
        let (line, stop) = (names.name("0018"), names.name("Kamppi"));
        assert_eq!(
            words.channel("/hfp/v2/journey/0018/Kamppi/8231020045", &mut names),
            format!("/hfp/v2/journey/{line}/{stop}/{id}")
        );
        let words = Words::new(&json!({"transport": "webhook", "path": "/hooks/ward-3"}), false);
        let (sensor, spaced) = (names.name("A_1"), names.name("Mr Smith"));
        assert_eq!(
            words.channel("/hooks/ward-3/A%5F1?sn=A_1&who=Mr+Smith&x", &mut names),
            format!("/hooks/ward-3/{sensor}?sn={sensor}&who={spaced}&{}", names.name("x"))
        );
        assert_eq!(
            words.channel("/hooks/ward-33", &mut names),
            format!("/{}/{}", names.name("hooks"), names.name("ward-33"))
        );
        let path = "/hooks/8231020045/9f8b2c4d6e1a3f5b7c9d/ward/attic";
        let words =
            Words::new(&json!({"path": path, "sensors": ["attic"], "topics": ["attic/hall/#"]}), false);
        let (number, key) = (names.name("8231020045"), names.name("9f8b2c4d6e1a3f5b7c9d"));
        let attic = names.name("attic");
        assert_eq!(
            words.channel(&format!("{path}/A_1"), &mut names),
            format!("/hooks/{number}/{key}/ward/{attic}/{sensor}")
        );
        assert_eq!(words.channel("attic/hall", &mut names), format!("{attic}/hall"));
        assert_eq!(
            Words::default().channel("/v1/iot/tokens?sn=A_1", &mut names),
            format!("/v1/iot/tokens?sn={sensor}")
        );
    }
}
