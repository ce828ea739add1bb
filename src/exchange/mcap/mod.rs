//! MCAP (<https://mcap.dev/spec>), written so that its tools show payloads, and read back byte for byte.
//!
//! # How a recording lies in it
//!
//! * A message's data is the payload; `log_time` is `received_at`, `publish_time` is `event_at` (or `received_at`),
//!   `sequence` the low 32 bits of `seq`.
//! * A channel is one vendor, kind, source and channel of one session; its topic is `/source/kind/channel`. Its
//!   metadata say so by name (`telereel.vendor`, …). JSON objects have the encoding `json` and a schema
//!   `vendor.kind`; what is none has a channel of its own, of the encoding `application/octet-stream`.
//! * Each chunk (zstd) is followed by an attachment `telereel.envelopes`: a line of JSON for each of its messages, in
//!   their order, the rows as [`envelope`](crate::envelope) writes them but for their payloads; zstd as well. Other
//!   tools do not look at it. A file that has lost it (filtered, merged) still comes in, with what the channels say.
//! * The metadata `telereel.session` hold each session's sidecar.

mod read;
mod wire;
mod write;

pub(super) use read::{Channel, McapReader, Message, Next};
pub(super) use write::McapWriter;

/// The attachment behind each chunk.
const ENVELOPES: &str = "telereel.envelopes";

/// The metadata record of a session.
pub(super) const SESSION: &str = "telereel.session";

const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";

/// What records there are.
mod op {
    pub const HEADER: u8 = 0x01;
    pub const FOOTER: u8 = 0x02;
    pub const SCHEMA: u8 = 0x03;
    pub const CHANNEL: u8 = 0x04;
    pub const MESSAGE: u8 = 0x05;
    pub const CHUNK: u8 = 0x06;
    pub const MESSAGE_INDEX: u8 = 0x07;
    pub const CHUNK_INDEX: u8 = 0x08;
    pub const ATTACHMENT: u8 = 0x09;
    pub const ATTACHMENT_INDEX: u8 = 0x0A;
    pub const STATISTICS: u8 = 0x0B;
    pub const METADATA: u8 = 0x0C;
    pub const METADATA_INDEX: u8 = 0x0D;
    pub const SUMMARY_OFFSET: u8 = 0x0E;
    pub const DATA_END: u8 = 0x0F;
}
