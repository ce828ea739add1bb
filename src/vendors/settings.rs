//! What a source's options look like in the archive: everything that an emulator or a reader may need
//! to know, and nothing secret.

use url::Url;

/// `url` without user information and fragment, and with the names of its query parameters only: a
/// token is often one of the values, and which one nobody can tell.
pub(super) fn public_url(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return String::new();
    };
    // These fail only where there is nothing to remove (a URL that cannot have a host).
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    if let Some(query) = url.query() {
        let names: Vec<&str> = query.split('&').map(|pair| pair.split('=').next().unwrap_or("")).collect();
        // A parameter without a value may be the token itself.
        let bare = query.split('&').any(|pair| !pair.contains('='));
        let names = if bare { None } else { Some(names.join("=&") + "=") };
        url.set_query(names.as_deref());
    }
    url.into()
}

/// The path of a URL: the channel of what arrives over a WebSocket.
pub(super) fn path_of(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) if !url.path().is_empty() => url.path().to_owned(),
        _ => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_what_may_be_secret() {
        let cases = [
            (
                "wss://signals.delicode.com/websocket_realtime",
                "wss://signals.delicode.com/websocket_realtime",
            ),
            ("ws://user:pass@host:9/p?token=abc&room=1#frag", "ws://host:9/p?token=&room="),
            ("ws://host/p?abc", "ws://host/p"),
            ("mqtts://me:secret@host:8883", "mqtts://host:8883"),
            ("not a url with secret", ""),
        ];
        for (url, expected) in cases {
            assert_eq!(public_url(url), expected);
        }
    }
}
