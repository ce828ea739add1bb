//! Listeners that whoever started this process opened for it (systemd's socket activation): `LISTEN_FDS`, `LISTEN_PID`
//! and, to tell them apart, `LISTEN_FDNAMES`.

use anyhow::Context as _;
use listenfd::ListenFd;

use super::Usage;
use crate::recorder::Inherited;

/// Takes them. One that has another name than `webhooks` or `console` is refused: it would never be served.
pub(super) fn take() -> anyhow::Result<Inherited> {
    let mut inherited = Inherited::default();
    // Read before they are taken, which forgets them.
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut passed = ListenFd::from_env();
    for index in 0..passed.len() {
        let name = names.next().unwrap_or_default();
        let place = match name {
            "webhooks" => &mut inherited.webhooks,
            "console" => &mut inherited.console,
            name => return Err(unknown(name).into()),
        };
        if place.is_some() {
            return Err(Usage(format!("two sockets are called {name}: one is all that is served")).into());
        }
        let taken = passed.take_tcp_listener(index);
        *place = taken.with_context(|| format!("the socket {name} that was passed is no TCP listener"))?;
    }
    Ok(inherited)
}

fn unknown(name: &str) -> Usage {
    Usage(format!(
        "a socket that was passed is called {name:?}: expected FileDescriptorName=webhooks or =console in its unit"
    ))
}
