//! Telereel records live location and sensor streams and replays them with their original timing.

#![forbid(unsafe_code)]

pub mod archive;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod console;
pub mod decode;
pub mod disk;
pub mod envelope;
pub mod index;
pub mod journal;
pub mod message;
pub mod player;
pub mod recorder;
pub mod secret;
pub mod section;
pub mod transport;
pub mod units;
pub mod vendors;
