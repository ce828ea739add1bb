//! The latest message of a source, kept to tell its lag when somebody asks for the status: decoding
//! every message for that would be a waste.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use bytestring::ByteString;

use crate::decode::{Declaration, Decoder};
use crate::message::{Message, SourceHeader};

/// A larger one is not kept: it would hold its memory for as long as nothing else comes.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// The latest message of a kind that has a declaration.
#[derive(Debug)]
pub struct Latest {
    /// By kind.
    declarations: Vec<Option<Declaration>>,
    kept: Mutex<Option<Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    kind: u16,
    received_at_us: i64,
    channel: ByteString,
    payload: Bytes,
    clear: Option<Bytes>,
}

impl Latest {
    pub fn new(header: &SourceHeader) -> Self {
        let declaration = |text: &String| Declaration::parse(text, &header.name).ok();
        let declarations =
            header.kinds.iter().map(|kind| kind.declaration.as_ref().and_then(declaration)).collect();
        Self { declarations, kept: Mutex::default() }
    }

    fn declaration(&self, kind: u16) -> Option<&Declaration> {
        self.declarations.get(usize::from(kind))?.as_ref()
    }

    pub fn note(&self, message: &Message) {
        let bytes = message.payload.len() + message.clear.as_ref().map_or(0, Bytes::len);
        if bytes > KEPT_BYTES_MAX || self.declaration(message.kind).is_none() {
            return;
        }
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Kept {
            kind: message.kind,
            received_at_us: message.at.wall_us,
            channel: message.channel.clone(),
            payload: message.payload.clone(),
            clear: message.clear.clone(),
        });
    }

    /// Arrival minus the vendor's own time, in ms, if the message holds one.
    pub fn lag_ms(&self) -> Option<i64> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let mut decoder = Decoder::new(self.declaration(kept.kind));
        let event_at_us =
            decoder.push_decrypted(&kept.channel, &kept.payload, kept.clear.as_deref()).event_at_us?;
        Some((kept.received_at_us - event_at_us) / 1_000)
    }
}
