//! A Python with the third-party clients and readers, in an environment of its own under `target/`.
//!
//! Made once and reused while `tests/python/requirements.txt` stays the same. Where Python is missing the
//! tests that need it fail and say so: interoperability that is not checked is not claimed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The interpreter, with everything in `requirements.txt` installed.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        // Test binaries may run side by side: the first one builds, the others wait.
        let lock = File::create(target.join("python-venv.lock")).unwrap();
        lock.lock().unwrap();
        let venv = target.join("python-venv");
        let wanted = fs::read_to_string(scripts().join("requirements.txt")).unwrap();
        let stamp = venv.join("installed.txt");
        if fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
            let _ = fs::remove_dir_all(&venv);
            build(&venv);
            fs::write(stamp, wanted).unwrap();
        }
        venv.join("bin/python")
    })
}

/// The folder of the Python programs that the tests run.
pub fn scripts() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python"))
}

fn build(venv: &Path) {
    let system = ["python3", "python"]
        .into_iter()
        .find(|p| Command::new(p).arg("--version").output().is_ok_and(|o| o.status.success()))
        .expect(
            "Python 3 is not installed: the interoperability tests need it (Debian: apt install python3)",
        );
    let made = Command::new(system).args(["-m", "venv"]).arg(venv).output().unwrap();
    if !made.status.success() {
        // Debian keeps pip's bootstrap in the package python3-venv; without it pip itself is fetched as a wheel.
        let _ = fs::remove_dir_all(venv);
        run(Command::new(system).args(["-m", "venv", "--without-pip"]).arg(venv));
        run(Command::new(venv.join("bin/python")).arg(scripts().join("get_pip.py")));
    }
    run(Command::new(venv.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(scripts().join("requirements.txt")));
}

pub(super) fn run(command: &mut Command) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(
        status.success(),
        "{command:?} failed: {}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
}
