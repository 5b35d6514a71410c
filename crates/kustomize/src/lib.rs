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
//!
//! # Layers
//!
//! Each module imports only modules of lower layers (`tests/layers.rs` checks this). From the bottom:
//!
//! 1. `error`, `parallel`, `link`, `gojson`, `gvk`, `options`, `budget`: plain values and helpers.
//! 2. `path`, `files`, `decode`: paths, sources of bytes, and strict decoding of maps.
//! 3. `schema`: what is known of kinds beforehand, as data.
//! 4. `walk`, `documents`, `resource`: trees, parsed files, and objects with their history.
//! 5. `selector`, `kustomization`, `remote`, `cache`: what the kustomization file says, and what may be fetched.
//! 6. `tree`, `rendered`: the input and the output of a build.
//! 7. `load`, `level`, `tables`, `openapi`: reading what a kustomization names, and the state of one level.
//! 8. `generate`, `transform`: the steps of one kustomization.
//! 9. `plugins`: the same steps, configured in files of their own.
//! 10. `accumulate`, `order`, `finish`: one kustomization after the other, and what happens once at the root.
#![warn(missing_docs)]
// A cut at a byte inside a letter panics, and texts come from strangers.
#![warn(clippy::string_slice)]

mod accumulate;
mod budget;
mod cache;
mod decode;
mod documents;
mod error;
mod files;
mod finish;
mod generate;
mod gojson;
mod gvk;
mod kustomization;
mod level;
mod link;
mod load;
mod openapi;
mod options;
mod order;
mod parallel;
mod path;
mod plugins;
mod remote;
mod rendered;
mod resource;
mod schema;
mod selector;
mod tables;
mod transform;
mod tree;
mod walk;

pub use cache::DocumentCache;
pub use error::{BuildError, BuildErrors, Place, Problem};
pub use files::{ContentId, FileEntry, Files, Inputs};
pub use options::{BuildOptions, Limits, LoadRestriction, Reorder};
pub use path::RepoPath;
pub use remote::{Provided, Remote, RemoteDirectory, RemoteRepository};
pub use rendered::{Object, Rendered};
pub use selector::{Selector, Target};
pub use tree::FileTree;

use budget::Budget;

/// How far a build came.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// To its end.
    Done(Rendered),
    /// To remote resources that are not there: fetch them, [`FileTree::provide`] them, and build again.
    Needs(Vec<Remote>),
}

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
    let budget = Budget::new(options.limits);
    let mut loader = load::Loader::new(tree, options, &budget);
    let accumulated = accumulate::root(&mut loader, directory);
    let needs = loader.needs();
    if !needs.is_empty() {
        return Ok(Outcome::Needs(needs));
    }
    let (objects, warnings) = finish::finish(accumulated?, options, tree, &budget)?;
    loader.warnings.extend(warnings);
    Ok(Outcome::Done(Rendered {
        objects,
        warnings: loader.warnings,
        inputs: tree.inputs(),
        remotes: tree.remotes(),
    }))
}
