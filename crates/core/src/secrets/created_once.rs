//! Pure: what `refreshPolicy: CreatedOnce` means for an ExternalSecret that is made anew over a Secret that is there.
//!
//! External Secrets decides by the status, and a new object has none: it makes a new password for a database that still
//! has the old one. Here the Secret decides. One that an ExternalSecret of this name has written, and that still is as it
//! was written, has been created once.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::annotations::{CREATED_BY, DATA_HASH};
use crate::api::external_secret::{
    CreationPolicy, ExternalSecretSpec, ExternalSecretStatus, RefreshPolicy,
};
use crate::secrets::decide::{
    DecideError, SecretWrite, check_ownership, is_ours, secret_data, set_owner,
};
use crate::secrets::desired::DesiredSecret;
use crate::secrets::hash::{created_by, data_hash, field_manager};
use crate::secrets::owner::SecretOwner;

/// True if the live Secret is what this ExternalSecret would create once: an ExternalSecret of its name has written it, its
/// data still has the hash that was written with it, and this object has never synced.
pub fn was_created_once(
    spec: &ExternalSecretSpec,
    status: &ExternalSecretStatus,
    owner: &SecretOwner,
    live: &Secret,
) -> bool {
    let is_new = status.refresh_time.is_none();
    let is_once = spec.refresh_policy == Some(RefreshPolicy::CreatedOnce);
    // A Secret that is being deleted is gone in a moment.
    let stays = live.metadata.deletion_timestamp.is_none();
    is_once && is_new && stays && was_written_for(&live.metadata, owner) && is_as_written(live)
}

/// True if an ExternalSecret of this name has written the Secret: by its label, its owner or its field manager.
fn was_written_for(metadata: &ObjectMeta, owner: &SecretOwner) -> bool {
    let labels = metadata.labels.as_ref();
    let label = labels.and_then(|labels| labels.get(CREATED_BY));
    let manager = field_manager(&owner.name);
    let mut owners = metadata.owner_references.iter().flatten();
    let mut managers = metadata.managed_fields.iter().flatten();
    label == Some(&created_by(&owner.namespace, &owner.name))
        || owners.any(|reference| is_ours(reference, owner))
        || managers.any(|entry| entry.manager.as_deref() == Some(&manager))
}

fn is_as_written(live: &Secret) -> bool {
    let annotations = live.metadata.annotations.as_ref();
    let written = annotations.and_then(|annotations| annotations.get(DATA_HASH));
    let has_data = live.data.as_ref().is_some_and(|data| !data.is_empty());
    has_data && written == Some(&data_hash(&secret_data(live)))
}

/// Takes over a Secret that was created once: its data stays, and it belongs to the new ExternalSecret.
///
/// # Errors
/// The Secret belongs to another owner.
pub fn keep(
    desired: &DesiredSecret,
    owner: &SecretOwner,
    live: &Secret,
) -> Result<SecretWrite, DecideError> {
    check_ownership(desired, owner, live)?;
    if desired.creation != CreationPolicy::Owner {
        return Ok(SecretWrite::Leave);
    }
    let mut secret = live.clone();
    set_owner(&mut secret.metadata, owner);
    let labels = secret.metadata.labels.get_or_insert_default();
    let label = created_by(&owner.namespace, &owner.name);
    labels.insert(CREATED_BY.to_owned(), label);
    if secret == *live {
        return Ok(SecretWrite::Leave);
    }
    secret.metadata.managed_fields = None;
    Ok(SecretWrite::Update(Box::new(secret)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::external_secret::DeletionPolicy;
    use crate::secrets::decide::decide;
    use crate::secrets::render::RenderedSecret;
    use crate::secrets::{SecretData, SecretValue};

    fn owner(uid: &str) -> SecretOwner {
        SecretOwner {
            name: "db".into(),
            namespace: "team".into(),
            uid: uid.into(),
            ..SecretOwner::default()
        }
    }

    fn desired(creation: CreationPolicy) -> DesiredSecret {
        DesiredSecret {
            target: "db".into(),
            immutable: false,
            creation,
            deletion: DeletionPolicy::Retain,
            sources: vec![],
            data: vec![],
        }
    }

    /// A Secret as the first ExternalSecret has created it.
    fn created(creation: CreationPolicy) -> Secret {
        let value = SecretValue::from(b"in use".to_vec());
        let rendered = RenderedSecret {
            data: SecretData::from([("password".to_owned(), value)]),
            ..RenderedSecret::default()
        };
        match decide(&desired(creation), &owner("first"), &rendered, None) {
            Ok(SecretWrite::Create(mut secret)) => {
                let entry = json!([{"manager": field_manager("db")}]);
                secret.metadata.managed_fields = serde_json::from_value(entry).unwrap();
                *secret
            }
            other => panic!("expected a creation, got {other:?}"),
        }
    }

    fn spec(policy: Option<RefreshPolicy>) -> ExternalSecretSpec {
        ExternalSecretSpec {
            refresh_policy: policy,
            ..ExternalSecretSpec::default()
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Secret), expected: bool) {
        let mut live = created(CreationPolicy::Owner);
        change(&mut live);
        let once = spec(Some(RefreshPolicy::CreatedOnce));
        let status = ExternalSecretStatus::default();
        assert_eq!(
            was_created_once(&once, &status, &owner("second"), &live),
            expected
        );
    }

    #[test]
    fn a_secret_that_was_written_for_this_name_and_is_as_it_was_written() {
        check(|_| {}, true);
        // `--cascade=orphan` takes the owner away, a backup the field manager.
        check(|live| live.metadata.owner_references = None, true);
        check(|live| live.metadata.managed_fields = None, true);
        check(
            |live| {
                live.metadata.owner_references = None;
                live.metadata.managed_fields = None;
                live.metadata.labels = None;
            },
            false,
        );
        check(
            |live| {
                let data = live.data.get_or_insert_default();
                data.insert(
                    "password".into(),
                    k8s_openapi::ByteString(b"other".to_vec()),
                );
            },
            false,
        );
        check(|live| live.data = None, false);
        check(|live| live.metadata.annotations = None, false);
        check(
            |live| {
                let gone = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
                live.metadata.deletion_timestamp = Some(gone);
            },
            false,
        );
    }

    #[test]
    fn only_created_once_and_only_before_the_first_sync() {
        let live = created(CreationPolicy::Orphan);
        let check = |policy, status: &ExternalSecretStatus, expected| {
            let is_kept = was_created_once(&spec(policy), status, &owner("second"), &live);
            assert_eq!(is_kept, expected, "{policy:?}");
        };
        let new = ExternalSecretStatus::default();
        check(Some(RefreshPolicy::CreatedOnce), &new, true);
        check(Some(RefreshPolicy::OnChange), &new, false);
        check(Some(RefreshPolicy::Periodic), &new, false);
        check(None, &new, false);
        let synced: ExternalSecretStatus =
            serde_json::from_value(json!({"refreshTime": "2026-01-01T00:00:00Z"})).unwrap();
        check(Some(RefreshPolicy::CreatedOnce), &synced, false);
        let mut other = owner("second");
        other.name = "other".into();
        let once = spec(Some(RefreshPolicy::CreatedOnce));
        assert!(!was_created_once(&once, &new, &other, &live));
    }

    #[test]
    fn the_kept_secret_belongs_to_the_new_object() {
        let live = created(CreationPolicy::Owner);
        let kept = keep(&desired(CreationPolicy::Owner), &owner("second"), &live).unwrap();
        let SecretWrite::Update(kept) = kept else {
            panic!("expected an update, got {kept:?}");
        };
        assert_eq!(kept.data, live.data);
        let owners = kept.metadata.owner_references.unwrap();
        assert_eq!(owners.len(), 1);
        assert_eq!(owners[0].uid, "second");
        let again = keep(&desired(CreationPolicy::Owner), &owner("first"), &live);
        assert_eq!(again, Ok(SecretWrite::Leave));
        let orphan = keep(&desired(CreationPolicy::Orphan), &owner("second"), &live);
        assert_eq!(orphan, Ok(SecretWrite::Leave));
        let mut of_another = owner("x");
        of_another.name = "other".into();
        let refused = keep(&desired(CreationPolicy::Owner), &of_another, &live);
        assert!(matches!(refused, Err(DecideError::OwnedByAnother { .. })));
    }
}
