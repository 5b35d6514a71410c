//! Pure: the names of objects, as types.

use std::borrow::Cow;
use std::fmt;

use kube::{Resource, ResourceExt as _};

/// The namespace and the name of an object; printed as `namespace/name`, as Kubernetes prints them.
///
/// An object without a namespace (a `ClusterSecretStore`) has an empty one, and is printed by its name alone.
/// Names sort by namespace first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NamespacedName {
    /// Empty for an object of the cluster.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl NamespacedName {
    /// A name in a namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The name of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name } = self;
        if namespace.is_empty() {
            write!(formatter, "{name}")
        } else {
            write!(formatter, "{namespace}/{name}")
        }
    }
}

/// The namespace that a path of the API server names; empty for objects of the cluster and for lists over all namespaces.
pub fn namespace_of_path(path: &str) -> &str {
    let mut parts = path.split('/').skip_while(|part| *part != "namespaces");
    parts.nth(1).unwrap_or_default()
}

/// True for a name that can stand in the path of a request: it leads nowhere else and ends nothing.
///
/// This is the rule of Kubernetes for names of any kind, and excludes the characters that end a path.
pub fn is_path_segment(name: &str) -> bool {
    let is_safe = |letter: char| !matches!(letter, '/' | '%' | '?' | '#') && !letter.is_control();
    !matches!(name, "" | "." | "..") && name.chars().all(is_safe)
}

/// True for a DNS subdomain (RFC 1123), as names of most kinds are: at most 253 letters, digits, `-` and `.`, in lower
/// case.
pub fn is_dns_subdomain(name: &str) -> bool {
    let is_letter = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        ends.iter()
            .all(|end| end.is_some_and(|end| is_letter(*end)))
            && bytes.iter().all(|byte| is_letter(*byte) || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// The kind and the name of an object, by which caches, queues and logs know it: `ExternalSecret team/db`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind, as a manifest writes it. Kinds that overlayd reconciles have different names, so the group is left out.
    pub kind: Cow<'static, str>,
    /// Where the object is, and its name.
    pub name: NamespacedName,
}

impl ObjectKey {
    /// The key of an object of a kind.
    pub fn new(kind: impl Into<Cow<'static, str>>, name: NamespacedName) -> Self {
        Self {
            kind: kind.into(),
            name,
        }
    }

    /// The key of an object.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self::new(K::kind(&()), NamespacedName::of(object))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind, self.name)
    }
}

/// The name of a store. A ClusterSecretStore has no namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreName<'s> {
    /// The namespace of a SecretStore.
    pub namespace: Option<&'s str>,
    /// The name.
    pub name: &'s str,
}

impl StoreName<'_> {
    /// The kind of the store.
    pub fn kind(self) -> &'static str {
        match self.namespace {
            Some(_) => "SecretStore",
            None => "ClusterSecretStore",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for (name, is_segment, is_dns) in [
            ("web", true, true),
            ("a.b-c.9", true, true),
            ("system:node", true, false),
            ("Web", true, false),
            ("", false, false),
            ("..", false, false),
            ("-a", true, false),
            ("a.", true, false),
            ("x:80/proxy/path", false, false),
            ("a%2fb", false, false),
            ("a?dryRun=All", false, false),
            ("a#b", false, false),
            ("a\nb", false, false),
        ] {
            assert_eq!(is_path_segment(name), is_segment, "{name:?}");
            assert_eq!(is_dns_subdomain(name), is_dns, "{name:?}");
        }
        assert!(!is_dns_subdomain(&"a".repeat(254)));
    }

    #[test]
    fn names_print_as_kubernetes_prints_them() {
        let name = NamespacedName::new("team", "db");
        assert_eq!(name.to_string(), "team/db");
        assert_eq!(NamespacedName::new("", "shared").to_string(), "shared");
        let key = ObjectKey::new("ExternalSecret", name);
        assert_eq!(key.to_string(), "ExternalSecret team/db");
    }

    #[test]
    fn names_sort_by_namespace_first() {
        let mut names =
            [("b", "a"), ("a", "b"), ("a", "a")].map(|(a, b)| NamespacedName::new(a, b));
        names.sort();
        assert_eq!(names.map(|name| name.to_string()).join(" "), "a/a a/b b/a");
    }

    #[test]
    fn the_namespace_of_a_request() {
        let check = |path: &str, expected: &str| assert_eq!(namespace_of_path(path), expected);
        check("/api/v1/namespaces/team/secrets/db", "team");
        check("/apis/apps/v1/namespaces/team/deployments", "team");
        check("/api/v1/namespaces/team", "team");
        check("/api/v1/namespaces", "");
        check("/apis/apps/v1/deployments", "");
    }
}
