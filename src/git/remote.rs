//! Fetches the remote resources of a build: git repositories into mirrors, and files over HTTP.

use std::sync::Arc;

use futures::future::join_all;
use kustomize::{
    BuildErrors, BuildOptions, FileTree, Outcome, Problem, Provided, Remote, RemoteDirectory,
    Rendered, RepoPath,
};
use tokio::runtime::Handle;

use crate::git::mirrors::Mirrors;
use crate::git::{snapshot, submodules, transport};
use overlayd_core::git::reach::Reach;
use overlayd_core::git::source::{GitSource, LocalRepositories};

/// The most rounds of a build, each of which may find that a base needs another one.
const MAX_ROUNDS: usize = 16;
/// The most remote resources of one build.
const MAX_REMOTES: usize = 100;

/// Builds trees that may name remote resources.
#[derive(Debug, Clone)]
pub(crate) struct Remotes {
    mirrors: Arc<Mirrors>,
    local: LocalRepositories,
    reach: Reach,
}

impl Remotes {
    /// For the commands of a person, who chooses what is built: everything may be reached.
    pub(crate) fn of_a_person(mirrors: Arc<Mirrors>) -> Self {
        Self {
            mirrors,
            local: LocalRepositories::Allowed,
            reach: Reach::Anywhere,
        }
    }

    /// For the daemon, whose tenants choose what is built. The hosts are those that remote bases may come from; all if
    /// there are none.
    pub(crate) fn of_tenants(mirrors: Arc<Mirrors>, hosts: &[String]) -> Self {
        Self {
            mirrors,
            local: LocalRepositories::Refused,
            reach: Reach::remote_base(hosts),
        }
    }

    /// Builds, fetches the remote resources that are missing, and builds again, until none is missing.
    ///
    /// # Errors
    /// The build fails. A remote resource that cannot be fetched is an error at the place that names it.
    pub(crate) async fn build(
        &self,
        mut tree: FileTree,
        directory: &RepoPath,
        options: &BuildOptions,
    ) -> Result<Rendered, BuildErrors> {
        let mut fetched = 0;
        for _ in 0..MAX_ROUNDS {
            let needs = match kustomize::build_or_need(&tree, directory, options)? {
                Outcome::Done(rendered) => return Ok(rendered),
                Outcome::Needs(needs) => needs,
            };
            fetched += needs.len();
            if fetched > MAX_REMOTES {
                let message = format!("the build needs more than {MAX_REMOTES} remote resources");
                return Err(Problem::Limit(message).into());
            }
            let outcomes = join_all(needs.iter().map(|remote| self.fetch(remote))).await;
            for (remote, outcome) in needs.into_iter().zip(outcomes) {
                tree.provide(remote, outcome);
            }
        }
        let message = format!("remote bases name each other more than {MAX_ROUNDS} times");
        Err(Problem::Limit(message).into())
    }

    /// Builds a directory of a remote repository, as if a kustomization named it.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub(crate) async fn build_remote(
        &self,
        mut tree: FileTree,
        root: &RemoteDirectory,
        options: &BuildOptions,
    ) -> Result<Rendered, BuildErrors> {
        let remote = Remote::Repository(root.repository.clone());
        let outcome = self.fetch(&remote).await;
        tree.provide(remote, outcome);
        let directory = tree.remote_directory(root)?;
        self.build(tree, &directory, options).await
    }

    /// Fetches one remote.
    ///
    /// # Errors
    /// The resource cannot be fetched.
    pub(crate) async fn fetch(&self, remote: &Remote) -> Result<Provided, String> {
        match remote {
            Remote::File(url) => {
                let (url, reach, runtime) = (url.clone(), self.reach.clone(), Handle::current());
                let get = move || transport::get_file(&url, &reach, runtime);
                let task = tokio::task::spawn_blocking(get);
                let bytes = task.await.unwrap_or_else(|error| Err(error.to_string()))?;
                Ok(Provided::Bytes(bytes))
            }
            Remote::Repository(repository) => {
                let source = GitSource::remote(repository, self.local);
                let mut source = source.map_err(|error| error.to_string())?;
                source.reach = self.reach.clone();
                let fetched = submodules::fetch(&self.mirrors, source).await;
                let fetched = fetched.map_err(|error| error.to_string())?;
                let files =
                    snapshot::files(&fetched).map_err(|error| error.message().to_owned())?;
                Ok(Provided::Files(files))
            }
        }
    }
}
