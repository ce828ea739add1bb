//! A device's id in a channel's name, for messages whose body does not give it.

/// The place of the id in [`ChannelPattern`]'s text.
const PLACE: &str = "{device_id}";

/// `upload/+/{device_id}/#`: levels as in an MQTT filter, and where among them the id stands. In its
/// level it may stand behind other text, as in `tokens?sn={device_id}`.
///
/// The other levels must fit, so that a webhook's path is not taken for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChannelPattern(Vec<String>);

impl ChannelPattern {
    /// None unless the id has exactly one place and `#` stands last.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let levels: Vec<String> = text.split('/').map(str::to_owned).collect();
        let places = levels.iter().filter(|level| level.ends_with(PLACE)).count();
        let hash_inside = levels.iter().rev().skip(1).any(|level| level == "#");
        (places == 1 && !hash_inside).then_some(Self(levels))
    }

    /// As it was declared.
    pub(super) fn text(&self) -> String {
        self.0.join("/")
    }

    /// The id in `channel`, if it fits the pattern and the level is not empty.
    pub(super) fn device_id<'a>(&self, channel: &'a str) -> Option<&'a str> {
        let mut found = None;
        let mut levels = channel.split('/');
        for wanted in &self.0 {
            match (wanted.as_str(), levels.next()) {
                ("#", _) => return found,
                (wanted, Some(level)) if wanted.ends_with(PLACE) => {
                    let before = &wanted[..wanted.len() - PLACE.len()];
                    found = Some(level.strip_prefix(before).filter(|id| !id.is_empty())?);
                }
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return None,
            }
        }
        if levels.next().is_none() { found } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_taken_only_from_channels_that_fit() {
        let pattern = ChannelPattern::parse("upload/+/{device_id}/#").unwrap();
        assert_eq!(pattern.device_id("upload/KEY/8001/location"), Some("8001"));
        assert_eq!(pattern.device_id("upload/KEY/8001/SUB/sublock"), Some("8001"));
        assert_eq!(pattern.device_id("upload/KEY/8001"), Some("8001"));
        for other in ["/hooks/locks", "upload/KEY", "upload/KEY//location", "download/KEY/8001/cmd", ""] {
            assert_eq!(pattern.device_id(other), None, "{other}");
        }
        let behind = ChannelPattern::parse("/v1/tokens?sn={device_id}").unwrap();
        assert_eq!(behind.device_id("/v1/tokens?sn=A_1"), Some("A_1"));
        for other in ["/v1/tokens?sn=", "/v1/tokens", "/v1/A_1", "/v2/tokens?sn=A_1"] {
            assert_eq!(behind.device_id(other), None, "{other}");
        }
        let whole = ChannelPattern::parse("a/{device_id}").unwrap();
        assert_eq!(whole.device_id("a/b/c"), None);
    }

    #[test]
    fn a_pattern_has_one_place_and_its_hash_last() {
        for bad in ["upload/+/#", "{device_id}/{device_id}", "#/{device_id}"] {
            assert_eq!(ChannelPattern::parse(bad), None, "{bad}");
        }
    }
}
