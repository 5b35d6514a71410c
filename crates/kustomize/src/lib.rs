//! Pure: a kustomize engine. A tree of files goes in, objects come out.
//!
//! [`build`] reads the kustomization at a path of a [`FileTree`], accumulates its resources, bases and
//! components, transforms them level by level, and finishes at the root with hash suffixes, name
//! references and the order of output, as `kustomize build` v5.8 does.
//!
//! ```
//! use kustomize::{BuildOptions, FileTree, RepoPath, build};
//!
//! let tree = FileTree::of([
//!     ("kustomization.yaml", "resources: [app.yaml]\nnamePrefix: dev-\n"),
//!     ("app.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"),
//! ]);
//! let rendered = build(&tree, &RepoPath::root(), &BuildOptions::default())?;
//! assert_eq!(rendered.to_yaml(), "apiVersion: v1\nkind: Service\nmetadata:\n  name: dev-web\n");
//! # Ok::<(), kustomize::BuildErrors>(())
//! ```

mod accumulate;
mod cache;
mod decode;
mod error;
mod finish;
mod generate;
mod kustomization;
mod link;
mod load;
mod parallel;
mod remote;
mod resource;
mod schema;
mod selector;
mod transform;
mod tree;
mod walk;

pub use cache::DocumentCache;
pub use error::{BuildError, BuildErrors, Place, Problem};
pub use remote::{Provided, Remote, RemoteDirectory, RemoteRepository};
pub use selector::{Selector, Target};
pub use tree::{ContentId, FileEntry, FileTree, Files, Inputs, RepoPath};

use goyaml::Node;

/// How to build. The default is what `kustomize build` does without flags.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Which files a kustomization may name.
    pub load_restriction: LoadRestriction,
    /// The order of the output where the root's `sortOptions` gives none.
    pub reorder: Reorder,
    /// Adds the label `app.kubernetes.io/managed-by` to every object.
    pub managed_by_label: bool,
    /// How much is too much.
    pub limits: Limits,
}

/// Which files a kustomization may name. Directories are not restricted, but by the root of the tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LoadRestriction {
    /// Those in or below its own directory.
    #[default]
    RootOnly,
    /// Any file of the tree.
    None,
}

/// The order of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reorder {
    /// Namespaces and definitions first, webhooks last, else by group, kind, namespace and name.
    #[default]
    Legacy,
    /// As accumulated.
    None,
}

/// How much is too much, so that no repository can exhaust the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Objects of one build.
    pub objects: usize,
    /// Bytes of one file.
    pub file_bytes: usize,
    /// Bytes of all files that one build reads, each as often as it is read.
    pub total_bytes: usize,
    /// Kustomizations visited by one build, each as often as it is named.
    pub kustomizations: usize,
    /// Levels of bases.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            objects: 200_000,
            file_bytes: 32 << 20,
            total_bytes: 512 << 20,
            kustomizations: 20_000,
            depth: 64,
        }
    }
}

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

/// How far a build came.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// To its end.
    Done(Rendered),
    /// To remote resources that are not there: fetch them, [`FileTree::provide`] them, and build again.
    Needs(Vec<Remote>),
}

/// One object: a tree that has a kind and a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    node: Node,
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
}

/// Fewer objects are not worth a thread.
const PRINTED_AT_ONCE: usize = 100;

/// Builds the kustomization at a directory of a tree that needs nothing from elsewhere.
///
/// # Errors
/// All independent errors of the tree, each with its place. A remote resource is one.
pub fn build(
    tree: &FileTree,
    directory: &RepoPath,
    options: &BuildOptions,
) -> Result<Rendered, BuildErrors> {
    match build_or_need(tree, directory, options)? {
        Outcome::Done(rendered) => Ok(rendered),
        Outcome::Needs(remotes) => Err(BuildErrors(
            remotes
                .iter()
                .map(|remote| {
                    let message = format!("remote resource `{remote}` may not be fetched here");
                    BuildError::from(Problem::Unsupported(message))
                        .hint("copy the base into the repository, or allow remote bases")
                })
                .collect(),
        )),
    }
}

/// Builds the kustomization at a directory of the tree, or says what must be fetched first.
///
/// # Errors
/// All independent errors of the tree, each with its place.
pub fn build_or_need(
    tree: &FileTree,
    directory: &RepoPath,
    options: &BuildOptions,
) -> Result<Outcome, BuildErrors> {
    let mut loader = load::Loader::new(tree, options);
    let accumulated = accumulate::root(&mut loader, directory);
    if !loader.needs.is_empty() {
        return Ok(Outcome::Needs(loader.needs.into_iter().collect()));
    }
    let objects = finish::finish(accumulated?, options, tree)?;
    Ok(Outcome::Done(Rendered {
        objects,
        warnings: loader.warnings,
        inputs: tree.inputs(),
        remotes: tree.remotes(),
    }))
}
