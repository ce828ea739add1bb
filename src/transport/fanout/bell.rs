//! A bell for one thread that waits for several things at once, or for a time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Rung by whoever has news; wakes the one thread that waits. A ring while nobody waits is kept for the next wait.
#[derive(Debug, Default)]
pub struct Doorbell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Doorbell {
    pub fn ring(&self) {
        let mut rung = self.lock();
        // Rung already: whoever waits is on its way.
        if !std::mem::replace(&mut *rung, true) {
            self.heard.notify_one();
        }
    }

    /// Returns when it is rung or was since the last wait, with true, or after `limit`, with false.
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        let mut rung = self.lock();
        match limit {
            None => {
                while !*rung {
                    rung = self.heard.wait(rung).unwrap_or_else(PoisonError::into_inner);
                }
            }
            Some(limit) => {
                if !*rung {
                    rung = match self.heard.wait_timeout(rung, limit) {
                        Ok((rung, _)) => rung,
                        Err(poisoned) => poisoned.into_inner().0,
                    };
                }
            }
        }
        std::mem::take(&mut *rung)
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_heard_once_though_nobody_waited() {
        let bell = Doorbell::default();
        bell.ring();
        bell.ring();
        assert!(bell.wait(None));
        assert!(!bell.wait(Some(Duration::ZERO)));
    }
}
