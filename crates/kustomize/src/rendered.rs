//! Pure: what a build makes: ordered objects, warnings, and what was looked at.

use std::collections::BTreeSet;

use goyaml::Node;

use crate::files::Inputs;
use crate::gvk::Gvk;
use crate::parallel;
use crate::remote::Remote;
use crate::schema::is_cluster_scoped;

/// What a build made.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The objects, in order of output.
    pub objects: Vec<Object>,
    /// What a user should know, such as deprecated fields.
    pub warnings: Vec<String>,
    /// Everything the build looked at. A change elsewhere cannot change its result.
    pub inputs: Inputs,
    /// What the build took from elsewhere. Whether that changed is not to be seen in the tree.
    pub remotes: Vec<Remote>,
}

/// One object: a tree that has a kind and a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub(crate) node: Node,
    /// Where it came from: a file, or the kustomization with its generator.
    pub source: Option<String>,
}

impl Object {
    /// The tree.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The text of a field of the top level or of `metadata`.
    fn text(&self, path: &[&str]) -> &str {
        self.node
            .at(path)
            .and_then(Node::as_text)
            .unwrap_or_default()
    }

    /// `group/version`, or `version` for the core group; may be empty.
    pub fn api_version(&self) -> &str {
        self.text(&["apiVersion"])
    }

    /// The kind; never empty.
    pub fn kind(&self) -> &str {
        self.text(&["kind"])
    }

    /// The name; empty for lists alone.
    pub fn name(&self) -> &str {
        self.text(&["metadata", "name"])
    }

    /// The namespace as written, if one is.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.text(&["metadata", "namespace"])).filter(|namespace| !namespace.is_empty())
    }

    /// The object as YAML, as `kustomize build` prints it.
    pub fn to_yaml(&self) -> String {
        goyaml::print(&self.node).expect("a built object was checked to print")
    }

    /// The object as a JSON value.
    pub fn to_json(&self) -> serde_json::Value {
        goyaml::to_json(&self.node).expect("a built object was checked to have a JSON form")
    }
}

impl Rendered {
    /// The objects as `kustomize build` prints them.
    pub fn to_yaml(&self) -> String {
        let texts = parallel::map_chunks(&self.objects, PRINTED_AT_ONCE, |objects| {
            goyaml::print_all(objects.iter().map(Object::node))
                .expect("a built object was checked to print")
        });
        texts.join("---\n")
    }

    /// The file name of each object, in order of output, as `kustomize build -o DIRECTORY` names its files:
    /// `[namespace_][group_]version_kind_name.yaml`, in lower case.
    ///
    /// The namespace is part of the names only where the namespaced objects of the build are in more than one
    /// (kustomize's `commands/build/writer.go`); an object without a namespace is in `default` then.
    pub fn file_names(&self) -> Vec<String> {
        let namespaces: Vec<Option<&str>> = self.objects.iter().map(namespace_of).collect();
        let distinct: BTreeSet<&str> = namespaces.iter().copied().flatten().collect();
        let named = self.objects.iter().zip(&namespaces);
        named
            .map(|(object, namespace)| {
                let namespace = namespace.filter(|_| distinct.len() > 1);
                file_name(object, namespace.unwrap_or_default())
            })
            .collect()
    }
}

/// Fewer objects are not worth a thread.
const PRINTED_AT_ONCE: usize = 100;

/// The namespace that an object is in; none for cluster-scoped kinds.
fn namespace_of(object: &Object) -> Option<&str> {
    let gvk = Gvk::new(object.api_version(), object.kind());
    (!is_cluster_scoped(&gvk)).then(|| object.namespace().unwrap_or("default"))
}

fn file_name(object: &Object, namespace: &str) -> String {
    let (group, version) = crate::gvk::split_api_version(object.api_version());
    let parts = [namespace, group, version, object.kind(), object.name()];
    let given: Vec<String> = parts
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| part.to_lowercase().replace('/', "_"))
        .collect();
    format!("{}.yaml", given.join("_"))
}
