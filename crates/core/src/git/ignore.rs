//! Pure: which files a source leaves out, by the patterns of `.sourceignore` files and of `spec.ignore`.
//!
//! The patterns are gitignore's, as Flux reads them: every file is tested by itself, and the last pattern that matches
//! it, or a directory that it lies in, decides. So a file can be taken in again below a directory that is left out.

use regex::Regex;

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

/// The most patterns; further ones are not read.
pub const MAX_PATTERNS: usize = 2000;

/// Which files are left out.
#[derive(Clone)]
pub struct Ignore {
    patterns: std::sync::Arc<[Pattern]>,
    /// The texts of the patterns, by which two values are compared.
    texts: Vec<(String, String)>,
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
struct Pattern {
    /// The directory of the file that holds the line, as names.
    domain: Vec<String>,
    takes_in: bool,
    directories_only: bool,
    parts: Parts,
}

#[derive(Debug, Clone)]
enum Parts {
    /// A pattern without a `/`, which may match any name of a path.
    Name(Name),
    /// A pattern with a `/`, which matches paths from the directory of its file on.
    Path(Vec<Part>),
    /// A malformed pattern, which matches nothing.
    Nothing,
}

#[derive(Debug, Clone)]
enum Part {
    /// `**`: any number of directories.
    Any,
    Name(Name),
}

/// A name with `*`, `?` and `[…]`.
#[derive(Debug, Clone)]
struct Name(Regex);

impl Ignore {
    /// Reads the `.sourceignore` files of a tree, each with its directory, the root's first, and `spec.ignore`.
    pub fn new(files: &[(String, String)], spec: Option<&str>) -> Self {
        let mut texts: Vec<(String, String)> = files.to_vec();
        texts.extend(spec.map(|spec| (String::new(), spec.to_owned())));
        let own: Vec<Pattern> = texts
            .iter()
            .flat_map(|(directory, text)| patterns(directory, text))
            .collect();
        let mut all = patterns("", &VERSION_CONTROL.join("\n"));
        if own.is_empty() {
            all.extend(patterns("", &DEFAULTS.join("\n")));
        }
        all.extend(own);
        // More are not meant, and would cost memory for everybody.
        all.truncate(MAX_PATTERNS);
        Self {
            patterns: all.into(),
            texts,
        }
    }

    /// The number of patterns in a text.
    pub fn count(text: &str) -> usize {
        text.lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
            .count()
    }

    /// True for a file that is left out.
    pub fn leaves_out(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let last = self
            .patterns
            .iter()
            .rev()
            .find(|pattern| pattern.matches(&names));
        last.is_some_and(|pattern| !pattern.takes_in)
    }
}

fn patterns(directory: &str, text: &str) -> Vec<Pattern> {
    let lines = text.lines().map(|line| line.trim_end_matches('\r'));
    let lines = lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|line| Pattern::new(directory, line)).collect()
}

impl Pattern {
    fn new(directory: &str, line: &str) -> Self {
        let domain = directory.split('/').filter(|name| !name.is_empty());
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
            domain: domain.map(str::to_owned).collect(),
            takes_in,
            directories_only,
            parts: Parts::new(line).unwrap_or(Parts::Nothing),
        }
    }

    fn matches(&self, path: &[&str]) -> bool {
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
                let found = path.iter().position(|part| name.matches(part));
                found.is_some_and(|at| reach(at + 1))
            }
            Parts::Path(parts) => length(parts, path).is_some_and(reach),
        }
    }
}

/// How many names of a path the parts match, from its start. What `**` stands for is as short as it can be.
fn length(parts: &[Part], path: &[&str]) -> Option<usize> {
    let (mut at, mut skips, mut matched) = (0, false, false);
    for (number, part) in parts.iter().enumerate() {
        match part {
            Part::Any if number + 1 == parts.len() => break,
            Part::Any => skips = true,
            Part::Name(name) => {
                let rest = path.get(at..)?;
                let found = if std::mem::take(&mut skips) {
                    rest.iter().position(|part| name.matches(part))?
                } else {
                    rest.first().filter(|part| name.matches(part)).map(|_| 0)?
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
            return Some(Self::Name(Name::new(line)?));
        }
        let mut parts = Vec::new();
        // An empty part says that nothing is skipped, as the `/` at the start does.
        for part in line.split('/').filter(|part| !part.is_empty()) {
            parts.push(match part {
                "**" => Part::Any,
                part if part.contains("**") => return None,
                part => Part::Name(Name::new(part)?),
            });
        }
        Some(Self::Path(parts))
    }
}

impl Name {
    /// As Go's `filepath.Match` reads it; nothing for one that is malformed.
    fn new(glob: &str) -> Option<Self> {
        let mut text = String::from("(?s)^");
        let mut letters = glob.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '*' => text.push_str("[^/]*"),
                '?' => text.push_str("[^/]"),
                '\\' => text.push_str(&regex::escape(&letters.next()?.to_string())),
                '[' => text.push_str(&class(&mut letters)?),
                letter => text.push_str(&regex::escape(&letter.to_string())),
            }
        }
        text.push('$');
        // A long pattern of a stranger must not take long to compile.
        let regex = regex::RegexBuilder::new(&text).size_limit(1 << 20).build();
        regex.ok().map(Self)
    }

    fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// What stands between `[` and `]`, as a class of the regex crate.
fn class(letters: &mut std::str::Chars<'_>) -> Option<String> {
    let mut text = String::from("[");
    let mut is_first = true;
    loop {
        let letter = letters.next()?;
        match letter {
            '^' if is_first && text == "[" => {
                text.push('^');
                continue;
            }
            ']' if !is_first => break,
            '-' => text.push('-'),
            '\\' => text.push_str(&escaped(letters.next()?)),
            letter => text.push_str(&escaped(letter)),
        }
        is_first = false;
    }
    text.push(']');
    Some(text)
}

fn escaped(letter: char) -> String {
    if letter.is_ascii_punctuation() {
        format!("\\{letter}")
    } else {
        letter.to_string()
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
        let ignore = Ignore::new(&files, spec);
        for path in left_out {
            assert!(
                ignore.leaves_out(path),
                "{path} is taken, by {files:?} {spec:?}"
            );
        }
        for path in taken {
            assert!(
                !ignore.leaves_out(path),
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
}
