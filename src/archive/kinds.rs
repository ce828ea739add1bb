//! The kinds of a session, and which one a record is of.

use super::error::ArchiveError;
use super::segment::parse_declaration;
use crate::decode::Declaration;
use crate::journal::RecordRef;
use crate::message::SessionHeader;

/// The kinds of a session, each with its declaration.
pub(super) struct Kinds {
    pub all: Vec<Kind>,
    /// `[source][kind]` of a record to a position in `all`.
    routes: Vec<Vec<usize>>,
}

pub(super) struct Kind {
    pub vendor: String,
    pub name: String,
    pub text: Option<String>,
    pub declaration: Option<Declaration>,
    /// Counts declarations of the same kind that differ between sources: each has its own segment.
    pub variant: usize,
    pub is_link: bool,
}

impl Kinds {
    pub(super) fn new(session: &SessionHeader) -> Result<Self, ArchiveError> {
        let mut all: Vec<Kind> = Vec::new();
        let mut routes = Vec::with_capacity(session.sources.len());
        for source in &session.sources {
            let mut route = Vec::with_capacity(source.kinds.len());
            for kind in &source.kinds {
                let same = |k: &&Kind| k.vendor == source.vendor && k.name == kind.name;
                let known = all.iter().position(|k| same(&k) && k.text == kind.declaration);
                route.push(known.unwrap_or(all.len()));
                if known.is_none() {
                    all.push(Kind {
                        variant: all.iter().filter(same).count(),
                        declaration: parse_declaration(&source.vendor, kind)?,
                        vendor: source.vendor.clone(),
                        name: kind.name.clone(),
                        text: kind.declaration.clone(),
                        is_link: kind.name == "link",
                    });
                }
            }
            routes.push(route);
        }
        Ok(Self { all, routes })
    }

    pub(super) fn of(&self, record: &RecordRef<'_>) -> Option<usize> {
        self.routes.get(usize::from(record.source))?.get(usize::from(record.kind)).copied()
    }
}
