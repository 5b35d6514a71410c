//! The cases of the AWS providers, each against moto and against our own emulator.

use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};
use testbed::{Emulator, Fault, Moto};
use tokio::task::JoinSet;

use crate::aws::environment::AwsEnvironment;
use crate::aws::fetcher::Fetcher;
use crate::aws::sessions::Sessions;
use crate::metrics::Metrics;
use crate::secrets::provider::Provider;
use crate::secrets::provider::aws::AwsStore;
use overlayd_core::aws::identity::{Base, Identity};
use overlayd_core::aws::reader_key::{ReaderKey, Retry, Service};
use overlayd_core::secrets::SecretData;
use overlayd_core::secrets::compose::LookupResult;
use overlayd_core::secrets::desired::{Lookup, Search};

/// The data as `key=value key=value`.
fn shown(data: &SecretData) -> String {
    let pair = |(key, value): (&String, &overlayd_core::secrets::SecretValue)| {
        format!("{key}={}", String::from_utf8_lossy(value.expose()))
    };
    data.iter().map(pair).collect::<Vec<_>>().join(" ")
}

/// A fetcher at work on one account.
pub(super) struct Account {
    pub(super) fetcher: Arc<Fetcher>,
    _running: JoinSet<()>,
}

impl Account {
    pub(super) fn open(url: &str) -> Self {
        let environment = AwsEnvironment {
            secrets_manager_endpoint: Some(url.to_owned()),
            parameter_store_endpoint: Some(url.to_owned()),
            sts_endpoint: Some(url.to_owned()),
        };
        let keys = aws_credential_types::Credentials::new("id", "key", None, None, "cases");
        let sessions = Sessions::new(environment, None).with_process(keys);
        let (fetcher, _wake_ups) = Fetcher::new(sessions, Arc::new(Metrics::default()));
        let mut running = JoinSet::new();
        let working = fetcher.clone();
        running.spawn(async move { working.run().await });
        Self {
            fetcher,
            _running: running,
        }
    }

    async fn store(&self, service: Service, prefix: &str) -> AwsStore {
        let key = ReaderKey {
            identity: Identity {
                region: "us-east-1".to_owned(),
                base: Base::Process,
                roles: Vec::new(),
            },
            service,
            retry: Retry {
                attempts: 1,
                interval: None,
            },
        };
        let reader = self.fetcher.reader(&key).await;
        AwsStore::new(self.fetcher.clone(), reader, prefix.to_owned())
    }
}

/// What stands for AWS.
enum Judge {
    Moto(Moto),
    Emulator(Emulator),
}

impl Judge {
    fn both() -> [Self; 2] {
        [
            Self::Moto(Moto::start().expect("moto starts")),
            Self::Emulator(Emulator::start().expect("the emulator starts")),
        ]
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Moto(_) => "moto",
            Self::Emulator(_) => "emulator",
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Moto(moto) => moto.url(),
            Self::Emulator(emulator) => emulator.url(),
        }
    }

    fn call(&self, service: &str, action: &str, request: &Value) -> Value {
        let answer: Result<Value> = match self {
            Self::Moto(moto) => moto.call(service, action, request),
            Self::Emulator(emulator) => emulator.call(service, action, request),
        };
        answer.expect(action)
    }
}

fn value(key: &str, version: &str) -> Lookup {
    Lookup::Value {
        key: key.to_owned(),
        version: version.to_owned(),
    }
}

fn find(path: Option<&str>, name: Option<&str>, tags: &[(&str, &str)]) -> Lookup {
    let tags = tags
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Lookup::Find(Search {
        path: path.map(str::to_owned),
        name: name.map(str::to_owned),
        tags: tags.collect(),
    })
}

async fn check(judge: &str, provider: &dyn Provider, ask: &Lookup, expected: &str) {
    let text = match provider.read(ask).await {
        Ok(LookupResult::Value(value)) => String::from_utf8_lossy(value.expose()).into_owned(),
        Ok(LookupResult::Found(found)) => format!("found {}", shown(&found)),
        Ok(LookupResult::Missing) => "missing".to_owned(),
        Err(error) => format!("error: {error}"),
    };
    assert_eq!(text, expected, "{judge}: {ask:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_manager() {
    for judge in Judge::both() {
        let act = |action: &str, request: Value| judge.call("secretsmanager", action, &request);
        let tags =
            |team: &str| json!([{"Key": "team", "Value": team}, {"Key": "env", "Value": "prod"}]);
        act(
            "CreateSecret",
            json!({"Name": "app/db", "SecretString": "one", "Tags": tags("web")}),
        );
        let second = act(
            "PutSecretValue",
            json!({"SecretId": "app/db", "SecretString": "two"}),
        );
        act(
            "CreateSecret",
            json!({"Name": "app/binary", "SecretBinary": "AAFCYXI=", "Tags": tags("web")}),
        );
        act(
            "CreateSecret",
            json!({"Name": "other/db", "SecretString": "o", "Tags": tags("shop")}),
        );
        act("CreateSecret", json!({"Name": "gone", "SecretString": "g"}));
        act("DeleteSecret", json!({"SecretId": "gone"}));
        let account = Account::open(&judge.url());
        let store = async |prefix: &str| account.store(Service::SecretsManager, prefix).await;
        let plain = store("").await;
        let version = second["VersionId"].as_str().expect("an id");
        for (ask, expected) in [
            (value("app/db", ""), "two"),
            (value("app/db", "AWSCURRENT"), "two"),
            (value("app/db", "AWSPREVIOUS"), "one"),
            (value("app/db", &format!("uuid/{version}")), "two"),
            (value("app/db", "NEVER"), "missing"),
            (value("nobody", ""), "missing"),
            (value("gone", ""), "missing"),
            (value("app/binary", ""), "\0\u{1}Bar"),
            (
                Lookup::Tags {
                    key: "app/db".into(),
                },
                r#"{"env":"prod","team":"web"}"#,
            ),
            (
                Lookup::Tags {
                    key: "nobody".into(),
                },
                "missing",
            ),
            (find(None, Some("db$"), &[]), "found app/db=two other/db=o"),
            (find(None, Some("^nobody"), &[]), "found "),
            (find(Some("app/"), Some("db"), &[]), "found app/db=two"),
            (find(None, None, &[("team", "shop")]), "found other/db=o"),
            (
                find(Some("app/"), None, &[("team", "web"), ("env", "prod")]),
                "found app/binary=\0\u{1}Bar app/db=two",
            ),
            (
                find(None, Some("db"), &[("team", "web")]),
                "found app/db=two",
            ),
            (find(None, None, &[("team", "nobody")]), "found "),
        ] {
            check(judge.name(), &plain, &ask, expected).await;
        }
        // The prefix is for keys alone: what is found has its whole name.
        check(judge.name(), &store("app/").await, &value("db", ""), "two").await;
        let all = find(None, Some("^other"), &[]);
        check(judge.name(), &store("app/").await, &all, "found other/db=o").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_read_every_page() {
    for judge in Judge::both() {
        for number in 0..123 {
            let request = json!({"Name": format!("many/{number:03}"), "SecretString": "v", "Tags": [{"Key": "all", "Value": "yes"}]});
            judge.call("secretsmanager", "CreateSecret", &request);
        }
        let account = Account::open(&judge.url());
        let store = account.store(Service::SecretsManager, "").await;
        for ask in [
            find(None, Some("^many/"), &[]),
            find(Some("many/"), None, &[("all", "yes")]),
        ] {
            let found = store.read(&ask).await.expect("an answer");
            let LookupResult::Found(found) = found else {
                panic!("{found:?}");
            };
            assert_eq!(found.len(), 123, "{}: {ask:?}", judge.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameter_store() {
    for judge in Judge::both() {
        for (name, text, team) in [
            ("/app/db", "one", "web"),
            ("/app/db/user", "u", "web"),
            ("/other/db", "o", "shop"),
            ("plain", "p", "web"),
        ] {
            let request = json!({"Name": name, "Value": text, "Type": "SecureString", "Tags": [{"Key": "team", "Value": team}]});
            judge.call("ssm", "PutParameter", &request);
        }
        let again =
            json!({"Name": "/app/db", "Value": "two", "Type": "SecureString", "Overwrite": true});
        judge.call("ssm", "PutParameter", &again);
        let account = Account::open(&judge.url());
        let store = async |prefix: &str| account.store(Service::ParameterStore, prefix).await;
        for (ask, expected) in [
            (value("/app/db", ""), "two"),
            (value("/app/db", "1"), "one"),
            (
                value("/app/db", "9"),
                "error: reading `/app/db:9` failed: ParameterVersionNotFound",
            ),
            (value("/nobody", ""), "missing"),
            (
                Lookup::Tags {
                    key: "/other/db".into(),
                },
                r#"{"team":"shop"}"#,
            ),
            (
                Lookup::Tags {
                    key: "/nobody".into(),
                },
                "error: reading `/nobody` failed: InvalidResourceId",
            ),
            (
                find(None, Some("db"), &[]),
                "found /app/db=two /app/db/user=u /other/db=o",
            ),
            (
                find(Some("/app"), Some("."), &[]),
                "found /app/db=two /app/db/user=u",
            ),
            (find(Some("/nobody"), Some("."), &[]), "found "),
            (
                find(None, None, &[("team", "web")]),
                "found /app/db=two /app/db/user=u plain=p",
            ),
            (
                find(Some("/app"), None, &[("team", "web")]),
                "found /app/db=two /app/db/user=u",
            ),
        ] {
            check(judge.name(), &store("").await, &ask, expected).await;
        }
        check(judge.name(), &store("/app/").await, &value("db", ""), "two").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_is_taken_for_a_missing_secret() {
    let emulator = Emulator::start().expect("the emulator starts");
    emulator.put("app/db", "v");
    emulator.tag("app/db", &[("team", "web")]);
    emulator.put_parameter("/app/db", "v");
    let account = Account::open(&emulator.url());
    let secrets = account.store(Service::SecretsManager, "").await;
    let parameters = account.store(Service::ParameterStore, "").await;
    let stores: [(&dyn Provider, &str); 2] = [(&secrets, "app/db"), (&parameters, "/app/db")];
    for fault in [
        Fault::AccessDenied,
        Fault::Throttling,
        Fault::InternalError,
        Fault::ExpiredToken,
        Fault::DecryptionFailure,
        Fault::EmptyAnswer,
        Fault::Truncated,
    ] {
        for (store, key) in stores {
            for ask in [
                value(key, ""),
                Lookup::Tags { key: key.into() },
                find(None, Some("db"), &[]),
                find(None, None, &[("team", "web")]),
            ] {
                // An answer without anything in it looks like a search that found nothing, and like no tags.
                if fault == Fault::EmptyAnswer && !matches!(ask, Lookup::Value { .. }) {
                    continue;
                }
                emulator.set_fault(Some(fault));
                let answer = store.read(&ask).await;
                assert!(answer.is_err(), "{fault:?} {ask:?}: {answer:?}");
                let text = format!("{}", answer.unwrap_err());
                assert!(!text.contains("told to refuse"), "{text}");
                emulator.set_fault(None);
                assert!(store.read(&ask).await.is_ok(), "{ask:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_comes_is_not_waited_for() {
    let emulator = Emulator::start().expect("the emulator starts");
    emulator.put("app/db", "v");
    emulator.set_fault(Some(Fault::Silence));
    let account = Account::open(&emulator.url());
    let store = account.store(Service::SecretsManager, "").await;
    let expected = "error: reading `app/db` failed: no answer in time";
    check("emulator", &store, &value("app/db", ""), expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_secret_of_a_search_that_cannot_be_read_fails_the_search() {
    let emulator = Emulator::start().expect("the emulator starts");
    for name in ["a", "b"] {
        emulator.put(name, "v");
        emulator.tag(name, &[("team", "web")]);
    }
    let account = Account::open(&emulator.url());
    let store = account.store(Service::SecretsManager, "").await;
    emulator.deny("b");
    let expected = "error: access to `b` is denied: the identity lacks `secretsmanager:GetSecretValue` on it (AccessDeniedException)";
    for ask in [
        find(None, Some("."), &[]),
        find(None, None, &[("team", "web")]),
    ] {
        check("emulator", &store, &ask, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_are_found_without_the_right_to_read_by_path() {
    let emulator = Emulator::start().expect("the emulator starts");
    emulator.put_parameter("/app/db", "v");
    let account = Account::open(&emulator.url());
    let store = account.store(Service::ParameterStore, "").await;
    emulator.set_fault_of("GetParametersByPath", Some(Fault::AccessDenied));
    let ask = find(Some("/app"), Some("db"), &[]);
    check("emulator", &store, &ask, "found /app/db=v").await;
    assert_eq!(emulator.calls("DescribeParameters"), 1);
}
