//! Telereel records live location and sensor streams and replays them with their original timing.
//!
//! ```text
//! record:  transport -> vendor collector -> journal -> (decode) -> segments -> index
//! replay:  index -> segments -> playback clock -> vendor emulator -> transport
//! ```
//!
//! Nothing flows back except the acknowledgement, which is sent only once the journal has made a message
//! durable. The modules below stand in reading order, from the ground up; each one's own documentation
//! says what never happens in it. Imports run one way only, from the later to the earlier (a test holds
//! that): vendors know neither sockets nor disks nor clocks, transports know the vendors' traits and not
//! the vendors, and only [`recorder`] and [`player`] join stages.

#![forbid(unsafe_code)]

// What parsers are tested with.
#[cfg(test)]
mod fuzz;

// What flows, and the ground that everything stands on.
pub mod message;

pub mod clock;

pub mod disk;

pub mod secret;
// Text from outside, without what steers a terminal.
pub mod printable;

pub mod units;

// Reading what people write: TOML with line and key for every mistake.
pub mod section;

// One form of a row as JSON.
pub mod envelope;

// What makes a message durable.
pub mod journal;

// From payloads to typed columns, by declaration.
pub mod decode;

// The catalog, which is derived and can be made again.
pub mod index;

// Each vendor's two sides, as state machines.
pub mod vendors;

pub mod config;

// The wires.
pub mod transport;

// Parquet, manifests, recovery, scans.
pub mod archive;

// One file out of an archive, and into one.
pub mod exchange;

// The two paths, each joined in one place.
pub mod recorder;

pub mod player;

// What people and programs see.
pub mod console;

pub mod cli;

pub mod commands;
