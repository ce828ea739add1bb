//! Packets from a byte stream, at most [`PACKET_BYTES_MAX`] long.

use bytes::BytesMut;
use futures_util::FutureExt;
use rumqttc::mqttbytes::Error;
use rumqttc::mqttbytes::v4::Packet;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::rules;

/// A subscriber sends subscriptions and acknowledgements, and what a device under test answers.
pub const PACKET_BYTES_MAX: usize = 1 << 20;

/// Client id, will, user name and password; a token as password is the longest, with some KiB.
const CONNECT_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
pub struct PacketReader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> PacketReader<R> {
    pub fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next packet; none at the end of the stream, also where it ends inside a packet.
    /// May be cancelled without loss.
    pub async fn next(&mut self) -> Result<Option<Packet>, Error> {
        self.next_within(PACKET_BYTES_MAX).await
    }

    /// The same for a client that has not said who it is, of which there may be very many.
    pub async fn first(&mut self) -> Result<Option<Packet>, Error> {
        self.next_within(CONNECT_BYTES_MAX).await
    }

    async fn next_within(&mut self, max_bytes: usize) -> Result<Option<Packet>, Error> {
        loop {
            if rules::has_needless_body(&self.buffer) {
                return Err(Error::MalformedPacket);
            }
            match Packet::read(&mut self.buffer, max_bytes) {
                Ok(packet) => return Ok(Some(packet)),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(error),
            }
            self.buffer.reserve(4_096);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads and forgets what has come already.
    pub fn discard_present(&mut self) {
        let _ = self.discard().now_or_never();
    }

    /// Reads and forgets until the peer closes too. Closing with unread bytes would reset the
    /// connection, and a reset takes with it what the peer has not read yet.
    pub async fn discard(&mut self) {
        loop {
            self.buffer.clear();
            self.buffer.reserve(4_096);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(bytes) if bytes > 0 => {}
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8]) -> Vec<Result<Packet, ()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut reader = PacketReader::new(bytes);
            let mut packets = Vec::new();
            loop {
                match reader.next().await {
                    Ok(Some(packet)) => packets.push(Ok(packet)),
                    Ok(None) => return packets,
                    Err(_) => {
                        packets.push(Err(()));
                        return packets;
                    }
                }
            }
        })
    }

    #[test]
    fn packets_are_told_apart_and_a_torn_one_is_no_packet() {
        assert_eq!(read_all(&[0xC0, 0, 0xE0, 0]), [Ok(Packet::PingReq), Ok(Packet::Disconnect)]);
        assert_eq!(read_all(&[0xC0, 0, 0x82]), [Ok(Packet::PingReq)]);
        assert_eq!(
            read_all(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]),
            [Err(())],
            "a quarter of a gigabyte is refused"
        );
        assert_eq!(read_all(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]), [Err(())]);
        assert_eq!(read_all(&[0xF0, 0]), [Err(())]);
        assert_eq!(read_all(&[0xC0, 1, 0]), [Err(())], "a PINGREQ has no body");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            read_all(&bytes);
        }

        /// Bytes that get past the first look: each kind of packet with any content.
        #[test]
        fn no_packet_panics(
            packet_type in 1..15u8,
            flags in 0..16u8,
            content in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = vec![packet_type << 4 | flags, content.len() as u8];
            bytes.extend(content);
            read_all(&bytes);
        }
    }
}
