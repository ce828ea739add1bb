//! `--rebase-time` and `--faults`: what they need, looked for before anything is opened.

use std::sync::Arc;

use super::super::Usage;
use super::super::context::Context;
use crate::archive::Archive;
use crate::cli::Shaping;
use crate::clock::Now;
use crate::config::Config;
use crate::decode::Rebase;
use crate::message::SourceHeader;
use crate::player::{Faults, PushTo, Rebasing};
use crate::units::{Moment, parse_moment};
use crate::vendors::{Sealer, signs};

/// The faults that were asked for.
pub(super) fn faults(args: &Shaping) -> Option<Faults> {
    args.faults.clone().map(|spec| Faults::new(spec, args.seed))
}

/// A time that stands apart from its option, and would be taken for a session.
pub(super) fn check(sessions: &[String], args: &Shaping) -> Result<(), Usage> {
    let is_time = |text: &&String| matches!(parse_moment(text), Ok(moment) if moment.is_absolute());
    match sessions.iter().find(is_time) {
        Some(time) if args.rebase_time == Some(None) => {
            Err(Usage(format!("--rebase-time takes its time with `=`: --rebase-time={time}")))
        }
        _ => Ok(()),
    }
}

/// What moving times takes, if it was asked for: the declarations of what was recorded, and the keys of what is
/// encrypted.
pub(super) fn rebasing(
    context: &Context,
    archive: &Archive,
    sources: &[SourceHeader],
    pushes: &[PushTo],
    args: &Shaping,
    now: Now,
) -> anyhow::Result<Option<Rebasing>> {
    let Some(to) = args.rebase_time else { return Ok(None) };
    let mut rebasing = Rebasing { to_us: to.map(|moment| wall_us(moment, now)), ..Rebasing::default() };
    for source in sources {
        let kinds = rebasing.kinds.entry(source.vendor.clone()).or_default();
        for kind in source.kinds.iter().filter(|kind| !kinds.contains_key(&kind.name)).collect::<Vec<_>>() {
            kinds.insert(kind.name.clone(), archive.declarations(&source.vendor, &kind.name)?);
        }
    }
    let config = context.config_if_any()?;
    for source in sources {
        if let Some(sealer) = config.as_ref().and_then(|config| sealer(config, source)) {
            rebasing.sealers.insert(source.name.clone(), Arc::new(sealer));
        } else if let Some(why) = needs(&rebasing, source, pushes) {
            let (name, vendor) = (&source.name, &source.vendor);
            return Err(Usage(format!(
                "--rebase-time: {why}: give its app_key, app_id and app_secret in the configuration (-c FILE), \
                 as [[source]] with name = \"{name}\" and vendor = \"{vendor}\""
            ))
            .into());
        }
    }
    Ok(Some(rebasing))
}

fn wall_us(moment: Moment, now: Now) -> i64 {
    match moment {
        Moment::At(us) => us,
        Moment::BeforeNow(duration) => now.wall_us - duration.as_micros() as i64,
        // Refused when it was read.
        Moment::AfterStart(duration) => now.wall_us + duration.as_micros() as i64,
    }
}

fn sealer(config: &Config, source: &SourceHeader) -> Option<Sealer> {
    let configured = config.sources.iter().find(|configured| configured.name == source.name)?;
    (configured.vendor.vendor() == source.vendor).then(|| Sealer::of(&configured.vendor))?
}

/// Why a source that was encrypted cannot be replayed with other times without its keys, if it cannot.
fn needs(rebasing: &Rebasing, source: &SourceHeader, pushes: &[PushTo]) -> Option<String> {
    let was_encrypted = source.settings.get("safe_mode").and_then(serde_json::Value::as_bool) == Some(true);
    let name = &source.name;
    let kinds = rebasing.kinds.get(&source.vendor).into_iter().flatten();
    let is_inside = |(_, all): (_, &Vec<_>)| Rebase::new(all).is_some_and(|rebase| rebase.is_in_clear());
    match was_encrypted {
        false => None,
        true if kinds.into_iter().any(is_inside) => {
            Some(format!("times of `{name}` are encrypted, and must be sealed afresh"))
        }
        true if signs(&source.vendor) && pushes.iter().any(|to| to.source == *name) => Some(format!(
            "`{name}` was recorded from encrypted pushes, whose signature covers the times that are to move"
        )),
        true => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::decode::Declaration;

    fn source(safe_mode: bool) -> SourceHeader {
        SourceHeader {
            name: "city".into(),
            vendor: "sensoro".into(),
            kinds: Vec::new(),
            settings: serde_json::json!({"transport": "webhook", "safe_mode": safe_mode}),
        }
    }

    fn rebasing(path: &str) -> Rebasing {
        let declaration = format!(
            "kind = \"telemetry\"\nencrypted = {{ member = \"encryptData\", clear = \"data\" }}\n[[field]]\n\
             name = \"made_at\"\nid = 100\ntype = \"timestamp\"\ntime = \"unix_s\"\nrole = \"time\"\npath = \"{path}\"\n"
        );
        let declaration = Declaration::parse(&declaration, "test").unwrap();
        let kinds = HashMap::from([("telemetry".to_owned(), vec![declaration])]);
        Rebasing { kinds: HashMap::from([("sensoro".to_owned(), kinds)]), ..Rebasing::default() }
    }

    #[test]
    fn keys_are_needed_where_times_are_encrypted_or_signed() {
        let push: PushTo = "city=http://x".parse().unwrap();
        let elsewhere: PushTo = "town=http://x".parse().unwrap();
        let why = |path, safe_mode, push: &PushTo| {
            needs(&rebasing(path), &source(safe_mode), std::slice::from_ref(push))
        };
        assert!(why("data.at", true, &elsewhere).unwrap().contains("times of `city` are encrypted"));
        assert!(why("createdTime", true, &push).unwrap().contains("whose signature covers"));
        assert_eq!(why("createdTime", true, &elsewhere), None, "nobody checks a signature that is not sent");
        assert_eq!(why("data.at", false, &push), None, "its payloads came in clear");
    }
}
