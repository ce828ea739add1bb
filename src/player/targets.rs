//! Where a replay goes by itself: URLs that it pushes to, brokers that it publishes to.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::{DEFAULT_DRAIN, PlayError};
use crate::transport::fanout::{Fanout, Member, Wish};
use crate::transport::http_pusher::HttpPusher;
use crate::transport::misbehave::Misbehaviour;
use crate::transport::mqtt_publisher::MqttPublisher;
use crate::transport::tls::{self, Trust};
use crate::vendors::Pusher;

/// `SOURCE=URL`: a source's webhook messages, and where they are posted to.
#[derive(Clone, PartialEq, Eq)]
pub struct PushTo {
    pub source: String,
    /// `http` or `https`. The recorded path and query are appended to its path.
    pub url: Url,
}

impl FromStr for PushTo {
    type Err = PlayError;

    fn from_str(text: &str) -> Result<Self, PlayError> {
        let wrong = |expected| PlayError::NotATarget { text: shown(text), expected };
        let (source, url) = text
            .split_once('=')
            .ok_or_else(|| wrong("expected SOURCE=URL, as in city=http://127.0.0.1:9000"))?;
        if source.is_empty() || source.contains(['/', ':']) {
            return Err(wrong("expected the name of a source before the `=`"));
        }
        let url = Url::parse(url)
            .map_err(|_| wrong("expected a URL after the `=`, as in http://127.0.0.1:9000"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("expected http or https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("expected no user name: no vendor pushes with one"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("expected no query: the recorded path and query are appended to the URL"));
        }
        Ok(Self { source: source.to_owned(), url })
    }
}

impl fmt::Debug for PushTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PushTo({}={})", self.source, self.url)
    }
}

/// A broker that a replay is published to. The URL may hold a user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PublishTo {
    pub(super) url: Url,
}

impl FromStr for PublishTo {
    type Err = PlayError;

    fn from_str(text: &str) -> Result<Self, PlayError> {
        let wrong = |expected| PlayError::NotATarget { text: shown(text), expected };
        let url =
            Url::parse(text).map_err(|_| wrong("expected a broker's URL, as in mqtt://127.0.0.1:1883"))?;
        if !matches!(url.scheme(), "mqtt" | "mqtts") {
            return Err(wrong("expected mqtt or mqtts"));
        }
        if url.host_str().unwrap_or_default().is_empty() {
            return Err(wrong("expected a host, as in mqtt://127.0.0.1:1883"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("expected host and port only: the topics are the recorded ones"));
        }
        Ok(Self { url })
    }
}

impl PublishTo {
    /// The URL without user name and password.
    pub fn public_url(&self) -> String {
        let mut url = self.url.clone();
        // These fail only where there is nothing to remove.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.to_string()
    }
}

// A URL may hold a password.
impl fmt::Debug for PublishTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublishTo({})", self.public_url())
    }
}

/// One source's pushes, and how its vendor makes them.
#[derive(Clone, Debug)]
pub struct PushTarget {
    pub to: PushTo,
    pub pusher: Arc<dyn Pusher>,
}

/// How long is to be waited at the end where nobody says: as usual, or for the last that a vendor pushes again.
pub fn drain_for(pushes: &[PushTarget]) -> Duration {
    let silences = pushes.iter().map(|push| push.pusher.rule().longest_silence());
    silences.max().unwrap_or_default().max(DEFAULT_DRAIN)
}

/// All targets of a replay, members of its audience.
pub(super) struct Targets {
    pushers: Vec<(HttpPusher, Member)>,
    publishers: Vec<(MqttPublisher, Member)>,
}

impl Targets {
    /// Connects to all brokers, or fails. Receivers of pushes need not be there yet: a vendor would not ask.
    pub(super) async fn open(
        fanout: &Arc<Fanout>,
        pushes: Vec<PushTarget>,
        publishes: Vec<PublishTo>,
        trust: &Trust,
        misbehaviour: Option<&Arc<Misbehaviour>>,
    ) -> Result<Self, PlayError> {
        let mut targets = Self { pushers: Vec::new(), publishers: Vec::new() };
        if pushes.is_empty() && publishes.is_empty() {
            return Ok(targets);
        }
        let tls = tls::client_config(trust)?;
        let mut apart = 0;
        let mut misbehave = |has_tokens| {
            apart += 1;
            misbehaviour.map(|shared| shared.apart(apart, has_tokens))
        };
        for (n, to) in publishes.into_iter().enumerate() {
            let url = to.public_url();
            let refused = |source| PlayError::Publish { url: url.clone(), source };
            let publisher = MqttPublisher::connect(&to.url, Arc::clone(&tls), client_id(fanout, n))
                .await
                .map_err(refused)?
                .misbehaving(misbehave(false));
            let member = fanout.join_target(&format!("publish {url}"), Wish::Everything)?;
            targets.publishers.push((publisher, member));
        }
        for PushTarget { to, pusher } in pushes {
            let endpoint = format!("push {} {}", to.source, to.url);
            let pusher = HttpPusher::new(to.url, pusher, Arc::clone(&tls)).map_err(PlayError::Push)?;
            let pusher = pusher.misbehaving(misbehave(true));
            let member = fanout.join_target(&endpoint, Wish::Pushes { source: to.source })?;
            targets.pushers.push((pusher, member));
        }
        Ok(targets)
    }

    /// Lets them work until the replay's end, or `stop`.
    pub(super) fn spawn(self, stop: &CancellationToken, tasks: &TaskTracker) {
        for (pusher, member) in self.pushers {
            let stop = stop.clone();
            tasks.spawn(async move { stop.run_until_cancelled(pusher.run(member)).await });
        }
        for (publisher, member) in self.publishers {
            let stop = stop.clone();
            tasks.spawn(async move { stop.run_until_cancelled(publisher.run(member)).await });
        }
    }
}

/// Another one each time: a broker ends the connection of whoever has the same. 23 characters, which is
/// what every broker takes (MQTT 3.1.1, section 3.1.3.1).
fn client_id(fanout: &Fanout, n: usize) -> String {
    format!("telereel-{:013x}{:x}", fanout.clock().now().wall_us & 0xF_FFFF_FFFF_FFFF, n & 0xF)
}

/// What was typed, without what may be a password or a token: all up to an `@`, but for the scheme and the source
/// before it, and all of a query.
pub fn shown(text: &str) -> String {
    let is_plain = |before: &str| !before.contains([':', '@', '/', '?']);
    let after_scheme = text.find("://").filter(|at| is_plain(&text[..*at])).map(|at| at + 3);
    let after_source = || text.find('=').filter(|at| is_plain(&text[..*at])).map(|at| at + 1);
    let (before, rest) = text.split_at(after_scheme.or_else(after_source).unwrap_or(0));
    let (is_cut, rest) = match rest.rfind('@') {
        Some(at) if at > 0 => ("…", &rest[at..]),
        _ => ("", rest),
    };
    match rest.find(['?', '#']) {
        Some(at) => format!("{before}{is_cut}{}…", &rest[..=at]),
        None => format!("{before}{is_cut}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendors::pusher;

    #[test]
    fn pushes_name_a_source_and_a_url() {
        let to: PushTo = "city=https://example.com:8443/base".parse().unwrap();
        assert_eq!((to.source.as_str(), to.url.as_str()), ("city", "https://example.com:8443/base"));
        for wrong in [
            "",
            "http://x",
            "city",
            "city=",
            "=http://x",
            "city=ftp://x",
            "city=127.0.0.1:80",
            "city=http://u:p@x",
            "city=http://x/?q=1",
        ] {
            assert!(wrong.parse::<PushTo>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_end_waits_for_the_last_time_that_a_vendor_pushes_again() {
        let drain_s = |vendors: &[&str]| {
            let target = |vendor: &&str| PushTarget {
                to: "city=http://x".parse().unwrap(),
                pusher: Arc::from(pusher(vendor, None, &[])),
            };
            drain_for(&vendors.iter().map(target).collect::<Vec<_>>()).as_secs()
        };
        assert_eq!((drain_s(&[]), drain_s(&["jointech"]), drain_s(&["jointech", "sensoro"])), (10, 10, 125));
    }

    #[test]
    fn what_was_typed_is_shown_without_passwords_and_tokens() {
        for (typed, expected) in [
            ("mqtt://me:pw@broker:1883/x", "mqtt://…@broker:1883/x"),
            ("me:pw@broker", "…@broker"),
            ("me:p://w@broker", "…@broker"),
            ("me:p=w@broker", "…@broker"),
            ("http://p@w@broker", "http://…@broker"),
            ("city=http://me:pw@x/?token=pw#pw", "city=http://…@x/?…"),
            ("city=me:pw@x", "city=…@x"),
            ("http://x/?token=pw", "http://x/?…"),
            ("x?token=pw@y", "…@y"),
            ("city", "city"),
            ("ftp://x", "ftp://x"),
            ("", ""),
            ("@", "@"),
        ] {
            assert_eq!(shown(typed), expected, "{typed}");
        }
    }

    #[test]
    fn brokers_are_urls_whose_password_is_never_shown() {
        let to: PublishTo = "mqtts://me:geheim@broker:99".parse().unwrap();
        assert_eq!(to.public_url(), "mqtts://broker:99");
        assert!(!format!("{to:?}").contains("geheim"));
        for wrong in
            ["", "broker", "http://me:geheim@x", "mqtt://me:geheim@x/topic", "mqtt://", "mqtt://me:geheim@"]
        {
            let error = wrong.parse::<PublishTo>().unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
