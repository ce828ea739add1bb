use super::*;

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/a")).unwrap();
    disk.create_dir_all(Path::new("/b")).unwrap();
    disk
}

#[test]
fn synced_bytes_under_a_synced_name_survive_every_crash() {
    for seed in 0..200 {
        let disk = disk();
        let path = Path::new("/a/x");
        let mut file = disk.create_new(path).unwrap();
        file.write_all(b"promised").unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/a")).unwrap();
        file.write_all(b", and more").unwrap();
        disk.crash(seed);
        let left = disk.read(path).unwrap();
        assert!(left.starts_with(b"promised") && left.len() <= 18, "seed {seed}: {left:?}");
        assert!(file.write_all(b"!").is_err(), "a file from before the crash is dead");
    }
}

#[test]
fn unsynced_bytes_and_names_are_lost_in_some_crashes_and_kept_in_others() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..200 {
        let disk = disk();
        let mut file = disk.create_new(Path::new("/a/x")).unwrap();
        file.write_all(b"0123456789").unwrap();
        disk.crash(seed);
        outcomes.insert(match disk.read(Path::new("/a/x")) {
            Err(_) => "no name",
            Ok(bytes) if bytes == b"0123456789"[..] => "whole",
            Ok(bytes) if b"0123456789".starts_with(&bytes) => "prefix",
            Ok(_) => "garbage",
        });
    }
    assert_eq!(outcomes.len(), 4, "{outcomes:?}");
}

#[test]
fn a_rename_is_atomic_until_one_folder_is_synced() {
    for seed in 0..100 {
        let disk = disk();
        let (from, to) = (Path::new("/a/x"), Path::new("/b/x"));
        let mut file = disk.create_new(from).unwrap();
        file.write_all(b"x").unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/a")).unwrap();
        disk.rename(from, to).unwrap();
        let target_synced = seed % 2 == 0;
        if target_synced {
            disk.sync_dir(Path::new("/b")).unwrap();
        }
        disk.crash(seed);
        let (old, new) = (disk.read(from).is_ok(), disk.read(to).is_ok());
        assert!(if target_synced { new } else { old != new }, "seed {seed}: old {old}, new {new}");
    }
}

#[test]
fn a_failed_sync_loses_what_a_later_one_claims_to_keep() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = disk();
        let mut file = disk.create_new(Path::new("/a/x")).unwrap();
        disk.sync_dir(Path::new("/a")).unwrap();
        file.write_all(b"0123456789").unwrap();
        disk.fail(Operation::SyncData, 1, Fault::Error(io::ErrorKind::Other));
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        disk.crash(seed);
        lost += u32::from(disk.read(Path::new("/a/x")).unwrap() != b"0123456789"[..]);
    }
    assert!(lost > 0);
}

#[test]
fn faults_strike_the_operation_they_name() {
    let disk = disk();
    let mut file = disk.create_new(Path::new("/a/x")).unwrap();
    disk.fail(Operation::Write, 2, Fault::ShortWrite);
    disk.fail(Operation::Write, 4, Fault::DiskFull);
    assert_eq!(file.write(b"0123").unwrap(), 4);
    assert_eq!(file.write(b"4567").unwrap(), 2);
    assert_eq!(file.write(b"67").unwrap(), 2);
    assert_eq!(file.write(b"89ab").unwrap(), 2);
    assert_eq!(file.write(b"ab").unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.read(Path::new("/a/x")).unwrap(), &b"0123456789"[..]);

    disk.set_capacity(12);
    assert_eq!(disk.free_bytes(Path::new("/a")).unwrap(), 2);
    assert_eq!(file.write_all(b"abc").unwrap_err().kind(), io::ErrorKind::StorageFull);

    disk.power_off_at(2);
    disk.sync_dir(Path::new("/a")).unwrap();
    assert!(disk.sync_dir(Path::new("/a")).is_err());
    assert!(file.sync_data().is_err());
}
