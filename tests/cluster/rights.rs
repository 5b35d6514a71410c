//! The daemon with the rights of its own manifests, and no others. A daemon of an administrator would hide a missing rule.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use testbed::{Background, Cluster, WorkTree, wait_for};

use crate::bed::{Own, PATIENCE, condition, config_map};

const OUR_NAMESPACE: &str = "external-secrets";

/// A control plane on which an overlay of this repository is applied.
struct Installed {
    own: Own,
    /// Of the service account of the overlay.
    kubeconfig: PathBuf,
}

impl Installed {
    fn new(overlay: &str) -> Self {
        let own = Own::start();
        own.aws.put(
            "training/db-credentials",
            r#"{"username":"u","password":"p"}"#,
        );
        own.apply_overlay(overlay);
        let kubeconfig = own.kubeconfig_of(OUR_NAMESPACE, "overlayd");
        Self { own, kubeconfig }
    }

    /// A daemon with the flags of the Deployment and the variables of the ConfigMap.
    fn daemon(&self, flags: &[&str]) -> Background {
        let maps = format!("/api/v1/namespaces/{OUR_NAMESPACE}/configmaps");
        let maps = self.own.cluster.get(&maps).unwrap().unwrap();
        let of_daemon = maps["items"].as_array().unwrap().iter().find(|map| {
            map["metadata"]["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("overlayd-env-"))
        });
        let data = of_daemon.unwrap()["data"].as_object().unwrap().clone();
        let mut variables: Vec<_> = data
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        variables.push(("POD_NAMESPACE", OUR_NAMESPACE));
        let flags = [&["--enable-leader-election"], flags].concat();
        self.own.daemon_of(&self.kubeconfig, &flags, &variables).0
    }

    /// Waits for the Ready condition of an object.
    fn ready(&self, path: &str, status: &str, message: &str, daemon: &Background) {
        let result = wait_for(path, PATIENCE, || {
            let object = self.own.cluster.get(path)?.context("it does not exist")?;
            let ready = condition(&object, "Ready");
            let text = ready["message"].as_str().unwrap_or_default();
            ensure!(
                ready["status"] == status && text.contains(message),
                "{ready}"
            );
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.log_tail()));
    }

    /// A namespace with a repository, and with the account that overlayd acts as, which may edit it.
    fn tenant(&self, name: &str) -> Tenant<'_> {
        let core = format!("/api/v1/namespaces/{name}");
        let rules = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{name}");
        let object = |api: &str, kind: &str, name: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}});
        let rbac = "rbac.authorization.k8s.io/v1";
        let mut binding = object(rbac, "RoleBinding", "tenant");
        binding["roleRef"] =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"});
        binding["subjects"] =
            json!([{"kind": "ServiceAccount", "name": "overlayd-tenant", "namespace": name}]);
        for (path, object) in [
            (core.clone(), object("v1", "Namespace", name)),
            (
                format!("{core}/serviceaccounts/overlayd-tenant"),
                object("v1", "ServiceAccount", "overlayd-tenant"),
            ),
            (format!("{rules}/rolebindings/tenant"), binding),
        ] {
            self.own.cluster.apply(&path, &object).unwrap();
        }
        let work = self.own.git.create(name).unwrap();
        work.write("app/a.yaml", &config_map("a", "one")).unwrap();
        work.push("a", "main").unwrap();
        let tenant = Tenant {
            installed: self,
            name: name.to_owned(),
            work,
        };
        let url = self.own.git.url(name);
        let spec = json!({"url": url, "interval": "1s", "ref": {"branch": "main"}});
        tenant.apply("source.toolkit.fluxcd.io/v1", "GitRepository", "app", &spec);
        tenant
    }
}

/// A namespace of one team.
struct Tenant<'a> {
    installed: &'a Installed,
    name: String,
    work: WorkTree,
}

impl Tenant<'_> {
    fn path(&self, api: &str, kind: &str, name: &str) -> String {
        let plural = format!("{}s", kind.to_lowercase()).replace("ys", "ies");
        format!("/apis/{api}/namespaces/{}/{plural}/{name}", self.name)
    }

    fn apply(&self, api: &str, kind: &str, name: &str, spec: &Value) -> String {
        let path = self.path(api, kind, name);
        let object =
            json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec});
        self.installed.own.cluster.apply(&path, &object).unwrap();
        path
    }

    /// A Kustomization of `path` in the repository, with more in its spec; gives its path in the API.
    fn kustomization(&self, name: &str, path: &str, more: &Value) -> String {
        let source = json!({"kind": "GitRepository", "name": "app"});
        let mut spec = json!({"interval": "1s", "path": path, "prune": true, "sourceRef": source});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        self.apply(
            "kustomize.toolkit.fluxcd.io/v1",
            "Kustomization",
            name,
            &spec,
        )
    }
}

/// True if the user of a client may do it, as the API server says.
fn may(client: &Cluster, attributes: &Value) -> bool {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "metadata": {}, "spec": {"resourceAttributes": attributes},
    });
    let answer = client
        .create(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            &review,
        )
        .unwrap();
    answer["status"]["allowed"] == true
}

#[test]
fn the_rights_of_the_base_are_enough_for_its_work() {
    let installed = Installed::new("overlays/eks");
    let work = installed.own.git.create("team").unwrap();
    work.write("app/a.yaml", &config_map("a", "one")).unwrap();
    work.push("a", "main").unwrap();
    let url = installed.own.git.url("team");
    let daemon = installed.daemon(&["--repo", &url, "--path", "app"]);
    let ours = |api: &str, rest: &str| format!("/apis/{api}/namespaces/{OUR_NAMESPACE}/{rest}");
    let external_secret = ours("external-secrets.io/v1", "externalsecrets/db-creds");
    installed.ready(&external_secret, "True", "", &daemon);
    let unit = ours("kustomize.toolkit.fluxcd.io/v1", "kustomizations/overlayd");
    // The ConfigMap goes into a namespace that overlayd may apply to.
    let target = json!({"spec": {"targetNamespace": OUR_NAMESPACE}});
    wait_for("the Kustomization", PATIENCE, || {
        installed.own.cluster.patch(&unit, &target)
    })
    .unwrap();
    installed.ready(&unit, "True", "Applied revision", &daemon);
    // Drift is seen at once, so that the watch of the ConfigMap works, too.
    let map = format!("/api/v1/namespaces/{OUR_NAMESPACE}/configmaps/a");
    let edit = json!({"data": {"key": "by hand"}});
    installed.own.cluster.patch(&map, &edit).unwrap();
    wait_for("the correction", PATIENCE, || {
        let map = installed.own.cluster.get(&map)?.context("it is gone")?;
        ensure!(map["data"]["key"] == "one", "{}", map["data"]);
        Ok(())
    })
    .unwrap();
    let lease = ours("coordination.k8s.io/v1", "leases/overlayd-leader-election");
    assert!(installed.own.cluster.get(&lease).unwrap().is_some());
    let events = ours("events.k8s.io/v1", "events");
    let events = installed.own.cluster.get(&events).unwrap().unwrap();
    let of_daemon = |event: &Value| event["regarding"]["kind"] == "ExternalSecret";
    assert!(events["items"].as_array().unwrap().iter().any(of_daemon));
    let log = daemon.log();
    assert!(
        !log.contains("overlayd\\\" cannot "),
        "{}",
        daemon.log_tail()
    );
}

#[test]
fn the_rights_of_the_base_end_at_its_own_names() {
    let installed = Installed::new("overlays/eks");
    let client = Cluster::connect(&installed.kubeconfig).unwrap();
    let lease = |namespace: &str, name: &str| json!({"group": "coordination.k8s.io", "resource": "leases", "verb": "update", "namespace": namespace, "name": name});
    assert!(may(
        &client,
        &lease(OUR_NAMESPACE, "overlayd-leader-election")
    ));
    assert!(!may(&client, &lease(OUR_NAMESPACE, "another")));
    assert!(!may(
        &client,
        &lease("kube-system", "kube-controller-manager")
    ));
    let definition = |name: &str| json!({"group": "apiextensions.k8s.io", "resource": "customresourcedefinitions", "verb": "patch", "name": name});
    assert!(may(
        &client,
        &definition("externalsecrets.external-secrets.io")
    ));
    assert!(!may(&client, &definition("certificates.cert-manager.io")));
    let pods = json!({"resource": "pods", "verb": "create", "namespace": "default"});
    assert!(!may(&client, &pods));
    let account = |name: &str| json!({"resource": "serviceaccounts", "verb": "impersonate", "namespace": "default", "name": name});
    assert!(!may(&client, &account("overlayd-tenant")));
}

#[test]
fn a_team_with_edit_may_edit_its_external_secrets_and_nothing_cluster_wide() {
    let installed = Installed::new("overlays/lockdown");
    let team = installed.tenant("team");
    let kubeconfig = installed.own.kubeconfig_of(&team.name, "overlayd-tenant");
    let client = Cluster::connect(&kubeconfig).unwrap();
    let of = |group: &str, resource: &str, namespace: &str| json!({"group": group, "resource": resource, "verb": "create", "namespace": namespace});
    let eso = "external-secrets.io";
    // The controller that aggregates roles works a moment after the roles are there.
    wait_for("the aggregated role", PATIENCE, || {
        ensure!(may(&client, &of(eso, "externalsecrets", "team")));
        Ok(())
    })
    .unwrap();
    assert!(may(
        &client,
        &of("kustomize.toolkit.fluxcd.io", "kustomizations", "team")
    ));
    assert!(!may(&client, &of(eso, "externalsecrets", "other")));
    assert!(!may(&client, &of(eso, "clustersecretstores", "")));
    assert!(!may(
        &client,
        &of("generators.external-secrets.io", "clustergenerators", "")
    ));
}

#[test]
fn a_hostile_team_gets_nowhere_in_lockdown() {
    let installed = Installed::new("overlays/lockdown");
    let daemon = installed.daemon(&[]);
    let (hostile, neighbour) = (installed.tenant("red"), installed.tenant("blue"));
    let good = neighbour.kustomization("app", "app", &json!({"targetNamespace": "blue"}));
    installed.ready(&good, "True", "Applied revision", &daemon);

    let binding = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  name: mine\nroleRef:\n  \
        apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: cluster-admin\nsubjects:\n- kind: ServiceAccount\n  \
        name: overlayd-tenant\n  namespace: red\n";
    let remote = "resources: [https://git.example/platform.git//base]\n";
    let planted = config_map("planted", "one");
    hostile.work.write("planted/c.yaml", &planted).unwrap();
    hostile.work.write("admin/b.yaml", binding).unwrap();
    hostile
        .work
        .write("remote/kustomization.yaml", remote)
        .unwrap();
    hostile.work.push("attacks", "main").unwrap();
    let other_source =
        json!({"sourceRef": {"kind": "GitRepository", "name": "app", "namespace": "blue"}});
    for (name, path, more, message) in [
        // Objects of another namespace, and of the cluster.
        (
            "neighbour",
            "planted",
            json!({"targetNamespace": "blue"}),
            "is forbidden: User",
        ),
        ("cluster", "admin", json!({}), "is forbidden: User"),
        // Another account, also one of overlayd itself.
        (
            "account",
            "app",
            json!({"targetNamespace": "red", "serviceAccountName": "default"}),
            "impersonate",
        ),
        // The files of another namespace, and of anywhere.
        ("files", "app", other_source, "blue"),
        (
            "remote",
            "remote",
            json!({"targetNamespace": "red"}),
            "remote",
        ),
    ] {
        let unit = hostile.kustomization(name, path, &more);
        installed.ready(&unit, "False", message, &daemon);
    }
    // A store that would read as overlayd.
    let store = hostile.apply(
        "external-secrets.io/v1",
        "SecretStore",
        "mine",
        &json!({"provider": {"aws": {"service": "SecretsManager", "region": "eu-west-1"}}}),
    );
    installed.ready(&store, "False", "auth", &daemon);
    // The store of the cluster is not there.
    let spec = json!({
        "secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws-secrets-manager"},
        "data": [{"secretKey": "k", "remoteRef": {"key": "training/db-credentials"}}],
    });
    let stolen = hostile.apply("external-secrets.io/v1", "ExternalSecret", "stolen", &spec);
    installed.ready(&stolen, "False", "", &daemon);

    // The neighbour works as before.
    neighbour
        .work
        .write("app/a.yaml", &config_map("a", "two"))
        .unwrap();
    neighbour.work.push("b", "main").unwrap();
    wait_for("the neighbour's commit", PATIENCE, || {
        let map = installed
            .own
            .cluster
            .get("/api/v1/namespaces/blue/configmaps/a")?;
        ensure!(map.context("it is gone")?["data"]["key"] == "two");
        Ok(())
    })
    .unwrap();
}
