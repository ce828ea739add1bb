//! Topic names and filters (MQTT 3.1.1, section 4.7).
//!
//! Names are compared byte by byte, with no normalisation. rumqttc's own matcher takes no topic that
//! begins with `$` for any filter, hence this one.

/// Whether `filter` is well-formed: `#` alone in the last level, `+` alone in its level, no NUL.
pub fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    if filter.is_empty() || filter.len() > usize::from(u16::MAX) || filter.contains('\0') {
        return false;
    }
    while let Some(level) = levels.next() {
        let well_formed = match level {
            "#" => levels.peek().is_none(),
            "+" => true,
            _ => !level.contains(['#', '+']),
        };
        if !well_formed {
            return false;
        }
    }
    true
}

/// Whether `topic` is a name that can be published to: not empty, no wildcard, no NUL.
pub fn is_name(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= usize::from(u16::MAX) && !topic.contains(['#', '+', '\0'])
}

/// Whether a well-formed `filter` matches `topic`. A wildcard in the first level does not match a
/// topic that begins with `$`.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            // The parent level as well: `a/#` matches `a`.
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether it can match nothing but topics that we give to what was not recorded from MQTT.
pub fn is_ours(filter: &str) -> bool {
    filter.starts_with("telereel/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        let yes = [
            ("#", "a/b"),
            ("#", "/"),
            ("+", "a"),
            ("+", ""),
            ("a/#", "a"),
            ("a/#", "a/b/c"),
            ("a/+/c", "a//c"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("ünï/+", "ünï/ß"),
            ("$SYS/#", "$SYS/uptime"),
            ("$SYS/+", "$SYS/uptime"),
            ("a/+/#", "a/b"),
        ];
        let no = [
            ("+", "/finance"),
            ("a/#", "ab"),
            ("a/+", "a"),
            ("a/b", "a/b/"),
            ("a/b/", "a/b"),
            ("A", "a"),
            ("#", "$SYS/uptime"),
            ("+/uptime", "$SYS/uptime"),
        ];
        for (filter, topic) in yes {
            assert!(matches(filter, topic), "{filter} should match {topic}");
        }
        for (filter, topic) in no {
            assert!(!matches(filter, topic), "{filter} should not match {topic}");
        }
    }

    #[test]
    fn malformed_filters_are_told() {
        for filter in ["#", "+", "a/#", "/", "a//b", "+/+/#", "$SYS/#", "ü/+"] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "a#", "a/#/b", "#/", "a+", "+a/b", "a\0b"] {
            assert!(!is_filter(filter), "{filter:?}");
        }
        assert!(!is_filter(&"a".repeat(65_536)));
        for name in ["a", "/", "$a/ü", " "] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a/+", "#", "a\0", &"a".repeat(65_536)] {
            assert!(!is_name(name));
        }
    }
}
