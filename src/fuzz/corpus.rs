//! What is kept.

use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    files
}

/// The inputs of a target, with their names.
pub(super) fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let named = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name, std::fs::read(&path).unwrap())
    };
    files(&folder("fuzz").join(target)).into_iter().map(named).collect()
}

/// The files of a folder of `fixtures`.
pub(crate) fn fixtures(name: &str) -> Vec<Vec<u8>> {
    let found: Vec<_> = files(&folder(name)).into_iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!found.is_empty(), "there are no fixtures {name}");
    found
}

/// Their lines, each of its own.
pub(crate) fn lines_of(files: &[Vec<u8>]) -> Vec<Vec<u8>> {
    files.iter().flat_map(|file| file.split(|byte| *byte == b'\n')).map(<[u8]>::to_vec).collect()
}
