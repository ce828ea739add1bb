//! Which sessions of a file have come in before.

use super::{Plan, What};
use crate::archive::CameFrom;
use crate::exchange::ExchangeError;

impl Plan {
    /// How many sessions with messages it has.
    pub fn sessions(&self) -> Result<usize, ExchangeError> {
        Ok(match &self.what {
            What::Reel(unpacked) => {
                unpacked.archive().list()?.iter().filter(|session| session.messages > 0).count()
            }
            What::Rows { sessions, .. } => sessions.len(),
        })
    }

    /// Whether this session came in by other options, which make other sessions of the same file.
    pub fn is_split_otherwise(&self, known: &CameFrom) -> bool {
        let What::Rows { sessions, .. } = &self.what else { return false };
        let rows = sessions.get(known.nth).map(|session| session.rows);
        rows.is_none() || known.messages.is_some() && known.messages != rows
    }
}
