//! Layers of files over files, for the part of a commit that is in service: without those that are ignored, with some
//! directories alone, and with those that are included from other sources.

use std::sync::Arc;

use kustomize::{FileEntry, Files, RepoPath};

use overlayd_core::git::ignore::{Ignore, MatchSteps};

/// Files without those that are ignored.
pub(crate) struct Filtered {
    files: Arc<dyn Files>,
    ignore: Ignore,
    /// What the comparisons have taken so far.
    steps: MatchSteps,
}

impl Filtered {
    /// The files that the patterns do not leave out.
    pub(crate) fn new(files: Arc<dyn Files>, ignore: Ignore) -> Self {
        let steps = MatchSteps::default();
        Self {
            files,
            ignore,
            steps,
        }
    }

    fn leaves_out(&self, path: &RepoPath) -> Result<bool, String> {
        let left_out = self.ignore.leaves_out(path.as_str(), &self.steps);
        left_out.map_err(|error| error.to_string())
    }
}

impl Files for Filtered {
    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String> {
        let entry = self.files.entry(path)?;
        let is_directory = matches!(entry, Some(FileEntry::Directory) | None);
        if !is_directory && self.leaves_out(path)? {
            return Ok(None);
        }
        Ok(entry)
    }

    fn read(&self, path: &RepoPath) -> Result<Arc<[u8]>, String> {
        if self.leaves_out(path)? {
            return Err(format!("`{path}` is left out of the source"));
        }
        self.files.read(path)
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<String>, String> {
        let mut kept = Vec::new();
        for name in self.files.list(path)? {
            let child = path.join(&name).map_err(|problem| problem.to_string())?;
            if self.entry(&child)?.is_some() {
                kept.push(name);
            }
        }
        Ok(kept)
    }
}

/// Files of some directories only.
pub(super) struct Sparse {
    pub(super) files: Arc<dyn Files>,
    pub(super) directories: Vec<RepoPath>,
}

impl Sparse {
    /// True for a path in one of the directories, and for a parent of one.
    fn holds(&self, path: &RepoPath) -> bool {
        let mut directories = self.directories.iter();
        directories.any(|directory| path.is_within(directory) || directory.is_within(path))
    }
}

impl Files for Sparse {
    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String> {
        if self.holds(path) {
            self.files.entry(path)
        } else {
            Ok(None)
        }
    }

    fn read(&self, path: &RepoPath) -> Result<Arc<[u8]>, String> {
        if self.holds(path) {
            self.files.read(path)
        } else {
            Err(format!("`{path}` is not in `spec.sparseCheckout`"))
        }
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<String>, String> {
        let mut names = self.files.list(path)?;
        names.retain(|name| path.join(name).is_ok_and(|child| self.holds(&child)));
        Ok(names)
    }
}

/// Files with other files mounted at some paths.
pub(super) struct Mounted {
    pub(super) own: Arc<dyn Files>,
    /// The path of each mount, the directory of the other files that is mounted, and the files.
    pub(super) others: Vec<(RepoPath, RepoPath, Arc<dyn Files>)>,
}

impl Mounted {
    /// The mounted files that contain a path, and the path there.
    fn of(&self, path: &RepoPath) -> Option<(&dyn Files, RepoPath)> {
        self.others.iter().find_map(|(to, from, files)| {
            if !path.is_within(to) {
                return None;
            }
            let rest = path.below(to).unwrap_or_default();
            Some((&**files, from.join(rest).ok()?))
        })
    }

    /// The next names on the way from a directory to the mounts below it.
    fn below(&self, path: &RepoPath) -> Vec<&str> {
        let places = self
            .others
            .iter()
            .map(|(to, ..)| to)
            .filter(|to| *to != path && to.is_within(path));
        places
            .filter_map(|to| to.below(path)?.split('/').next())
            .collect()
    }
}

impl Files for Mounted {
    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String> {
        match self.of(path) {
            Some((files, inner)) => files.entry(&inner),
            None if !self.below(path).is_empty() => Ok(Some(FileEntry::Directory)),
            None => self.own.entry(path),
        }
    }

    fn read(&self, path: &RepoPath) -> Result<Arc<[u8]>, String> {
        match self.of(path) {
            Some((files, inner)) => files.read(&inner),
            None => self.own.read(path),
        }
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<String>, String> {
        if let Some((files, inner)) = self.of(path) {
            return files.list(&inner);
        }
        let mut names = match self.own.entry(path)? {
            Some(FileEntry::Directory) => self.own.list(path)?,
            _ => Vec::new(),
        };
        for name in self.below(path) {
            if !names.iter().any(|other| other == name) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Files in memory, by their paths.
    struct Memory(BTreeMap<String, String>);

    impl Files for Memory {
        fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String> {
            if self.0.contains_key(path.as_str()) {
                return Ok(Some(FileEntry::File(None)));
            }
            let is_directory = self.list(path)?.is_empty();
            Ok((!is_directory).then_some(FileEntry::Directory))
        }

        fn read(&self, path: &RepoPath) -> Result<Arc<[u8]>, String> {
            let text = self.0.get(path.as_str()).ok_or("missing")?;
            Ok(text.as_bytes().into())
        }

        fn list(&self, path: &RepoPath) -> Result<Vec<String>, String> {
            let below = self.0.keys().filter_map(|file| {
                let file = RepoPath::root().join(file).ok()?;
                Some(file.below(path)?.split('/').next()?.to_owned())
            });
            let mut names: Vec<String> = below.collect();
            names.dedup();
            Ok(names)
        }
    }

    fn memory(paths: &[&str]) -> Arc<dyn Files> {
        Arc::new(Memory(
            paths
                .iter()
                .map(|path| ((*path).to_owned(), format!("text of {path}")))
                .collect(),
        ))
    }

    fn at(path: &str) -> RepoPath {
        RepoPath::root().join(path).unwrap()
    }

    fn check(files: &dyn Files, directory: &str, expected: &str) {
        let mut names = files.list(&at(directory)).unwrap();
        names.sort();
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn ignored_files_are_left_out() {
        let files = memory(&["a.yaml", "b.md", "deep/c.md", "deep/d.yaml"]);
        let ignore = Ignore::new(&[], Some("*.md")).expect("one pattern");
        let filtered = Filtered::new(files, ignore);
        check(&filtered, ".", "a.yaml deep");
        check(&filtered, "deep", "d.yaml");
        assert_eq!(filtered.entry(&at("b.md")), Ok(None));
        assert!(filtered.read(&at("b.md")).is_err());
    }

    #[test]
    fn a_sparse_checkout_shows_only_its_directories() {
        let files = memory(&["a.yaml", "x/y/b.yaml", "x/z/c.yaml"]);
        let sparse = Sparse {
            files,
            directories: vec![at("x/y")],
        };
        check(&sparse, ".", "x");
        check(&sparse, "x", "y");
        assert!(sparse.read(&at("x/y/b.yaml")).is_ok());
        assert!(sparse.read(&at("x/z/c.yaml")).is_err());
    }

    #[test]
    fn mounted_files_stand_in_their_places() {
        let own = memory(&["a.yaml", "libs/own.yaml"]);
        let other = memory(&["deep/b.yaml", "c.yaml"]);
        let others = vec![
            (at("libs/other"), at("deep"), other.clone()),
            (at("whole"), RepoPath::root(), other),
        ];
        let mounted = Mounted { own, others };
        check(&mounted, ".", "a.yaml libs whole");
        check(&mounted, "libs", "other own.yaml");
        check(&mounted, "libs/other", "b.yaml");
        check(&mounted, "whole", "c.yaml deep");
        assert_eq!(
            &*mounted.read(&at("libs/other/b.yaml")).unwrap(),
            b"text of deep/b.yaml"
        );
        assert_eq!(mounted.entry(&at("libs")), Ok(Some(FileEntry::Directory)));
    }
}
