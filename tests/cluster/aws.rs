//! AWS as it should be used: identities, credentials that end, faults, and rotation events, each with a daemon of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use serde_json::{Value, json};
use testbed::{Background, Fault, PodIdentityAgent, http_get, wait_for};

use crate::bed::{Own, PATIENCE, condition};

pub(crate) const KINDS: &str = "/apis/external-secrets.io/v1";

/// A control plane, an account, and a daemon between them.
pub(crate) struct Land {
    pub(crate) own: Own,
    pub(crate) daemon: Option<Background>,
    port: u16,
}

fn encode(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

impl Land {
    pub(crate) fn new(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let own = Own::start();
        let (daemon, port) = own.daemon(flags, variables);
        let land = Self {
            own,
            daemon: Some(daemon),
            port,
        };
        // The kinds are served a moment after the definitions are.
        let aws = json!({"service": "SecretsManager", "region": "us-east-1"});
        wait_for("the kinds", PATIENCE, || {
            land.try_store("clustersecretstores/aws", &aws, json!({}))
        })
        .unwrap();
        land
    }

    /// Ends the daemon, and starts one with other variables.
    fn restart(&mut self, variables: &[(&str, &str)]) {
        drop(self.daemon.take());
        let (daemon, port) = self.own.daemon(&[], variables);
        self.daemon = Some(daemon);
        self.port = port;
    }

    fn log_tail(&self) -> String {
        self.daemon
            .as_ref()
            .map(Background::log_tail)
            .unwrap_or_default()
    }

    pub(crate) fn try_store(
        &self,
        path: &str,
        aws: &Value,
        annotations: Value,
    ) -> anyhow::Result<()> {
        let (plural, name) = path.split_once('/').context("a path")?;
        let (kind, namespace) = match plural {
            "secretstores" => ("SecretStore", "/namespaces/default"),
            _ => ("ClusterSecretStore", ""),
        };
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": kind,
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"provider": {"aws": aws}},
        });
        let path = format!("{KINDS}{namespace}/{path}");
        // The kind is served a moment after its definition is.
        wait_for("the kind", PATIENCE, || {
            self.own.cluster.apply(&path, &object)
        })
        .map(drop)
    }

    /// A store of Secrets Manager with more in it.
    fn store(&self, path: &str, more: &Value) {
        let mut aws = json!({"service": "SecretsManager", "region": "us-east-1"});
        for (key, value) in more.as_object().into_iter().flatten() {
            aws[key] = value.clone();
        }
        self.try_store(path, &aws, json!({})).unwrap();
    }

    /// An ExternalSecret that reads a key into `k`.
    pub(crate) fn read(&self, name: &str, store: &str, key: &str, more: &Value) {
        let (kind, store) = match store.strip_prefix("cluster/") {
            Some(store) => ("ClusterSecretStore", store),
            None => ("SecretStore", store),
        };
        let mut spec = json!({
            "refreshInterval": "1s",
            "secretStoreRef": {"kind": kind, "name": store},
            "data": [{"secretKey": "k", "remoteRef": {"key": key}}],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let object = json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": name}, "spec": spec});
        let path = format!("{KINDS}/namespaces/default/externalsecrets/{name}");
        // The kind is served a moment after its definition is.
        wait_for("the kind", PATIENCE, || {
            self.own.cluster.apply(&path, &object)
        })
        .unwrap();
    }

    pub(crate) fn holds(&self, name: &str, value: &str) {
        let path = format!("/api/v1/namespaces/default/secrets/{name}");
        let result = wait_for("the Secret", PATIENCE, || {
            let secret = self.own.cluster.get(&path)?.unwrap_or_default();
            ensure!(
                secret["data"]["k"] == encode(value),
                "{name} is not {value}"
            );
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error:#}\n{}", self.log_tail()));
    }

    /// Waits for a condition with a message.
    pub(crate) fn says(&self, path: &str, type_: &str, status: &str, message: &str) -> String {
        let result = wait_for("a condition", PATIENCE, || {
            let object = self.own.cluster.get(&format!("{KINDS}/{path}"))?;
            let condition = condition(&object.unwrap_or_default(), type_);
            let text = condition["message"].as_str().unwrap_or_default();
            ensure!(
                condition["status"] == status && text.contains(message),
                "{condition}"
            );
            Ok(condition["reason"].as_str().unwrap_or_default().to_owned())
        });
        result.unwrap_or_else(|error| panic!("{error:#}\n{}", self.log_tail()))
    }

    fn secret(&self, name: &str, data: &[(&str, &str)]) {
        let data: Vec<_> = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": Value::Object(data.into_iter().collect())});
        self.own
            .cluster
            .apply(
                &format!("/api/v1/namespaces/default/secrets/{name}"),
                &object,
            )
            .unwrap();
    }

    fn account(&self, name: &str, role: &str) {
        let annotations = if role.is_empty() {
            json!({})
        } else {
            json!({"eks.amazonaws.com/role-arn": role})
        };
        let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "annotations": annotations}});
        self.own
            .cluster
            .apply(
                &format!("/api/v1/namespaces/default/serviceaccounts/{name}"),
                &object,
            )
            .unwrap();
    }

    /// A count of the daemon's metrics, of the lines that hold all of these.
    pub(crate) fn metric(&self, parts: &[&str]) -> u64 {
        let (_, text) = http_get(self.port, "/metrics").unwrap();
        let lines = text
            .lines()
            .filter(|line| parts.iter().all(|part| line.contains(part)));
        let counts = lines.filter_map(|line| {
            let count = line.rsplit_once(' ')?.1.split('.').next()?;
            count.parse::<u64>().ok()
        });
        counts.sum()
    }
}

#[test]
fn every_identity_reads_as_itself_and_is_had_once() {
    let land = Land::new(&[], &[]);
    let aws = &land.own.aws;
    aws.put("app/db", "v");
    // The token of a service account.
    let role = "arn:aws:iam::111111111111:role/account";
    land.account("sa", role);
    let jwt =
        json!({"auth": {"jwt": {"serviceAccountRef": {"name": "sa", "audiences": ["more"]}}}});
    land.store("secretstores/jwt", &jwt);
    // Before it is used, the identity of such a store is not known.
    land.store("clustersecretstores/referent", &jwt);
    land.account("bare", "");
    let bare = json!({"auth": {"jwt": {"serviceAccountRef": {"name": "bare"}}}});
    land.store("secretstores/bare", &bare);
    // Keys in a Secret.
    land.secret("keys", &[("id", "AKIAFIRST"), ("key", "s")]);
    let selector = |key: &str| json!({"name": "keys", "key": key});
    let keys = json!({"auth": {"secretRef": {"accessKeyIDSecretRef": selector("id"), "secretAccessKeySecretRef": selector("key")}}});
    land.store("secretstores/keys", &keys);
    // Roles after one another.
    let roles = json!({
        "additionalRoles": ["arn:aws:iam::222222222222:role/hop"], "role": "arn:aws:iam::333333333333:role/last",
        "externalID": "x-1", "sessionTags": [{"key": "team", "value": "web"}], "transitiveTagKeys": ["team"],
    });
    land.store("secretstores/roles", &roles);
    land.store("clustersecretstores/roles-too", &roles);
    let mut simple = roles.clone();
    simple["sessionTagsPolicy"] = json!("Simple");
    land.store("secretstores/tagged", &simple);
    for store in ["jwt", "keys", "roles", "tagged"] {
        for number in 0..5 {
            land.read(&format!("{store}-{number}"), store, "app/db", &json!({}));
        }
    }
    for store in ["roles-too", "referent"] {
        land.read(store, &format!("cluster/{store}"), "app/db", &json!({}));
    }
    for store in ["jwt", "keys", "roles", "tagged"] {
        for number in 0..5 {
            land.holds(&format!("{store}-{number}"), "v");
        }
    }
    land.holds("roles-too", "v");
    land.holds("referent", "v");
    let reason = land.says(
        "namespaces/default/secretstores/bare",
        "Ready",
        "False",
        "ServiceAccount `bare` has no annotation `eks.amazonaws.com/role-arn`",
    );
    assert_eq!(reason, "InvalidProviderConfig");
    land.says(
        "clustersecretstores/referent",
        "Ready",
        "True",
        "store validated",
    );
    let readers = aws.readers();
    for reader in [role, "AKIAFIRST", "arn:aws:iam::333333333333:role/last"] {
        assert!(
            readers.iter().any(|known| known == reader),
            "{reader} not in {readers:?}"
        );
    }
    assert!(
        !readers.iter().any(|known| known.ends_with("role/hop")),
        "{readers:?}"
    );

    check_sessions(&aws.sts_requests());

    // Keys that are changed in their Secret are used at once.
    land.secret("keys", &[("id", "AKIASECOND"), ("key", "s")]);
    wait_for("the other key", PATIENCE, || {
        ensure!(aws.readers().iter().any(|reader| reader == "AKIASECOND"));
        Ok(())
    })
    .unwrap();
}

/// Each identity was had once, however many stores and ExternalSecrets it has, and as its store says.
fn check_sessions(requests: &[BTreeMap<String, String>]) {
    let of = |action: &str, arn: &str| {
        let mut found = requests
            .iter()
            .filter(|request| request["Action"] == action && request["RoleArn"].ends_with(arn));
        let first = found.next().expect("it was asked").clone();
        (first, found.count() + 1)
    };
    let (first, count) = of("AssumeRoleWithWebIdentity", "role/account");
    assert_eq!(
        (count, first["RoleSessionName"].as_str()),
        (1, "external-secrets-provider-aws")
    );
    let token = first["WebIdentityToken"]
        .split('.')
        .nth(1)
        .expect("a token")
        .to_owned();
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(token)
        .unwrap();
    let token: Value = serde_json::from_slice(&token).unwrap();
    assert_eq!(token["aud"], json!(["sts.amazonaws.com", "more"]));
    assert_eq!(token["sub"], "system:serviceaccount:default:sa");
    let (hop, count) = of("AssumeRole", "role/hop");
    assert_eq!(
        (count, hop.get("ExternalId"), hop.get("Tags.member.1.Key")),
        (1, None, None)
    );
    let (last, count) = of("AssumeRole", "role/last");
    // With the tags of the store, and with those that the policy makes.
    assert_eq!(
        (count, last["By"].as_str(), last["ExternalId"].as_str()),
        (2, "arn:aws:iam::222222222222:role/hop", "x-1")
    );
    let tags: Vec<_> = requests
        .iter()
        .filter(|request| request["RoleArn"].ends_with("role/last"))
        .map(|request| {
            let tags = (1..5).filter_map(|number| {
                let part = |part: &str| request.get(&format!("Tags.member.{number}.{part}"));
                Some(format!("{}={}", part("Key")?, part("Value")?))
            });
            tags.collect::<Vec<_>>().join(" ")
        })
        .collect();
    for expected in [
        "team=web",
        "esoNamespace=default esoStoreKind=SecretStore esoStoreName=tagged",
    ] {
        assert!(tags.iter().any(|tags| tags == expected), "{tags:?}");
    }
    assert_eq!(last["TransitiveTagKeys.member.1"], "team");
}

#[test]
fn credentials_are_renewed_ahead_of_their_end_and_tokens_are_read_as_they_rotate() {
    const LIFE: Duration = Duration::from_secs(4);
    let agent = PodIdentityAgent::start(LIFE).unwrap();
    let of = |pairs: [(String, String); 2]| pairs;
    let pod = of(agent.environment());
    let pod: Vec<_> = pod
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let mut land = Land::new(&[], &pod);
    land.own.aws.put("app/db", "one");
    land.own.aws.set_session_lifetime(LIFE);
    let role = json!({"role": "arn:aws:iam::333333333333:role/short"});
    land.store("secretstores/role", &role);
    land.read("own", "cluster/aws", "app/db", &json!({}));
    land.read("role", "role", "app/db", &json!({}));
    land.holds("role", "one");
    // Credentials end several times while secrets are read each second; nobody notices.
    let (issued, assumed) = (agent.issued(), land.own.aws.calls("AssumeRole"));
    agent.rotate_token().unwrap();
    wait_for("several lives", PATIENCE, || {
        ensure!(agent.issued() > issued + 2 && land.own.aws.calls("AssumeRole") > assumed + 2);
        Ok(())
    })
    .unwrap();
    assert_eq!(
        land.metric(&["api_calls_count", "\"error\""]),
        0,
        "{}",
        land.log_tail()
    );
    assert!(
        land.own.aws.calls("AssumeRole") < 30,
        "they are kept while they serve"
    );
    land.own.aws.put("app/db", "two");
    land.holds("own", "two");
    land.holds("role", "two");

    // IRSA: the token's file is read again each time.
    let file = land.own.directory.path().join("irsa-token");
    std::fs::write(&file, "first-token").unwrap();
    let file_text = file.display().to_string();
    let irsa = [
        ("AWS_ROLE_ARN", "arn:aws:iam::444444444444:role/irsa"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file_text.as_str()),
        ("AWS_REGION", "us-east-1"),
    ];
    land.restart(&irsa);
    land.own.aws.put("app/db", "three");
    land.holds("own", "three");
    std::fs::write(&file, "second-token").unwrap();
    wait_for("the second token", PATIENCE, || {
        let requests = land.own.aws.sts_requests();
        let mut tokens = requests
            .iter()
            .filter_map(|request| request.get("WebIdentityToken"));
        ensure!(tokens.any(|token| token == "second-token"));
        Ok(())
    })
    .unwrap();
    let readers = land.own.aws.readers();
    assert!(
        readers.iter().any(|reader| reader.ends_with("role/irsa")),
        "{readers:?}"
    );

    // Keys of the environment come first.
    land.restart(&[
        ("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
    ]);
    land.own.aws.put("app/db", "four");
    land.holds("own", "four");
    let readers = land.own.aws.readers();
    assert!(
        readers.iter().any(|reader| reader == "AKIAENVIRONMENT"),
        "{readers:?}"
    );

    // The role of the instance comes last.
    let mut instance: Vec<(String, String)> = agent.instance_environment().into();
    instance.extend(agent.environment().map(|(key, _)| (key, String::new())));
    let instance: Vec<_> = instance
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let issued = agent.issued();
    land.restart(&instance);
    land.own.aws.put("app/db", "five");
    land.holds("own", "five");
    assert!(agent.issued() > issued);
}

/// The values of all Secrets that ExternalSecrets have made, by name.
fn all_values(land: &Land) -> Vec<(String, String)> {
    let list = land
        .own
        .cluster
        .get("/api/v1/namespaces/default/secrets")
        .unwrap()
        .unwrap();
    let value = |secret: &Value| {
        let text = secret["data"]["k"].as_str().unwrap_or_default();
        let text = base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap_or_default();
        let name = secret["metadata"]["name"].as_str().unwrap_or_default();
        (name.to_owned(), String::from_utf8_lossy(&text).into_owned())
    };
    list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(value)
        .collect()
}

#[test]
fn whatever_goes_wrong_everything_converges_and_no_secret_is_emptied() {
    const COUNT: usize = 60;
    let land = Land::new(&[], &[]);
    let aws = &land.own.aws;
    let put = |round: &str| {
        for number in 0..COUNT {
            aws.put(&format!("s/{number}"), &format!("{round}-{number}"));
        }
    };
    let all_are = |round: &str| {
        let result = wait_for("all to have the value", PATIENCE, || {
            let values = all_values(&land);
            // Not one is gone or empty on the way.
            assert!(
                values.iter().all(|(_, value)| !value.is_empty()),
                "{values:?}"
            );
            let there = values
                .iter()
                .filter(|(_, value)| value.starts_with(round))
                .count();
            ensure!(there == COUNT, "{there} of {} are {round}", values.len());
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error:#}\n{}", land.log_tail()));
    };
    put("one");
    for number in 0..COUNT {
        let policy = ["Retain", "Delete", "Merge"][number % 3];
        let more = json!({"target": {"deletionPolicy": policy}});
        land.read(
            &format!("es-{number}"),
            "cluster/aws",
            &format!("s/{number}"),
            &more,
        );
    }
    all_are("one");
    aws.set_latency(Duration::from_millis(40));
    aws.set_often(&[
        (Fault::Throttling, 30),
        (Fault::InternalError, 8),
        (Fault::Reset, 6),
        (Fault::Truncated, 6),
    ]);
    put("two");
    all_are("two");
    aws.set_often(&[(Fault::Throttling, 30)]);
    put("three");
    all_are("three");
    assert!(aws.peak("BatchGetSecretValue") <= 100 && aws.peak("GetSecretValue") <= 2500);
    aws.set_often(&[]);
    aws.set_latency(Duration::ZERO);
    // Nothing can be read for a while.
    for fault in [
        Fault::AccessDenied,
        Fault::Throttling,
        Fault::ExpiredToken,
        Fault::EmptyAnswer,
    ] {
        aws.set_fault(Some(fault));
        land.says(
            "namespaces/default/externalsecrets/es-1",
            "Ready",
            "False",
            "",
        );
        assert_eq!(all_values(&land).len(), COUNT, "{fault:?}");
        aws.set_fault(None);
        land.says(
            "namespaces/default/externalsecrets/es-1",
            "Ready",
            "True",
            "",
        );
    }
    // The old version is shown for a while.
    aws.set_lag(Duration::from_secs(3));
    put("four");
    all_are("four");
}

#[test]
fn what_is_denied_is_hinted_once_and_gone_around() {
    let land = Land::new(&[], &[]);
    let aws = &land.own.aws;
    aws.put("app/db", "one");
    aws.put("app/other", "o");
    aws.set_fault_of("BatchGetSecretValue", Some(Fault::AccessDenied));
    land.read("db", "cluster/aws", "app/db", &json!({}));
    land.read("other", "cluster/aws", "app/other", &json!({}));
    land.holds("db", "one");
    land.holds("other", "o");
    aws.put("app/db", "two");
    land.holds("db", "two");
    let asked = aws.calls("BatchGetSecretValue");
    assert!(asked <= 2, "it is not asked again and again: {asked}");
    let hints = || {
        let path = "/apis/events.k8s.io/v1/namespaces/default/events";
        let events = land.own.cluster.get(path).unwrap().unwrap();
        let events = events["items"].as_array().into_iter().flatten();
        let hints = events.filter(|event| event["reason"] == "MissingPermission");
        hints.cloned().collect::<Vec<_>>()
    };
    wait_for("the hint", PATIENCE, || {
        ensure!(!hints().is_empty());
        Ok(())
    })
    .unwrap();
    let hints = hints();
    assert_eq!(hints.len(), 1);
    let note = hints[0]["note"].as_str().unwrap();
    let statement =
        r#"{"Effect": "Allow", "Action": "secretsmanager:BatchGetSecretValue", "Resource": "*"}"#;
    assert!(note.contains(statement), "{note}");
    // STS: the store says so, and recovers by itself.
    aws.set_fault_of("AssumeRole", Some(Fault::AccessDenied));
    land.store(
        "secretstores/role",
        &json!({"role": "arn:aws:iam::3:role/r"}),
    );
    let path = "namespaces/default/secretstores/role";
    land.says(
        path,
        "Ready",
        "False",
        "sts:AssumeRole of arn:aws:iam::3:role/r is denied",
    );
    aws.set_fault_of("AssumeRole", None);
    land.says(path, "Ready", "True", "store validated");
}
