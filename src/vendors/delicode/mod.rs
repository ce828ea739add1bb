//! Delicode Signals: people tracked in a room, over a WebSocket.

pub mod config;
