//! What the system knows of a process that a test watches.

use std::fs;

use rustix::process::{Pid, setpriority_process};

/// A number of `/proc/PID/status`, in bytes: `VmRSS`, `VmHWM`.
pub fn memory(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib: u64 = line.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1_024
}

pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Lets the other threads of the process go before the one of this name.
pub fn hold_back(pid: u32, name: &str) {
    let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path());
    let is_it = |path: &std::path::PathBuf| fs::read_to_string(path.join("comm")).unwrap().trim() == name;
    let found = tasks.find(is_it).expect("the thread is there");
    let id: i32 = found.file_name().unwrap().to_str().unwrap().parse().unwrap();
    // To the system a thread is what a process is.
    setpriority_process(Pid::from_raw(id), 19).unwrap();
}

/// Lets it run on one processor only, whatever the machine has.
pub fn on_one_processor(pid: u32) {
    let mut one = rustix::thread::CpuSet::new();
    let all = rustix::thread::sched_getaffinity(None).unwrap();
    let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).unwrap();
    one.set(first);
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let id: i32 = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
        // A thread may have ended since.
        let _ = rustix::thread::sched_setaffinity(Pid::from_raw(id), &one);
    }
}
