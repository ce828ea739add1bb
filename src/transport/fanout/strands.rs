//! Strands: what can be down by itself in a recording, and which of them serve a client.
//!
//! A source is a strand; one that has a connection for each sensor has a strand for each of them. A
//! client is served by the strands that its wish can get messages from. When all of these are down,
//! its vendor would not be there for it.
//!
//! What is published over MQTT reaches a client by topic, and a broker does not know which source a client
//! came for. So plain MQTT has the outages of its one source that was recorded from MQTT; where there are
//! several, it has none. If nothing was recorded from MQTT, it has those of a recording's only source.

use std::collections::HashSet;
use std::sync::Arc;

use super::Wish;
use crate::message::{Selection, SourceHeader, glob};
use crate::transport::mqtt_server::topic;
use crate::vendors;

/// What is down: a source, or one of its sensors.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Down {
    pub source: Arc<str>,
    /// None: all of the source.
    pub device: Option<Arc<str>>,
}

#[derive(Debug)]
struct Strand {
    vendor: String,
    source: String,
    /// The sensor, and the channel that its messages come on.
    device: Option<(String, String)>,
    kinds: Vec<String>,
    is_down: bool,
}

/// The strands of a replay, and which of them are down now.
#[derive(Debug)]
pub struct Strands {
    all: Vec<Strand>,
    /// The one whose outages plain MQTT has.
    plain_mqtt: Option<usize>,
    /// Sources that were recorded from MQTT, if they are several.
    sharing: Vec<String>,
}

impl Strands {
    /// Of those of `sources` that `selection` selects. Webhook sources are none: nobody connects to them.
    pub fn new(sources: &[SourceHeader], selection: &Selection) -> Self {
        let mut all: Vec<Strand> = Vec::new();
        let mut over_mqtt: Vec<usize> = Vec::new();
        let has = |wanted: &[String], value: &String| wanted.is_empty() || wanted.contains(value);
        for source in sources {
            let is_selected =
                has(&selection.vendors, &source.vendor) && has(&selection.sources, &source.name);
            if !is_selected || vendors::was_pushed(source) == Some(true) {
                continue;
            }
            let strand = |device: Option<(String, String)>| Strand {
                vendor: source.vendor.clone(),
                source: source.name.clone(),
                device,
                kinds: source.kinds.iter().map(|kind| kind.name.clone()).collect(),
                is_down: false,
            };
            let mut devices: Vec<_> = vendors::sensors(source).into_iter().map(Some).collect();
            if devices.is_empty() {
                devices.push(None);
            }
            for device in devices {
                let strand = strand(device);
                // A source of several sessions is one.
                if all.iter().any(|known| known.is_same(&strand)) {
                    continue;
                }
                if vendors::was_subscribed(source) {
                    over_mqtt.push(all.len());
                }
                all.push(strand);
            }
        }
        let plain_mqtt = match (&over_mqtt[..], all.len()) {
            ([only], _) => Some(*only),
            ([], 1) if all[0].device.is_none() => Some(0),
            _ => None,
        };
        let mut sharing: Vec<String> = match over_mqtt.len() {
            0 | 1 => Vec::new(),
            _ => over_mqtt.iter().map(|n| all[*n].source.clone()).collect(),
        };
        // A source with several sensors is there once for each.
        sharing.dedup();
        Self { all, plain_mqtt, sharing }
    }

    /// The sources whose outages plain MQTT cannot have, because they share it.
    pub fn sharing(&self) -> &[String] {
        &self.sharing
    }

    /// From now on exactly these are down.
    pub fn set(&mut self, down: &[Down]) {
        let down: HashSet<(&str, Option<&str>)> =
            down.iter().map(|down| (&*down.source, down.device.as_deref())).collect();
        for strand in &mut self.all {
            let device = strand.device.as_ref().map(|(device, _)| device.as_str());
            strand.is_down =
                down.contains(&(&*strand.source, None)) || down.contains(&(&*strand.source, device));
        }
    }

    /// Whether whoever has this wish is served by nothing but what is down.
    pub fn has_left(&self, wish: &Wish) -> bool {
        match wish {
            Wish::Rows(selection) | Wish::OnTopic { rows: selection, .. } => self.is_down(selection),
            Wish::Topics(filters) => {
                // Of the other strands, who asks for nothing but our own topics may be served.
                !filters.iter().any(|(filter, _)| topic::is_ours(filter)) && self.plain_mqtt_is_down()
            }
            // We went to them.
            Wish::Pushes { .. } | Wish::Everything => false,
        }
    }

    /// Whether all that can give rows of `selection` is down; false where nothing can.
    pub fn is_down(&self, selection: &Selection) -> bool {
        let mut serving = self.all.iter().filter(|strand| strand.can_give(selection)).peekable();
        serving.peek().is_some() && serving.all(|strand| strand.is_down)
    }

    pub fn plain_mqtt_is_down(&self) -> bool {
        self.plain_mqtt.is_some_and(|n| self.all[n].is_down)
    }
}

impl Strand {
    fn is_same(&self, other: &Self) -> bool {
        self.vendor == other.vendor && self.source == other.source && self.device == other.device
    }

    fn can_give(&self, selection: &Selection) -> bool {
        let has = |wanted: &[String], value: &String| wanted.is_empty() || wanted.contains(value);
        has(&selection.vendors, &self.vendor)
            && has(&selection.sources, &self.source)
            && (selection.kinds.is_empty() || self.kinds.iter().any(|kind| selection.kinds.contains(kind)))
            && self.device.as_ref().is_none_or(|(device, channel)| {
                let is_of = |pattern: &String| glob(pattern.as_bytes(), channel.as_bytes());
                has(&selection.devices, device)
                    && (selection.channels.is_empty() || selection.channels.iter().any(is_of))
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::message::KindHeader;

    fn source(name: &str, vendor: &str, settings: Value) -> SourceHeader {
        let kinds = vendors::kinds(vendor).unwrap().iter().chain(&["other"]);
        let kinds = kinds.map(|kind| KindHeader { name: (*kind).into(), declaration: None }).collect();
        SourceHeader { name: name.into(), vendor: vendor.into(), kinds, settings }
    }

    fn mqtt(name: &str) -> SourceHeader {
        source(name, "jointech", json!({"transport": "mqtt"}))
    }

    fn down(source: &str, device: Option<&str>) -> Down {
        Down { source: source.into(), device: device.map(Into::into) }
    }

    fn of(vendors: &[&str], sources: &[&str]) -> Selection {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Selection { vendors: list(vendors), sources: list(sources), ..Selection::default() }
    }

    fn topics(filters: &[&str]) -> Wish {
        Wish::Topics(filters.iter().map(|filter| ((*filter).to_owned(), 0)).collect())
    }

    #[test]
    fn a_client_is_left_alone_when_all_that_serves_it_is_down() {
        let shop = |name| source(name, "delicode", Value::Null);
        let sources = [shop("a"), shop("b"), source("fleet", "damoov", Value::Null)];
        let mut strands = Strands::new(&sources, &Selection::default());
        let left = |strands: &Strands, selection| strands.has_left(&Wish::Rows(selection));
        assert!(!left(&strands, of(&[], &[])));
        strands.set(&[down("a", None)]);
        assert!(left(&strands, of(&[], &["a"])));
        assert!(!left(&strands, of(&["delicode"], &[])), "b is up");
        strands.set(&[down("a", None), down("b", None)]);
        assert!(left(&strands, of(&["delicode"], &[])));
        assert!(left(&strands, Selection { kinds: vec!["person_lost".into()], ..of(&[], &[]) }));
        assert!(!left(&strands, of(&[], &[])), "the fleet is up");
        assert!(!left(&strands, of(&[], &["nobody"])), "nothing is down that serves it");
        strands.set(&[down("fleet", None)]);
        assert!(!left(&strands, of(&["delicode"], &[])), "exactly what is said is down");
    }

    #[test]
    fn only_what_is_replayed_counts() {
        let sources = [source("a", "delicode", Value::Null), source("b", "delicode", Value::Null)];
        let mut strands = Strands::new(&sources, &of(&[], &["a"]));
        strands.set(&[down("a", None)]);
        assert!(strands.has_left(&Wish::Rows(Selection::default())));
    }

    #[test]
    fn each_sensor_is_down_by_itself_and_with_its_source() {
        let ward = source("ward", "pontosense", json!({"sensors": ["s1", "s2"]}));
        let mut strands = Strands::new(&[ward], &Selection::default());
        let sensor = |sn: &str| {
            let rows =
                Selection { channels: vec![format!("/location/{sn}")], ..of(&["pontosense"], &["ward"]) };
            Wish::OnTopic { rows, topic: format!("/location/{sn}").into(), qos: 1 }
        };
        strands.set(&[down("ward", Some("s1"))]);
        assert!(strands.has_left(&sensor("s1")) && !strands.has_left(&sensor("s2")));
        assert!(!strands.is_down(&of(&["pontosense"], &[])));
        assert!(strands.is_down(&Selection { devices: vec!["s1".into()], ..Selection::default() }));
        strands.set(&[down("ward", None)]);
        assert!(strands.has_left(&sensor("s1")) && strands.has_left(&sensor("s2")));
        assert!(!strands.plain_mqtt_is_down(), "its clients are told by their tokens");
    }

    #[test]
    fn plain_mqtt_has_the_outages_of_its_only_source() {
        let shop = source("shop", "delicode", Value::Null);
        let hook = source("hook", "jointech", json!({"transport": "webhook"}));
        let mut one = Strands::new(&[shop.clone(), mqtt("locks"), hook.clone()], &Selection::default());
        one.set(&[down("shop", None), down("hook", None)]);
        assert!(!one.plain_mqtt_is_down());
        one.set(&[down("locks", None)]);
        assert!(one.plain_mqtt_is_down() && one.has_left(&topics(&["upload/#"])));
        assert!(!one.has_left(&topics(&["telereel/delicode/#", "upload/#"])), "the shop is up");
        assert!(one.sharing().is_empty());

        let mut two = Strands::new(&[mqtt("a"), mqtt("b")], &Selection::default());
        two.set(&[down("a", None), down("b", None)]);
        assert!(!two.plain_mqtt_is_down() && !two.has_left(&topics(&["#"])));
        assert_eq!(two.sharing(), ["a", "b"]);

        let mut only = Strands::new(&[shop, hook], &Selection::default());
        only.set(&[down("shop", None)]);
        assert!(only.plain_mqtt_is_down());
    }
}
