//! Anything else that speaks one of the transports, with the user's own declarations.

pub mod config;
