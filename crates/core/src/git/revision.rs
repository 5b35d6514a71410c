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
