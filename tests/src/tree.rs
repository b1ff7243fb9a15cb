//! A tree of files whose contents follow from their numbers: nothing has to be remembered to check every byte.

use std::fs;
use std::path::{Path, PathBuf};

const FILES_PER_FOLDER: u32 = 50;

/// A tree of files.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    files: u32,
}

impl Tree {
    /// The tree with this many files below `root`; nothing is written yet.
    pub fn new(root: &Path, files: u32) -> Self {
        Self {
            root: root.join("tree"),
            files,
        }
    }

    /// Writes every file.
    ///
    /// # Panics
    ///
    /// The file system refuses.
    #[track_caller]
    pub fn write(&self) {
        for number in 0..self.files {
            let path = self.path(number);
            if number % FILES_PER_FOLDER == 0 {
                fs::create_dir_all(path.parent().expect("a file has a folder"))
                    .expect("making a folder");
            }
            fs::write(&path, contents(number))
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }

    /// Reads every file and compares it.
    ///
    /// # Panics
    ///
    /// One is missing or differs.
    #[track_caller]
    pub fn verify(&self) {
        for number in 0..self.files {
            let path = self.path(number);
            let found =
                fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(
                found == contents(number),
                "{} differs from what was written",
                path.display()
            );
        }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.root
            .join((number / FILES_PER_FOLDER).to_string())
            .join(number.to_string())
    }
}

/// From nothing to 16 KiB, by a linear congruential sequence that begins with the file's number.
fn contents(number: u32) -> Vec<u8> {
    let mut state = number.wrapping_mul(2_654_435_761);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state
    };
    let words = next() >> 20;
    (0..words).flat_map(|_| next().to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_differ_in_size_and_contents() {
        let sizes: std::collections::BTreeSet<usize> =
            (0..100).map(|number| contents(number).len()).collect();
        assert!(
            sizes.len() > 90 && sizes.iter().all(|size| *size <= 16384),
            "{sizes:?}"
        );
        assert_ne!(contents(1), contents(2));
    }

    #[test]
    #[should_panic(expected = "differs from what was written")]
    fn one_changed_byte_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree::new(folder.path(), 60);
        tree.write();
        tree.verify();
        let path = tree.path(55);
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(&path, bytes).unwrap();
        tree.verify();
    }
}
