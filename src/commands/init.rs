//! `telereel init [VENDOR…]`: a commented configuration to start from, or a systemd unit that runs it.

mod units;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Context as _;

use super::context::Context;
use super::output::Out;
use super::{Outcome, Usage};
use crate::cli::Init;
use crate::config::VENDORS;
use crate::section::nearest;

const HEAD: &str = include_str!("init/head.toml");
const HELLO: &str = include_str!("init/hello.toml");

const TEMPLATES: [(&str, &str); 6] = [
    ("damoov", include_str!("init/damoov.toml")),
    ("delicode", include_str!("init/delicode.toml")),
    ("jointech", include_str!("init/jointech.toml")),
    ("pontosense", include_str!("init/pontosense.toml")),
    ("sensoro", include_str!("init/sensoro.toml")),
    ("generic", include_str!("init/generic.toml")),
];

pub(super) fn run(context: &Context, args: Init) -> anyhow::Result<Outcome> {
    if let Some(unit) = args.systemd {
        return units::print(context, unit);
    }
    let text = configuration(&args.vendors)?;
    if args.stdout {
        let mut out = Out::new();
        out.line(text.trim_end())?;
        out.flush()?;
        return Ok(Outcome::Done);
    }
    let path = context.config_path();
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let path = path.display();
            return Err(Usage(format!(
                "{path} exists already and is left alone: name another with -c FILE, or use --stdout"
            ))
            .into());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot create {}", path.display())),
    };
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    let fill = if args.vendors.is_empty() { "" } else { "fill in its credentials, " };
    context.screen.note(format!(
        "wrote {}: {fill}then `telereel check --connect` and `telereel record`",
        path.display()
    ));
    Ok(Outcome::Done)
}

/// The configuration for `vendors`; for none, a source that runs at once, and all vendors as comments.
fn configuration(vendors: &[String]) -> Result<String, Usage> {
    let mut text = HEAD.to_owned();
    if vendors.is_empty() {
        text.push_str(HELLO);
        for (_, template) in TEMPLATES {
            text.push('\n');
            text.extend(template.lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n"));
        }
        return Ok(text);
    }
    for vendor in vendors {
        let Some((_, template)) = TEMPLATES.iter().find(|(name, _)| name == vendor) else {
            let near = nearest(vendor, VENDORS).map(|v| format!(", did you mean `{v}`?")).unwrap_or_default();
            return Err(Usage(format!("no vendor `{vendor}`{near}; available: {}", VENDORS.join(", "))));
        };
        text.push('\n');
        text.push_str(template);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Config {
        Config::parse(Path::new("telereel.toml"), text, &filled_in).unwrap()
    }

    /// Any secret, but for one that has a form.
    fn filled_in(name: &str) -> Option<String> {
        Some(if name.ends_with("APP_KEY") { "A".repeat(43) } else { "filled-in".to_owned() })
    }

    #[test]
    fn every_template_is_a_valid_configuration_once_filled_in() {
        assert_eq!(parse(&configuration(&[]).unwrap()).sources.len(), 1);
        let all = configuration(&VENDORS.map(String::from)).unwrap();
        assert_eq!(parse(&all).sources.len(), VENDORS.len());
    }

    #[test]
    fn what_is_commented_out_is_valid_as_well() {
        let all = configuration(&VENDORS.map(String::from)).unwrap();
        // A commented key begins with `# name =`; anything else is prose.
        let is_key = |line: &str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        let optional = |line: &str| match line.strip_prefix("# ") {
            Some(rest) if is_key(rest) && !rest.contains(".pem") && !rest.contains("schema") => {
                rest.to_owned()
            }
            _ => line.to_owned(),
        };
        parse(&all.lines().map(optional).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn an_unknown_vendor_is_answered_with_the_nearest() {
        assert!(configuration(&["delicod".into()]).unwrap_err().to_string().contains("`delicode`"));
    }
}
