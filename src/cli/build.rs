//! `overlayd build`: prints what a kustomization builds to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kustomize::{
    BuildErrors, BuildOptions, FileTree, LoadRestriction, Outcome, RemoteDirectory, Rendered,
    Reorder, RepoPath,
};

use crate::cli::args::{BuildArgs, LoadRestrictor, ReorderArg};
use crate::cli::report::Failure;
use crate::cli::{disk, output};
use crate::git::{Mirrors, Remotes};

/// Builds and writes the result.
///
/// # Errors
/// The build fails, or the result cannot be written.
pub(super) fn build(args: &BuildArgs) -> Result<(), Failure> {
    if args.enable_helm {
        let failure = Failure::new("`--enable-helm` is not supported");
        return Err(failure.because(
            "charts are not rendered by overlayd",
            Some("render them with `helm template` and commit the result"),
        ));
    }
    let options = BuildOptions {
        load_restriction: match args.load_restrictor {
            LoadRestrictor::RootOnly => LoadRestriction::RootOnly,
            LoadRestrictor::None => LoadRestriction::None,
        },
        reorder: match args.reorder {
            ReorderArg::Legacy => Reorder::Legacy,
            ReorderArg::None => Reorder::None,
        },
        managed_by_label: args.enable_managedby_label,
        ..BuildOptions::default()
    };
    let rendered = render(&args.directory, &options)?;
    let text = rendered.to_yaml();
    let written = match &args.output {
        Some(path) => write_to(path, &rendered, &text),
        None => output::write(&text).map_err(Failure::from),
    };
    // The process ends here; taking a large tree apart would only take time.
    std::mem::forget(rendered);
    written
}

/// Renders on a thread of its own: a build may start a runtime to fetch remote bases.
pub(super) async fn apart(
    render: impl FnOnce() -> Result<Rendered, Failure> + Send + 'static,
) -> Result<Rendered, Failure> {
    let rendered = tokio::task::spawn_blocking(render).await;
    rendered.unwrap_or_else(|error| Err(Failure::new(error.to_string())))
}

/// Into one file, or, where a directory is named, a file per object.
fn write_to(path: &Path, rendered: &Rendered, text: &str) -> Result<(), Failure> {
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).map_err(|error| {
            Failure::new(format!("cannot write `{}`", path.display()))
                .because(error.to_string(), None)
        })
    };
    if !path.is_dir() {
        return write(path, text);
    }
    for (name, object) in rendered.file_names().iter().zip(&rendered.objects) {
        write(&path.join(name), &object.to_yaml())?;
    }
    Ok(())
}

/// Builds a directory of the disk, or one that a git URL names; warnings go to the person.
pub(super) fn render(directory: &str, options: &BuildOptions) -> Result<Rendered, Failure> {
    let is_there = Path::new(directory).exists();
    let remote = RemoteDirectory::parse(directory).filter(|_| !is_there);
    let (tree, path) = match &remote {
        None => disk::open(Path::new(directory))?,
        Some(_) => disk::open(Path::new("."))?,
    };
    let Some(remote) = &remote else {
        return render_tree(directory, tree, &path, options);
    };
    let built = with_remotes(async |remotes| remotes.build_remote(tree, remote, options).await)?;
    checked(directory, built)
}

/// Builds a directory of a tree that was opened already.
pub(super) fn render_tree(
    name: &str,
    tree: FileTree,
    path: &RepoPath,
    options: &BuildOptions,
) -> Result<Rendered, Failure> {
    let built = match kustomize::build_or_need(&tree, path, options) {
        Ok(Outcome::Done(rendered)) => Ok(rendered),
        // Without anything remote, no runtime is started.
        Ok(Outcome::Needs(_)) => {
            with_remotes(async |remotes| remotes.build(tree, path, options).await)?
        }
        Err(errors) => Err(errors),
    };
    checked(name, built)
}

/// The result of a build. Its warnings go to standard error.
fn checked(name: &str, built: Result<Rendered, BuildErrors>) -> Result<Rendered, Failure> {
    let rendered = built.map_err(|errors| Failure::build(name, &errors))?;
    for warning in &rendered.warnings {
        output::note(&format!("warning: {warning}"));
    }
    Ok(rendered)
}

/// Runs something that may fetch. Mirrors are kept in the user's cache folder.
fn with_remotes<T>(run: impl AsyncFnOnce(&Remotes) -> T) -> Result<T, Failure> {
    crate::git::initialize();
    let mirrors = Mirrors::new(cache_directory(), MAX_FETCH_BYTES);
    let remotes = Remotes::of_a_person(Arc::new(mirrors));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    Ok(runtime.block_on(run(&remotes)))
}

/// The most that one fetch may bring.
const MAX_FETCH_BYTES: usize = 1 << 30;

/// Where mirrors of remote bases are kept between two runs.
fn cache_directory() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .unwrap_or_else(std::env::temp_dir)
        .join("overlayd")
        .join("remotes")
}
