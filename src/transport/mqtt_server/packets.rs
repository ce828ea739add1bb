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
    use super::*;
    use crate::fuzz::Target;

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

    /// One of each that a client or a server says.
    fn right() -> Vec<Vec<u8>> {
        let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
        let packet = |first: u8, body: Vec<u8>| [&[first, body.len() as u8][..], &body].concat();
        let connect = [
            text("MQTT"),
            vec![4, 0xEE, 0, 60],
            text("me"),
            text("will"),
            text("gone"),
            text("u"),
            text("p"),
        ];
        vec![
            packet(0x10, connect.concat()),
            packet(0x10, [text("MQTT"), vec![4, 2, 0, 0], text("")].concat()),
            packet(0x82, [vec![0, 1], text("upload/+/#"), vec![1], text("a"), vec![2]].concat()),
            packet(0xA2, [vec![0, 2], text("a/b")].concat()),
            packet(0x30, [text("a/b"), b"payload".to_vec()].concat()),
            packet(0x3D, [text("upload/AK/7/cmd"), vec![0, 9], b"(1,BASE)".to_vec()].concat()),
            packet(0x40, vec![0, 1]),
            packet(0x50, vec![0, 1]),
            packet(0x62, vec![0, 1]),
            packet(0x70, vec![0, 1]),
            vec![0xC0, 0, 0xE0, 0],
            packet(0x20, vec![1, 0]),
            packet(0x90, vec![0, 1, 0, 0x80]),
        ]
    }

    /// What is read is within what came, and written again it is what it was.
    fn holds(bytes: &[u8]) -> bool {
        let mut reader = PacketReader::new(bytes);
        let mut packets = 0;
        loop {
            // The bytes are there: nothing is waited for.
            let Ok(read) = reader.next().now_or_never().unwrap() else { return false };
            let Some(packet) = read else { return packets > 0 };
            packets += 1;
            assert!(packets <= bytes.len() / 2);
            if rules::broken_by(&packet).is_some() {
                continue;
            }
            let mut written = BytesMut::new();
            packet.write(&mut written, PACKET_BYTES_MAX).unwrap();
            let again = PacketReader::new(&written[..]).next().now_or_never().unwrap();
            assert_eq!(again.unwrap(), Some(packet));
        }
    }

    #[test]
    fn hostile_packets_are_read_as_they_are_or_refused() {
        let all = right();
        let target = Target::new("mqtt").inputs([all.concat()]).inputs(all);
        target.words(&["MQTT", "MQIsdp", "$SYS", "#", "+"]).run(holds);
    }
}
