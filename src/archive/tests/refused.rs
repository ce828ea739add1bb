//! An index that may not be written to.

use std::fs::{Permissions, set_permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::support::*;
use crate::archive::{ArchiveError, is_for_room};
use crate::index::IndexError;

#[test]
fn an_index_that_may_not_be_written_to_is_an_error_at_once_that_says_what_to_do() {
    let dir = quick_dir();
    let (archive, ..) = sealed(&dir.path().join("a"), 10);
    let (root, index) = (archive.root().to_owned(), archive.layout().index());
    let set = |root_mode, mode| {
        set_permissions(&root, Permissions::from_mode(root_mode)).unwrap();
        set_permissions(&index, Permissions::from_mode(mode)).unwrap();
    };
    set(0o500, 0o400);
    let refused = std::thread::scope(|scope| {
        let refused = scope.spawn(|| {
            // Root as well may then do what permissions say.
            let none = CapabilitySet::empty();
            set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
                .unwrap();
            archive.update_index(|index| index.remove_session(header(7).session_id)).unwrap_err()
        });
        refused.join().unwrap()
    });
    set(0o700, 0o600);
    assert!(!is_for_room(&refused), "{}", refused.describe());
    let said = refused.describe();
    assert!(said.contains(index.to_str().unwrap()) && said.contains("permissions"), "{said}");

    // That passes.
    let read_only = IndexError::refused(&index, ErrorKind::ReadOnlyFilesystem.into());
    assert!(is_for_room(&ArchiveError::from(read_only)));
}
