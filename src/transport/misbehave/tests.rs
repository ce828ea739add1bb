use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;

use super::*;

fn server(spec: &str, seed: u64) -> Arc<Misbehaviour> {
    Misbehaviour::new(spec.parse().unwrap(), seed)
}

/// How many messages pass on each of ten connections, and what then is done.
fn places(spec: &str, seed: u64) -> Vec<(u64, Next)> {
    let server = server(spec, seed);
    let connection = |_| {
        let conduct = server.connection();
        let mut messages = 0;
        loop {
            match conduct.before_message(10) {
                Next::Send | Next::Noise(_) => messages += 1,
                other => return (messages, other),
            }
        }
    };
    (0..10).map(connection).collect()
}

#[test]
fn a_specification_is_read_and_written() {
    for text in
        ["refuse=1/4", "garbage=1/100,close=3", "stall=7,half-packet=9,expired-token=2,slow-reader=16"]
    {
        assert_eq!(text.parse::<Spec>().unwrap().to_string(), text);
    }
    let usual: Spec = "refuse,stall,close,garbage,expired-token,slow-reader,half-packet".parse().unwrap();
    assert_eq!(
        usual.to_string(),
        "refuse=1/4,garbage=1/100,stall=200,close=200,half-packet=200,expired-token=500,slow-reader=256"
    );
    assert_eq!("refuse=1".parse::<Spec>().unwrap().to_string(), "refuse=1/1");
    for wrong in [
        "",
        "close,",
        "fall",
        "close=0",
        "close=1/2",
        "close=x",
        "close,close",
        "refuse=0",
        "refuse=2/1",
        "refuse=1/0",
        "garbage=",
        "slow-reader=1",
    ] {
        assert!(wrong.parse::<Spec>().is_err(), "{wrong:?}");
    }
}

#[test]
fn a_seed_gives_the_same_places_again() {
    assert_eq!(places("close=50,garbage=1/3", 1), places("close=50,garbage=1/3", 1));
    assert_ne!(places("close=50", 1), places("close=50", 2));
    assert!(places("close=50", 1).iter().all(|(n, next)| (25..=75).contains(n) && *next == Next::Last));
    assert!(
        places("expired-token=4", 1).iter().all(|(n, next)| (2..=6).contains(n) && *next == Next::Expire)
    );
}

#[test]
fn who_connects_by_itself_misbehaves_apart_from_all_others() {
    let counts = |shared: &Arc<Misbehaviour>| {
        let count =
            |conduct: Arc<Conduct>| (0..200).take_while(|_| conduct.before_message(1) == Next::Send).count();
        (0..5).map(|_| count(shared.connection())).collect::<Vec<_>>()
    };
    let all = server("close=50", 1);
    let first = counts(&all.apart(1, true));
    assert_ne!(counts(&all.apart(2, true)), first, "each has its own places");
    assert_ne!(counts(&all), first);
    assert_eq!(counts(&all.apart(1, true)), first, "whatever connections there were meanwhile");

    let all = server("expired-token=1", 1);
    let (shown, not_shown) = (all.apart(1, true), all.apart(2, false));
    assert_eq!(counts(&not_shown)[0], 200, "no token, none that expires");
    shown.connection().expire_token();
    assert!(!all.connection().refuses_token() && shown.connection().refuses_token());
}

#[test]
fn shares_are_kept_to() {
    let refused = server("refuse=1/4", 3);
    let refused = (0..1_000).filter(|_| refused.connection().refuses()).count();
    assert!((200..300).contains(&refused), "{refused} of 1,000");
    let conduct = server("garbage=1/10", 3).connection();
    let noise: Vec<Bytes> = (0..1_000)
        .filter_map(|_| match conduct.before_message(1) {
            Next::Noise(noise) => Some(noise),
            _ => None,
        })
        .collect();
    assert!((70..130).contains(&noise.len()), "{} of 1,000", noise.len());
    let texts = noise.iter().filter(|noise| std::str::from_utf8(noise).is_ok()).count();
    assert!((20..80).contains(&texts), "{texts} texts");
}

#[test]
fn an_expired_token_is_refused_once() {
    let server = server("expired-token=1", 1);
    let conduct = server.connection();
    assert!(!conduct.refuses_token());
    conduct.expire_token();
    let next = server.connection();
    assert!(next.refuses_token());
    assert!(!next.refuses_token() && !server.connection().refuses_token());
}

/// What arrives of a message of 100 bytes before which the wire is told to misbehave, and when it ends.
async fn arrives(spec: &str) -> (usize, Duration) {
    let conduct = server(spec, 1).connection();
    let (ours, mut theirs) = duplex(4_096);
    let mut wire = Wire::new(ours, Arc::clone(&conduct));
    while conduct.before_message(100) != Next::Last {
        wire.write_all(&[b'.'; 100]).await.unwrap();
        let mut whole = [0; 100];
        theirs.read_exact(&mut whole).await.unwrap();
    }
    let began = Instant::now();
    wire.write_all(&[b'!'; 104]).await.unwrap_err();
    let mut rest = Vec::new();
    theirs.read_to_end(&mut rest).await.unwrap();
    (rest.len(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_wire_is_cut_before_or_inside_a_message_or_after_a_silence() {
    assert_eq!(arrives("close=3").await, (0, Duration::ZERO));
    assert_eq!(arrives("half-packet=3").await, (53, Duration::ZERO));
    let (bytes, silent) = arrives("stall=3").await;
    assert_eq!((bytes, silent.as_secs()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_reads_everything_slowly() {
    let conduct = server("slow-reader=100", 1).connection();
    let (ours, mut theirs) = duplex(4_096);
    let mut wire = Wire::new(ours, conduct);
    theirs.write_all(&[7; 200]).await.unwrap();
    drop(theirs);
    let began = Instant::now();
    let mut read = Vec::new();
    wire.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, [7; 200]);
    assert_eq!(began.elapsed().as_secs_f64().round() as u64, 2);
}
