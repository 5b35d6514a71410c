//! Pure: paths within a tree of files.

use std::fmt;

use crate::error::Problem;

/// A path below the root of a tree: segments joined by `/`, none of them empty, `.` or `..`.
/// The root itself is the empty path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RepoPath(pub(crate) String);

impl RepoPath {
    /// The root of the tree.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path as text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of one more segment.
    pub(crate) fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            Self(name.to_owned())
        } else {
            Self(format!("{}/{name}", self.0))
        }
    }

    /// The path without its last segment; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        Some(Self(
            self.0
                .rsplit_once('/')
                .map_or_else(String::new, |(parent, _)| parent.to_owned()),
        ))
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Joins a relative path, settling `.` and `..` by text alone.
    ///
    /// # Errors
    /// If `..` leads above the root.
    pub fn join(&self, relative: &str) -> Result<Self, Problem> {
        if relative.contains('\0') {
            return Err(Problem::NotFound(
                "a path contains the character NUL".to_owned(),
            ));
        }
        let mut path = self.clone();
        for segment in relative.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    path = path.parent().ok_or_else(|| {
                        Problem::Restricted(format!(
                            "path `{relative}` leaves the root of the tree"
                        ))
                    })?;
                }
                name => path = path.child(name),
            }
        }
        Ok(path)
    }

    /// True if `self` is `ancestor` or lies below it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        ancestor.0.is_empty()
            || self.0 == ancestor.0
            || self
                .0
                .strip_prefix(&ancestor.0)
                .is_some_and(|rest| rest.starts_with('/'))
    }

    /// The rest of the path below `ancestor`.
    pub fn below(&self, ancestor: &Self) -> Option<&str> {
        if !self.is_within(ancestor) {
            return None;
        }
        let rest = self.0.strip_prefix(&ancestor.0)?;
        Some(rest.trim_start_matches('/'))
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "." } else { &self.0 })
    }
}

/// The segments of a path, last first, without those that mean nothing.
pub(crate) fn segments(path: &str) -> Vec<String> {
    path.rsplit('/')
        .filter(|segment| !matches!(*segment, "" | "."))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_the_tree() {
        let base = RepoPath::root().join("overlays/prod").unwrap();
        assert_eq!(base.join("../../base").unwrap().as_str(), "base");
        assert!(matches!(
            base.join("../../../etc"),
            Err(Problem::Restricted(_))
        ));
    }
}
