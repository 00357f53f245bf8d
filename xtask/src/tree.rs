//! The files that the checks read, in memory.
//!
//! A tree is made from a directory, or by a test from a list of texts; no check touches the disk.
//!
//! Not here: what git knows. The result depends on the files only, never on a commit.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

/// Directory names that hold no source at any depth; `target` at the root is the build's.
const SKIPPED: [&str; 4] = [".git", ".venv", "__pycache__", "node_modules"];
/// Endings of the files whose text is read. The paths of all others are known, not their bytes.
const READ: [&str; 4] = [".rs", ".md", ".toml", ".txt"];

/// A text file, its path relative to the root with `/` between names.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The texts, and the paths of all files and directories.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
    pub(crate) paths: BTreeSet<String>,
}

impl Tree {
    /// Reads a directory. Files that are not UTF-8 count as paths only.
    pub(crate) fn read(root: &Path) -> io::Result<Tree> {
        let mut tree = Tree::default();
        tree.walk(root, "")?;
        Ok(tree)
    }

    /// The text of one file, empty if there is none.
    pub(crate) fn text(&self, path: &str) -> &str {
        self.files.iter().find(|file| file.path == path).map_or("", |file| &file.text)
    }

    /// The files whose path ends so.
    pub(crate) fn ending<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.ends_with(ending))
    }

    fn walk(&mut self, directory: &Path, prefix: &str) -> io::Result<()> {
        let mut entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            if SKIPPED.contains(&name.as_str()) || path == "target" {
                continue;
            }
            self.paths.insert(path.clone());
            if entry.file_type()?.is_dir() {
                self.walk(&entry.path(), &format!("{path}/"))?;
            } else if READ.iter().any(|ending| name.ends_with(ending))
                && let Ok(text) = fs::read_to_string(entry.path())
            {
                self.files.push(File { path, text });
            }
        }
        Ok(())
    }
}
