//! Pure: the policy of each identity: exactly the secrets that are read, with the reasons.
//!
//! Actions and their resources are those of the service authorization reference:
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecretsmanager.html>,
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssystemsmanager.html>,
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html> and
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecuritytokenservice.html>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::aws::arn::{SecretArn, without_suffix};
use crate::aws::identity::{Identity, partition};
use crate::aws::queue::region_of;
use crate::aws::reader_key::Service;
use crate::aws::usage::{Usage, UsageRead};
use crate::secrets::desired::{Lookup, Search};

/// A permission that an identity needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The action as policies name it: `service:Action`.
    pub action: &'static str,
    /// The ARN that the action is allowed on, `*` for an action without resources.
    pub resource: String,
}

impl Need {
    /// True if the permission allows its action on this id: a name, an ARN, or `*`.
    pub fn fits(&self, id: &str) -> bool {
        let id = id.trim_start_matches('/');
        let resource = self.resource.trim_end_matches("-??????");
        self.resource == "*"
            || self.resource == id
            || resource.ends_with(&format!(":{id}"))
            || resource.ends_with(&format!("/{id}"))
            || resource == id
    }
}

/// The permissions that one identity needs in one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The identity.
    pub identity: Identity,
    /// The id of the account, `*` where it is not known.
    pub account: String,
    /// The permissions, each with its reasons.
    pub needs: BTreeMap<Need, NeedReasons>,
}

/// Why a permission is needed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NeedReasons {
    reasons: BTreeSet<String>,
    /// Secrets are read without it too, by more calls.
    pub is_optional: bool,
}

/// The resource of a statement that allows an action for all secrets of a region.
pub fn widest(action: &str, region: &str) -> String {
    match action {
        "ssm:GetParameters" => {
            let partition = partition(region);
            format!("arn:{partition}:ssm:{region}:*:parameter/*")
        }
        // The other actions have no resources.
        _ => "*".to_owned(),
    }
}

/// The policies for all reads, and notes about what was left out. `account` is the account of identities whose roles do not
/// tell theirs.
pub fn policies(usage: &Usage, account: Option<&str>) -> (Vec<Policy>, Vec<String>) {
    let (reads, notes) = usage.reads();
    let mut policies = Policies {
        account,
        all: BTreeMap::new(),
    };
    for read in &reads {
        policies.add(read);
    }
    for store in &usage.stores {
        if let (Some(url), Some(key)) = (&store.queue, store.reader()) {
            let why = format!("rotation events of {store}");
            for action in ["sqs:ReceiveMessage", "sqs:DeleteMessage"] {
                let resource = queue_arn(url, &key.identity.region);
                policies.need(&key.identity, action, resource, &why, false);
            }
        }
    }
    (policies.all.into_values().collect(), notes)
}

struct Policies<'a> {
    account: Option<&'a str>,
    all: BTreeMap<Identity, Policy>,
}

impl Policies<'_> {
    fn need(
        &mut self,
        identity: &Identity,
        action: &'static str,
        resource: String,
        why: &str,
        is_optional: bool,
    ) {
        let account = self.account_of(identity);
        let policy = self.all.entry(identity.clone()).or_insert_with(|| Policy {
            identity: identity.clone(),
            account,
            needs: BTreeMap::new(),
        });
        let need = Need { action, resource };
        let known = policy.needs.entry(need).or_insert_with(|| NeedReasons {
            reasons: BTreeSet::new(),
            is_optional,
        });
        known.is_optional &= is_optional;
        known.reasons.insert(why.to_owned());
    }

    fn account_of(&self, identity: &Identity) -> String {
        let known = identity.account().or(self.account);
        known.unwrap_or("*").to_owned()
    }

    fn add(&mut self, read: &UsageRead<'_>) {
        let UsageRead {
            external_secret,
            key,
            lookup,
            ..
        } = read;
        let identity = &key.identity;
        let why = format!(
            "ExternalSecret {}/{}",
            external_secret.namespace, external_secret.name
        );
        let account = self.account_of(identity);
        let arn = |resource: &str, service: &str| {
            let (partition, region) = (partition(&identity.region), &identity.region);
            format!("arn:{partition}:{service}:{region}:{account}:{resource}")
        };
        let needs = match key.service {
            Service::SecretsManager => secrets_manager_needs(lookup, &arn),
            Service::ParameterStore => parameter_store_needs(lookup, &arn),
        };
        for (action, resource) in needs {
            self.need(identity, action, resource, &why, false);
        }
        self.cheaper(read, &why);
        self.roles(identity, &why);
    }

    /// The permissions by which fewer calls are made.
    fn cheaper(&mut self, read: &UsageRead<'_>, why: &str) {
        let UsageRead { key, lookup, .. } = read;
        if key.service == Service::SecretsManager && matches!(lookup, Lookup::Value { .. }) {
            for action in [
                "secretsmanager:BatchGetSecretValue",
                "secretsmanager:ListSecrets",
            ] {
                self.need(&key.identity, action, "*".to_owned(), why, true);
            }
        }
    }

    /// The permissions to assume the roles of an identity:
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_permissions-to-switch.html>.
    fn roles(&mut self, identity: &Identity, why: &str) {
        let mut identity = identity.clone();
        while let Some((parent, role)) = identity.parent() {
            self.need(&parent, "sts:AssumeRole", role.arn.clone(), why, false);
            if !role.tags.is_empty() {
                self.need(&parent, "sts:TagSession", role.arn.clone(), why, false);
            }
            identity = parent;
        }
    }
}

/// The permissions of a lookup in Secrets Manager. `arn` makes the ARN of a resource of a service.
fn secrets_manager_needs(
    lookup: &Lookup,
    arn: &impl Fn(&str, &str) -> String,
) -> Vec<(&'static str, String)> {
    let secret = |id: &str| secret_arn(id, |name| arn(&format!("secret:{name}"), "secretsmanager"));
    match lookup {
        Lookup::Value { key, .. } => vec![("secretsmanager:GetSecretValue", secret(key))],
        Lookup::Tags { key } => vec![("secretsmanager:DescribeSecret", secret(key))],
        Lookup::Find(search) => {
            let found = arn(&format!("secret:{}*", beginning(search)), "secretsmanager");
            let mut needs = vec![
                ("secretsmanager:GetSecretValue", found),
                // A batch by filters needs the permission to list, too:
                // https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieving-secrets_batch.html
                ("secretsmanager:ListSecrets", "*".to_owned()),
            ];
            if search.name.is_none() || search.path.is_some() {
                needs.push(("secretsmanager:BatchGetSecretValue", "*".to_owned()));
            }
            needs
        }
    }
}

/// The permissions of a lookup in Parameter Store.
fn parameter_store_needs(
    lookup: &Lookup,
    arn: &impl Fn(&str, &str) -> String,
) -> Vec<(&'static str, String)> {
    let parameter = |id: &str| {
        if id.starts_with("arn:") {
            return id.to_owned();
        }
        arn(&format!("parameter/{}", id.trim_start_matches('/')), "ssm")
    };
    match lookup {
        Lookup::Value { key, .. } => vec![
            ("ssm:GetParameter", parameter(key)),
            ("ssm:GetParameters", parameter(key)),
        ],
        Lookup::Tags { key } => vec![("ssm:ListTagsForResource", parameter(key))],
        Lookup::Find(search) => {
            let below = parameter(&format!("{}*", beginning(search)));
            if search.name.is_some() {
                vec![("ssm:GetParametersByPath", below)]
            } else {
                vec![
                    ("ssm:DescribeParameters", arn("*", "ssm")),
                    ("ssm:GetParameter", below),
                ]
            }
        }
    }
}

/// The ARN of a secret by its id. Question marks stand for the random characters that are not known:
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_iam-policies.html>.
fn secret_arn(id: &str, of_name: impl Fn(&str) -> String) -> String {
    match SecretArn::parse(id) {
        Some(arn) if without_suffix(arn.resource).is_some() => id.to_owned(),
        Some(_) => format!("{id}-??????"),
        None => of_name(&format!("{id}-??????")),
    }
}

/// The beginning that all names of a search have.
fn beginning(search: &Search) -> String {
    if let Some(path) = &search.path {
        return path.clone();
    }
    let pattern = search.name.as_deref().unwrap_or_default();
    let Some(rest) = pattern.strip_prefix('^') else {
        return String::new();
    };
    if rest.contains('|') {
        return String::new();
    }
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-');
    let mut plain: String = rest.chars().take_while(is_plain).collect();
    // The last character may be optional.
    let after = rest.strip_prefix(plain.as_str()).unwrap_or_default();
    if after.starts_with(['*', '?', '{']) {
        plain.pop();
    }
    plain
}

fn queue_arn(url: &str, region: &str) -> String {
    let region = region_of(url).unwrap_or(region);
    let mut parts = url.rsplit('/');
    let (name, account) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let account = if account.bytes().all(|byte| byte.is_ascii_digit()) && !account.is_empty() {
        account
    } else {
        "*"
    };
    format!("arn:{}:sqs:{region}:{account}:{name}", partition(region))
}

impl Policy {
    /// The policy as JSON. Actions with the same resources share a statement.
    pub fn document(&self) -> Value {
        let mut by_action: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for need in self.needs.keys() {
            by_action
                .entry(need.action)
                .or_default()
                .insert(&need.resource);
        }
        let mut by_resources: BTreeMap<BTreeSet<&str>, BTreeSet<&str>> = BTreeMap::new();
        for (action, resources) in by_action {
            by_resources.entry(resources).or_default().insert(action);
        }
        let statement = |(resources, actions): (BTreeSet<&str>, BTreeSet<&str>)| json!({"Effect": "Allow", "Action": actions, "Resource": resources});
        let statements: Vec<Value> = by_resources.into_iter().map(statement).collect();
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    /// A table of the permissions with their reasons, each line a comment.
    pub fn table(&self) -> String {
        const SHOWN: usize = 3;
        let mut text = format!("# {}, account {}\n", self.identity, self.account);
        let width = |of: fn(&Need) -> usize| self.needs.keys().map(of).max().unwrap_or(0);
        let (actions, resources) = (
            width(|need| need.action.len()),
            width(|need| need.resource.len()),
        );
        for (need, why) in &self.needs {
            let shown: Vec<&str> = why.reasons.iter().take(SHOWN).map(String::as_str).collect();
            let more = why.reasons.len().saturating_sub(SHOWN);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let optional = if why.is_optional {
                "fewer calls for "
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "#   {:actions$}  {:resources$}  {optional}{}{more}",
                need.action,
                need.resource,
                shown.join(", ")
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::usage::{ExternalSecretUsage, StoreUsage};
    use super::*;

    fn usage(store: &Value, specs: &[Value]) -> Usage {
        let external_secrets = specs
            .iter()
            .enumerate()
            .map(|(number, spec)| ExternalSecretUsage {
                namespace: "team".to_owned(),
                name: format!("es{number}"),
                spec: serde_json::from_value(spec.clone()).unwrap(),
            });
        Usage {
            stores: vec![StoreUsage {
                namespace: None,
                name: "aws".to_owned(),
                spec: serde_json::from_value(json!({"provider": {"aws": store}})).unwrap(),
                queue: Some("https://sqs.eu-west-1.amazonaws.com/1/rotations".to_owned()),
            }],
            external_secrets: external_secrets.collect(),
        }
    }

    fn spec(more: &Value) -> Value {
        let mut spec = json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    }

    fn check(usage: &Usage, expected: &str) {
        let (policies, notes) = policies(usage, Some("9"));
        let text: String = policies
            .iter()
            .map(|policy| format!("{}{}\n", policy.table(), policy.document()))
            .chain(notes.iter().map(|note| format!("{note}\n")))
            .collect();
        assert_eq!(text.trim(), expected.trim(), "\n{text}");
    }

    #[test]
    fn a_policy_allows_exactly_the_secrets_that_are_read() {
        let store = json!({"service": "SecretsManager", "region": "eu-west-1", "prefix": "app/"});
        let data = |key: &str| json!({"secretKey": "k", "remoteRef": {"key": key}});
        let tags = json!({"secretKey": "t", "remoteRef": {"key": "db", "metadataPolicy": "Fetch"}});
        let specs = [
            spec(&json!({"data": [data("db"), tags]})),
            spec(&json!({"data": [data("db")]})),
            spec(&json!({"data": [data("db"), data("db")]})),
        ];
        check(
            &usage(&store, &specs),
            r#"
# the daemon's own identity in eu-west-1, account 9
#   secretsmanager:BatchGetSecretValue  *                                                        fewer calls for ExternalSecret team/es0, ExternalSecret team/es1
#   secretsmanager:DescribeSecret       arn:aws:secretsmanager:eu-west-1:9:secret:app/db-??????  ExternalSecret team/es0
#   secretsmanager:GetSecretValue       arn:aws:secretsmanager:eu-west-1:9:secret:app/db-??????  ExternalSecret team/es0, ExternalSecret team/es1
#   secretsmanager:ListSecrets          *                                                        fewer calls for ExternalSecret team/es0, ExternalSecret team/es1
#   sqs:DeleteMessage                   arn:aws:sqs:eu-west-1:1:rotations                        rotation events of ClusterSecretStore aws
#   sqs:ReceiveMessage                  arn:aws:sqs:eu-west-1:1:rotations                        rotation events of ClusterSecretStore aws
{"Statement":[{"Action":["secretsmanager:BatchGetSecretValue","secretsmanager:ListSecrets"],"Effect":"Allow","Resource":["*"]},{"Action":["secretsmanager:DescribeSecret","secretsmanager:GetSecretValue"],"Effect":"Allow","Resource":["arn:aws:secretsmanager:eu-west-1:9:secret:app/db-??????"]},{"Action":["sqs:DeleteMessage","sqs:ReceiveMessage"],"Effect":"Allow","Resource":["arn:aws:sqs:eu-west-1:1:rotations"]}],"Version":"2012-10-17"}
ExternalSecret team/es2 is left out: key `k` stands twice in `data`
"#,
        );
    }

    #[test]
    fn roles_need_to_be_assumed_and_tell_the_account() {
        let store = json!({
            "service": "ParameterStore", "region": "cn-north-1", "role": "arn:aws-cn:iam::2:role/b",
            "additionalRoles": ["arn:aws-cn:iam::1:role/a"], "sessionTags": [{"key": "team", "value": "web"}],
        });
        let data = json!([{"secretKey": "k", "remoteRef": {"key": "/app/db"}}]);
        let mut usage = usage(&store, &[spec(&json!({"data": data}))]);
        usage.stores[0].queue = None;
        check(
            &usage,
            r#"
# the daemon's own identity in cn-north-1, account 9
#   sts:AssumeRole  arn:aws-cn:iam::1:role/a  ExternalSecret team/es0
{"Statement":[{"Action":["sts:AssumeRole"],"Effect":"Allow","Resource":["arn:aws-cn:iam::1:role/a"]}],"Version":"2012-10-17"}
# role arn:aws-cn:iam::1:role/a in cn-north-1, account 1
#   sts:AssumeRole  arn:aws-cn:iam::2:role/b  ExternalSecret team/es0
#   sts:TagSession  arn:aws-cn:iam::2:role/b  ExternalSecret team/es0
{"Statement":[{"Action":["sts:AssumeRole","sts:TagSession"],"Effect":"Allow","Resource":["arn:aws-cn:iam::2:role/b"]}],"Version":"2012-10-17"}
# role arn:aws-cn:iam::2:role/b in cn-north-1, account 2
#   ssm:GetParameter   arn:aws-cn:ssm:cn-north-1:2:parameter/app/db  ExternalSecret team/es0
#   ssm:GetParameters  arn:aws-cn:ssm:cn-north-1:2:parameter/app/db  ExternalSecret team/es0
{"Statement":[{"Action":["ssm:GetParameter","ssm:GetParameters"],"Effect":"Allow","Resource":["arn:aws-cn:ssm:cn-north-1:2:parameter/app/db"]}],"Version":"2012-10-17"}
"#,
        );
    }

    #[test]
    fn a_search_is_allowed_for_the_names_that_it_can_find() {
        let search = |path: Option<&str>, name: Option<&str>| Search {
            path: path.map(str::to_owned),
            name: name.map(str::to_owned),
            ..Search::default()
        };
        for (search, expected) in [
            (search(Some("app/"), Some("x")), "app/"),
            (search(None, Some("^app/db")), "app/db"),
            (search(None, Some("^app/db.*$")), "app/db"),
            (search(None, Some("^app/dbs?")), "app/db"),
            (search(None, Some("^app|^other")), ""),
            (search(None, Some("db$")), ""),
            (search(None, None), ""),
        ] {
            assert_eq!(beginning(&search), expected, "{search:?}");
        }
    }

    #[test]
    fn a_permission_fits_an_id_by_name_or_arn() {
        let need = |resource: &str| Need {
            action: "a",
            resource: resource.to_owned(),
        };
        let arn = "arn:aws:secretsmanager:r:1:secret:app/db-AbCdEf";
        assert!(need("arn:aws:secretsmanager:r:1:secret:app/db-??????").fits("app/db"));
        assert!(!need("arn:aws:secretsmanager:r:1:secret:app/db-??????").fits("app"));
        assert!(need(arn).fits(arn));
        assert!(need("arn:aws:ssm:r:1:parameter/app/db").fits("/app/db"));
        assert!(need("*").fits("*"));
    }
}
