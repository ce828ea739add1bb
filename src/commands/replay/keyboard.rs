//! The controls of a replay at a terminal: one key, one order.
//!
//! The terminal gives each key at once and shows none of them for as long as a [`Keyboard`] lives; it is set
//! back when that is dropped, which a panic does as well, and by [`Restore`] where the process ends without.

use std::io::{self, IsTerminal, Read, stderr, stdin};
use std::sync::Arc;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};

use tokio::runtime::Handle;

use crate::commands::progress::Screen;
use crate::player::control::{Control, Order, Steps, To};

/// What is told about it.
pub(super) const HELP: &str = "space pauses and goes on, arrows left and right seek by 5 s, up and down by 1 min, \
                               + and - change the speed, . steps, q ends";

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

/// Sets the terminal back.
#[derive(Clone, Debug)]
pub(super) struct Restore(Option<Arc<Termios>>);

impl Restore {
    pub(super) fn now(&self) {
        if let Some(modes) = &self.0 {
            // Where it fails there is no terminal any more.
            let _ = tcsetattr(stdin(), OptionalActions::Now, modes);
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
        // A process in the background that touched the terminal would be stopped.
        let is_in_front = || tcgetpgrp(stdin()).is_ok_and(|front| front == rustix::process::getpgrp());
        if !stdin().is_terminal() || !stderr().is_terminal() || !is_in_front() {
            return Ok(Self(Restore(None)));
        }
        let modes = tcgetattr(stdin())?;
        let restore = Restore(Some(Arc::new(modes.clone())));
        let mut keywise = modes;
        keywise.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        keywise.special_codes[SpecialCodeIndex::VMIN] = 1;
        keywise.special_codes[SpecialCodeIndex::VTIME] = 0;
        let keyboard = Self(restore);
        tcsetattr(stdin(), OptionalActions::Now, &keywise)?;
        let (control, screen, runtime) = (Arc::clone(control), screen.clone(), Handle::current());
        // It ends with the process: a read of a terminal cannot be called off.
        std::thread::Builder::new()
            .name("keyboard".to_owned())
            .spawn(move || obey(&control, &screen, &runtime))?;
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

fn obey(control: &Arc<Control>, screen: &Screen, runtime: &Handle) {
    let mut keys = Keys::default();
    let mut bytes = [0; 64];
    loop {
        match stdin().read(&mut bytes) {
            Ok(0) => return,
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
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
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
