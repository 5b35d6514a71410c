//! Pure: what the metadata watch of one kind has told: the change token and the owner of each object.
//!
//! A watch begins with a list of all objects and goes on with changes. What an older list has told stays valid until
//! the new list is complete, so that a broken watch does not make every object look deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::apply::last_applied::change_token;
use crate::apply::owner_labels::label_owner;
use crate::apply::takeover::FIELD_MANAGER;
use crate::names::NamespacedName;

/// A kind that the API server refused to list is tried again after this time.
const RETRY: Duration = Duration::from_secs(600);

/// What a watch knows of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchedState {
    /// The object exists and has this change token.
    Token(String),
    /// The whole kind was listed, and the object is not there.
    Missing,
    /// The kind is not watched, or not listed yet.
    Unknown,
}

/// A change of one object that a watch reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedChange {
    /// The object, among those of its kind.
    pub name: NamespacedName,
    /// The change token that it has now; none if it was deleted.
    pub token: Option<String>,
    /// The field manager that wrote it last besides us, for messages.
    pub manager: String,
}

/// The objects of one kind, as its watch has told them.
#[derive(Debug, Default)]
pub struct WatchedKind {
    /// The kind was listed to the end, so that an object that is not known does not exist.
    is_listed: bool,
    objects: BTreeMap<NamespacedName, WatchedObject>,
    /// Objects of the last list that the list which is under way has not named yet.
    unconfirmed: BTreeSet<NamespacedName>,
    /// Each owner once, since thousands of objects share one.
    owners: BTreeSet<Arc<NamespacedName>>,
    refused: Option<Timestamp>,
}

#[derive(Debug)]
struct WatchedObject {
    token: String,
    uid: String,
    owner: Arc<NamespacedName>,
}

impl WatchedKind {
    /// What is known of an object.
    pub fn state(&self, name: &NamespacedName) -> WatchedState {
        if !self.is_listed {
            return WatchedState::Unknown;
        }
        match self.objects.get(name) {
            Some(object) => WatchedState::Token(object.token.clone()),
            None => WatchedState::Missing,
        }
    }

    /// The Kustomization that an object's labels name, also while the kind is being listed; none if the object is not
    /// known.
    pub fn owner(&self, name: &NamespacedName) -> Option<&NamespacedName> {
        Some(&*self.objects.get(name)?.owner)
    }

    /// True if the object of this name has this uid.
    pub fn has_uid(&self, name: &NamespacedName, uid: &str) -> bool {
        let object = self.objects.get(name);
        object.is_some_and(|object| object.uid == uid)
    }

    /// True while an answer of the API server is worth waiting for.
    pub fn is_being_listed(&self) -> bool {
        !self.is_listed && self.refused.is_none()
    }

    /// True if the API server refused the watch so long ago that it is asked again.
    pub fn should_retry(&self, now: Timestamp) -> bool {
        self.refused.is_some_and(|refused| {
            Duration::try_from(now.duration_since(refused)).is_ok_and(|passed| passed > RETRY)
        })
    }

    /// Notes that this kind may not be listed and watched, so that nothing is known of it.
    pub fn refuse(&mut self, now: Timestamp) {
        self.is_listed = false;
        self.refused = Some(now);
    }

    /// Notes that a new list begins.
    pub fn begin_list(&mut self) {
        self.unconfirmed = self.objects.keys().cloned().collect();
    }

    /// Notes an object that a list names or that has changed.
    pub fn record(&mut self, metadata: &ObjectMeta) -> WatchedChange {
        let name = name_of(metadata);
        self.unconfirmed.remove(&name);
        let token = change_token(metadata);
        let object = WatchedObject {
            token: token.clone(),
            uid: metadata.uid.clone().unwrap_or_default(),
            owner: self.shared(label_owner(metadata)),
        };
        self.objects.insert(name.clone(), object);
        WatchedChange {
            name,
            token: Some(token),
            manager: last_manager(metadata),
        }
    }

    /// Notes that an object was deleted.
    pub fn delete(&mut self, metadata: &ObjectMeta) -> WatchedChange {
        self.remove(name_of(metadata))
    }

    /// Notes that the list is complete: objects that it did not name do not exist any more.
    pub fn end_list(&mut self) -> Vec<WatchedChange> {
        self.is_listed = true;
        let gone = std::mem::take(&mut self.unconfirmed).into_iter();
        gone.map(|name| self.remove(name)).collect()
    }

    fn remove(&mut self, name: NamespacedName) -> WatchedChange {
        self.objects.remove(&name);
        WatchedChange {
            name,
            token: None,
            manager: "somebody who deletes it".to_owned(),
        }
    }

    fn shared(&mut self, owner: NamespacedName) -> Arc<NamespacedName> {
        if let Some(known) = self.owners.get(&owner) {
            return known.clone();
        }
        let owner = Arc::new(owner);
        self.owners.insert(owner.clone());
        owner
    }
}

fn name_of(metadata: &ObjectMeta) -> NamespacedName {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    NamespacedName::new(text(&metadata.namespace), text(&metadata.name))
}

/// The field manager besides us that has written last, other than to the status.
pub fn last_manager(metadata: &ObjectMeta) -> String {
    let entries = metadata.managed_fields.iter().flatten();
    let others = entries.filter(|entry| {
        entry.subresource.as_deref().unwrap_or_default().is_empty()
            && entry.manager.as_deref() != Some(FIELD_MANAGER)
    });
    let last = others.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    let manager = last.and_then(|entry| entry.manager.clone());
    manager.unwrap_or_else(|| "somebody".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::annotations::{OWNER_NAME, OWNER_NAMESPACE};

    fn metadata(name: &str, more: &Value) -> ObjectMeta {
        let mut metadata = json!({
            "namespace": "n", "name": name, "uid": format!("uid-{name}"), "generation": 1,
            "labels": {OWNER_NAME: "app", OWNER_NAMESPACE: "team"},
        });
        json_patch::merge(&mut metadata, more);
        serde_json::from_value(metadata).unwrap()
    }

    fn object(name: &str) -> ObjectMeta {
        metadata(name, &json!({}))
    }

    fn name(name: &str) -> NamespacedName {
        NamespacedName::new("n", name)
    }

    fn listed(names: &[&str]) -> WatchedKind {
        let mut kind = WatchedKind::default();
        kind.begin_list();
        for name in names {
            kind.record(&object(name));
        }
        assert!(kind.end_list().is_empty());
        kind
    }

    #[test]
    fn a_kind_is_known_when_its_list_is_complete() {
        let mut kind = WatchedKind::default();
        kind.begin_list();
        let change = kind.record(&object("a"));
        assert_eq!(kind.state(&name("a")), WatchedState::Unknown);
        assert!(kind.is_being_listed());
        assert_eq!(
            kind.owner(&name("a")),
            Some(&NamespacedName::new("team", "app"))
        );
        kind.end_list();
        assert_eq!(
            kind.state(&name("a")),
            WatchedState::Token(change.token.unwrap())
        );
        assert_eq!(kind.state(&name("b")), WatchedState::Missing);
        assert!(!kind.is_being_listed());
        assert!(kind.has_uid(&name("a"), "uid-a") && !kind.has_uid(&name("b"), "uid-a"));
    }

    #[test]
    fn an_older_list_is_valid_until_the_new_one_is_complete() {
        let mut kind = listed(&["a", "b"]);
        kind.begin_list();
        kind.record(&object("b"));
        assert_ne!(kind.state(&name("a")), WatchedState::Missing);
        let gone = kind.end_list();
        assert_eq!(gone.len(), 1);
        assert_eq!((&gone[0].name, &gone[0].token), (&name("a"), &None));
        assert_eq!(kind.state(&name("a")), WatchedState::Missing);
        kind.delete(&object("b"));
        assert_eq!(kind.state(&name("b")), WatchedState::Missing);
        assert_eq!(kind.owner(&name("b")), None);
    }

    #[test]
    fn a_refused_kind_is_unknown_and_tried_again_later() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut kind = listed(&["a"]);
        assert!(!kind.should_retry(now));
        kind.refuse(now);
        assert_eq!(kind.state(&name("a")), WatchedState::Unknown);
        assert!(!kind.is_being_listed());
        assert!(!kind.should_retry(now + RETRY));
        assert!(kind.should_retry(now + RETRY + Duration::from_secs(1)));
    }

    #[test]
    fn the_last_writer_besides_us_is_named() {
        let entry = |manager: &str, time: &str, subresource: &str| json!({"manager": manager, "time": time, "subresource": subresource});
        let manager = |entries: Value| {
            let metadata = metadata("a", &json!({"managedFields": entries}));
            WatchedKind::default().record(&metadata).manager
        };
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        assert_eq!(
            manager(json!([
                entry("helm", late, ""),
                entry("kubectl", early, "")
            ])),
            "helm"
        );
        assert_eq!(
            manager(json!([
                entry("kubectl", early, ""),
                entry("overlayd", late, ""),
                entry("kubelet", late, "status")
            ])),
            "kubectl"
        );
        assert_eq!(manager(json!([])), "somebody");
    }
}
