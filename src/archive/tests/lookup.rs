//! What `list` and `info` say.

use super::support::*;
use crate::archive::{ArchiveError, Clip};

#[test]
fn info_counts_sources_kinds_channels_devices_and_gaps() {
    let dir = quick_dir();
    let (archive, header, messages) = sealed(dir.path(), 120);
    let info = archive.info(header.session_id).unwrap();
    assert_eq!(info.summary, archive.list().unwrap()[0]);
    assert_eq!((info.summary.messages, info.summary.ended.as_deref()), (120, Some("stopped")));
    assert_eq!(info.summary.bytes, messages.iter().map(|m| m.payload.len() as u64).sum::<u64>());
    assert_eq!(info.summary.duration_ns, 11_900_000_000);
    let locks = &info.source_counts[1];
    assert_eq!((locks.messages, locks.duplicates, locks.decode_errors), (60, 20, 20));
    let kinds: Vec<_> = info.kinds.iter().map(|k| (k.kind.as_str(), k.messages)).collect();
    assert_eq!(
        kinds,
        [("link", 20), ("other", 20), ("person_position", 20), ("alarm", 20), ("location", 40)]
    );
    let device = info.devices.iter().find(|d| d.device_id == "8200123456").unwrap();
    assert_eq!((device.source.as_str(), device.messages), ("locks", 40));
    let channel = info.channels.iter().find(|c| c.channel.starts_with("upload/")).unwrap();
    assert_eq!(channel.messages, 20);
    assert_eq!(info.gaps.len(), 10);
    assert_eq!(info.gaps[0].duration_ns, Some(600_000_000));
    assert_eq!(info.gaps[0].reason.as_deref(), Some("because"));
}

#[test]
fn no_name_takes_the_place_of_another_session_s_id() {
    let dir = quick_dir();
    let (archive, first, _) = sealed(&dir.path().join("a"), 12);
    let (second, _) = add_session(&archive, 2, 12);
    let id = second.session_id.to_string();
    let is_refused = |done: Result<(), ArchiveError>| matches!(done, Err(ArchiveError::NameRefused { .. }));
    // Of all of it, of its beginning, and as it may be typed.
    for name in [&*id, &id[..30], &id.to_ascii_uppercase()[..30]] {
        assert!(is_refused(archive.rename_session(first.session_id, name)), "{name}");
        let clip = Clip { name: name.to_owned(), seq_from: 1, seq_to: 5, note: None };
        assert!(is_refused(archive.add_clip(first.session_id, clip)), "{name}");
        assert_eq!(archive.resolve(name).unwrap().session_id, second.session_id);
    }
    // Its own it may have, and what only looks like one.
    archive.rename_session(second.session_id, &id[..30]).unwrap();
    archive.rename_session(first.session_id, "20261122").unwrap();
}
