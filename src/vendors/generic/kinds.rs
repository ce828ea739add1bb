//! The kinds of a generic source, and which of them a message is.

use super::MESSAGE;
use super::config::GenericConfig;
use crate::message::KindHeader;
use crate::vendors::KindOf;

/// The declared kinds in their order, then `message` for what fits none of them.
pub(crate) fn kinds(_config: &GenericConfig) -> Vec<KindHeader> {
    vec![KindHeader { name: MESSAGE.to_owned(), declaration: None }]
}

/// Sorts messages into the kinds of [`kinds`], by index.
pub(super) fn sorter(_config: &GenericConfig) -> KindOf {
    Box::new(|_, _| 0)
}
