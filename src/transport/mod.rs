//! The wires: WebSocket, MQTT and HTTP, each as client and as server, and TLS below them.
//!
//! A transport moves bytes and stamps when they came. It knows the vendors' inputs and effects by
//! type, but no vendor: what a frame means, when to dial again and what to record is theirs.
//!
//! What never happens here: a payload is parsed or changed, a URL's query, a header or a password is
//! logged, a failed connection is made again (a collector asks for a new one), a queue grows without
//! bound.

pub mod dial;
pub mod fanout;
pub mod http_client;
pub mod http_pusher;
pub mod http_server;
pub mod intake;
pub mod misbehave;
pub mod mqtt_client;
pub mod mqtt_over_websocket;
pub mod mqtt_publisher;
pub mod mqtt_server;
pub(crate) mod places;
pub mod quota;
pub mod tls;
pub mod trace;
pub mod websocket_client;
pub mod websocket_server;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::vendors::{AckId, CloseCause, Closed, Conn, Frame, Input};

/// Commands to one connection that it has not carried out yet. An MQTT broker has at most 65,535
/// messages unacknowledged, so that an acknowledgement always finds room.
const COMMANDS_MAX: usize = 70_000;

/// What a source tells one of its connections.
#[derive(Debug)]
enum Command {
    Send(Frame),
    Ack(AckId),
}

/// A source's hold on one of its connections. Dropping it ends the connection without ceremony.
#[derive(Debug)]
pub struct ConnHandle {
    commands: mpsc::Sender<Command>,
    close: CancellationToken,
    abort: CancellationToken,
}

/// The connection's own end of its [`ConnHandle`].
#[derive(Debug)]
struct ConnTask {
    conn: Conn,
    commands: mpsc::Receiver<Command>,
    close: CancellationToken,
    intake: intake::Intake,
}

impl ConnHandle {
    /// Runs a connection in a task of its own, which ends at once when this handle is dropped.
    fn spawn<F>(conn: Conn, intake: &intake::Intake, run: impl FnOnce(ConnTask) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (close, abort) = (CancellationToken::new(), CancellationToken::new());
        let running = run(ConnTask { conn, commands, close: close.clone(), intake: intake.clone() });
        let aborted = abort.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = aborted.cancelled() => {}
                () = running => {}
            }
        });
        Self { commands: sender, close, abort }
    }

    /// Sends a text or binary frame; false if the connection is over or takes nothing any more.
    pub fn send(&self, frame: Frame) -> bool {
        self.commands.try_send(Command::Send(frame)).is_ok()
    }

    /// Carries out an acknowledgement; false if the connection is over, and the broker will deliver
    /// the message again.
    pub fn ack(&self, id: AckId) -> bool {
        self.commands.try_send(Command::Ack(id)).is_ok()
    }

    /// Closes in the protocol's manner, after the commands before it; [`Input::Closed`] follows.
    pub fn close(&self) {
        self.close.cancel();
    }
}

impl Drop for ConnHandle {
    fn drop(&mut self) {
        self.abort.cancel();
    }
}

impl ConnTask {
    /// The last thing that a connection says.
    async fn closed(&self, cause: CloseCause, detail: impl Into<String>) {
        let why = Closed { cause, detail: detail.into() };
        // If nobody listens any more, nobody misses it.
        let _ = self.intake.deliver(Input::Closed { conn: self.conn, why }).await;
    }
}
