//! What is kept of one client: as long as its connection, or, where it asked for that (CleanSession 0), until
//! it asks for another session, is away for too long, or the replay is over (MQTT 3.1.1, section 3.1.2.4).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::inbox::Inbox;
use super::publication::{Publication, Relayed};
use super::topic;
use super::window::Window;
use crate::transport::fanout::{AWAY_TOO_LONG, Member, TOO_SLOW};

#[derive(Debug)]
pub struct Session {
    /// Its place in the audience of the replay.
    pub member: Member,
    /// It outlives its connection.
    pub is_persistent: bool,
    /// Who made it: whoever says the same client identifier under another name is not to have it.
    pub username: Option<String>,
    /// Something was acknowledged, or another client's publication came.
    pub stirred: Notify,
    /// Held by the connection that the session belongs to, or by what waits for the next one.
    pub lease: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub struct State {
    /// With the QoS granted to each.
    pub filters: Vec<(String, u8)>,
    pub window: Window,
    pub inbox: Inbox,
    /// Packet identifiers of QoS 2 publications that came and are not released yet.
    pub unreleased: HashSet<u16>,
    /// No connection has the session at the moment.
    pub is_away: bool,
    /// Its client has everything that was replayed.
    pub is_done: bool,
    /// And what had come from it by then, when all had everything, was heard.
    pub is_heard: bool,
}

impl State {
    /// Whether something of what clients published can be sent now.
    pub fn can_relay(&self) -> bool {
        !self.inbox.is_empty() && self.window.room() > 0
    }
}

impl Session {
    pub fn new(member: Member, is_persistent: bool, username: Option<&str>) -> Arc<Self> {
        let (stirred, lease, state) = Default::default();
        if is_persistent {
            member.persists();
        }
        let username = username.map(str::to_owned);
        Arc::new(Self { member, is_persistent, username, stirred, lease, state })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its client asks for topics of ours.
    pub fn asks_for_ours(&self) -> bool {
        self.state().filters.iter().any(|(filter, _)| topic::is_ours(filter))
    }

    pub fn go_away(&self) {
        self.state().is_away = true;
        self.member.go_away();
    }

    pub fn come_back(&self) {
        let unsent = {
            let mut state = self.state();
            state.is_away = false;
            state.window.unsent()
        };
        self.member.come_back(unsent);
    }

    /// Passes on what another client published, if the filters match; once, at the highest QoS of those that
    /// do [MQTT-3.3.5-1].
    pub fn relay(&self, publication: &Arc<Publication>) {
        let mut state = self.state();
        let matching = state.filters.iter().filter(|(filter, _)| topic::matches(filter, &publication.topic));
        let Some(granted) = matching.map(|(_, qos)| *qos).max() else { return };
        self.leave(&mut state, publication, granted, false);
    }

    /// Sends what is kept for a subscription that is new.
    pub fn relay_retained(&self, publication: &Arc<Publication>, granted: u8) {
        self.leave(&mut self.state(), publication, granted, true);
    }

    fn leave(&self, state: &mut State, publication: &Arc<Publication>, granted: u8, is_retained: bool) {
        let qos = publication.qos.min(granted);
        if qos == 0 && state.is_away {
            return;
        }
        let publication = Arc::clone(publication);
        if state.inbox.push(Relayed { publication, qos, is_retained }) {
            self.stirred.notify_one();
        } else if qos > 0 {
            // Who was promised a message is told by the end of the session that it did not come.
            self.member.drop_out(if state.is_away { AWAY_TOO_LONG } else { TOO_SLOW });
        } else {
            tracing::debug!("client {}: a publication at QoS 0 found no room", self.member.id());
        }
    }
}
