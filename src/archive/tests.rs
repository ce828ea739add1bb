//! Whole archives: recorded through the journal, sealed, cut, recovered, verified, scanned.

mod cut;
mod damage;
mod format;
mod lookup;
mod order;
mod rewrite;
mod seek;
mod stages;
pub(crate) mod support;
mod unknown;
