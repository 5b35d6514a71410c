//! The cases of fetches, each against git's own server.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use git2::{Oid, Repository};
use kustomize::RepoPath;
use testbed::{GitServer, GitServerOptions, WorkTree};

use crate::git::fetched::Fetched;
use crate::git::mirrors::Mirrors;
use crate::git::snapshot;
use overlayd_core::git::credentials::{Authorization, Credentials};
use overlayd_core::git::reach::Reach;
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
        disk_allowance: None,
        reach: Reach::Anywhere,
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

fn commit_of(fetched: Result<Fetched, String>) -> String {
    fetched.map_or_else(|error| error, |fetched| fetched.revision.commit)
}

#[test]
fn an_address_without_git_at_its_end_is_fetched_where_the_server_redirects_to() {
    let options = GitServerOptions::default().basic("user", "password");
    let desk = Desk::new(&options);
    desk.git.redirect("/app", &desk.address("/app.git"));
    let fetched = desk.fetch(with_password(&desk.address("/app")));
    assert_eq!(commit_of(fetched), desk.head());
    // Another commit is found the same way.
    desk.work.push("b", "main").unwrap();
    let fetched = desk.fetch(with_password(&desk.address("/app")));
    assert_eq!(commit_of(fetched), desk.head());
}

#[test]
fn credentials_follow_no_redirect_to_another_port() {
    let desk = Desk::new(&GitServerOptions::default());
    let front = GitServer::start(&GitServerOptions::default()).unwrap();
    let old = front.url("old");
    front.redirect("/old.git", &desk.git.url("app"));
    assert_eq!(commit_of(desk.fetch(with_password(&old))), desk.head());
    assert!(front.requests_with_credentials() > 0);
    assert_eq!(desk.git.requests_with_credentials(), 0);
    // A server that wants credentials there is told of by its host.
    let closed = Desk::new(&GitServerOptions::default().basic("user", "password"));
    front.redirect("/old.git", &closed.git.url("app"));
    let error = commit_of(closed.fetch(with_password(&old)));
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
    assert_eq!(commit_of(desk.fetch(plain)), desk.head());
    desk.git.redirect("/down.git", &front.url("down"));
    let mut encrypted = source(&desk.git.url("down"));
    encrypted.credentials.ca = Some(authority);
    let error = commit_of(desk.fetch(encrypted));
    assert!(error.contains("from https to http"), "{error}");
}

#[test]
fn a_redirect_to_a_page_or_in_a_circle_is_told() {
    let desk = Desk::new(&GitServerOptions::default());
    desk.git.redirect("/app.git/info", "/login?from=");
    let error = commit_of(desk.fetch(source(&desk.git.url("app"))));
    assert!(error.contains("/login"), "{error}");
    desk.git.redirect("/round.git", "/round.git");
    let error = commit_of(desk.fetch(source(&desk.git.url("round"))));
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
        let error = commit_of(desk.fetch(tagged));
        let expected = format!(
            "`refs/tags/{tag}` of `{}` points to a {kind}",
            desk.git.url("app")
        );
        assert!(error.starts_with(&expected), "{error}");
    }
    let left = std::fs::read_dir(desk.directory.path()).unwrap().count();
    assert_eq!(left, 1, "the mirror is not cloned again for that");
}

/// The text of `a.yaml` in a fetched commit, or the error.
fn text_of(fetched: &Fetched) -> String {
    let tree = snapshot::open(fetched).map_err(|error| error.message().to_owned());
    let path = RepoPath::root().join("a.yaml").unwrap();
    let text = tree.and_then(|tree| tree.read(&path).map_err(|problem| problem.to_string()));
    text.map_or_else(
        |error| error,
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

impl Desk {
    /// The same folder, as another process begins with it.
    fn restarted(self) -> Self {
        let mirrors = Mirrors::new(self.directory.path().to_path_buf(), 1 << 30);
        Self {
            mirrors: Arc::new(mirrors),
            ..self
        }
    }

    fn source(&self) -> GitSource {
        source(&self.git.url("app"))
    }
}

/// Does something with every pack of a mirror.
fn each_pack(fetched: &Fetched, change: impl Fn(&Path)) {
    let packs = std::fs::read_dir(fetched.mirror.join("objects/pack")).unwrap();
    let mut count = 0;
    for pack in packs.map(|entry| entry.unwrap().path()) {
        if pack
            .extension()
            .is_some_and(|extension| extension == "pack")
        {
            // git makes its packs read-only.
            std::fs::set_permissions(&pack, Permissions::from_mode(0o644)).unwrap();
            change(&pack);
            count += 1;
        }
    }
    assert!(count > 0, "the mirror has a pack");
}

#[test]
fn a_mirror_whose_objects_are_deleted_or_cut_is_cloned_again() {
    let cut = |pack: &Path| {
        let file = File::options().write(true).open(pack).unwrap();
        file.set_len(40).unwrap();
    };
    let delete = |pack: &Path| std::fs::remove_file(pack).unwrap();
    for damage in [&cut as &dyn Fn(&Path), &delete] {
        let desk = Desk::new(&GitServerOptions::default());
        let fetched = desk.fetch(desk.source()).unwrap();
        assert_eq!(text_of(&fetched), "a: 1\n");
        each_pack(&fetched, damage);
        // A read finds it, and the next fetch of the same commit clones the mirror again.
        assert_ne!(text_of(&fetched), "a: 1\n");
        assert!(fetched.is_damaged());
        let again = desk.fetch(desk.source()).unwrap();
        assert_eq!(text_of(&again), "a: 1\n");
        assert!(!again.is_damaged());
        assert_ne!(again.life.number(), fetched.life.number());
    }
}

#[test]
fn a_commit_without_its_tree_does_not_count_as_fetched() {
    let desk = Desk::new(&GitServerOptions::default());
    let fetched = desk.fetch(desk.source()).unwrap();
    // As a hostile server, or a crash in the middle of a write, leaves it.
    let repository = Repository::open_bare(&fetched.mirror).unwrap();
    let id = Oid::from_str(&fetched.revision.commit).unwrap();
    let objects = repository.odb().unwrap();
    let commit = objects.read(id).unwrap();
    let (kind, data) = (commit.kind(), commit.data().to_vec());
    each_pack(&fetched, |pack| {
        std::fs::remove_file(pack).unwrap();
        std::fs::remove_file(pack.with_extension("idx")).unwrap();
    });
    let bare = Repository::open_bare(&fetched.mirror).unwrap();
    assert_eq!(bare.odb().unwrap().write(kind, &data).unwrap(), id);
    assert!(bare.find_commit(id).is_ok());
    let desk = desk.restarted();
    let again = desk.fetch(desk.source()).unwrap();
    assert_eq!(text_of(&again), "a: 1\n");
    let mut pinned = desk.source();
    pinned.target = RefTarget::Commit {
        id: id.to_string(),
        branch: None,
        name: None,
    };
    assert_eq!(commit_of(desk.fetch(pinned)), id.to_string());
}

#[test]
fn mirrors_of_sources_that_are_gone_are_removed() {
    let desk = Desk::new(&GitServerOptions::default());
    let fetched = desk.fetch(desk.source()).unwrap();
    let desk = desk.restarted();
    let (now, day) = (Instant::now(), Duration::from_secs(24 * 3600));
    let in_service = BTreeSet::from([fetched.mirror.clone()]);
    assert_eq!(desk.mirrors.collect(&in_service, now + day), 0);
    assert_eq!(desk.mirrors.collect(&BTreeSet::new(), now), 0, "too early");
    assert!(fetched.mirror.exists());
    assert_eq!(desk.mirrors.collect(&BTreeSet::new(), now + day), 1);
    let left = std::fs::read_dir(desk.directory.path()).unwrap().count();
    assert_eq!((left, desk.mirrors.len()), (0, 0));
    assert_eq!(commit_of(desk.fetch(desk.source())), desk.head());
}

#[test]
fn a_fetch_takes_no_more_disk_than_it_may() {
    let desk = Desk::new(&GitServerOptions::default());
    // Bytes that cannot be packed into less.
    let mut noise = vec![0; 3 << 20];
    aws_lc_rs::rand::fill(&mut noise).unwrap();
    std::fs::write(desk.work.path().join("noise"), &noise).unwrap();
    desk.work.push("noise", "main").unwrap();
    let with = |allowance: u64| GitSource {
        disk_allowance: Some(allowance),
        ..desk.source()
    };
    let error = commit_of(desk.fetch(with(1 << 20)));
    assert!(error.contains("more than the 1 MiB"), "{error}");
    assert!(error.contains("--namespace-disk-quota-mib"), "{error}");
    assert_eq!(commit_of(desk.fetch(with(8 << 20))), desk.head());
}

#[test]
fn a_fetch_waits_for_another_one_until_its_own_deadline() {
    let desk = Desk::new(&GitServerOptions::default());
    // A server that accepts and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/app.git", silent.local_addr().unwrap());
    let patient = GitSource {
        timeout: Duration::from_secs(600),
        ..source(&url)
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "a test: it waits for the task itself"
    )]
    let hanging = runtime.spawn(desk.mirrors.clone().fetch(patient));
    let accepted = silent.accept().unwrap();
    let hasty = GitSource {
        timeout: Duration::from_millis(50),
        ..source(&url)
    };
    let error = commit_of(desk.fetch(hasty));
    assert!(error.starts_with("another fetch of"), "{error}");
    assert!(!hanging.is_finished());
    drop(accepted);
    assert!(runtime.block_on(hanging).unwrap().is_err());
}

#[test]
fn a_remote_base_is_redirected_to_no_address_of_the_machine_and_to_no_other_host() {
    let desk = Desk::new(&GitServerOptions::default());
    let front = GitServer::start(&GitServerOptions::default()).unwrap();
    front.redirect("/app.git", &desk.git.url("app"));
    let reaching = |url: &str, hosts: &[&str]| {
        let hosts = hosts.iter().map(|host| (*host).to_owned());
        GitSource {
            reach: Reach::remote_base(&hosts.collect::<Vec<_>>()),
            ..source(url)
        }
    };
    // The address itself was allowed by the operator, and what it redirects to was not.
    let direct = desk.git.url("app");
    assert_eq!(commit_of(desk.fetch(reaching(&direct, &[]))), desk.head());
    let error = commit_of(desk.fetch(reaching(&front.url("app"), &[])));
    assert!(
        error.contains("is of this machine or of its link"),
        "{error}"
    );
    let error = commit_of(desk.fetch(reaching(&direct, &["github.com"])));
    assert!(error.contains("`127.0.0.1` is none of those"), "{error}");
    assert_eq!(
        commit_of(desk.fetch(reaching(&direct, &["127.0.0.1"]))),
        desk.head()
    );
    // A GitRepository names its server itself.
    assert_eq!(
        commit_of(desk.fetch(source(&front.url("app")))),
        desk.head()
    );
}
