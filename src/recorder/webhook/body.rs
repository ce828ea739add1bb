//! Reading the bodies of requests that nobody has vouched for yet.
//!
//! A body counts for what has come of it, never for what it announces: else a few requests that send nothing would
//! keep everybody out. It has to go on coming, and the bodies of one source never take all the room, so that whoever
//! knows one source's path cannot silence the others.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::{Instant, timeout_at};

use crate::transport::quota::patience;

/// A body's buffer is as long at first, and doubles as more comes; it is charged for that first. Thousands that trickle
/// take no more than a few that come.
const FIRST_BYTES: usize = 512;

/// A body that is refused unread is read off up to here; larger ones cost the sender its connection.
const REFUSED_BODY_BYTES: usize = 64 << 10;

/// How long is waited for bodies. A vendor's is small and sent at once.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between any two pieces of it.
    pub idle: Duration,
    /// For the whole of it, by what has come.
    pub whole: fn(usize) -> Duration,
    /// For the rest of one that is refused.
    pub refused: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let [idle, refused] = [5, 1].map(Duration::from_secs);
        Self { idle, whole: patience, refused }
    }
}

/// The room for bodies: of all sources, or of one.
#[derive(Clone, Debug)]
pub struct Room {
    places: Arc<Semaphore>,
    bytes: usize,
}

impl Room {
    /// For so many bytes; see [`memory`](crate::config::memory).
    pub fn of(bytes: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(bytes)), bytes }
    }

    /// A body larger than the room takes all of it, and goes alone.
    fn charge(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Refused> {
        let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.min(self.bytes).saturating_sub(has);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.places).try_acquire_many_owned(more);
        let taken = taken.map_err(|_: TryAcquireError| Refused::NoRoom)?;
        match held {
            Some(held) => held.merge(taken),
            None => *held = Some(taken),
        }
        Ok(())
    }
}

/// What a body takes, until it is dropped.
#[derive(Debug, Default)]
pub struct Held {
    of_all: Option<OwnedSemaphorePermit>,
    of_source: Option<OwnedSemaphorePermit>,
}

/// Why a body is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    NoRoom,
    TooLarge,
    TooSlow,
    /// The connection ended within it.
    NotWhole,
}

/// Reads a body of at most `max` bytes to its end.
pub async fn whole(
    body: Body,
    max: usize,
    (all, of_source): (&Room, &Room),
    patience: Patience,
) -> Result<(Bytes, Held), Refused> {
    let began = Instant::now();
    let mut pieces = body.into_data_stream();
    let mut held = Held::default();
    // Copied together: a piece of one byte may keep a whole buffer of its connection.
    let mut whole = Vec::new();
    loop {
        let until = (Instant::now() + patience.idle).min(began + (patience.whole)(whole.len()));
        let Some(piece) = timeout_at(until, pieces.next()).await.map_err(|_| Refused::TooSlow)? else {
            break;
        };
        let piece = piece.map_err(|_| Refused::NotWhole)?;
        let len = whole.len() + piece.len();
        if len > max {
            return Err(Refused::TooLarge);
        }
        if len > whole.capacity() {
            let wanted = len.next_power_of_two().max(FIRST_BYTES).min(max);
            of_source.charge(&mut held.of_source, wanted)?;
            all.charge(&mut held.of_all, wanted)?;
            whole.reserve_exact(wanted - whole.len());
        }
        whole.extend_from_slice(&piece);
    }
    Ok((Bytes::from(whole), held))
}

/// Reads a refused request's body off and keeps none of it. Whether its connection can carry the next request.
pub async fn read_off(body: Body, patience: Patience) -> bool {
    if body.size_hint().lower() > REFUSED_BODY_BYTES as u64 {
        return false;
    }
    let read = async {
        let (mut pieces, mut bytes) = (body.into_data_stream(), 0);
        while let Some(piece) = pieces.next().await {
            let Ok(piece) = piece else { return false };
            bytes += piece.len();
            if bytes > REFUSED_BODY_BYTES {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(patience.refused, read).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use tokio::sync::mpsc;

    use super::*;

    /// A body whose pieces come as they are sent.
    fn body() -> (mpsc::UnboundedSender<Bytes>, Body) {
        let (pieces, coming) = mpsc::unbounded_channel::<Bytes>();
        let stream = stream::unfold(coming, async |mut coming| {
            let piece = coming.recv().await?;
            Some((Ok::<_, Infallible>(piece), coming))
        });
        (pieces, Body::from_stream(stream))
    }

    fn free(room: &Room) -> usize {
        room.places.available_permits()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_takes_what_has_come_of_it_and_gives_it_back() {
        let (all, of_source) = (Room::of(100 << 10), Room::of(64 << 10));
        let (pieces, body) = body();
        let rooms = (all.clone(), of_source.clone());
        let reading =
            tokio::spawn(
                async move { whole(body, 1 << 20, (&rooms.0, &rooms.1), Patience::default()).await },
            );
        tokio::task::yield_now().await;
        assert_eq!(free(&all), 100 << 10, "nothing came yet");
        pieces.send(Bytes::from_static(b"a")).unwrap();
        pieces.send(Bytes::from(vec![b'b'; 20_000])).unwrap();
        drop(pieces);
        let (bytes, held) = reading.await.unwrap().unwrap();
        assert_eq!((bytes.len(), bytes[0], bytes[20_000]), (20_001, b'a', b'b'));
        assert_eq!((free(&all), free(&of_source)), (68 << 10, 32 << 10));

        let refused = whole(Body::from(vec![0; 40 << 10]), 1 << 20, (&all, &of_source), Patience::default());
        assert_eq!(refused.await.unwrap_err(), Refused::NoRoom, "of this source");
        let other = Room::of(64 << 10);
        let taken = whole(Body::from(vec![0; 40 << 10]), 1 << 20, (&all, &other), Patience::default());
        let (_, other_held) = taken.await.unwrap();
        drop((held, other_held));
        assert_eq!((free(&all), free(&of_source)), (100 << 10, 64 << 10));
        let (_, held) =
            whole(Body::from(vec![0; 200 << 10]), 1 << 20, (&all, &of_source), Patience::default())
                .await
                .unwrap();
        assert_eq!((free(&all), free(&of_source)), (0, 0), "a larger one goes alone");
        drop(held);
        let refused = whole(Body::from(vec![0; 11]), 10, (&all, &of_source), Patience::default());
        assert_eq!(refused.await.unwrap_err(), Refused::TooLarge);
        assert_eq!(free(&all), 100 << 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_or_trickles_is_given_up() {
        let patience = Patience::default();
        let room = Room::of(4 << 20);
        let begun = tokio::time::Instant::now();
        let (_pieces, never) = body();
        let refused = whole(never, 100, (&room, &room), patience).await.unwrap_err();
        assert_eq!((refused, begun.elapsed()), (Refused::TooSlow, patience.idle));

        let (pieces, trickle) = body();
        tokio::spawn(async move {
            let mut each = tokio::time::interval(Duration::from_secs(4));
            while pieces.send(Bytes::from_static(b"x")).is_ok() {
                each.tick().await;
            }
        });
        let begun = tokio::time::Instant::now();
        let refused = whole(trickle, 100, (&room, &room), patience).await.unwrap_err();
        assert_eq!((refused, begun.elapsed()), (Refused::TooSlow, (patience.whole)(0)));

        // Ten times as slow as that would allow it by time alone, and living.
        let (pieces, slow) = body();
        tokio::spawn(async move {
            for _ in 0..300 {
                pieces.send(Bytes::from(vec![b'x'; 4 << 10])).unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let begun = tokio::time::Instant::now();
        let (taken, _) = whole(slow, 2 << 20, (&room, &room), patience).await.unwrap();
        assert_eq!((taken.len(), begun.elapsed()), (300 * (4 << 10), Duration::from_secs(300)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_body_is_read_off_if_it_is_small_and_comes() {
        let patience = Patience::default();
        assert!(read_off(Body::from(vec![0; REFUSED_BODY_BYTES]), patience).await);
        assert!(!read_off(Body::from(vec![0; REFUSED_BODY_BYTES + 1]), patience).await);
        let (_pieces, never) = body();
        assert!(!read_off(never, patience).await);
    }
}
