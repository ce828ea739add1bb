//! `telereel schema VENDOR [KIND]`: the fields that are declared for a vendor's messages.

mod common;

use anyhow::bail;
use serde::Serialize;

use super::context::Context;
use super::output::{Table, print};
use super::{Outcome, Usage};
use crate::cli::Schema;
use crate::config::VENDORS;
use crate::decode::{Declaration, KindDescription, VendorDescription, describe};
use crate::message::COMMON_KINDS;
use crate::section::nearest;
use crate::vendors::kinds;

const GENERIC: &str = "generic";

/// A declaration file with every key.
const EXAMPLE: &str = include_str!("schema/generic.toml");

pub(super) fn run(context: &Context, args: &Schema) -> anyhow::Result<Outcome> {
    let Some(vendor) = args.vendor.as_deref() else { return vendors(context) };
    let kind = args.kind.as_deref();
    if vendor == GENERIC {
        return generic(context, kind);
    }
    if let Some(vendor) = describe(vendor, kind)? {
        print(context.json, &vendor, |out| {
            out.line(vendor.to_string().trim_end())?;
            match kind {
                Some(_) => Ok(()),
                None => out.line(format!("\nEvery source also has the kinds {}.", COMMON_KINDS.join(", "))),
            }
        })?;
        return Ok(Outcome::Done);
    }
    match kind.filter(|_| kinds(vendor).is_some()).and_then(|kind| common::describe(vendor, kind)) {
        Some(kind) => print(context.json, &kind, |out| out.line(&kind))?,
        None => bail!(unknown(vendor, kind)),
    }
    Ok(Outcome::Done)
}

/// Which vendors there are, and what their messages are.
#[derive(Serialize)]
struct Vendors {
    vendors: Vec<Kinds>,
    /// Of every source beside its own.
    common_kinds: [&'static str; COMMON_KINDS.len()],
}

#[derive(Serialize)]
struct Kinds {
    vendor: &'static str,
    kinds: &'static [&'static str],
}

fn vendors(context: &Context) -> anyhow::Result<Outcome> {
    let of = |vendor: &&'static str| Kinds { vendor, kinds: kinds(vendor).unwrap_or_default() };
    let all = Vendors { vendors: VENDORS.iter().map(of).collect(), common_kinds: COMMON_KINDS };
    print(context.json, &all, |out| {
        let mut table = Table::new(&["vendor", "kinds"]);
        for Kinds { vendor, kinds } in &all.vendors {
            table.row([(*vendor).to_owned(), kinds.join(" ")]);
        }
        table.print(out)?;
        out.line(format!(
            "\nEvery source also has the kinds {}. `telereel schema VENDOR [KIND]` shows their fields.",
            COMMON_KINDS.join(", ")
        ))
    })?;
    Ok(Outcome::Done)
}

/// The columns of generic sources are their user's: those that the archive knows, and how to declare some.
fn generic(context: &Context, kind: Option<&str>) -> anyhow::Result<Outcome> {
    let mut declared = VendorDescription { vendor: GENERIC.to_owned(), kinds: declared(context)? };
    let Some(kind) = kind else {
        print(context.json, &declared, |out| {
            if declared.kinds.is_empty() {
                out.line("The archive knows no declared kinds of generic sources.")?;
            } else {
                out.line(declared.to_string().trim_end())?;
            }
            out.line(
                "\nThe columns of a generic source are its user's own: a declaration file says where they are found\n\
                 in the payload. Without one there is the kind `message`, with the envelope's columns only.\n\
                 This is such a file, with every key:\n",
            )?;
            out.line(EXAMPLE.trim_end())
        })?;
        return Ok(Outcome::Done);
    };
    let known: Vec<String> = declared.kinds.iter().map(|kind| kind.kind.clone()).collect();
    declared.kinds.retain(|known| known.kind == kind);
    if !declared.kinds.is_empty() {
        print(context.json, &declared, |out| out.line(declared.to_string().trim_end()))?;
    } else if let Some(kind) = common::describe(GENERIC, kind) {
        print(context.json, &kind, |out| out.line(&kind))?;
    } else {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        bail!(Usage(format!(
            "no kind `{kind}` of generic sources in the archive; declared there: {known}; \
             `telereel schema generic` shows how to declare one"
        )));
    }
    Ok(Outcome::Done)
}

/// What generic sources were recorded with, where there is an archive.
fn declared(context: &Context) -> anyhow::Result<Vec<KindDescription>> {
    let Ok(archive) = context.archive() else { return Ok(Vec::new()) };
    let mut kinds = Vec::new();
    for path in archive.disk().list(&archive.layout().schema().join(GENERIC))? {
        // `KIND-CHECKSUM.toml` is an older declaration of a kind.
        let kind = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| !stem.contains('-'));
        let Some(kind) = kind else { continue };
        if let Some(text) = archive.declaration(GENERIC, kind)? {
            kinds.push(KindDescription::new(&Declaration::parse(&text, &path.display().to_string())?));
        }
    }
    Ok(kinds)
}

fn unknown(vendor: &str, kind: Option<&str>) -> Usage {
    let near = |wanted, names: &[&'static str]| {
        nearest(wanted, names.iter().copied())
            .map(|near| format!(", did you mean `{near}`?"))
            .unwrap_or_default()
    };
    Usage(match (kinds(vendor), kind) {
        (Some(kinds), Some(kind)) => {
            let all: Vec<&str> = kinds.iter().copied().chain(COMMON_KINDS).collect();
            format!("no kind `{kind}` of {vendor}{}; there are: {}", near(kind, kinds), all.join(", "))
        }
        _ => format!("no vendor `{vendor}`{}; available: {}", near(vendor, &VENDORS), VENDORS.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::check_vendor;

    #[test]
    fn the_example_is_a_declaration() {
        let kinds = Declaration::parse_all(EXAMPLE, "example").unwrap();
        check_vendor(&kinds).unwrap();
        assert_eq!(kinds[0].fields().len(), 10);
    }

    #[test]
    fn every_common_kind_is_described() {
        for vendor in VENDORS {
            for kind in COMMON_KINDS {
                assert!(common::describe(vendor, kind).is_some(), "{vendor} {kind}");
            }
        }
    }
}
