//! Whole archives: recorded through the journal, sealed, cut, recovered, verified, scanned.

mod clips;
mod cut;
mod damage;
mod damaged;
mod doubt;
mod erase;
mod erase_damaged;
mod every_byte;
mod format;
mod hostile;
mod intake;
mod lookup;
mod order;
mod prune;
mod published;
mod rewrite;
mod seek;
mod stages;
pub(crate) mod support;
mod unknown;
