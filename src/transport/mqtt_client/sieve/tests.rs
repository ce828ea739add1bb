use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::unconstrained;

use super::payloads::{ENTRY_BYTES, WAITING_BYTES};
use super::*;
use crate::transport::quota::{Quota, QuotaBytes};

const PIPE_BYTES: usize = 1 << 10;
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// What is on the wire of a PUBLISH of QoS 1.
fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut length = 2 + topic.len() + 2 + payload.len();
    let mut wire = vec![0x32];
    while length > 0x7F {
        wire.push(length as u8 | 0x80);
        length >>= 7;
    }
    wire.push(length as u8);
    wire.extend((topic.len() as u16).to_be_bytes());
    wire.extend(topic.as_bytes());
    wire.extend([0, 7]);
    wire.extend(payload);
    wire
}

fn sieve(quota: &Quota) -> (Sieve<DuplexStream>, DuplexStream, Payloads) {
    let (ours, theirs) = duplex(PIPE_BYTES);
    let payloads = Payloads::default();
    let sieve = Sieve::new(ours, quota.meter(), payloads.clone(), quota.message_bytes_max(), KEEP_ALIVE);
    (sieve, theirs, payloads)
}

/// Reads a packet as the library sees it: topic, and what it stands for.
async fn message(sieve: &mut Sieve<DuplexStream>, payloads: &Payloads) -> (String, Payload, Charge) {
    soon(read_message(sieve, payloads)).await
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("should not take this long")
}

async fn read_message(sieve: &mut Sieve<DuplexStream>, payloads: &Payloads) -> (String, Payload, Charge) {
    assert_eq!(sieve.read_u8().await.unwrap(), 0x32);
    let (mut length, mut shift) = (0, 0);
    while shift == 0 || length >> shift == 1 {
        let digit = usize::from(sieve.read_u8().await.unwrap());
        length = length & !(1 << shift) | digit << shift;
        shift += 7;
    }
    let mut topic = vec![0; usize::from(sieve.read_u16().await.unwrap())];
    sieve.read_exact(&mut topic).await.unwrap();
    assert_eq!(sieve.read_u16().await.unwrap(), 7);
    let mut number = [0; NUMBER_BYTES];
    sieve.read_exact(&mut number).await.unwrap();
    assert_eq!(length, 2 + topic.len() + 2 + NUMBER_BYTES);
    let (payload, charge) = payloads.take(&number).unwrap();
    (String::from_utf8(topic).unwrap(), payload, charge)
}

#[tokio::test]
async fn payloads_are_taken_out_exact_wherever_the_stream_is_cut() {
    let quota = Quota::new(QuotaBytes { message: 200_000, ..QuotaBytes::default() });
    let lengths = [0, 1, 100, 126, 200_001, 127, 128, 16_380, 200_000, 3, 65_536, 300_000, 0];
    for cut in [1, 3, 1_000, 1 << 20] {
        let (mut sieve, mut broker, payloads) = sieve(&quota);
        let sent = tokio::spawn(async move {
            for (n, length) in lengths.into_iter().enumerate() {
                // The time that a byte each takes is for short ones.
                let length = if cut < 1_000 { length % 1_000 } else { length };
                for piece in publish(&"t".repeat(n * 20), &vec![n as u8; length]).chunks(cut) {
                    broker.write_all(piece).await.unwrap();
                }
                broker.write_all(&[0xD0, 0]).await.unwrap();
            }
        });
        for (n, length) in lengths.into_iter().enumerate() {
            let length = if cut < 1_000 { length % 1_000 } else { length };
            let (topic, payload, _) = message(&mut sieve, &payloads).await;
            assert_eq!(topic.len(), n * 20);
            if length > 200_000 {
                assert_eq!(payload, Payload::TooLong(length as u64));
            } else {
                assert_eq!(payload, Payload::Whole(vec![n as u8; length].into()), "{n}, cut by {cut}");
            }
            assert_eq!(sieve.read_u16().await.unwrap(), 0xD000, "others go on as they are");
        }
        sent.await.unwrap();
        assert_eq!(sieve.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn an_end_within_a_packet_is_told_from_one_between_two() {
    let quota = Quota::default();
    let whole = publish("a/b", b"0123456789");
    for length in 0..whole.len() {
        let (mut sieve, mut broker, _) = sieve(&quota);
        broker.write_all(&whole[..length]).await.unwrap();
        drop(broker);
        let ended = sieve.read_to_end(&mut Vec::new()).await;
        assert_eq!(ended.is_ok(), length == 0, "{length}");
    }
}

#[tokio::test]
async fn a_head_that_is_none_is_told_behind_what_came_before_and_again() {
    let (mut sieve, mut broker, _) = sieve(&Quota::default());
    // A length in four digits, as nobody writes them, and shorter than the topic.
    broker.write_all(&[0xD0, 0, 0x30, 0x83, 0x80, 0x80, 0, 0, 2, b'a']).await.unwrap();
    assert_eq!(sieve.read_u16().await.unwrap(), 0xD000);
    for _ in 0..3 {
        assert_eq!(sieve.read_u8().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn a_message_that_has_begun_takes_no_memory_for_what_may_never_come() {
    let mut gathered = Vec::new();
    gather(&mut gathered, &[1; 1_000], 60 << 20);
    assert!(gathered.capacity() <= 1_024, "{}", gathered.capacity());
    // Beyond what is its own it is not moved again.
    gather(&mut gathered, &[2; OWN_BYTES], (60 << 20) - 1_000);
    assert_eq!(gathered.capacity(), 60 << 20);
}

/// Writes what is taken of `wire` without waiting; how much.
fn feed(broker: &mut DuplexStream, sieve: &mut Sieve<DuplexStream>, wire: &[u8]) -> usize {
    let (mut written, mut seen) = (0, [0; 256]);
    loop {
        while let Some(Ok(1..)) = unconstrained(sieve.read(&mut seen)).now_or_never() {}
        if written == wire.len() {
            return written;
        }
        match unconstrained(broker.write(&wire[written..])).now_or_never() {
            Some(wrote) => written += wrote.unwrap(),
            None => return written,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_brokers_in_the_midst_of_large_messages_hold_no_more_than_their_share_and_others_go_on() {
    const MESSAGE: usize = 1 << 20;
    const LARGE: usize = 256 << 10;
    let quota = Quota::new(QuotaBytes { message: MESSAGE, large: LARGE, queued: 1 << 20, held: 1 << 20 });
    let wire = publish("t", &vec![1; MESSAGE - 1]);
    let most = &wire[..MESSAGE * 9 / 10];
    let mut lines: Vec<_> = (0..20).map(|_| sieve(&quota)).collect();
    let taken: Vec<usize> = lines.iter_mut().map(|(sieve, broker, _)| feed(broker, sieve, most)).collect();
    let own = OWN_BYTES + READ_BYTES + PIPE_BYTES;
    let shared: usize = taken.iter().map(|taken| taken.saturating_sub(own)).sum();
    assert!(shared <= LARGE + MESSAGE, "{taken:?}");
    assert_eq!(
        taken.iter().filter(|taken| **taken == most.len()).count(),
        1,
        "one comes to its end: {taken:?}"
    );

    // Small messages need no share, and what is whole gives it to the next.
    let (mut other, mut broker, payloads) = sieve(&quota);
    broker.write_all(&publish("small", b"1")).await.unwrap();
    assert_eq!(message(&mut other, &payloads).await.1, Payload::Whole(b"1"[..].into()));
    let last = taken.iter().position(|taken| *taken == most.len()).unwrap();
    let (sieve, broker, payloads) = &mut lines[last];
    feed(broker, sieve, &wire[most.len()..]);
    assert!(matches!(payloads.lock().messages[0].payload, Payload::Whole(_)));
    drop(lines.remove(last));
    let mut gone_on = lines.iter_mut().map(|(sieve, broker, _)| feed(broker, sieve, most));
    assert!(gone_on.any(|taken| taken > PIPE_BYTES), "somebody goes on");
}

#[tokio::test]
async fn what_waits_to_be_handed_out_stops_the_reading() {
    let (mut sieve, mut broker, payloads) = sieve(&Quota::default());
    let wire: Vec<u8> = (0..200).flat_map(|_| publish("t", &[1; 1_000])).collect();
    let (mut read, mut seen) = (0, [0; 256]);
    for piece in wire.chunks(PIPE_BYTES / 2) {
        broker.write_all(piece).await.unwrap();
        read += piece.len();
        while let Some(Ok(1..)) = unconstrained(sieve.read(&mut seen)).now_or_never() {}
        if payloads.lock().is_full {
            break;
        }
    }
    let waiting = payloads.lock().bytes;
    assert!((WAITING_BYTES..WAITING_BYTES + 2_000).contains(&waiting), "{waiting}");
    assert!(read < WAITING_BYTES + 2 * PIPE_BYTES, "{read}");
    // The library has handed out one, and reads again before it has the next.
    assert!(payloads.take(&[0; NUMBER_BYTES]).is_some());
    assert!(payloads.lock().bytes < waiting && !payloads.lock().is_full);
    // It has none left, and reads: the others it keeps to itself.
    assert!(feed(&mut broker, &mut sieve, &wire[read..]) > WAITING_BYTES);
}

/// With the longest topics, a batch of small messages would be some MiB of the library's.
#[tokio::test]
async fn topics_are_counted_to_the_byte_and_stop_the_reading() {
    const TOPIC: usize = 65_535;
    let quota = Quota::new(QuotaBytes { message: 1 << 20, ..QuotaBytes::default() });
    for (payload, kept) in [(1, 1), (20_000, 20_000), ((1 << 20) + 1, 0)] {
        let (mut sieve, mut broker, payloads) = sieve(&quota);
        let wire = publish(&"t".repeat(TOPIC), &vec![1; payload]).repeat(2);
        let (mut written, mut passed, mut seen) = (0, 0, [0; 256]);
        while !payloads.lock().is_full {
            assert!(written < wire.len(), "the reading stops");
            while let Some(Ok(read @ 1..)) = unconstrained(sieve.read(&mut seen)).now_or_never() {
                passed += read;
            }
            let end = wire.len().min(written + PIPE_BYTES);
            if let Some(more) = unconstrained(broker.write(&wire[written..end])).now_or_never() {
                written += more.unwrap();
            }
        }
        assert_eq!(payloads.lock().bytes, TOPIC + kept + ENTRY_BYTES, "{payload}");
        assert_eq!(passed, 1 + 3 + 2 + TOPIC + 2 + NUMBER_BYTES, "of the second nothing is passed on");
        assert!(payloads.take(&[0; NUMBER_BYTES]).is_some());
        assert_eq!(payloads.lock().bytes, 0);
    }
}

#[tokio::test]
async fn a_topic_has_its_part_of_what_a_message_in_the_making_is_charged_with() {
    let quota = Quota::new(QuotaBytes { message: 1 << 20, ..QuotaBytes::default() });
    // Shares are of 32 KiB, and the pipe gives out 1 KiB at a time.
    for (topic, payload, charged) in [
        // About where the length of what goes on has another digit.
        (115, 1, 0),
        (116, 1, 0),
        (16_371, 1, 0),
        (16_372, 1, 0),
        (10, OWN_BYTES, 0),
        (65_535, 10, 0),
        (65_535, PIPE_BYTES + 2, 32 << 10),
        (65_535, OWN_BYTES, 64 << 10),
        (1_000, OWN_BYTES + PIPE_BYTES, 32 << 10),
    ] {
        let (mut sieve, mut broker, payloads) = sieve(&quota);
        let wire = [publish(&"t".repeat(topic), &vec![1; payload]), publish("t", b"1")].concat();
        let sent = tokio::spawn(async move {
            broker.write_all(&wire).await.unwrap();
            broker
        });
        let (_, _, charge) = message(&mut sieve, &payloads).await;
        assert_eq!(charge.bytes(), charged, "{topic} and {payload}");
        assert_eq!(message(&mut sieve, &payloads).await.2.bytes(), 0, "the next one begins anew");
        drop(sent.await.unwrap());
    }
}

/// Heads, in which lengths have one to four digits, are found wherever the stream is cut.
#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_the_same() {
    let quota = Quota::default();
    for (length, first) in [(0, 0x30), (121, 0x3B), (122, 0x3D), (16_377, 0x34), (2_097_145, 0x32)] {
        // QoS, DUP and RETAIN go on as they came.
        let identifier = usize::from(first & 0b0110 != 0) * 2;
        let mut wire = publish("abc", &vec![7; length]);
        wire[0] = first;
        if identifier == 0 {
            wire = [&[0x30, 5][..], &wire[2..7]].concat();
        }
        let head = wire.len() - length;
        let (ours, mut broker) = duplex(wire.len());
        let payloads = Payloads::default();
        let mut sieve =
            Sieve::new(ours, quota.meter(), payloads.clone(), quota.message_bytes_max(), KEEP_ALIVE);
        let mut passed = Vec::new();
        for byte in &wire[..head] {
            broker.write_u8(*byte).await.unwrap();
            let mut seen = [0; 256];
            if let Some(read) = unconstrained(sieve.read(&mut seen)).now_or_never() {
                passed.extend_from_slice(&seen[..read.unwrap()]);
            }
        }
        broker.write_all(&wire[head..]).await.unwrap();
        drop(broker);
        sieve.read_to_end(&mut passed).await.unwrap();
        let body = 2 + 3 + identifier + NUMBER_BYTES;
        let expected = [&[first, body as u8, 0, 3][..], b"abc", &[0, 7][..identifier], &[0; NUMBER_BYTES]];
        assert_eq!(passed, expected.concat(), "{length}");
        let (payload, _) = payloads.take(&[0; NUMBER_BYTES]).unwrap();
        assert_eq!(payload, Payload::Whole(vec![7; length].into()));
    }
}

#[tokio::test]
async fn what_the_library_keeps_to_itself_neither_stops_the_reading_nor_is_mistaken() {
    let (mut sieve, mut broker, payloads) = sieve(&Quota::default());
    let sent = tokio::spawn(async move {
        for n in 0..200 {
            broker.write_all(&publish("t", &[n; 1_000])).await.unwrap();
        }
    });
    let mut passed = Vec::new();
    soon(sieve.read_to_end(&mut passed)).await.unwrap();
    sent.await.unwrap();
    assert_eq!(passed.len(), 200 * (2 + 2 + 1 + 2 + NUMBER_BYTES));
    // Of those that still wait, the last.
    let (payload, _) = payloads.take(&passed[passed.len() - NUMBER_BYTES..]).unwrap();
    assert_eq!(payload, Payload::Whole(vec![199; 1_000].into()));
    assert_eq!(payloads.lock().bytes, 0);
    assert!(payloads.take(&passed[passed.len() - NUMBER_BYTES..]).is_none(), "once");
}

/// What comes next, if anything is there.
fn next_bytes(sieve: &mut Sieve<DuplexStream>) -> Option<Vec<u8>> {
    let mut seen = [0; 256];
    let read = unconstrained(sieve.read(&mut seen)).now_or_never()?.unwrap();
    Some(seen[..read].to_vec())
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_sends_is_alive_and_a_silent_one_is_not() {
    let (mut sieve, mut broker, payloads) = sieve(&Quota::default());
    let wire = publish("t", &[1; 300]);
    assert_eq!(next_bytes(&mut sieve), None);
    tokio::time::advance(KEEP_ALIVE).await;
    assert_eq!(next_bytes(&mut sieve), None, "nothing has come");
    // In the midst of a packet, wherever that is, and once for some time.
    for piece in [&wire[..1], &wire[1..5], &wire[5..9], &wire[9..100]] {
        broker.write_all(piece).await.unwrap();
        assert_eq!(next_bytes(&mut sieve).as_deref(), Some(&PINGRESP[..]));
        assert_eq!(next_bytes(&mut sieve), None);
        tokio::time::advance(KEEP_ALIVE / 4).await;
        assert_eq!(next_bytes(&mut sieve), None);
        tokio::time::advance(KEEP_ALIVE / 4).await;
    }
    tokio::time::advance(KEEP_ALIVE).await;
    assert_eq!(next_bytes(&mut sieve), None, "nothing has come since");
    broker.write_all(&wire[100..]).await.unwrap();
    assert_eq!(sieve.read_u16().await.unwrap(), 0xD000, "in two steps");
    assert_eq!(message(&mut sieve, &payloads).await.1, Payload::Whole(vec![1; 300].into()));
}

#[tokio::test(start_paused = true)]
async fn whom_we_hold_up_is_alive() {
    const MESSAGE: usize = 1 << 20;
    let quota = Quota::new(QuotaBytes { message: MESSAGE, large: 256 << 10, queued: 1 << 20, held: 1 << 20 });
    let wire = publish("t", &vec![1; MESSAGE]);
    let most = &wire[..MESSAGE * 9 / 10];
    let mut lines: Vec<_> = (0..20).map(|_| sieve(&quota)).collect();
    let mut held_up = lines.iter_mut().filter_map(|(sieve, broker, _)| {
        let taken = feed(broker, sieve, most);
        (taken < most.len()).then_some(sieve)
    });
    let sieve = held_up.next_back().expect("there is no room for twenty");
    for _ in 0..3 {
        let mut seen = [0; 256];
        let began = tokio::time::Instant::now();
        let read = soon(sieve.read(&mut seen)).await.unwrap();
        assert_eq!(&seen[..read], PINGRESP);
        assert!(began.elapsed() < KEEP_ALIVE / 2, "{:?}", began.elapsed());
    }
}
