//! Pure: a valid ExternalSecret: every entry with its store, nothing that is not supported, keys distinct.

use std::collections::BTreeSet;

use super::template_from::Target;
use crate::api::external_secret::{
    CreationPolicy, DeletionPolicy, ExternalSecretSpec, MetadataPolicy, RemoteReference, Rewrite,
    SourceReference, StoreKind, StoreReference,
};

/// What is to be read and what is to become of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DesiredSecret {
    /// The name of the Secret.
    pub(crate) target: String,
    pub(crate) immutable: bool,
    /// What becomes of a Secret that is there, or is not.
    pub(crate) creation: CreationPolicy,
    /// In order; later ones win, and all of them lose to `data`.
    pub(crate) extracts: Vec<Entry>,
    pub(crate) data: Vec<(String, Entry)>,
}

/// One reading: which store, and what of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) store: StoreRef,
    pub(crate) remote: RemoteReference,
    /// What becomes of the keys of an extract.
    pub(crate) rewrite: Vec<Rewrite>,
    /// Where it stands in the spec, for messages.
    pub(crate) field: String,
}

/// A store by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoreRef {
    pub(crate) kind: StoreKind,
    pub(crate) name: String,
}

impl std::fmt::Display for StoreRef {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?} `{}`", self.kind, self.name)
    }
}

/// Why a spec cannot be synced as it is written. Only a change of the spec can help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("`target.template.type: {0}` would mint a credential of the cluster, and is refused")]
    ForbiddenType(String),
    #[error("either `data` or `dataFrom` must be given")]
    Empty,
    #[error("`{0}` names no store, and there is no `secretStoreRef`")]
    NoStore(String),
    #[error("`{0}` must have exactly one of `extract`, `find` and `sourceRef.generatorRef`")]
    Ambiguous(String),
    #[error("key `{0}` stands twice in `data`")]
    RepeatedKey(String),
    #[error(
        "`target.template.templateFrom[{0}].target: {1}` is none of Data, Labels and Annotations, which a Secret has"
    )]
    Target(usize, String),
    #[error("`{0}` is not supported yet")]
    Unsupported(String),
    #[error(
        "`target.deletionPolicy: {deletion:?}` cannot go with `target.creationPolicy: {creation:?}`"
    )]
    Policies {
        creation: CreationPolicy,
        deletion: DeletionPolicy,
    },
}

/// Checks a spec. `name` is that of the ExternalSecret.
pub(crate) fn resolve(name: &str, spec: &ExternalSecretSpec) -> Result<DesiredSecret, SpecError> {
    if spec.data.is_empty() && spec.data_from.is_empty() {
        return Err(SpecError::Empty);
    }
    check_target(spec)?;
    let mut keys = BTreeSet::new();
    if let Some(repeated) = spec
        .data
        .iter()
        .find(|entry| !keys.insert(&entry.secret_key))
    {
        return Err(SpecError::RepeatedKey(repeated.secret_key.clone()));
    }
    let data = spec.data.iter().enumerate().map(|(index, entry)| {
        let field = format!("data[{index}]");
        let store = store(spec, entry.source_ref.as_ref(), &field)?;
        Ok((
            entry.secret_key.clone(),
            supported(Entry {
                store,
                remote: entry.remote_ref.clone(),
                rewrite: Vec::new(),
                field,
            })?,
        ))
    });
    let data = data.collect::<Result<_, SpecError>>()?;
    let extracts = spec.data_from.iter().enumerate().map(|(index, entry)| {
        let field = format!("dataFrom[{index}]");
        let generator = entry
            .source_ref
            .as_ref()
            .is_some_and(|source| source.generator_ref.is_some());
        match (&entry.extract, &entry.find, generator) {
            (Some(remote), None, false) => {
                let store = store(spec, entry.source_ref.as_ref(), &field)?;
                supported(Entry {
                    store,
                    remote: remote.clone(),
                    rewrite: entry.rewrite.clone(),
                    field: format!("{field}.extract"),
                })
            }
            (None, Some(_), false) => Err(SpecError::Unsupported(format!("{field}.find"))),
            (None, None, true) => Err(SpecError::Unsupported(format!(
                "{field}.sourceRef.generatorRef"
            ))),
            _ => Err(SpecError::Ambiguous(field)),
        }
    });
    let extracts = extracts.collect::<Result<_, _>>()?;
    let target = spec
        .target
        .name
        .clone()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| name.to_owned());
    Ok(DesiredSecret {
        target,
        immutable: spec.target.immutable == Some(true),
        creation: spec.target.creation_policy,
        extracts,
        data,
    })
}

fn check_target(spec: &ExternalSecretSpec) -> Result<(), SpecError> {
    let target = &spec.target;
    let unsupported = |field: &str| Err(SpecError::Unsupported(field.to_owned()));
    let (creation, deletion) = (target.creation_policy, target.deletion_policy);
    let shared = matches!(
        creation,
        CreationPolicy::Merge | CreationPolicy::None | CreationPolicy::CreateOrMerge
    );
    if deletion == DeletionPolicy::Delete && shared {
        return Err(SpecError::Policies { creation, deletion });
    }
    if deletion != DeletionPolicy::Retain {
        return unsupported(&format!("target.deletionPolicy: {deletion:?}"));
    }
    if target.manifest.is_some() {
        return unsupported("target.manifest");
    }
    check_template(spec)?;
    if spec.sync_windows.is_some() {
        return unsupported("syncWindows");
    }
    Ok(())
}

/// The rules hold here, whether or not an admission webhook holds them too.
fn check_template(spec: &ExternalSecretSpec) -> Result<(), SpecError> {
    const ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
    const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
    let Some(template) = &spec.target.template else {
        return Ok(());
    };
    for (index, entry) in template.template_from.iter().enumerate() {
        if Target::of(&entry.target).is_none() {
            return Err(SpecError::Target(index, entry.target.clone()));
        }
    }
    let metadata = template.metadata.clone().unwrap_or_default();
    if !metadata.finalizers.is_empty() {
        return Err(SpecError::Unsupported(
            "target.template.metadata.finalizers".to_owned(),
        ));
    }
    let type_ = template.type_.as_deref().unwrap_or_default();
    let mints = type_ == ACCOUNT_TOKEN && metadata.annotations.contains_key(ACCOUNT_NAME);
    if mints || type_ == "bootstrap.kubernetes.io/token" {
        return Err(SpecError::ForbiddenType(type_.to_owned()));
    }
    Ok(())
}

fn store(
    spec: &ExternalSecretSpec,
    source: Option<&SourceReference>,
    field: &str,
) -> Result<StoreRef, SpecError> {
    let own = source.and_then(|source| source.store_ref.as_ref());
    let reference: Option<&StoreReference> = own.or(spec.secret_store_ref.as_ref());
    let name = reference
        .and_then(|reference| reference.name.clone())
        .filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| SpecError::NoStore(field.to_owned()))?;
    let kind = reference
        .and_then(|reference| reference.kind)
        .unwrap_or_default();
    Ok(StoreRef { kind, name })
}

fn supported(entry: Entry) -> Result<Entry, SpecError> {
    let unsupported = |name: &str| SpecError::Unsupported(format!("{}.{name}", entry.field));
    if entry.remote.metadata_policy.unwrap_or_default() != MetadataPolicy::None {
        return Err(unsupported("remoteRef.metadataPolicy: Fetch"));
    }
    Ok(entry)
}

impl DesiredSecret {
    /// Every store that is read from, each once.
    pub(crate) fn stores(&self) -> BTreeSet<StoreRef> {
        let entries = self
            .extracts
            .iter()
            .chain(self.data.iter().map(|(_, entry)| entry));
        entries.map(|entry| entry.store.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(spec: Value, expected: &str) {
        let spec: ExternalSecretSpec = serde_json::from_value(spec).unwrap();
        let text = match resolve("db", &spec) {
            Ok(desired) => format!(
                "{} <- {} extracts, {} data",
                desired.target,
                desired.extracts.len(),
                desired.data.len()
            ),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn specs_and_what_becomes_of_them() {
        let store = json!({"name": "aws"});
        let data = |key: &str| json!({"secretKey": key, "remoteRef": {"key": "a"}});
        check(
            json!({"secretStoreRef": store, "data": [data("x")]}),
            "db <- 0 extracts, 1 data",
        );
        check(
            json!({"secretStoreRef": store, "dataFrom": [{"extract": {"key": "a"}}], "target": {"name": "t"}}),
            "t <- 1 extracts, 0 data",
        );
        check(
            json!({"secretStoreRef": store}),
            "error: either `data` or `dataFrom` must be given",
        );
        check(
            json!({"data": [data("x")]}),
            "error: `data[0]` names no store, and there is no `secretStoreRef`",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x"), data("x")]}),
            "error: key `x` stands twice in `data`",
        );
        check(
            json!({"secretStoreRef": store, "dataFrom": [{}]}),
            "error: `dataFrom[0]` must have exactly one of `extract`, `find` and `sourceRef.generatorRef`",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x")], "target": {"template": {"templateFrom": [{"literal": "a", "target": "spec"}]}}}),
            "error: `target.template.templateFrom[0].target: spec` is none of Data, Labels and Annotations, which a Secret has",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x")], "target": {"creationPolicy": "None", "deletionPolicy": "Delete"}}),
            "error: `target.deletionPolicy: Delete` cannot go with `target.creationPolicy: None`",
        );
    }
}
