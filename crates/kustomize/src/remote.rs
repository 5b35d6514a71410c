//! Pure: remote resources: which trees and files a build needs from elsewhere, by kustomize's grammar of git URLs.
//!
//! The engine fetches nothing. It says what it needs ([`Remote`]), the shell fetches that and hands it over
//! (`FileTree::provide`), and the build runs again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::files::Files;

/// Something that a kustomization names and that stands elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remote {
    /// A file, by its http or https URL.
    File(String),
    /// The tree of a git repository.
    Repository(RemoteRepository),
}

/// A git repository and the ref that is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemoteRepository {
    /// What to clone.
    pub url: String,
    /// A branch, tag or commit; the remote's HEAD if none is named.
    pub reference: Option<String>,
    /// How long each git command may take.
    pub timeout: Duration,
    /// Whether submodules are fetched, too.
    pub submodules: bool,
}

/// What was fetched.
pub enum Provided {
    /// A repository's files.
    Files(Arc<dyn Files>),
    /// One file's bytes.
    Bytes(Vec<u8>),
}

/// A directory of a remote repository, as an entry of `resources` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteDirectory {
    /// The repository.
    pub repository: RemoteRepository,
    /// The directory in it; empty for its root.
    pub directory: String,
}

/// The time kustomize gives each git command.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(27);

impl fmt::Display for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(url) => formatter.write_str(&without_credentials(url)),
            Self::Repository(repository) => repository.fmt(formatter),
        }
    }
}

impl fmt::Display for RemoteRepository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&without_credentials(&self.url))?;
        match &self.reference {
            Some(reference) => write!(formatter, "?ref={reference}"),
            None => Ok(()),
        }
    }
}

/// The URL without a user and password, which may be secret.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) => (host, format!("/{path}")),
        None => (rest, String::new()),
    };
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => url.to_owned(),
    }
}

/// True for an entry that is first tried as a file over HTTP.
pub(crate) fn is_http(entry: &str) -> bool {
    let lower = entry.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

impl RemoteDirectory {
    /// Reads an entry as a git URL; `None` if it is none (a relative path, most often).
    pub fn parse(entry: &str) -> Option<Self> {
        let text = entry.strip_prefix("git::").unwrap_or(entry);
        if text.starts_with('/') {
            return None;
        }
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let (host, path) = split_host(path)?;
        let (repository, directory) = split_path(path, host.starts_with("file://"))?;
        if repository.is_empty() || leaves(directory) {
            return None;
        }
        let mut remote = RemoteRepository {
            url: format!("{host}{repository}"),
            reference: None,
            timeout: DEFAULT_TIMEOUT,
            submodules: true,
        };
        remote.take_query(query);
        Some(Self {
            repository: remote,
            directory: directory.trim_start_matches('/').to_owned(),
        })
    }
}

impl RemoteRepository {
    fn take_query(&mut self, query: &str) {
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .filter(|(key, value)| *key == name && !value.is_empty())
                .map(|(_, value)| value)
                .next()
        };
        self.reference = value("ref").or_else(|| value("version")).map(str::to_owned);
        if let Some(timeout) = value("timeout").and_then(parse_timeout) {
            self.timeout = timeout;
        }
        if let Some(submodules) = value("submodules").and_then(parse_bool) {
            self.submodules = submodules;
        }
    }
}

/// Whole seconds, or a Go duration of one unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit());
    let (number, unit) = text.split_at(unit_at.unwrap_or(text.len()));
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let seconds = match unit {
        "" | "s" => number,
        "m" => number.checked_mul(60)?,
        "h" => number.checked_mul(3600)?,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The part up to the repository's path, normalized, and the rest.
fn split_host(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = split_scheme(text);
    if scheme.eq_ignore_ascii_case("file://") {
        return Some(("file://".to_owned(), rest));
    }
    let user_length = user_length(rest);
    let (user, rest) = rest.split_at(user_length);
    let lower = rest.to_ascii_lowercase();
    let is_github = lower.starts_with("github.com/") || lower.starts_with("github.com:");
    if scheme.is_empty() && user.is_empty() && !is_github {
        return None;
    }
    let slash = rest.find('/');
    let colon = rest
        .find(':')
        .filter(|colon| scheme.is_empty() && slash.is_none_or(|slash| *colon < slash));
    let end = colon.or(slash)?;
    let (domain, path) = rest.split_at_checked(end + 1)?;
    if is_github {
        // kustomize asks for ssh where a user is named.
        let with_ssh = !user.is_empty() || scheme.eq_ignore_ascii_case("ssh://");
        let host = match (with_ssh, user) {
            (true, "") => "git@github.com:".to_owned(),
            (true, user) => format!("{user}github.com:"),
            (false, _) => "https://github.com/".to_owned(),
        };
        return Some((host, path));
    }
    Some((format!("{}{user}{domain}", scheme.to_lowercase()), path))
}

fn split_scheme(text: &str) -> (&str, &str) {
    let schemes = ["ssh://", "https://", "http://", "file://"];
    let found = schemes.iter().find(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    text.split_at(found.map_or(0, |scheme| scheme.len()))
}

/// `[A-Za-z][A-Za-z0-9-]*@`, or with a password as URLs have it.
fn user_length(text: &str) -> usize {
    let before_path = text.split('/').next().unwrap_or_default();
    let Some((credentials, _)) = before_path.split_once('@') else {
        return 0;
    };
    let user = credentials.split(':').next().unwrap_or_default();
    let valid = user.starts_with(|first: char| first.is_ascii_alphabetic())
        && user.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if valid { credentials.len() + 1 } else { 0 }
}

/// The repository's path and the directory in it.
fn split_path(path: &str, is_file: bool) -> Option<(&str, &str)> {
    if let Some(at) = path.find("_git/") {
        let start = at + "_git/".len();
        let slash = path.get(start..)?.find('/');
        return path.split_at_checked(slash.map_or(path.len(), |slash| start + slash));
    }
    if let Some(parts) = path.split_once("//") {
        return Some(parts);
    }
    if let Some(at) = path.find(".git") {
        return Some(path.split_at(at + ".git".len()));
    }
    if is_file {
        return Some((path, ""));
    }
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    slashes.next()?;
    Some(slashes.next().map_or((path, ""), |at| path.split_at(at)))
}

/// True if `..` leads out of the repository.
fn leaves(directory: &str) -> bool {
    let mut depth = 0_i32;
    directory.split('/').any(|segment| {
        match segment {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        depth < 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(entry: &str, expected: Option<(&str, &str, Option<&str>)>) {
        let parsed = RemoteDirectory::parse(entry);
        let actual = parsed.as_ref().map(|remote| {
            (
                remote.repository.url.as_str(),
                remote.directory.as_str(),
                remote.repository.reference.as_deref(),
            )
        });
        assert_eq!(actual, expected, "{entry}");
    }

    #[test]
    fn the_grammar_of_git_urls() {
        check(
            "https://gitlab.example/g/sub/repo/path",
            Some(("https://gitlab.example/g/sub", "repo/path", None)),
        );
        check("git@host:o/r.git//d", Some(("git@host:o/r.git", "d", None)));
        check(
            "file:///srv/a.git//d?ref=x",
            Some(("file:///srv/a.git", "d", Some("x"))),
        );
        check(
            "github.com/o/r/d?version=v1&ref=v2",
            Some(("https://github.com/o/r", "d", Some("v2"))),
        );
        check(
            "https://token@github.com/o/r",
            Some(("token@github.com:o/r", "", None)),
        );
        check(
            "git::https://dev.example/org/project/_git/repo/a/b",
            Some(("https://dev.example/org/project/_git/repo", "a/b", None)),
        );
        check(
            "ssh://git@host:7999/p/r.git/d",
            Some(("ssh://git@host:7999/p/r.git", "d", None)),
        );
        check(
            "HTTPS://host.example/o/r.git",
            Some(("https://host.example/o/r.git", "", None)),
        );
        for entry in [
            "../base",
            "base",
            "host.com/o/r.git",
            "oci://host/o/r",
            "s3://bucket/key",
            "https://host/one",
            "https://host/o/r//../x",
            "/absolute",
            "",
        ] {
            check(entry, None);
        }
    }

    #[test]
    fn the_query_has_options() {
        let repository = |entry: &str| RemoteDirectory::parse(entry).unwrap().repository;
        let seconds = |entry: &str| repository(entry).timeout.as_secs();
        assert_eq!(seconds("https://h/o/r"), 27);
        assert_eq!(seconds("https://h/o/r?timeout=90"), 90);
        assert_eq!(seconds("https://h/o/r?timeout=2m"), 120);
        assert_eq!(seconds("https://h/o/r?timeout=soon"), 27);
        assert!(!repository("https://h/o/r?submodules=0").submodules);
        assert!(repository("https://h/o/r?submodules=perhaps").submodules);
    }

    #[test]
    fn what_is_shown_has_no_credentials() {
        let remote = Remote::File("https://me:hunter2@host/x.yaml".to_owned());
        assert_eq!(remote.to_string(), "https://host/x.yaml");
    }
}
