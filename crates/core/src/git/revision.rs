//! Pure: a commit and the name that led to it, as Flux writes it: `main@sha1:…`.

use std::fmt;

/// A branch, tag or ref name (without `refs/heads/` or `refs/tags/`), and the id of its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// What led to the commit; `None` for a commit that was asked for by its id alone.
    pub name: Option<String>,
    /// 40 hex digits.
    pub commit: String,
}

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "{name}@sha1:{}", self.commit),
            None => write!(formatter, "sha1:{}", self.commit),
        }
    }
}

impl Revision {
    /// Reads a revision as it is printed; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, commit) = match text.rsplit_once("@sha1:") {
            Some((name, commit)) => (Some(name.to_owned()), commit),
            None => (None, text.strip_prefix("sha1:")?),
        };
        let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        let commit = commit.to_owned();
        is_commit.then_some(Self { name, commit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_prints_as_flux_prints_it() {
        let commit = "a".repeat(40);
        let named = |name: &str| {
            Revision {
                name: Some(name.into()),
                commit: commit.clone(),
            }
            .to_string()
        };
        let parsed = |text: &str| Revision::parse(text).map(|revision| revision.to_string());
        for text in [format!("feature/x@sha1:{commit}"), format!("sha1:{commit}")] {
            assert_eq!(parsed(&text), Some(text));
        }
        for text in ["main", "main@sha1:abc", "", &commit] {
            assert_eq!(parsed(text), None, "{text}");
        }
        assert_eq!(named("feature/x"), format!("feature/x@sha1:{commit}"));
        assert_eq!(
            Revision {
                name: None,
                commit: commit.clone()
            }
            .to_string(),
            format!("sha1:{commit}")
        );
    }
}
