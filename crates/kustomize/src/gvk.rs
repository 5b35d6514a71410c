//! Pure: group, version and kind of an object.

use std::sync::LazyLock;

use goyaml::Text;

/// The empty text, shared, since most groups and namespaces are empty.
pub(crate) static EMPTY: LazyLock<Text> = LazyLock::new(|| "".into());

/// Group, version and kind. An empty group is the core group, or an absent `apiVersion`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Gvk {
    /// The group; empty for the core group.
    pub(crate) group: Text,
    /// The version; empty where none is given, which matches any.
    pub(crate) version: Text,
    /// The kind; empty where none is given, which matches any.
    pub(crate) kind: Text,
}

impl Default for Gvk {
    fn default() -> Self {
        Self {
            group: EMPTY.clone(),
            version: EMPTY.clone(),
            kind: EMPTY.clone(),
        }
    }
}

impl Gvk {
    /// Splits an `apiVersion` at its slash.
    pub(crate) fn new(api_version: &str, kind: impl Into<Text>) -> Self {
        let (group, version) = split_api_version(api_version);
        Self {
            group: shared(group),
            version: shared(version),
            kind: kind.into(),
        }
    }

    /// `group/version`, or the version alone for the core group.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// True if this is what an `apiVersion` and a kind say.
    pub(crate) fn is(&self, api_version: &str, kind: &str) -> bool {
        let (group, version) = split_api_version(api_version);
        *self.group == *group && *self.version == *version && *self.kind == *kind
    }

    /// True if each part that `self` gives is equal in `other`.
    pub(crate) fn selects(&self, other: &Self) -> bool {
        (self.group.is_empty() || self.group == other.group)
            && (self.version.is_empty() || self.version == other.version)
            && (self.kind.is_empty() || self.kind == other.kind)
    }

    /// Kind first, with words for what is missing, as kustomize prints an id.
    pub(crate) fn show_long(&self) -> String {
        format!(
            "{}.{}.{}",
            or(&self.kind, "[noKind]"),
            or(&self.version, "[noVer]"),
            or(&self.group, "[noGrp]")
        )
    }

    /// The text by which kinds of equal rank are sorted.
    pub(crate) fn sort_text(&self) -> String {
        format!(
            "{}_{}_{}",
            or(&self.group, "~G"),
            or(&self.version, "~V"),
            or(&self.kind, "~K")
        )
    }
}

/// The text, or another where it is empty.
pub(crate) fn or<'t>(text: &'t str, other: &'t str) -> &'t str {
    if text.is_empty() { other } else { text }
}

/// A text that equal parts of other objects share, since a build has few kinds and many objects.
fn shared(text: &str) -> Text {
    if text.is_empty() {
        EMPTY.clone()
    } else {
        text.into()
    }
}

/// Group and version of an `apiVersion`; the core group is empty.
pub(crate) fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}
