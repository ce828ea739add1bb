//! `telereel schema VENDOR [KIND]`: the fields that are declared for a vendor's messages.

use anyhow::bail;

use super::context::Context;
use super::output::print;
use super::{Outcome, Usage};
use crate::cli::Schema;
use crate::config::VENDORS;
use crate::decode::describe;
use crate::section::nearest;
use crate::vendors::kinds;

pub(super) fn run(context: &Context, args: &Schema) -> anyhow::Result<Outcome> {
    let Some(vendor) = describe(&args.vendor, args.kind.as_deref())? else { bail!(unknown(args)) };
    print(context.json, &vendor, |out| out.line(vendor.to_string().trim_end()))?;
    Ok(Outcome::Done)
}

fn unknown(args: &Schema) -> Usage {
    let vendor = &args.vendor;
    let near = |wanted, names: &[&'static str]| {
        nearest(wanted, names.iter().copied())
            .map(|near| format!(", did you mean `{near}`?"))
            .unwrap_or_default()
    };
    Usage(match (kinds(vendor), &args.kind) {
        _ if vendor == "generic" => {
            "`generic` sources have the fields of their own `schema` file, and none built in".to_owned()
        }
        (Some(kinds), Some(kind)) => {
            format!("no kind `{kind}` of {vendor}{}; there are: {}", near(kind, kinds), kinds.join(", "))
        }
        _ => format!("no vendor `{vendor}`{}; available: {}", near(vendor, &VENDORS), VENDORS.join(", ")),
    })
}
