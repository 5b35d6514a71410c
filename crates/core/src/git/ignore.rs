//! Pure: which files a source leaves out, by the patterns of `.sourceignore` files and of `spec.ignore`.
//!
//! The patterns are gitignore's, as Flux reads them: every file is tested by itself, and the last pattern that matches
//! it, or a directory that it lies in, decides. So a file can be taken in again below a directory that is left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::git::name_pattern::NamePattern;

/// Patterns that always apply; a later pattern can include a file again.
const VERSION_CONTROL: [&str; 4] = [".git/", ".gitignore", ".gitmodules", ".gitattributes"];
/// Patterns that apply where neither a file nor the spec gives any.
const DEFAULTS: [&str; 21] = [
    "*.jpg",
    "*.jpeg",
    "*.gif",
    "*.png",
    "*.wmv",
    "*.flv",
    "*.tar.gz",
    "*.zip",
    ".github/",
    ".circleci/",
    ".travis.yml",
    ".gitlab-ci.yml",
    "appveyor.yml",
    ".drone.yml",
    "cloudbuild.yaml",
    "codeship-services.yml",
    "codeship-steps.yml",
    "**/.goreleaser.yml",
    "**/.sops.yaml",
    "**/.flux.yaml",
    ".flux.yaml",
];

/// The most patterns of a source.
const MAX_PATTERNS: usize = 1000;
/// The most bytes of all ignore files of a source and of `spec.ignore`.
const MAX_TEXT: usize = 256 << 10;
/// Comparisons of a letter with a part of a pattern that one use of a source may take: some seconds.
const MAX_STEPS: u64 = 1_000_000_000;

/// Which files are left out.
#[derive(Clone)]
pub struct Ignore {
    patterns: Arc<[IgnorePattern]>,
    /// The texts of the patterns, by which two values are compared.
    texts: Vec<(String, String)>,
}

/// Why the patterns of a source are refused, or not compared further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// There are too many patterns.
    #[error(
        "{patterns} patterns in {}; a source may have {MAX_PATTERNS}", named(.places)
    )]
    TooManyPatterns {
        /// The fields and files that have patterns.
        places: Vec<String>,
        /// How many there are.
        patterns: usize,
    },
    /// The texts are too long.
    #[error("{bytes} bytes in {}; the patterns of a source may have {MAX_TEXT}", named(.places))]
    TooLong {
        /// The fields and files that have patterns.
        places: Vec<String>,
        /// Their size.
        bytes: usize,
    },
    /// The comparisons take too long: the path at which the limit was passed, and the limit.
    #[error(
        "the patterns of `spec.ignore` and `.sourceignore` would need more than {1} steps at `{0}`; use fewer `*`"
    )]
    TooSlow(String, u64),
}

/// The fields and files, the first few by name.
fn named(places: &[String]) -> String {
    const FIRST: usize = 3;
    let first: Vec<String> = places
        .iter()
        .take(FIRST)
        .map(|place| format!("`{place}`"))
        .collect();
    let more = match places.len().saturating_sub(FIRST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", first.join(", "))
}

/// The steps that comparisons have taken since a source was opened. It is shared by all who read the opened source.
#[derive(Debug)]
pub struct MatchSteps {
    taken: AtomicU64,
    limit: u64,
}

impl MatchSteps {
    /// No steps taken, of this many.
    pub fn new(limit: u64) -> Self {
        Self {
            taken: AtomicU64::new(0),
            limit,
        }
    }
}

impl Default for MatchSteps {
    fn default() -> Self {
        Self::new(MAX_STEPS)
    }
}

/// Compares and prints the texts, of which the rest is made.
impl std::fmt::Debug for Ignore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.texts.fmt(formatter)
    }
}

impl PartialEq for Ignore {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

/// The pattern of one line.
#[derive(Debug, Clone)]
struct IgnorePattern {
    /// The directory of the file that holds the line, as names.
    domain: Arc<[String]>,
    takes_in: bool,
    directories_only: bool,
    parts: Parts,
}

#[derive(Debug, Clone)]
enum Parts {
    /// A pattern without a `/`, which may match any name of a path.
    Name(NamePattern),
    /// A pattern with a `/`, which matches paths from the directory of its file on.
    Path(Vec<PathPart>),
    /// A malformed pattern, which matches nothing.
    Nothing,
}

#[derive(Debug, Clone)]
enum PathPart {
    /// `**`: any number of directories.
    Any,
    Name(NamePattern),
}

impl Ignore {
    /// Reads the `.sourceignore` files of a tree, each with its directory, the root's first, and `spec.ignore`.
    ///
    /// # Errors
    /// There is more text, or there are more patterns, than a source may have.
    pub fn new(files: &[(String, String)], spec: Option<&str>) -> Result<Self, IgnoreError> {
        let given = || files.iter().map(|(_, text)| text.as_str()).chain(spec);
        let places = || {
            let of_files = files.iter().map(|(directory, _)| match directory.as_str() {
                "" => ".sourceignore".to_owned(),
                directory => format!("{}/.sourceignore", directory.trim_end_matches('/')),
            });
            let of_spec = spec.map(|_| "spec.ignore".to_owned());
            of_spec.into_iter().chain(of_files).collect()
        };
        let bytes = given().map(str::len).sum();
        if bytes > MAX_TEXT {
            let places = places();
            return Err(IgnoreError::TooLong { places, bytes });
        }
        let patterns = given().flat_map(pattern_lines).count();
        if patterns > MAX_PATTERNS {
            let places = places();
            return Err(IgnoreError::TooManyPatterns { places, patterns });
        }
        let mut texts: Vec<(String, String)> = files.to_vec();
        texts.extend(spec.map(|spec| (String::new(), spec.to_owned())));
        Ok(Self::of(texts))
    }

    /// The patterns of a source without an ignore file and without `spec.ignore`.
    pub fn defaults() -> Self {
        Self::of(Vec::new())
    }

    fn of(texts: Vec<(String, String)>) -> Self {
        let own: Vec<IgnorePattern> = texts
            .iter()
            .flat_map(|(directory, text)| patterns(directory, text))
            .collect();
        let mut all = patterns("", &VERSION_CONTROL.join("\n"));
        if own.is_empty() {
            all.extend(patterns("", &DEFAULTS.join("\n")));
        }
        all.extend(own);
        Self {
            patterns: all.into(),
            texts,
        }
    }

    /// True for a file that is left out. The comparisons are added to `taken`.
    ///
    /// # Errors
    /// The comparisons since the source was opened take too long.
    pub fn leaves_out(&self, path: &str, taken: &MatchSteps) -> Result<bool, IgnoreError> {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let (mut steps, before) = (0, taken.taken.load(Ordering::Relaxed));
        let mut last = None;
        for pattern in self.patterns.iter().rev() {
            if pattern.matches(&names, &mut steps) {
                last = Some(pattern);
                break;
            }
            if before.saturating_add(steps) > taken.limit {
                let start = path.chars().take(100).collect();
                return Err(IgnoreError::TooSlow(start, taken.limit));
            }
        }
        taken.taken.fetch_add(steps, Ordering::Relaxed);
        Ok(last.is_some_and(|pattern| !pattern.takes_in))
    }
}

/// The lines of a text that are patterns.
fn pattern_lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(|line| line.trim_end_matches('\r'));
    lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
}

fn patterns(directory: &str, text: &str) -> Vec<IgnorePattern> {
    let domain = directory.split('/').filter(|name| !name.is_empty());
    let domain: Arc<[String]> = domain.map(str::to_owned).collect();
    pattern_lines(text)
        .map(|line| IgnorePattern::new(domain.clone(), line))
        .collect()
}

impl IgnorePattern {
    fn new(domain: Arc<[String]>, line: &str) -> Self {
        let (takes_in, line) = line
            .strip_prefix('!')
            .map_or((false, line), |line| (true, line));
        let line = if line.ends_with("\\ ") {
            line
        } else {
            line.trim_end_matches(' ')
        };
        let (directories_only, line) = line
            .strip_suffix('/')
            .map_or((false, line), |line| (true, line));
        Self {
            domain,
            takes_in,
            directories_only,
            parts: Parts::new(line).unwrap_or(Parts::Nothing),
        }
    }

    fn matches(&self, path: &[&str], steps: &mut u64) -> bool {
        *steps += 1;
        let below = path.len() > self.domain.len()
            && self.domain.iter().zip(path).all(|(own, name)| own == name);
        if !below {
            return false;
        }
        let path = &path[self.domain.len()..];
        // What matches a name before the last is a directory that the file lies in.
        let reach = |length: usize| length < path.len() || !self.directories_only;
        match &self.parts {
            Parts::Nothing => false,
            Parts::Name(name) => {
                let found = path.iter().position(|part| name.matches(part, steps));
                found.is_some_and(|at| reach(at + 1))
            }
            Parts::Path(parts) => length(parts, path, steps).is_some_and(reach),
        }
    }
}

/// How many names of a path the parts match, from its start. What `**` stands for is as short as it can be.
fn length(parts: &[PathPart], path: &[&str], steps: &mut u64) -> Option<usize> {
    let (mut at, mut skips, mut matched) = (0, false, false);
    for (number, part) in parts.iter().enumerate() {
        match part {
            PathPart::Any if number + 1 == parts.len() => break,
            PathPart::Any => skips = true,
            PathPart::Name(name) => {
                let rest = path.get(at..)?;
                let found = if std::mem::take(&mut skips) {
                    rest.iter().position(|part| name.matches(part, steps))?
                } else {
                    rest.first()
                        .filter(|part| name.matches(part, steps))
                        .map(|_| 0)?
                };
                at += found + 1;
                matched = true;
            }
        }
    }
    matched.then_some(at)
}

impl Parts {
    fn new(line: &str) -> Option<Self> {
        if !line.contains('/') {
            return Some(Self::Name(NamePattern::new(line)?));
        }
        let mut parts = Vec::new();
        // An empty part says that nothing is skipped, as the `/` at the start does.
        for part in line.split('/').filter(|part| !part.is_empty()) {
            parts.push(match part {
                "**" => PathPart::Any,
                part if part.contains("**") => return None,
                part => PathPart::Name(NamePattern::new(part)?),
            });
        }
        Some(Self::Path(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], spec: Option<&str>, left_out: &[&str], taken: &[&str]) {
        let files: Vec<(String, String)> = files
            .iter()
            .map(|(at, text)| ((*at).to_owned(), (*text).to_owned()))
            .collect();
        let ignore = Ignore::new(&files, spec).expect("few patterns");
        let steps = MatchSteps::default();
        let leaves_out = |path: &str| ignore.leaves_out(path, &steps).expect("short patterns");
        for path in left_out {
            assert!(leaves_out(path), "{path} is taken, by {files:?} {spec:?}");
        }
        for path in taken {
            assert!(
                !leaves_out(path),
                "{path} is left out, by {files:?} {spec:?}"
            );
        }
    }

    #[test]
    fn defaults_end_where_somebody_has_a_pattern() {
        let git = [".git/config", ".gitignore", "deep/.gitmodules"];
        check(&[], None, &git, &["a.yaml", "git/a"]);
        check(
            &[],
            None,
            &[
                "a.png",
                "deep/b.jpg",
                ".github/workflows/ci.yaml",
                "x/.sops.yaml",
            ],
            &["a.md"],
        );
        check(
            &[],
            Some("*.md"),
            &git,
            &["a.png", ".github/workflows/ci.yaml"],
        );
        check(&[], Some("*.md"), &["README.md", "deep/README.md"], &["md"]);
        check(&[], Some("# nothing\n\n"), &["a.png"], &[]);
    }

    #[test]
    fn the_last_that_matches_decides() {
        check(
            &[],
            Some("/*\n!/deploy"),
            &["a.yaml", "src/x.yaml"],
            &["deploy/a.yaml", "deploy/deep/b.yaml"],
        );
        check(
            &[("deploy", "*.txt")],
            Some("/*\n!/deploy"),
            &["a.txt"],
            &["deploy/a.txt"],
        );
        check(
            &[("deploy", "*.txt")],
            None,
            &["deploy/a.txt", "deploy/deep/a.txt"],
            &["a.txt", "deployed/a.txt"],
        );
        check(
            &[],
            Some("out/\n!out/keep.yaml"),
            &["out/a.yaml"],
            &["out/keep.yaml", "out"],
        );
    }

    #[test]
    fn patterns_as_gitignore_writes_them() {
        check(&[], Some("/a.yaml"), &["a.yaml"], &["deep/a.yaml"]);
        check(
            &[],
            Some("a/*.yaml"),
            &["a/b.yaml"],
            &["a/b/c.yaml", "x/a/b.yaml"],
        );
        check(
            &[],
            Some("**/test"),
            &["test", "a/test/x", "a/b/test"],
            &["testing"],
        );
        check(
            &[],
            Some("a/**/z"),
            &["a/z", "a/b/c/z", "a/b/z/more"],
            &["z"],
        );
        check(&[], Some("a/**"), &["a/b", "a/b/c"], &["b"]);
        check(
            &[],
            Some("?.txt\n[ab]x\n[^c]y"),
            &["1.txt", "ax", "dy"],
            &["12.txt", "cx", "cy"],
        );
        check(&[], Some("dir/"), &["dir/a", "x/dir/a"], &["dir"]);
        check(&[], Some("\\!important"), &["!important"], &["important"]);
        check(&[], Some("[broken\na**b/c"), &[], &["[broken", "aXb/c"]);
    }

    fn refused(files: &[(&str, String)], spec: Option<&str>, expected: &str) {
        let files: Vec<(String, String)> = files
            .iter()
            .map(|(at, text)| ((*at).to_owned(), text.clone()))
            .collect();
        let error = Ignore::new(&files, spec).expect_err("too much is refused");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn too_much_text_and_too_many_patterns_are_refused() {
        refused(
            &[("", "a\n".repeat(700)), ("deep/", "b\n".repeat(700))],
            Some("c"),
            "1401 patterns in `spec.ignore`, `.sourceignore`, `deep/.sourceignore`; a source may have 1000",
        );
        refused(
            &[],
            Some(&"?".repeat(750_000)),
            "750000 bytes in `spec.ignore`; the patterns of a source may have 262144",
        );
    }

    #[test]
    fn patterns_take_memory_by_their_text_and_time_within_a_limit() {
        // Compiled to automata, each of these lines took 0.75 MB.
        let lines = format!("{}\n", "?".repeat(250)).repeat(1_000);
        check(&[], Some(&lines), &[], &["a.yaml"]);
        let slow = format!("*{}b\n", "a".repeat(125)).repeat(1_000);
        let ignore = Ignore::new(&[], Some(&slow)).expect("few patterns");
        let name = "a".repeat(250);
        let taken = MatchSteps::new(10_000_000);
        let error = (0..2).find_map(|_| ignore.leaves_out(&name, &taken).err());
        let error = error.expect("too slow").to_string();
        assert!(
            error.contains("would need more than 10000000 steps at `aaa"),
            "{error}"
        );
    }
}
