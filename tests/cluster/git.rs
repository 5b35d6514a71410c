//! What of a repository is in service.

use serde_json::{Value, json};

use testbed::{Proxy, SshServer};

use crate::bed::{Case, condition, config_map};

impl Case {
    /// The repository `app` with more in its spec.
    fn repository_with(&self, more: Value) {
        let url = self.bed.git.url(&self.namespace);
        let mut spec = json!({"url": url, "interval": "1s", "ref": {"branch": "main"}});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.apply("gitrepositories", "app", spec);
    }
}

#[test]
fn what_is_ignored_is_not_there() {
    let case = Case::new("git-ignore");
    let (a, b) = (config_map("a", "v"), config_map("b", "v"));
    case.push(
        &[
            ("app/a.yaml", &a),
            ("app/values.yaml", "replicas: 1\n"),
            ("app/.github/ci.yaml", "on: push\n"),
        ],
        "a folder with files that are no objects",
    );
    case.repository_with(json!({"ignore": "values.yaml\n"}));
    case.unit("app", "app", json!({"targetNamespace": "git-ignore"}));
    // Who gives a pattern of his own has no defaults any more.
    case.ready(
        "kustomizations",
        "app",
        "False",
        "app/.github/ci.yaml: it is no Kubernetes object",
    );
    case.repository_with(json!({"ignore": "values.yaml\n.github/\n"}));
    case.map_is("a", "key", "v");
    let source = case.get("gitrepositories", "app").unwrap();
    assert_eq!(
        source["status"]["observedIgnore"],
        "values.yaml\n.github/\n"
    );
    // A file of the repository says so too, and what it leaves out goes.
    case.push(&[("app/b.yaml", &b)], "b");
    case.map_is("b", "key", "v");
    case.push(&[("app/.sourceignore", "b.yaml\n")], "not b");
    case.wait_gone("configmaps", "b");
    case.map_is("a", "key", "v");
}

#[test]
fn only_some_directories_of_a_repository() {
    let case = Case::new("git-sparse");
    let file = "namespace: git-sparse\nresources: [a.yaml]\n";
    case.push(
        &[
            ("app/kustomization.yaml", file),
            ("app/a.yaml", &config_map("a", "v")),
            ("other/b.yaml", "b"),
        ],
        "two",
    );
    case.repository_with(json!({"sparseCheckout": ["./other"]}));
    case.unit("app", "app", json!({}));
    case.ready(
        "kustomizations",
        "app",
        "False",
        "kustomization path not found: `app` is not in the source",
    );
    case.repository_with(json!({"sparseCheckout": ["other", "nowhere"]}));
    let reason = case.ready(
        "gitrepositories",
        "app",
        "False",
        "`spec.sparseCheckout` names `nowhere`",
    );
    assert_eq!(reason, "GitOperationFailed");
    case.repository_with(json!({"sparseCheckout": ["./app"]}));
    case.map_is("a", "key", "v");
}

#[test]
fn a_repository_includes_another() {
    let case = Case::new("git-include");
    let file = "namespace: git-include\nresources: [../libs/base]\n";
    case.push(
        &[("app/kustomization.yaml", file)],
        "with a base of another repository",
    );
    case.repository_with(json!({"include": [{"repository": {"name": "base"}, "fromPath": "maps", "toPath": "libs/base"}]}));
    let reason = case.ready(
        "gitrepositories",
        "app",
        "False",
        "GitRepository `git-include/base`, which is included, does not exist",
    );
    assert_eq!(reason, "NotFound");
    let source = case.get("gitrepositories", "app").unwrap();
    assert_eq!(condition(&source, "IncludeUnavailable")["status"], "True");
    case.unit("app", "app", json!({}));
    let base = case.bed.git.create("git-include-base").unwrap();
    let push = |value: &str| {
        base.write("maps/kustomization.yaml", "resources: [a.yaml]\n")
            .unwrap();
        base.write("maps/a.yaml", &config_map("a", value)).unwrap();
        base.push(value, "main").unwrap();
    };
    push("one");
    let url = case.bed.git.url("git-include-base");
    case.apply(
        "gitrepositories",
        "base",
        json!({"url": url, "interval": "1s", "ref": {"branch": "main"}}),
    );
    case.map_is("a", "key", "one");
    let source = case.get("gitrepositories", "app").unwrap();
    assert_eq!(
        source["status"]["includedArtifacts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // Its own revision does not move, and yet the change comes through at once.
    push("two");
    case.map_is("a", "key", "two");
}

#[test]
fn over_ssh_with_a_key_from_a_server_that_is_known() {
    if !SshServer::can_start().unwrap() {
        testbed::say(
            "skipped: git over ssh is tested with OpenSSH's server from Debian's packages, and there is no `apt-get` here",
        );
        return;
    }
    let case = Case::new("git-ssh");
    let server = SshServer::start(&case.bed.git).unwrap();
    let push = |value: &str| {
        case.push(
            &[
                (
                    "app/kustomization.yaml",
                    "namespace: git-ssh\nresources: [a.yaml]\n",
                ),
                ("app/a.yaml", &config_map("a", value)),
            ],
            value,
        );
    };
    push("one");
    let url = server.url(&case.bed.git, "git-ssh");
    let secret = |identity: &str, known_hosts: &str, password: Option<&str>| {
        let mut data =
            json!({"identity": server.identity(identity).unwrap(), "known_hosts": known_hosts});
        if let Some(password) = password {
            data["password"] = json!(password);
        }
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": data});
        let path = case.path("secrets", "key");
        let _ = case.bed.cluster.delete(&path);
        case.wait_gone("secrets", "key");
        case.bed.cluster.apply(&path, &secret).unwrap();
        // Secrets of sources are read at the next run.
        case.repository_with(json!({"url": url, "secretRef": {"name": "key"}, "timeout": "10s"}));
        let now = format!("{identity} {known_hosts} {password:?}");
        case.patch(
            "gitrepositories",
            "app",
            json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": now}}}),
        );
    };
    let refused = |reason: &str, message: &str| {
        assert_eq!(
            case.ready("gitrepositories", "app", "False", message),
            reason
        );
    };
    case.repository_with(json!({"url": url}));
    refused(
        "AuthenticationFailed",
        "ssh needs a Secret with `identity` and `known_hosts`",
    );
    secret(
        "user",
        "[127.0.0.1]:1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
        None,
    );
    refused(
        "GitOperationFailed",
        "no host key of this server is in `known_hosts`",
    );
    let known = server.known_hosts();
    let host = known.split_whitespace().next().unwrap();
    secret(
        "user",
        &format!(
            "{host} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
        ),
        None,
    );
    refused("GitOperationFailed", "is not in `known_hosts`");
    secret("other", &known, None);
    refused(
        "GitOperationFailed",
        "the server does not take this key for user `git`",
    );
    secret("secret", &known, None);
    refused(
        "GitOperationFailed",
        "is encrypted; put its passphrase into `password`",
    );
    secret("secret", &known, Some("a passphrase"));
    case.unit("app", "app", json!({}));
    case.map_is("a", "key", "one");
    secret("user", &known, None);
    push("two");
    case.map_is("a", "key", "two");
    // One that is not there says what the server says.
    case.repository_with(
        json!({"url": url.replace("git-ssh.git", "nobody.git"), "secretRef": {"name": "key"}}),
    );
    refused(
        "GitOperationFailed",
        "does not appear to be a git repository",
    );
    assert!(
        server.log().contains("Accepted publickey for git"),
        "{}",
        server.log()
    );
    assert!(!case.bed.daemon.log().contains("PRIVATE KEY"));
}

#[test]
fn by_way_of_a_proxy() {
    let case = Case::new("git-proxy");
    let proxy = Proxy::start("robot", "canary-proxy-71").unwrap();
    case.push(
        &[
            (
                "app/kustomization.yaml",
                "namespace: git-proxy\nresources: [a.yaml]\n",
            ),
            ("app/a.yaml", &config_map("a", "v")),
        ],
        "a",
    );
    let secret = |password: &str| {
        let data = json!({"address": proxy.url(), "username": "robot", "password": password});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "proxy"}, "stringData": data});
        case.bed
            .cluster
            .apply(&case.path("secrets", "proxy"), &secret)
            .unwrap();
    };
    secret("wrong");
    case.repository_with(json!({"proxySecretRef": {"name": "proxy"}}));
    let reason = case.ready("gitrepositories", "app", "False", "by way of the proxy: ");
    assert_eq!(
        (reason.as_str(), proxy.connections()),
        ("GitOperationFailed", 0)
    );
    secret("canary-proxy-71");
    case.unit("app", "app", json!({}));
    case.map_is("a", "key", "v");
    assert!(proxy.connections() > 0);
    case.repository_with(json!({"proxySecretRef": {"name": "nowhere"}}));
    case.ready(
        "gitrepositories",
        "app",
        "False",
        "of `spec.proxySecretRef` does not exist",
    );
    assert!(!case.bed.daemon.log().contains("canary-proxy-71"));
}

#[test]
fn a_bearer_token_a_full_ref_name_and_the_timeout() {
    let server = testbed::GitServer::start(&testbed::GitServerOptions {
        authorization: Some("Bearer canary-bearer-77".to_owned()),
        ..testbed::GitServerOptions::default()
    })
    .unwrap();
    let case = Case::new("git-bearer");
    let work = server.create("git-bearer").unwrap();
    work.write("a.yaml", &config_map("a", "main")).unwrap();
    work.push("main", "main").unwrap();
    work.write("a.yaml", &config_map("a", "pull")).unwrap();
    work.push("a pull request", "topic").unwrap();
    let commit = work.git(&["rev-parse", "HEAD"]).unwrap();
    let pull = "refs/pull/1/head";
    work.git(&["push", "--quiet", "origin", &format!("HEAD:{pull}")])
        .unwrap();
    let token = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"},
        "stringData": {"bearerToken": "canary-bearer-77"},
    });
    let path = case.path("secrets", "token");
    case.bed.cluster.apply(&path, &token).unwrap();
    let apply = |name: &str, reference: serde_json::Value| {
        let spec = json!({
            "url": server.url("git-bearer"), "interval": "1s", "ref": reference,
            "secretRef": {"name": "token"},
        });
        case.apply("gitrepositories", name, spec);
    };
    apply("named", json!({"name": pull}));
    let revision = format!("{pull}@sha1:{commit}");
    case.ready("gitrepositories", "named", "True", &revision);
    // Beside a commit the name is shown, and the branch tells where the commit is.
    apply(
        "pinned",
        json!({"commit": commit, "name": pull, "branch": "topic"}),
    );
    case.ready("gitrepositories", "pinned", "True", &revision);
    assert!(!case.bed.daemon.log().contains("canary-bearer-77"));

    // A server that takes the connection and never answers; the default timeout is longer than this test waits.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/r.git", silent.local_addr().unwrap());
    let spec = json!({"url": url, "interval": "1s", "timeout": "1s"});
    case.apply("gitrepositories", "silent", spec);
    let reason = case.ready("gitrepositories", "silent", "False", "");
    assert_eq!(reason, "GitOperationFailed");
}
