//! What a client is sent: answers first, then what is sent again, what other clients published, and what is
//! replayed.

use std::collections::VecDeque;
use std::future::{self, Future};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rumqttc::mqttbytes::v4::{Packet, PubRel};
use tokio::io::{AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::sync::mpsc;
use tokio::task;
use tokio::time::timeout;

use super::super::publish;
use super::super::window::{Again, Parcel};
use super::{Connection, Ended, Parted};
use crate::transport::fanout::{Item, STALLED, Taken};
use crate::transport::misbehave::Next;

/// One write: enough for some hundred messages, little enough that lateness is known soon.
const BATCH_BYTES: usize = 64 << 10;

/// A client that takes not a byte of what is sent for this long is gone, whatever it says itself.
const STALL_MAX: Duration = Duration::from_secs(30);

/// What is on its way in one write.
#[derive(Default)]
struct Batch {
    out: BytesMut,
    /// The replayed messages in it.
    items: Vec<Item>,
    /// Everything before this place in the window's order is sent with it.
    order: u64,
    is_last: bool,
}

impl Connection<'_> {
    pub(super) async fn write<S: AsyncWrite>(
        &self,
        write: &mut WriteHalf<S>,
        mut answers: mpsc::Receiver<Packet>,
    ) -> Result<Parted, Ended> {
        let member = &self.session.member;
        let mut batch = Batch { out: BytesMut::with_capacity(BATCH_BYTES), ..Batch::default() };
        let mut again = self.session.state().window.unacknowledged();
        let mut taken = Vec::new();
        let (mut finished, mut is_done, mut is_heard) = (false, false, false);
        loop {
            while let Ok(answer) = answers.try_recv() {
                answer.write(&mut batch.out, usize::MAX)?;
            }
            if again.is_empty() {
                self.relay(&mut batch);
            } else {
                self.send_again(&mut again, &mut batch)?;
            }
            let (room, is_settled) = {
                let state = self.session.state();
                (state.window.room(), state.window.is_settled())
            };
            if finished && is_settled && batch.out.is_empty() && answers.is_empty() {
                if !std::mem::replace(&mut is_done, true) {
                    // Nothing that is waited for is owed to it any more: it is not idle but waits for the others.
                    member.end();
                }
                if self.server.broker.are_all_done(self.session) {
                    if !std::mem::replace(&mut is_heard, true) {
                        // The reader has its turn: what has come by now is no later than the end.
                        task::yield_now().await;
                    }
                    if self.server.broker.are_all_heard(self.session)
                        && answers.is_empty()
                        && !self.session.state().can_relay()
                    {
                        return Ok(Parted::Finished);
                    }
                }
            }
            tokio::select! {
                biased;
                answer = answers.recv() => match answer {
                    None => {
                        self.flush(write, &mut batch).await?;
                        return Ok(Parted::Closed);
                    }
                    Some(answer) => _ = answer.write(&mut batch.out, usize::MAX)?,
                },
                found = member.take(&mut taken, room, BATCH_BYTES), if again.is_empty() && room > 0 && !finished => {
                    match found {
                        Taken::Some | Taken::Nothing => self.encode(&mut taken, &mut batch),
                        Taken::Finished => finished = true,
                        Taken::Cut => return Err(Ended::Down),
                        Taken::Dropped(why) => return Err(Ended::Dropped(why)),
                    }
                }
                () = self.session.stirred.notified() => {}
                () = future::ready(()), if !batch.out.is_empty() => {}
            }
            self.flush(write, &mut batch).await?;
        }
    }

    async fn flush<S: AsyncWrite>(&self, write: &mut WriteHalf<S>, batch: &mut Batch) -> Result<(), Ended> {
        while !batch.out.is_empty() {
            let bytes = self.unstalled(write.write(&batch.out)).await?;
            if bytes == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into());
            }
            batch.out.advance(bytes);
        }
        self.unstalled(write.flush()).await?;
        batch.out.clear();
        self.session.member.sent(&batch.items);
        batch.items.clear();
        if self.session.is_persistent {
            self.session.state().window.flushed(batch.order);
        }
        if batch.is_last { Err(Ended::Misbehaviour) } else { Ok(()) }
    }

    async fn unstalled<T>(&self, io: impl Future<Output = std::io::Result<T>>) -> Result<T, Ended> {
        match timeout(STALL_MAX, io).await {
            Ok(done) => Ok(done?),
            Err(_) => {
                self.session.member.drop_out(STALLED);
                Err(Ended::Dropped(STALLED))
            }
        }
    }

    /// Encodes what a persistent session's client has not acknowledged on its connection before.
    fn send_again(&self, again: &mut VecDeque<u16>, batch: &mut Batch) -> Result<(), Ended> {
        let state = self.session.state();
        while batch.out.len() < BATCH_BYTES
            && let Some(id) = again.pop_front()
        {
            match state.window.write_again(id, &mut batch.out) {
                None | Some(Again::Relayed) => {}
                Some(Again::Pubrel) => _ = PubRel::new(id).write(&mut batch.out)?,
                Some(Again::First(item)) => batch.items.push(item),
                Some(Again::Repeated) => self.session.member.repeated(),
            }
        }
        if again.is_empty() {
            batch.order = state.window.next_order();
        }
        Ok(())
    }

    /// Encodes what other clients published.
    fn relay(&self, batch: &mut Batch) {
        let mut state = self.session.state();
        while batch.out.len() < BATCH_BYTES {
            let has_room = state.window.room() > 0;
            let Some(relayed) = state.inbox.pop(has_room) else { break };
            let kept = self.session.is_persistent.then(|| Parcel::Relayed(relayed.clone()));
            let id = if relayed.qos > 0 { state.window.open(relayed.qos, None, kept) } else { None };
            relayed.write(id.unwrap_or_default(), false, &mut batch.out);
        }
        batch.order = state.window.next_order();
    }

    /// Encodes all that was taken, or as much of it as the server's conduct has left over.
    fn encode(&self, taken: &mut Vec<Item>, batch: &mut Batch) {
        let mut state = self.session.state();
        let mut taken = taken.drain(..);
        let mut left = None;
        for item in taken.by_ref() {
            let mut is_last = false;
            match self.conduct.as_ref().map(|c| c.before_message(item.emission.payload().len())) {
                None | Some(Next::Send) => {}
                Some(Next::Noise(noise)) => publish::write_noise(&item, &noise, &mut batch.out),
                Some(Next::Last) => is_last = true,
                Some(Next::Expire) => {
                    self.expire_token();
                    batch.is_last = true;
                    left = Some(item);
                    break;
                }
            }
            let has_id = item.qos > 0 && item.publish_head().is_some();
            let kept = (has_id && self.session.is_persistent).then(|| Parcel::Replayed(item.clone()));
            let message = Some(item.emission.id());
            // No more was taken than the window has room for.
            let id = has_id.then(|| state.window.open(item.qos, message, kept)).flatten();
            publish::write(&item, id.unwrap_or_default(), false, &mut batch.out);
            if id.is_none() && item.qos > 0 {
                // MQTT cannot say it: nobody will acknowledge it.
                self.session.member.settled(item.emission.id());
            }
            if is_last {
                // What is not sent whole is not counted as sent.
                batch.is_last = true;
                break;
            }
            batch.items.push(item);
            batch.order = state.window.next_order();
        }
        // What this connection will not be sent is for the next one, where there can be one.
        let left = left.into_iter().chain(taken).filter(|item| item.qos > 0 && self.session.is_persistent);
        for item in left {
            if item.publish_head().is_none() {
                // MQTT cannot say it: nobody will acknowledge it.
                self.session.member.settled(item.emission.id());
                continue;
            }
            state.window.open(item.qos, Some(item.emission.id()), Some(Parcel::Replayed(item)));
        }
    }

    /// Only vendors with rules of their own have tokens.
    fn expire_token(&self) {
        if let Some(conduct) = self.conduct.as_ref().filter(|_| self.policy.is_some()) {
            conduct.expire_token();
        }
    }
}
