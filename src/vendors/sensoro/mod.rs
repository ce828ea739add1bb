//! SENSORO: wireless sensors, pushed by webhook, in plain or encrypted.
//!
//! One URL per application takes all kinds. Its developer may switch safe mode on and off at any time,
//! so both are taken at once. Sources of the protocol facts: the vendor's pages "webhook" and "API
//! authentication", and its sample receiver `IoT-Developer-Demo`.

pub mod cipher;
pub mod config;
pub mod signature;
