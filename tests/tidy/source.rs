//! The files that the rules look at, read from the repository or planted by a test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::text;

/// A file of the repository, read for the rules.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text without test items, comments and literals; offsets are those of `text`. Nothing in a file of tests.
    pub(crate) code: String,
    /// The file exists for tests alone.
    pub(crate) is_test: bool,
}

impl Source {
    /// Prepares files that are given as path and text. The rest of their folder decides which are tests.
    pub(crate) fn of(files: Vec<(String, String)>) -> Vec<Self> {
        let of_tests: BTreeSet<String> = files
            .iter()
            .flat_map(|(path, text)| {
                let folder = module_folder(path);
                text::test_modules(text)
                    .into_iter()
                    .map(move |name| format!("{folder}/{name}"))
            })
            .collect();
        let prepare = |(path, text): (String, String)| {
            let is_test = path.starts_with("tests/")
                || path.contains("/tests/")
                || path.contains("/examples/")
                || of_tests.iter().any(|module| {
                    path.strip_prefix(module.as_str())
                        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
                });
            let code = if is_test {
                String::new()
            } else {
                text::code(&text::product(&text))
            };
            Self {
                path,
                text,
                code,
                is_test,
            }
        };
        files.into_iter().map(prepare).collect()
    }

    /// One planted file.
    #[cfg(test)]
    pub(crate) fn planted(path: &str, text: &str) -> Vec<Self> {
        Self::of(vec![(path.to_owned(), text.to_owned())])
    }

    /// Every Rust file of the product and its tools, by path.
    pub(crate) fn repository() -> Vec<Self> {
        let mut files = Vec::new();
        for folder in ["src", "crates", "xtask", "tests"] {
            walk(&root().join(folder), &mut files);
        }
        files.sort();
        let read = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).expect("a source file is text");
            let path = path.strip_prefix(root()).expect("below the root");
            (path.display().to_string(), text)
        };
        Self::of(files.into_iter().map(read).collect())
    }

    /// The path inside the daemon, which is the same before and after a file moves from `src` to `crates/core/src`.
    pub(crate) fn path_in_daemon(&self) -> Option<&str> {
        self.path
            .strip_prefix("src/")
            .or_else(|| self.path.strip_prefix("crates/core/src/"))
    }

    /// The name of the file in lists of exceptions: a file that moves between `src` and `crates/core/src` keeps it.
    pub(crate) fn key(&self) -> &str {
        self.path_in_daemon().unwrap_or(&self.path)
    }

    /// The package that the file belongs to.
    pub(crate) fn package(&self) -> &str {
        let mut parts = self.path.split('/');
        match (parts.next(), parts.next()) {
            (Some("crates"), Some(name)) => name,
            (Some("xtask"), _) => "xtask",
            _ => "overlayd",
        }
    }

    /// True if the head of the file says that it decides and touches nothing, or its crate does.
    pub(crate) fn is_pure(&self) -> bool {
        let is_of_pure_crate = PURE_CRATES
            .iter()
            .any(|name| self.path.starts_with(&format!("crates/{name}/src/")));
        !self.is_test && (self.text.starts_with("//! Pure") || is_of_pure_crate)
    }

    /// A place in the file, to be printed.
    pub(crate) fn place(&self, position: usize) -> String {
        format!("{}:{}", self.path, text::line_of(&self.text, position))
    }
}

/// Crates that decide and touch nothing: no disk, no network, no clock.
pub(crate) const PURE_CRATES: [&str; 6] = [
    "core",
    "goyaml",
    "kustomize",
    "gotemplate",
    "gjson",
    "gocompat",
];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder in which the modules of a file are.
fn module_folder(path: &str) -> &str {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => folder,
        _ => path.trim_end_matches(".rs"),
    }
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory)
        .expect("a folder of ours")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir()
            && entry.file_name() != "target"
            && !entry.file_name().to_string_lossy().starts_with('.')
        {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_of_tests_has_no_product() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let sources = Source::of(vec![
            file("src/a/mod.rs", "#[cfg(test)]\nmod cases;\nmod b;\n"),
            file("src/a/cases.rs", "fn a() {}"),
            file("src/a/cases/more.rs", "fn a() {}"),
            file("src/a/b.rs", "#[cfg(test)]\nmod tests;\nfn b() {}"),
            file("src/a/b/tests.rs", "fn a() {}"),
            file("crates/core/tests/c.rs", "fn a() {}"),
        ]);
        let tests = sources.iter().filter(|source| source.is_test);
        let tests: Vec<&str> = tests.map(|source| source.path.as_str()).collect();
        assert_eq!(
            tests,
            [
                "src/a/cases.rs",
                "src/a/cases/more.rs",
                "src/a/b/tests.rs",
                "crates/core/tests/c.rs"
            ]
        );
        assert!(sources[3].code.contains("fn b()"));
        assert!(sources[1].code.is_empty());
    }

    #[test]
    fn a_file_keeps_its_key_when_it_moves_to_core() {
        let before = Source::planted("src/apply/plan.rs", "");
        let after = Source::planted("crates/core/src/apply/plan.rs", "");
        assert_eq!(before[0].key(), after[0].key());
    }
}
