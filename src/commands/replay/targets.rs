//! `--push` and `--publish`: which source's messages go where, and with whose signature.

use std::sync::Arc;

use super::super::Usage;
use super::super::context::Context;
use crate::config::Config;
use crate::message::SourceHeader;
use crate::player::{PushTarget, PushTo};
use crate::section::nearest;
use crate::vendors::variant::Variant;
use crate::vendors::{VendorConfig, pusher, was_pushed};

/// The pushes that were asked for, each by the rule of its source's vendor.
pub(super) fn pushes(
    context: &Context,
    recorded: &[SourceHeader],
    wanted: &[PushTo],
    variants: &[Variant],
) -> anyhow::Result<Vec<PushTarget>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let vendors = wanted.iter().map(|to| vendor_of(recorded, to)).collect::<Result<Vec<_>, _>>()?;
    let config = context.config_if_any()?;
    let mut targets = Vec::with_capacity(wanted.len());
    for (to, vendor) in wanted.iter().zip(vendors) {
        let configured = config.as_ref().and_then(|config| of_source(config, &to.source, vendor));
        if configured.is_none() {
            let path = context.config_path().display();
            let why = match config {
                Some(_) => format!("{path} has no {vendor} webhook of that name"),
                None => "there is no configuration (-c FILE)".to_owned(),
            };
            context.screen.note(format!("{} is pushed with its headers as recorded: {why}", to.source));
        }
        targets.push(PushTarget { to: to.clone(), pusher: Arc::from(pusher(vendor, configured, variants)) });
    }
    Ok(targets)
}

/// The vendor of the source that is to be pushed.
fn vendor_of<'r>(recorded: &'r [SourceHeader], to: &PushTo) -> Result<&'r str, Usage> {
    let source = &to.source;
    let mut of_name = recorded.iter().filter(|header| header.name == *source).peekable();
    if of_name.peek().is_none() {
        let near = nearest(source, recorded.iter().map(|header| header.name.as_str()));
        let near = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
        return Err(Usage(format!(
            "--push {source}=…: no such source was recorded{near}{}",
            pushable(recorded)
        )));
    }
    // A recording that was brought in from elsewhere may not say how it came about.
    match of_name.find(|header| was_pushed(header) != Some(false)) {
        Some(header) => Ok(&header.vendor),
        None => Err(Usage(format!(
            "--push {source}=…: this source was not recorded from webhooks, there is nothing to push{}",
            pushable(recorded)
        ))),
    }
}

fn pushable(recorded: &[SourceHeader]) -> String {
    let mut names: Vec<&str> = recorded
        .iter()
        .filter(|header| was_pushed(header) == Some(true))
        .map(|header| header.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { String::new() } else { format!("; recorded from webhooks: {}", names.join(", ")) }
}

fn of_source<'c>(config: &'c Config, name: &str, vendor: &str) -> Option<&'c VendorConfig> {
    let mut sources = config.sources.iter();
    let source = sources.find(|source| source.name == name)?;
    (source.vendor.vendor() == vendor && source.vendor.webhook_path().is_some()).then_some(&source.vendor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, vendor: &str, transport: Option<&str>) -> SourceHeader {
        let settings = transport.map_or(serde_json::Value::Null, |t| serde_json::json!({"transport": t}));
        SourceHeader { name: name.into(), vendor: vendor.into(), kinds: Vec::new(), settings }
    }

    #[test]
    fn only_what_was_pushed_is_pushed() {
        let recorded = [
            header("city", "sensoro", Some("webhook")),
            header("locks", "jointech", Some("mqtt")),
            header("shop", "delicode", None),
            header("city", "sensoro", Some("webhook")),
        ];
        let vendor = |source: &str| vendor_of(&recorded, &format!("{source}=http://x").parse().unwrap());
        assert_eq!(vendor("city").unwrap(), "sensoro");
        assert_eq!(vendor("shop").unwrap(), "delicode", "nothing is known of how it came");
        for (source, expected) in [
            ("locks", "not recorded from webhooks, there is nothing to push; recorded from webhooks: city"),
            ("citi", "no such source was recorded, did you mean `city`?; recorded from webhooks: city"),
        ] {
            let error = vendor(source).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
