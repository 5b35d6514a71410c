//! ExternalSecrets from AWS to the Secret with moto, which judges what is asked of AWS. The other tests have our own
//! emulator, whose answers are held against moto's by the cases of the providers.

use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use base64::Engine as _;
use serde_json::{Value, json};
use testbed::{Background, Cluster, ControlPlane, Moto, PodIdentityAgent, free_port, wait_for};

use crate::bed::{PATIENCE, condition, daemon_arguments};

const KINDS: &str = "/apis/external-secrets.io/v1";

struct Judged {
    cluster: Cluster,
    moto: Moto,
    daemon: Background,
}

impl Judged {
    fn aws(&self, service: &str, action: &str, request: Value) {
        self.moto.call(service, action, &request).expect(action);
    }

    fn store(&self, name: &str, service: &str) {
        self.store_as(name, service, &json!({}));
    }

    /// A store with an identity of its own.
    fn store_as(&self, name: &str, service: &str, identity: &Value) {
        let mut aws = json!({"service": service, "region": "us-east-1"});
        for (key, value) in identity.as_object().into_iter().flatten() {
            aws[key] = value.clone();
        }
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": name},
            "spec": {"provider": {"aws": aws}},
        });
        let path = format!("{KINDS}/clustersecretstores/{name}");
        // Served a moment after the definition is.
        wait_for("the store's kind", PATIENCE, || {
            self.cluster.apply(&path, &object)
        })
        .unwrap();
    }

    /// An ExternalSecret that looks every second.
    fn external_secret(&self, name: &str, store: &str, spec: Value) {
        let mut all = json!({"refreshInterval": "1s", "secretStoreRef": {"kind": "ClusterSecretStore", "name": store}});
        for (key, value) in spec.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let object = json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": name}, "spec": all});
        let path = format!("{KINDS}/namespaces/default/externalsecrets/{name}");
        self.cluster.apply(&path, &object).unwrap();
    }

    /// Waits until the Secret holds exactly these keys and values.
    fn holds(&self, name: &str, expected: &[(&str, &str)]) {
        let encode = |value: &str| json!(base64::engine::general_purpose::STANDARD.encode(value));
        let pairs = expected
            .iter()
            .map(|(key, value)| ((*key).to_owned(), encode(value)));
        let expected = Value::Object(pairs.collect());
        let result = wait_for("the Secret", PATIENCE, || {
            let secret = self
                .cluster
                .get(&format!("/api/v1/namespaces/default/secrets/{name}"))?;
            let data = secret.unwrap_or_default()["data"].clone();
            ensure!(data == expected, "{name} holds {data}");
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error:#}\n{}", self.daemon.log_tail()));
    }
}

fn judged(directory: &std::path::Path, plane: &ControlPlane, agent: &PodIdentityAgent) -> Judged {
    let moto = Moto::start().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_overlayd"));
    let port = free_port().unwrap();
    daemon_arguments(
        &mut command,
        plane.kubeconfig(),
        port,
        &directory.join("data"),
    );
    agent.give_to(&mut command, &moto.url());
    let daemon = Background::start("overlayd", &mut command, &directory.join("moto.log")).unwrap();
    Judged {
        cluster: plane.cluster().unwrap(),
        moto,
        daemon,
    }
}

/// Identities that STS gives. In moto a session of a role is in the account of the role, and sees only what is there.
fn identities(on: &Judged) {
    let role = "arn:aws:iam::123456789012:role/reader";
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "reader", "annotations": {"eks.amazonaws.com/role-arn": role}},
    });
    let path = "/api/v1/namespaces/default/serviceaccounts/reader";
    on.cluster.apply(path, &account).unwrap();
    let jwt =
        json!({"auth": {"jwt": {"serviceAccountRef": {"name": "reader", "namespace": "default"}}}});
    on.store_as("jwt", "SecretsManager", &jwt);
    let chain = json!({
        "additionalRoles": ["arn:aws:iam::999999999999:role/hop"], "role": role, "externalID": "x",
        "sessionTags": [{"key": "team", "value": "web"}], "transitiveTagKeys": ["team"],
    });
    on.store_as("chain", "SecretsManager", &chain);
    let elsewhere = json!({"role": "arn:aws:iam::999999999999:role/reader"});
    on.store_as("elsewhere", "SecretsManager", &elsewhere);
    let data = json!({"data": [{"secretKey": "k", "remoteRef": {"key": "app/plain"}}]});
    for store in ["jwt", "chain", "elsewhere"] {
        on.external_secret(store, store, data.clone());
    }
    on.holds("jwt", &[("k", "one")]);
    on.holds("chain", &[("k", "one")]);
    wait_for("the other account to have no such secret", PATIENCE, || {
        let path = format!("{KINDS}/namespaces/default/externalsecrets/elsewhere");
        let ready = condition(&on.cluster.get(&path)?.unwrap_or_default(), "Ready");
        let message = ready["message"].as_str().unwrap_or_default();
        ensure!(message.contains("`app/plain` does not exist"), "{ready}");
        Ok(())
    })
    .unwrap();
}

/// What is asked for, in every way.
fn declare(on: &Judged) {
    let of = |key: &str, more: Value| {
        let mut reference = json!({"key": key});
        for (name, value) in more.as_object().into_iter().flatten() {
            reference[name] = value.clone();
        }
        json!({"secretKey": "k", "remoteRef": reference})
    };
    on.external_secret(
        "property",
        "aws",
        json!({"data": [of("app/db", json!({"property": "nested.a.1.b"}))]}),
    );
    on.external_secret(
        "tag",
        "aws",
        json!({"data": [of("app/db", json!({"property": "team", "metadataPolicy": "Fetch"}))]}),
    );
    on.external_secret(
        "extract",
        "aws",
        json!({"dataFrom": [{
            "extract": {"key": "app/db"},
            "rewrite": [{"regexp": {"source": "^(user|pass)$", "target": "db_$1"}}],
        }]}),
    );
    on.external_secret(
        "name",
        "aws",
        json!({"dataFrom": [{"find": {"name": {"regexp": "^app/p"}}}]}),
    );
    on.external_secret(
        "tags",
        "aws",
        json!({"dataFrom": [{"find": {"tags": {"team": "web"}, "path": "oth"}}]}),
    );
    let template = json!({"data": {"url": "{{ .k | upper }}"}});
    on.external_secret(
        "template",
        "aws",
        json!({"target": {"template": template}, "data": [of("app/plain", json!({}))]}),
    );
    let previous = json!({"version": "AWSPREVIOUS"});
    on.external_secret(
        "previous",
        "aws",
        json!({"data": [of("app/plain", previous)]}),
    );
    on.external_secret(
        "parameter",
        "ssm",
        json!({"data": [of("/app/level", json!({}))]}),
    );
    let deleted = json!({"target": {"deletionPolicy": "Delete"}, "data": [of("other", json!({}))]});
    on.external_secret("deleted", "aws", deleted);
    on.external_secret("kept", "aws", json!({"data": [of("other", json!({}))]}));
}

#[test]
fn secrets_and_parameters_come_from_aws() {
    let plane = ControlPlane::start().unwrap();
    let agent = PodIdentityAgent::start(Duration::from_secs(900)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let on = judged(directory.path(), &plane, &agent);
    let database = r#"{"user": "u", "pass": "p", "nested": {"a": [1, {"b": "deep"}]}}"#;
    let tags = json!([{"Key": "team", "Value": "web"}]);
    let create = |name: &str, text: &str| {
        let request = json!({"Name": name, "SecretString": text, "Tags": tags});
        on.aws("secretsmanager", "CreateSecret", request);
    };
    create("app/db", database);
    create("app/plain", "one");
    create("other", "two");
    let parameter = json!({"Name": "/app/level", "Value": "info", "Type": "SecureString"});
    on.aws("ssm", "PutParameter", parameter);
    on.store("aws", "SecretsManager");
    on.store("ssm", "ParameterStore");

    declare(&on);
    identities(&on);
    on.holds("property", &[("k", "deep")]);
    on.holds("tag", &[("k", "web")]);
    let nested = r#"{"a": [1, {"b": "deep"}]}"#;
    on.holds(
        "extract",
        &[("db_user", "u"), ("db_pass", "p"), ("nested", nested)],
    );
    on.holds("name", &[("app_plain", "one")]);
    on.holds("tags", &[("other", "two")]);
    on.holds("template", &[("url", "ONE")]);
    on.holds("parameter", &[("k", "info")]);
    on.holds("deleted", &[("k", "two")]);
    on.holds("kept", &[("k", "two")]);

    // A rotation is followed, and the value before it stays to be had.
    let rotated = json!({"SecretId": "app/plain", "SecretString": "three"});
    on.aws("secretsmanager", "PutSecretValue", rotated);
    on.holds("template", &[("url", "THREE")]);
    on.holds("previous", &[("k", "one")]);

    // What AWS has no longer goes only where that is wanted.
    let gone = json!({"SecretId": "other", "ForceDeleteWithoutRecovery": true});
    on.aws("secretsmanager", "DeleteSecret", gone);
    wait_for("the Secret to go", PATIENCE, || {
        let secret = on
            .cluster
            .get("/api/v1/namespaces/default/secrets/deleted")?;
        ensure!(secret.is_none(), "it is still there");
        let kept = on
            .cluster
            .get(&format!("{KINDS}/namespaces/default/externalsecrets/kept"))?;
        let ready = condition(&kept.unwrap_or_default(), "Ready");
        ensure!(ready["reason"] == "SecretSyncedError", "{ready}");
        Ok(())
    })
    .unwrap();
    on.holds("kept", &[("k", "two")]);
}
