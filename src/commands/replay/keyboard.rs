//! The controls of a replay at a terminal: one key, one order.
//!
//! The terminal gives each key at once and shows none of them for as long as a [`Keyboard`] lives; it is set
//! back when that is dropped, which a panic does as well, and by [`Restore`] where the process ends without. Ctrl-Z
//! sets it back too; in the background it is left alone until the process is in front again.

use std::io::{self, IsTerminal, stderr, stdin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, getpgrp, getpid, kill_process};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::progress::Screen;
use crate::player::control::{Control, Order, Steps, To};

/// What is told about it.
pub(super) const HELP: &str = "space pauses and goes on, arrows left and right seek by 5 s, up and down by 1 min, \
                               + and - change the speed, . steps, q ends";

/// How soon it is seen that the terminal is ours again, or is not.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Longer than a signal takes to stop all threads.
const STOP_TAKES: Duration = Duration::from_millis(50);

const SECOND_NS: i64 = 1_000_000_000;

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Toggle,
    /// By so many seconds.
    Seek(i64),
    Faster,
    Slower,
    Step,
    Stop,
}

/// Takes bytes of a terminal apart.
#[derive(Debug, Default)]
struct Keys {
    /// The beginning of a sequence whose end has not come yet.
    begun: Vec<u8>,
}

impl Keys {
    fn decode(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        for byte in bytes {
            self.begun.push(*byte);
            match self.begun[..] {
                // An escape begins a sequence, and one that another escape follows was a key of its own.
                [.., 0x1B] => self.begun = vec![0x1B],
                [0x1B, b'[' | b'O'] => {}
                [0x1B, b'[' | b'O', .., b'0'..=b'9' | b';'] if self.begun.len() < 8 => {}
                _ => keys.extend(key(&std::mem::take(&mut self.begun))),
            }
        }
        keys
    }
}

fn key(sequence: &[u8]) -> Option<Key> {
    Some(match sequence {
        b" " => Key::Toggle,
        b"+" | b"=" => Key::Faster,
        b"-" | b"_" => Key::Slower,
        b"." | b"s" => Key::Step,
        b"q" => Key::Stop,
        b"\x1B[C" | b"\x1BOC" => Key::Seek(5),
        b"\x1B[D" | b"\x1BOD" => Key::Seek(-5),
        b"\x1B[A" | b"\x1BOA" | b"\x1B[1;2C" => Key::Seek(60),
        b"\x1B[B" | b"\x1BOB" | b"\x1B[1;2D" => Key::Seek(-60),
        _ => return None,
    })
}

impl Key {
    fn order(self) -> Order {
        match self {
            Key::Toggle => Order::Toggle,
            Key::Seek(seconds) => Order::Seek(To::Within(seconds * SECOND_NS)),
            Key::Faster => Order::Faster,
            Key::Slower => Order::Slower,
            Key::Step => Order::Step(Steps::ONE),
            Key::Stop => Order::Stop,
        }
    }
}

/// The terminal's modes: those that it had, ours, and whose they are by now.
#[derive(Debug)]
struct Modes {
    theirs: Termios,
    ours: Termios,
    is_ours: bool,
    /// It was set back for good: whoever still waits for keys does not take it again.
    is_over: bool,
}

/// Whether the terminal is this process group's. One in the background is stopped by the system if it reads from it
/// or sets it, and nobody has it go on.
fn is_in_front() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|front| front == getpgrp())
}

impl Modes {
    /// Takes the terminal, again if it had to be left; false while this is in the background.
    fn take(&mut self) -> bool {
        if self.is_over || !is_in_front() {
            self.is_ours = false;
        } else if !self.is_ours {
            self.is_ours = tcsetattr(stdin(), OptionalActions::Now, &self.ours).is_ok();
        }
        self.is_ours
    }

    fn give_back(&mut self) {
        if std::mem::take(&mut self.is_ours) && is_in_front() {
            // Where it fails there is no terminal any more.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &self.theirs);
        }
    }
}

/// Sets the terminal back.
#[derive(Clone, Debug)]
pub(super) struct Restore(Option<Arc<Mutex<Modes>>>);

impl Restore {
    pub(super) fn now(&self) {
        if let Some(modes) = &self.0 {
            let mut modes = lock(modes);
            modes.give_back();
            modes.is_over = true;
        }
    }
}

/// The terminal as it is while a replay listens to it.
#[derive(Debug)]
pub(super) struct Keyboard(Restore);

impl Keyboard {
    /// Listens, if somebody sits there; hands what is typed to `control`, and says what is refused. Within a
    /// runtime only.
    pub(super) fn listen(control: &Arc<Control>, screen: &Screen) -> io::Result<Self> {
        // One that begins in the background does not know how the terminal is to be set back.
        if !stdin().is_terminal() || !stderr().is_terminal() || !is_in_front() {
            return Ok(Self(Restore(None)));
        }
        let theirs = tcgetattr(stdin())?;
        let mut ours = theirs.clone();
        ours.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        // A read never waits: that is what the polling is for.
        ours.special_codes[SpecialCodeIndex::VMIN] = 0;
        ours.special_codes[SpecialCodeIndex::VTIME] = 0;
        let modes = Arc::new(Mutex::new(Modes { theirs, ours, is_ours: false, is_over: false }));
        let keyboard = Self(Restore(Some(Arc::clone(&modes))));
        lock(&modes).take();
        let mut suspended = signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?;
        tokio::spawn({
            let modes = Arc::clone(&modes);
            async move {
                while suspended.recv().await.is_some() {
                    let modes = Arc::clone(&modes);
                    let _ = tokio::task::spawn_blocking(move || suspend(&modes)).await;
                }
            }
        });
        let (control, screen, runtime) = (Arc::clone(control), screen.clone(), Handle::current());
        // It ends with the process.
        std::thread::Builder::new()
            .name("keyboard".to_owned())
            .spawn(move || obey(&modes, &control, &screen, &runtime))?;
        Ok(keyboard)
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.0.is_some()
    }

    /// For a way out on which nothing is dropped.
    pub(super) fn restore(&self) -> Restore {
        self.0.clone()
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.0.now();
    }
}

/// Ctrl-Z: the shell gets its terminal as it was, and this process stops until it is to go on.
fn suspend(modes: &Mutex<Modes>) {
    let mut modes = lock(modes);
    modes.give_back();
    if kill_process(getpid(), Signal::STOP).is_ok() {
        // It reaches all threads within moments; until then nobody takes the terminal again.
        std::thread::sleep(STOP_TAKES);
    }
}

fn obey(modes: &Mutex<Modes>, control: &Arc<Control>, screen: &Screen, runtime: &Handle) {
    let mut keys = Keys::default();
    let mut bytes = [0; 64];
    loop {
        if !lock(modes).take() {
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        // Not for long: brought to the background, it must not be found reading.
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK_EVERY.subsec_nanos()) };
        let terminal = stdin();
        let mut polled = [PollFd::new(&terminal, PollFlags::IN)];
        match poll(&mut polled, Some(&limit)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) if !is_in_front() => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        // What is typed once the terminal was set back is not for us.
        let held = lock(modes);
        if !held.is_ours {
            continue;
        }
        let read = rustix::io::read(&terminal, &mut bytes[..]);
        drop(held);
        match read {
            // Without that, somebody else has read what there was.
            Ok(0) if polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) => return,
            Ok(read) => {
                for key in keys.decode(&bytes[..read]) {
                    // Over, or too much of it: there is nothing to tell.
                    let Ok(ticket) = control.order(key.order()) else { continue };
                    let (control, screen) = (Arc::clone(control), screen.clone());
                    runtime.spawn(async move {
                        if let Err(refused) = control.obeyed(ticket).await {
                            screen.note(refused);
                        }
                    });
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return,
        }
    }
}

/// What it guards is whole at any time.
fn lock(modes: &Mutex<Modes>) -> MutexGuard<'_, Modes> {
    modes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_however_they_come() {
        let all = b" \x1B[C\x1B[D\x1BOA\x1B[B\x1B[1;2C\x1B[1;2D+=-.sq";
        let expected = [
            Key::Toggle,
            Key::Seek(5),
            Key::Seek(-5),
            Key::Seek(60),
            Key::Seek(-60),
            Key::Seek(60),
            Key::Seek(-60),
            Key::Faster,
            Key::Faster,
            Key::Slower,
            Key::Step,
            Key::Step,
            Key::Stop,
        ];
        assert_eq!(Keys::default().decode(all), expected);
        let mut keys = Keys::default();
        let one_by_one: Vec<Key> = all.iter().flat_map(|byte| keys.decode(&[*byte])).collect();
        assert_eq!(one_by_one, expected);
    }

    #[test]
    fn what_means_nothing_does_nothing_and_hides_nothing() {
        for noise in
            ["x", "\x1B", "\x1B\x1B", "\x1B[Z", "\x1Bx", "\x1B[1;2;3;4;5;6;7;8", "\u{FC}", "\x1B[200~"]
        {
            let mut keys = Keys::default();
            let mut typed = noise.as_bytes().to_vec();
            typed.extend_from_slice(b"\x1B[C");
            assert_eq!(keys.decode(&typed).last(), Some(&Key::Seek(5)), "{noise:?}");
        }
    }
}
