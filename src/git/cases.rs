//! The cases of fetches, each against git's own server.

use std::sync::Arc;
use std::time::Duration;

use testbed::{GitServer, GitServerOptions, WorkTree};

use crate::git::mirror::{Fetched, Mirrors};
use overlayd_core::git::credentials::{Authorization, Credentials};
use overlayd_core::git::source::{GitSource, RefTarget};

/// A server, a repository `app` in it, and mirrors of our own.
struct Desk {
    git: GitServer,
    work: WorkTree,
    mirrors: Arc<Mirrors>,
    directory: tempfile::TempDir,
}

impl Desk {
    fn new(options: &GitServerOptions) -> Self {
        crate::git::initialize();
        let git = GitServer::start(options).unwrap();
        let work = git.create("app").unwrap();
        work.write("a.yaml", "a: 1\n").unwrap();
        work.push("a", "main").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mirrors = Arc::new(Mirrors::new(directory.path().to_path_buf(), 1 << 30));
        Self {
            git,
            work,
            mirrors,
            directory,
        }
    }

    /// The address of the server with a path, such as `/app`.
    fn address(&self, path: &str) -> String {
        let of_app = self.git.url("app");
        format!("{}{path}", of_app.strip_suffix("/app.git").unwrap())
    }

    /// Fetches, and gives the commit or the text of the error.
    fn fetch(&self, source: GitSource) -> Result<Fetched, String> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let fetched = runtime.block_on(self.mirrors.clone().fetch(source));
        fetched.map_err(|error| error.to_string())
    }

    fn head(&self) -> String {
        self.work.git(&["rev-parse", "HEAD"]).unwrap()
    }
}

/// The branch `main` at an address, without credentials.
fn source(url: &str) -> GitSource {
    GitSource {
        url: url.to_owned(),
        target: RefTarget::Branch("main".to_owned()),
        credentials: Credentials::default(),
        timeout: Duration::from_secs(30),
        submodules: false,
    }
}

fn with_password(url: &str) -> GitSource {
    let mut source = source(url);
    source.credentials.authorization = Authorization::Basic {
        username: "user".to_owned(),
        password: b"password".to_vec().into(),
    };
    source
}

fn commit(fetched: Result<Fetched, String>) -> String {
    fetched.map_or_else(|error| error, |fetched| fetched.revision.commit)
}

#[test]
fn an_address_without_git_at_its_end_is_fetched_where_the_server_redirects_to() {
    let options = GitServerOptions::default().basic("user", "password");
    let desk = Desk::new(&options);
    desk.git.redirect("/app", &desk.address("/app.git"));
    let fetched = desk.fetch(with_password(&desk.address("/app")));
    assert_eq!(commit(fetched), desk.head());
    // Another commit is found the same way.
    desk.work.push("b", "main").unwrap();
    let fetched = desk.fetch(with_password(&desk.address("/app")));
    assert_eq!(commit(fetched), desk.head());
}

#[test]
fn credentials_follow_no_redirect_to_another_port() {
    let desk = Desk::new(&GitServerOptions::default());
    let front = GitServer::start(&GitServerOptions::default()).unwrap();
    let old = front.url("old");
    front.redirect("/old.git", &desk.git.url("app"));
    assert_eq!(commit(desk.fetch(with_password(&old))), desk.head());
    assert!(front.requests_with_credentials() > 0);
    assert_eq!(desk.git.requests_with_credentials(), 0);
    // A server that wants credentials there is told of by its host.
    let closed = Desk::new(&GitServerOptions::default().basic("user", "password"));
    front.redirect("/old.git", &closed.git.url("app"));
    let error = commit(closed.fetch(with_password(&old)));
    assert!(error.contains("redirects to `127.0.0.1`"), "{error}");
    assert!(error.contains("put the new address there"), "{error}");
}

#[test]
fn a_redirect_from_http_to_https_is_followed_and_back_is_not() {
    let options = GitServerOptions {
        tls: true,
        ..GitServerOptions::default()
    };
    let desk = Desk::new(&options);
    let front = GitServer::start(&GitServerOptions::default()).unwrap();
    front.redirect("/app.git", &desk.git.url("app"));
    let authority = desk.git.authority().unwrap().as_bytes().to_vec();
    let mut plain = source(&front.url("app"));
    plain.credentials.ca = Some(authority.clone());
    assert_eq!(commit(desk.fetch(plain)), desk.head());
    desk.git.redirect("/down.git", &front.url("down"));
    let mut encrypted = source(&desk.git.url("down"));
    encrypted.credentials.ca = Some(authority);
    let error = commit(desk.fetch(encrypted));
    assert!(error.contains("from https to http"), "{error}");
}

#[test]
fn a_redirect_to_a_page_or_in_a_circle_is_told() {
    let desk = Desk::new(&GitServerOptions::default());
    desk.git.redirect("/app.git/info", "/login?from=");
    let error = commit(desk.fetch(source(&desk.git.url("app"))));
    assert!(error.contains("/login"), "{error}");
    desk.git.redirect("/round.git", "/round.git");
    let error = commit(desk.fetch(source(&desk.git.url("round"))));
    assert!(error.contains("redirects more than 10 times"), "{error}");
}

#[test]
fn a_tag_of_a_blob_says_so() {
    let desk = Desk::new(&GitServerOptions::default());
    desk.work.git(&["tag", "a-blob", "HEAD:a.yaml"]).unwrap();
    let annotated = ["tag", "-a", "-m", "m", "a-tree", "HEAD^{tree}"];
    desk.work.git(&annotated).unwrap();
    desk.work
        .git(&["push", "--quiet", "--tags", "origin"])
        .unwrap();
    for (tag, kind) in [("a-blob", "blob"), ("a-tree", "tree")] {
        let mut tagged = source(&desk.git.url("app"));
        tagged.target = RefTarget::Tag(tag.to_owned());
        let error = commit(desk.fetch(tagged));
        let expected = format!(
            "`refs/tags/{tag}` of `{}` points to a {kind}",
            desk.git.url("app")
        );
        assert!(error.starts_with(&expected), "{error}");
    }
    let left = std::fs::read_dir(desk.directory.path()).unwrap().count();
    assert_eq!(left, 1, "the mirror is not cloned again for that");
}
