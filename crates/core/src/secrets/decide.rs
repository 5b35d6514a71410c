//! Pure: decides what to write, given the rendered data and the live Secret.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::api::annotations::{CREATED_BY, DATA_HASH, MANAGED};
use crate::api::external_secret::{CreationPolicy, DeletionPolicy};
use crate::secrets::desired::DesiredSecret;
use crate::secrets::hash::{created_by, data_hash, field_manager};
use crate::secrets::owner::{SecretOwner, is_controlled_by};
use crate::secrets::render::{Metadata, RenderedSecret};
use crate::secrets::{SecretData, SecretValue};

/// What to write.
#[derive(Debug, Clone, PartialEq)]
pub enum SecretWrite {
    /// Create this Secret.
    Create(Box<Secret>),
    /// Replace the Secret by this one, whose resource version guards against changes of other writers.
    Update(Box<Secret>),
    /// Leave the Secret: it is as it should be.
    Leave,
    /// The Secret does not exist, and the creation policy does not let this ExternalSecret create it.
    Absent,
    /// The stores have no values: delete the Secret, if it exists and has not changed.
    Delete(Option<Precondition>),
    /// The stores have no values: leave the Secret as it is.
    Retain,
}

/// Identifies the Secret to delete: it must have this uid and resource version at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precondition {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resource version.
    pub resource_version: String,
}

impl Precondition {
    /// The precondition that this very object is meant.
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// Why the Secret may not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// Another ExternalSecret is the controller of the Secret.
    #[error("target Secret `{target}` is owned by ExternalSecret `{owner}`")]
    OwnedByAnother {
        /// The Secret.
        target: String,
        /// The other ExternalSecret.
        owner: String,
    },
    /// An object of another kind is the controller of the Secret.
    #[error("target Secret `{target}` is controlled by {kind} `{owner}`")]
    Controlled {
        /// The Secret.
        target: String,
        /// The kind of the controller.
        kind: String,
        /// The name of the controller.
        owner: String,
    },
    /// The live Secret is immutable, and its content would change.
    #[error(
        "target Secret `{0}` is immutable and its content would change; delete it to have it made anew"
    )]
    Immutable(String),
    /// The Secret is to be deleted, and the creation policy is not Owner.
    #[error(
        "the stores have no values left, and `deletionPolicy: Delete` deletes only a Secret that is owned; `creationPolicy` is {0:?}"
    )]
    NotOwned(CreationPolicy),
    /// The Secret is to be deleted, and this ExternalSecret is not its controller.
    #[error("the stores have no values left, and Secret `{0}` was not made by this ExternalSecret")]
    NotMade(String),
}

impl DecideError {
    /// The message of the condition, in the words of External Secrets.
    pub fn summary(&self) -> &'static str {
        match self {
            Self::OwnedByAnother { .. } => "target is owned by another ExternalSecret",
            Self::Controlled { .. } => "failed to take ownership of target secret",
            Self::Immutable(_) => "could not update secret, target is immutable",
            Self::NotOwned(_) | Self::NotMade(_) => "could not delete secret",
        }
    }
}

/// True if the Secret exists, is managed, and its data has the hash that was written with it. Under policies that do not
/// manage the whole Secret it is always valid.
pub fn is_valid(policy: CreationPolicy, live: Option<&Secret>) -> bool {
    let live = match (policy, live) {
        (CreationPolicy::Orphan | CreationPolicy::None, _) | (CreationPolicy::Merge, None) => {
            return true;
        }
        (_, None) => return false,
        (_, Some(live)) => live,
    };
    let label = |key: &str| {
        live.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    let annotation = live
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(DATA_HASH));
    label(MANAGED) == Some("true") && annotation == Some(&data_hash(&secret_data(live)))
}

/// The data of a live Secret.
pub fn secret_data(live: &Secret) -> SecretData {
    let data = live.data.iter().flatten();
    data.map(|(key, ByteString(bytes))| (key.clone(), SecretValue::from(bytes.clone())))
        .collect()
}

/// Decides what to do when the stores have no values at all.
///
/// # Errors
/// The policies ask for a deletion, and the Secret is not this ExternalSecret's to delete.
pub fn decide_empty(
    desired: &DesiredSecret,
    owner: &SecretOwner,
    live: Option<&Secret>,
) -> Result<SecretWrite, DecideError> {
    if desired.deletion != DeletionPolicy::Delete {
        return Ok(SecretWrite::Retain);
    }
    if desired.creation != CreationPolicy::Owner {
        return Err(DecideError::NotOwned(desired.creation));
    }
    let Some(live) = live else {
        return Ok(SecretWrite::Delete(None));
    };
    check_ownership(desired, owner, live)?;
    // A Secret that is not controlled existed before, and is not this ExternalSecret's to delete.
    if !is_controlled_by(&live.metadata, &owner.uid) {
        return Err(DecideError::NotMade(desired.target.clone()));
    }
    let which = Precondition::of(&live.metadata);
    Ok(SecretWrite::Delete(Some(which)))
}

/// The Secret without its owner of this uid, so that it stays when the owner goes.
pub fn released(mut secret: Secret, uid: &str) -> Secret {
    if let Some(references) = &mut secret.metadata.owner_references {
        references.retain(|reference| reference.uid != uid);
    }
    secret
}

/// Decides what to write by the creation policy.
///
/// # Errors
/// The Secret belongs to another owner, or is immutable and its content would change.
pub fn decide(
    desired: &DesiredSecret,
    owner: &SecretOwner,
    rendered: &RenderedSecret,
    live: Option<&Secret>,
) -> Result<SecretWrite, DecideError> {
    if desired.creation == CreationPolicy::None {
        return Ok(SecretWrite::Leave);
    }
    let Some(live) = live else {
        if desired.creation == CreationPolicy::Merge {
            return Ok(SecretWrite::Absent);
        }
        let mut secret = Secret {
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        };
        secret.metadata.name = Some(desired.target.clone());
        secret.metadata.namespace = Some(owner.namespace.clone());
        fill(&mut secret, desired, owner, rendered);
        return Ok(SecretWrite::Create(Box::new(secret)));
    };
    check_ownership(desired, owner, live)?;
    let mut secret = live.clone();
    // With `target.immutable`, the content of a live Secret is frozen as it is.
    let data = if desired.immutable {
        secret_data(live)
    } else if merges(desired.creation) {
        merged(live, owner, rendered)
    } else {
        rendered.data.clone()
    };
    let rendered = RenderedSecret {
        data,
        ..rendered.clone()
    };
    fill(&mut secret, desired, owner, &rendered);
    if live.immutable == Some(true) && secret.data != live.data {
        return Err(DecideError::Immutable(desired.target.clone()));
    }
    secret.metadata.managed_fields = None;
    let mut unchanged = live.clone();
    unchanged.metadata.managed_fields = None;
    if secret == unchanged {
        Ok(SecretWrite::Leave)
    } else {
        Ok(SecretWrite::Update(Box::new(secret)))
    }
}

fn merges(policy: CreationPolicy) -> bool {
    matches!(
        policy,
        CreationPolicy::Merge | CreationPolicy::CreateOrMerge
    )
}

/// The keys of other writers and those that were rendered. Keys that this manager wrote before and that are no longer
/// rendered are removed.
fn merged(live: &Secret, owner: &SecretOwner, rendered: &RenderedSecret) -> SecretData {
    let managed = managed_keys(&live.metadata, &field_manager(&owner.name));
    let mut data = secret_data(live);
    data.retain(|key, _| !managed.data.contains(key));
    data.extend(rendered.data.clone());
    data
}

pub(super) fn check_ownership(
    desired: &DesiredSecret,
    owner: &SecretOwner,
    live: &Secret,
) -> Result<(), DecideError> {
    let references = live.metadata.owner_references.iter().flatten();
    let Some(controller) = references
        .into_iter()
        .find(|reference| reference.controller == Some(true))
    else {
        return Ok(());
    };
    let target = desired.target.clone();
    if controller.kind == "ExternalSecret" {
        // By name, as External Secrets does it: an ExternalSecret that was recreated takes its Secret over.
        let ours = is_ours(controller, owner);
        return if ours {
            Ok(())
        } else {
            Err(DecideError::OwnedByAnother {
                target,
                owner: controller.name.clone(),
            })
        };
    }
    // Only the policy Owner needs to be the only controller.
    if desired.creation != CreationPolicy::Owner {
        return Ok(());
    }
    Err(DecideError::Controlled {
        target,
        kind: controller.kind.clone(),
        owner: controller.name.clone(),
    })
}

/// Sets type, data, labels, annotations, finalizers and owner. Without a template, all labels and annotations of the
/// ExternalSecret are copied; those that were copied before and no longer exist are removed.
fn fill(
    secret: &mut Secret,
    desired: &DesiredSecret,
    owner: &SecretOwner,
    rendered: &RenderedSecret,
) {
    let own = Metadata {
        labels: owner.labels.clone(),
        annotations: owner.annotations.clone(),
        finalizers: Vec::new(),
    };
    let metadata = rendered.metadata.clone().unwrap_or(own);
    if rendered.type_.is_some() {
        secret.type_.clone_from(&rendered.type_);
    }
    let owns = desired.creation == CreationPolicy::Owner;
    let managed = managed_keys(&secret.metadata, &field_manager(&owner.name));
    fill_labels(&mut secret.metadata, owner, owns, &managed, metadata.labels);
    let annotations = secret.metadata.annotations.get_or_insert_default();
    annotations.retain(|key, _| !managed.annotations.contains(key));
    annotations.extend(metadata.annotations);
    annotations.insert(DATA_HASH.to_owned(), data_hash(&rendered.data));
    let bytes = rendered.data.iter();
    let bytes = bytes.map(|(key, value)| (key.clone(), ByteString(value.expose().to_vec())));
    secret.data = Some(bytes.collect()).filter(|data: &BTreeMap<_, _>| !data.is_empty());
    if desired.immutable {
        secret.immutable = Some(true);
    }
    add_finalizers(&mut secret.metadata, metadata.finalizers);
    if owns {
        set_owner(&mut secret.metadata, owner);
    } else if let Some(references) = &mut secret.metadata.owner_references {
        references.retain(|reference| !is_ours(reference, owner));
    }
}

/// Replaces the labels that were managed before, and marks the Secret as managed, and as created if it is owned.
fn fill_labels(
    metadata: &mut ObjectMeta,
    owner: &SecretOwner,
    owns: bool,
    managed: &ManagedKeys,
    wanted: BTreeMap<String, String>,
) {
    let labels = metadata.labels.get_or_insert_default();
    labels.retain(|key, _| !managed.labels.contains(key));
    labels.extend(wanted);
    labels.insert(MANAGED.to_owned(), "true".to_owned());
    let created_by = created_by(&owner.namespace, &owner.name);
    if owns {
        labels.insert(CREATED_BY.to_owned(), created_by);
    } else if labels.get(CREATED_BY) == Some(&created_by) {
        labels.remove(CREATED_BY);
    }
}

/// Adds finalizers of the template. A Secret that is being deleted gets none: the API server would refuse them.
fn add_finalizers(metadata: &mut ObjectMeta, wanted: Vec<String>) {
    if wanted.is_empty() || metadata.deletion_timestamp.is_some() {
        return;
    }
    let finalizers = metadata.finalizers.get_or_insert_default();
    for finalizer in wanted {
        if !finalizers.contains(&finalizer) {
            finalizers.push(finalizer);
        }
    }
}

/// Makes the ExternalSecret the controller of the Secret. A reference of the same name is updated.
pub(super) fn set_owner(metadata: &mut ObjectMeta, owner: &SecretOwner) {
    let references = metadata.owner_references.get_or_insert_default();
    let own = references
        .iter_mut()
        .find(|reference| is_ours(reference, owner));
    if let Some(own) = own {
        own.uid.clone_from(&owner.uid);
        own.controller = Some(true);
        own.block_owner_deletion = Some(true);
    } else {
        references.push(OwnerReference {
            api_version: crate::api::EXTERNAL_SECRETS_API.to_owned(),
            kind: "ExternalSecret".to_owned(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        });
    }
}

/// True for a reference to the ExternalSecret of this name.
pub(super) fn is_ours(reference: &OwnerReference, owner: &SecretOwner) -> bool {
    let group = reference.api_version.split('/').next();
    reference.uid == owner.uid
        || reference.kind == "ExternalSecret"
            && group == Some("external-secrets.io")
            && reference.name == owner.name
}

#[derive(Default)]
struct ManagedKeys {
    labels: Vec<String>,
    annotations: Vec<String>,
    data: Vec<String>,
}

/// The labels, annotations and keys of data that a manager wrote, by any operation.
fn managed_keys(metadata: &ObjectMeta, manager: &str) -> ManagedKeys {
    let mut keys = ManagedKeys::default();
    let entries = metadata.managed_fields.iter().flatten();
    for entry in entries.filter(|entry| entry.manager.as_deref() == Some(manager)) {
        let Some(fields) = &entry.fields_v1 else {
            continue;
        };
        let names = |fields: &serde_json::Value| {
            let map = fields.as_object();
            map.into_iter()
                .flatten()
                .filter_map(|(key, _)| key.strip_prefix("f:").map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let metadata = &fields.0["f:metadata"];
        keys.labels.extend(names(&metadata["f:labels"]));
        keys.annotations.extend(names(&metadata["f:annotations"]));
        keys.data.extend(names(&fields.0["f:data"]));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uid: &str) -> SecretOwner {
        let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        SecretOwner {
            name: "db".into(),
            namespace: "default".into(),
            uid: uid.into(),
            labels,
            ..SecretOwner::default()
        }
    }

    fn desired() -> DesiredSecret {
        DesiredSecret {
            target: "db-creds".into(),
            immutable: false,
            creation: CreationPolicy::Owner,
            deletion: DeletionPolicy::Retain,
            sources: vec![],
            data: vec![],
        }
    }

    fn data(value: &str) -> RenderedSecret {
        let value = SecretValue::from(value.as_bytes().to_vec());
        RenderedSecret {
            data: SecretData::from([("k".to_owned(), value)]),
            ..RenderedSecret::default()
        }
    }

    fn created(value: &str) -> Secret {
        match decide(&desired(), &owner("u1"), &data(value), None) {
            Ok(SecretWrite::Create(secret)) => *secret,
            other => panic!("expected a creation, got {other:?}"),
        }
    }

    #[test]
    fn what_was_written_is_valid_and_left_alone() {
        let secret = created("v");
        assert!(is_valid(CreationPolicy::Owner, Some(&secret)));
        assert_eq!(secret.metadata.labels.as_ref().unwrap()["team"], "a");
        assert_eq!(
            decide(&desired(), &owner("u1"), &data("v"), Some(&secret)),
            Ok(SecretWrite::Leave)
        );
    }

    #[test]
    fn a_changed_value_or_a_hand_edit_is_written() {
        let secret = created("v");
        assert!(matches!(
            decide(&desired(), &owner("u1"), &data("w"), Some(&secret)),
            Ok(SecretWrite::Update(_))
        ));
        let mut edited = secret;
        edited
            .data
            .as_mut()
            .unwrap()
            .insert("k".into(), ByteString(b"edited".to_vec()));
        assert!(!is_valid(CreationPolicy::Owner, Some(&edited)));
        assert!(matches!(
            decide(&desired(), &owner("u1"), &data("v"), Some(&edited)),
            Ok(SecretWrite::Update(_))
        ));
        assert!(!is_valid(CreationPolicy::Owner, None));
    }

    #[test]
    fn a_secret_of_another_owner_is_not_touched() {
        let secret = created("v");
        let another = SecretOwner {
            name: "another".into(),
            ..owner("u2")
        };
        let error = decide(&desired(), &another, &data("w"), Some(&secret)).unwrap_err();
        assert_eq!(error.summary(), "target is owned by another ExternalSecret");
        // One of the same name that was made anew takes its Secret over.
        let Ok(SecretWrite::Update(taken)) =
            decide(&desired(), &owner("u2"), &data("w"), Some(&secret))
        else {
            panic!("expected an update");
        };
        let owners = taken.metadata.owner_references.unwrap();
        assert_eq!((owners.len(), owners[0].uid.as_str()), (1, "u2"));
        let mut controlled = secret;
        controlled.metadata.owner_references.as_mut().unwrap()[0].kind = "Certificate".into();
        let error = decide(&desired(), &owner("u2"), &data("w"), Some(&controlled)).unwrap_err();
        assert_eq!(error.summary(), "failed to take ownership of target secret");
    }

    #[test]
    fn a_released_secret_has_lost_only_its_owner_and_can_be_taken_again() {
        let secret = created("v");
        let free = released(secret.clone(), "u1");
        assert_eq!(free.metadata.owner_references, Some(Vec::new()));
        assert_eq!(free.data, secret.data);
        assert_eq!(released(secret.clone(), "u2"), secret);
        let again = decide(&desired(), &owner("u2"), &data("v"), Some(&free));
        assert!(matches!(again, Ok(SecretWrite::Update(_))), "{again:?}");
    }

    #[test]
    fn policies_decide_what_becomes_of_a_secret_and_of_none() {
        use CreationPolicy::{CreateOrMerge, Merge, Orphan};
        let foreign = || {
            let mut secret = Secret::default();
            let data = [("k", "theirs"), ("other", "theirs"), ("old", "ours")];
            let data = data.map(|(key, value)| (key.to_owned(), ByteString(value.into())));
            secret.data = Some(data.into());
            let managed = serde_json::json!([{
                "manager": field_manager("db"), "operation": "Update", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {"f:old": {}}},
            }]);
            secret.metadata.managed_fields = serde_json::from_value(managed).unwrap();
            secret
        };
        let check = |policy: CreationPolicy, live: Option<Secret>, expected: &str| {
            let desired = DesiredSecret {
                creation: policy,
                ..desired()
            };
            let shown = |secret: &Secret| {
                let keys = secret.data.iter().flatten();
                let keys = keys.map(|(key, ByteString(value))| {
                    format!("{key}={}", String::from_utf8_lossy(value))
                });
                let owned = secret.metadata.owner_references.iter().flatten().count();
                let marked = secret
                    .metadata
                    .labels
                    .as_ref()
                    .unwrap()
                    .contains_key(CREATED_BY);
                format!(
                    "{} owners {owned} marked {marked}",
                    keys.collect::<Vec<_>>().join(" ")
                )
            };
            let text = match decide(&desired, &owner("u1"), &data("v"), live.as_ref()).unwrap() {
                SecretWrite::Create(secret) => format!("create {}", shown(&secret)),
                SecretWrite::Update(secret) => format!("update {}", shown(&secret)),
                SecretWrite::Leave => "leave".to_owned(),
                other => format!("{other:?}").to_lowercase(),
            };
            assert_eq!(text, expected, "{policy:?}");
        };
        check(
            CreationPolicy::Owner,
            None,
            "create k=v owners 1 marked true",
        );
        check(
            CreationPolicy::Owner,
            Some(foreign()),
            "update k=v owners 1 marked true",
        );
        check(Orphan, None, "create k=v owners 0 marked false");
        check(Orphan, Some(foreign()), "update k=v owners 0 marked false");
        let merged = "update k=v other=theirs owners 0 marked false";
        check(CreateOrMerge, None, "create k=v owners 0 marked false");
        check(CreateOrMerge, Some(foreign()), merged);
        check(Merge, None, "absent");
        check(Merge, Some(foreign()), merged);
        // What was owned is let go.
        check(
            Orphan,
            Some(created("v")),
            "update k=v owners 0 marked false",
        );
        check(CreationPolicy::None, None, "leave");
        check(CreationPolicy::None, Some(foreign()), "leave");
    }

    #[test]
    fn an_immutable_secret_keeps_its_content() {
        let mut secret = created("v");
        secret.immutable = Some(true);
        assert_eq!(
            decide(&desired(), &owner("u1"), &data("w"), Some(&secret)),
            Err(DecideError::Immutable("db-creds".into()))
        );
        let frozen = DesiredSecret {
            immutable: true,
            ..desired()
        };
        assert_eq!(
            decide(&frozen, &owner("u1"), &data("w"), Some(&secret)),
            Ok(SecretWrite::Leave)
        );
    }
}
