//! The wires: WebSocket, MQTT and HTTP, each as client and as server, and TLS below them.
//!
//! A transport moves bytes and stamps when they came. It knows the vendors' inputs and effects by
//! type, but no vendor: what a frame means, when to dial again and what to record is theirs.
//!
//! What never happens here: a payload is parsed or changed, a URL's query, a header or a password is
//! logged, a failed connection is made again (a collector asks for a new one), a queue grows without
//! bound.

pub mod http_server;
