//! Jointech: locks and vehicle terminals, pushed by webhook or published on the vendor's broker.

pub mod config;
