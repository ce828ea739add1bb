//! The recording side.

use rand::Rng;

use super::config::PontosenseConfig;
use crate::clock::Now;
use crate::vendors::{Collector, Effect, Input};

#[derive(Debug)]
pub struct PontosenseCollector {
    config: PontosenseConfig,
}

impl PontosenseCollector {
    pub fn new(config: PontosenseConfig) -> Self {
        Self { config }
    }
}

impl Collector for PontosenseCollector {
    fn on(&mut self, _: Now, _: &mut dyn Rng, _: Input, _: &mut Vec<Effect>) {}

    fn wake_at(&self) -> Option<u64> {
        None
    }
}
