//! What this process takes of the system.

use std::fs;

#[derive(Clone, Copy, Debug)]
pub struct Process {
    pub resident_bytes: u64,
    pub descriptors: usize,
    pub threads: usize,
}

impl Process {
    pub fn look() -> Self {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        let count = |folder: &str| fs::read_dir(folder).unwrap().count();
        Self {
            resident_bytes: pages * rustix::param::page_size() as u64,
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
        }
    }
}
