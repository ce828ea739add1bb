//! Where a verb may write a file for the user: never among an archive's own, whose names it could take.

use std::path::{Path, PathBuf};

use super::Usage;

/// Refuses a file within an archive, this one or any other, also where a link leads there. Asked before anything else
/// is done.
pub(super) fn outside_archives(option: &str, path: &Path) -> Result<(), Usage> {
    // A file that is renamed takes the link's place, one that is opened that of what it leads to.
    let leads_to = path.read_link().map(|to| folder_of(path).join(to));
    for file in [Some(path.to_owned()), leads_to.ok(), path.canonicalize().ok()].into_iter().flatten() {
        let folder = existing(folder_of(&file));
        if let Some(archive) = folder.ancestors().find(|folder| folder.join("archive.json").exists()) {
            let (path, archive) = (path.display(), archive.display());
            return Err(Usage(format!(
                "{option} {path} is within the archive {archive}, among its own files: name a place outside"
            )));
        }
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The folder, or the nearest above it that is there, without links.
fn existing(folder: &Path) -> PathBuf {
    folder.ancestors().find_map(|folder| folder.canonicalize().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_file_within_an_archive_is_written_for_the_user_by_whatever_way_it_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("a/data/deep")).unwrap();
        std::fs::create_dir(at("out")).unwrap();
        std::fs::write(at("a/archive.json"), "{}").unwrap();
        symlink(at("a/data"), at("folder")).unwrap();
        symlink(at("a/archive.json"), at("file.jsonl")).unwrap();
        symlink("../a/new.jsonl", at("out/dangling.jsonl")).unwrap();
        symlink(at("elsewhere"), at("a/link.jsonl")).unwrap();
        for within in [
            "a/archive.json",
            "a/x.reel",
            "a/data/deep/x.jsonl",
            "a/data/none/x.jsonl",
            "out/../a/x.csv",
            "folder/x.jsonl",
            "file.jsonl",
            "out/dangling.jsonl",
            "a/link.jsonl",
        ] {
            let said = outside_archives("--to", &at(within)).unwrap_err().to_string();
            assert!(said.contains("--to") && said.contains("archive"), "{within}: {said}");
        }
        for outside in ["x.jsonl", "out/x.jsonl", "none/x.jsonl", "out/archive.json"] {
            assert!(outside_archives("--to", &at(outside)).is_ok(), "{outside}");
        }
        assert!(outside_archives("--to", Path::new("/dev/null")).is_ok());
    }
}
