//! Talks to git servers: fetches a commit with its submodules, and the submodules of those.

use std::sync::Arc;
use std::time::Instant;

use kustomize::RepoPath;

use crate::git::fetched::Fetched;
use crate::git::mirror::FetchError;
use crate::git::mirrors::Mirrors;
use crate::git::snapshot;
use overlayd_core::git::source::GitSource;

/// The deepest nesting of submodules, and the most of one source.
const MAX_DEPTH: usize = 8;
const MAX_SUBMODULES: usize = 100;

/// Fetches a commit and, where the source asks for them, all submodules that its tree has.
///
/// # Errors
/// The first that cannot be fetched.
pub(crate) async fn fetch(
    mirrors: &Arc<Mirrors>,
    source: GitSource,
) -> Result<Fetched, FetchError> {
    let mut left = Left {
        submodules: MAX_SUBMODULES,
        deadline: Instant::now() + source.timeout,
        disk_allowance: source.disk_allowance,
    };
    fetch_below(mirrors, source, 0, &mut left).await
}

/// What a fetch and all fetches below it may still use.
struct Left {
    submodules: usize,
    deadline: Instant,
    disk_allowance: Option<u64>,
}

/// Fetches a repository and, if the source asks for it, its submodules, depth first. Every fetch takes from the same
/// budget of time and number, so that a hostile tree of submodules ends like a large one.
async fn fetch_below(
    mirrors: &Arc<Mirrors>,
    mut source: GitSource,
    depth: usize,
    left: &mut Left,
) -> Result<Fetched, FetchError> {
    source.timeout = left.deadline.saturating_duration_since(Instant::now());
    source.disk_allowance = left.disk_allowance;
    let mut fetched = mirrors.clone().fetch(source.clone()).await?;
    let bytes = fetched.life.bytes();
    left.disk_allowance = left
        .disk_allowance
        .map(|allowed| allowed.saturating_sub(bytes));
    if !source.submodules {
        return Ok(fetched);
    }
    let failed = |reason: String| FetchError::Remote {
        url: source.url.clone(),
        reason,
    };
    let life = fetched.life.clone();
    let unreadable = |error: git2::Error| {
        life.note_read_error(&error);
        failed(error.message().to_owned())
    };
    let Some(text) = snapshot::gitmodules(&fetched).map_err(unreadable)? else {
        return Ok(fetched);
    };
    for (path, url) in parse(&text) {
        let path = RepoPath::root()
            .join(&path)
            .map_err(|problem| failed(problem.to_string()))?;
        let Some(commit) = snapshot::submodule_at(&fetched, &path).map_err(unreadable)? else {
            continue;
        };
        left.submodules = left.submodules.checked_sub(1).ok_or_else(|| {
            failed(format!(
                "the repository has more than {MAX_SUBMODULES} submodules"
            ))
        })?;
        if depth >= MAX_DEPTH {
            return Err(failed(format!(
                "submodules are nested deeper than {MAX_DEPTH}"
            )));
        }
        let source = source
            .submodule(&url, &commit.to_string())
            .map_err(|error| failed(error.to_string()))?;
        let below = Box::pin(fetch_below(mirrors, source, depth + 1, left)).await?;
        fetched.submodules.push((path, Arc::new(below)));
    }
    Ok(fetched)
}

/// The paths and URLs of a `.gitmodules` file.
fn parse(text: &str) -> Vec<(String, String)> {
    let mut modules = Vec::new();
    let (mut path, mut url) = (None, None);
    for line in text.lines().map(str::trim).chain(["[end]"]) {
        if line.starts_with('[') {
            if let (Some(path), Some(url)) = (path.take(), url.take()) {
                modules.push((path, url));
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let value = value.trim().trim_matches('"').to_owned();
        match key.trim() {
            "path" => path = Some(value),
            "url" => url = Some(value),
            _ => {}
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gitmodules_are_read() {
        let text = "[submodule \"a\"]\n\tpath = libs/a\n\turl = ../a.git\n[submodule \"b\"]\n\turl=https://h/b\n\tpath=b\n[submodule \"broken\"]\n\tpath = c\n";
        let pair = |path: &str, url: &str| (path.to_owned(), url.to_owned());
        assert_eq!(
            parse(text),
            [pair("libs/a", "../a.git"), pair("b", "https://h/b")]
        );
    }
}
