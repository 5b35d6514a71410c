//! Pure: the steps by which overlayd leaves a cluster, so that everything that git describes stays.
//!
//! ```text
//! Installation (what is there), Afterwards (who works on) ─steps→ Vec<UninstallStep>
//! ```
//! The daemon stops first, so that it undoes nothing. Then either the peers get back what they need
//! ([`Afterwards::Peers`]), or nothing is left that waits for a controller ([`Afterwards::Nobody`]). Its own objects go
//! last. Definitions, custom resources, namespaces, workloads and Secrets stay. Each step may be repeated.

use std::fmt;

use crate::apply::object_ref::ObjectRef;
use crate::names::NamespacedName;

/// The field manager of Flux, to which fields go back.
pub const FLUX_MANAGER: &str = "kustomize-controller";

/// Who works on the objects after overlayd has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// Flux and External Secrets: they need their finalizers and owner references, and the fields that overlayd owns.
    Peers,
    /// No controller: nothing may wait for one, and no Secret may go with its ExternalSecret.
    Nobody,
}

/// What there is of overlayd in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Installation {
    /// The Deployments of overlayd.
    pub deployments: Vec<ObjectRef>,
    /// What else was installed with them: service accounts, roles, bindings, services, settings, the lease.
    pub others: Vec<ObjectRef>,
    /// Custom resources that hold one of the finalizers of the peers.
    pub held: Vec<(ObjectRef, String)>,
    /// Secrets that go with their ExternalSecret, with the uid of it.
    pub secrets: Vec<(NamespacedName, String)>,
    /// Objects of the inventories in which overlayd owns fields.
    pub applied: Vec<ObjectRef>,
}

/// One change, in the order of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UninstallStep {
    /// Delete an object of overlayd itself.
    Delete(ObjectRef),
    /// Wait until no pod of this Deployment is left.
    AwaitStop(ObjectRef),
    /// Let this field manager own what overlayd owns in an object.
    HandOver(ObjectRef, &'static str),
    /// Take the owner of this uid from a Secret.
    Release(NamespacedName, String),
    /// Take a finalizer from a custom resource.
    RemoveFinalizer(ObjectRef, String),
}

/// The steps, in order.
pub fn steps(there: &Installation, afterwards: Afterwards) -> Vec<UninstallStep> {
    let mut steps = Vec::new();
    steps.extend(there.deployments.iter().cloned().map(UninstallStep::Delete));
    steps.extend(
        there
            .deployments
            .iter()
            .cloned()
            .map(UninstallStep::AwaitStop),
    );
    match afterwards {
        Afterwards::Peers => {
            let applied = there.applied.iter().cloned();
            steps.extend(applied.map(|object| UninstallStep::HandOver(object, FLUX_MANAGER)));
        }
        Afterwards::Nobody => {
            // Before the finalizers: without them, an ExternalSecret could go and take its Secret along.
            let secrets = there.secrets.iter().cloned();
            steps.extend(secrets.map(|(secret, uid)| UninstallStep::Release(secret, uid)));
            let held = there.held.iter().cloned();
            steps.extend(held.map(|(object, name)| UninstallStep::RemoveFinalizer(object, name)));
        }
    }
    steps.extend(there.others.iter().cloned().map(UninstallStep::Delete));
    steps
}

/// What a person reads before it happens.
impl fmt::Display for UninstallStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delete(object) => write!(formatter, "delete {object}"),
            Self::AwaitStop(object) => {
                write!(formatter, "wait until the pods of {object} are gone")
            }
            Self::HandOver(object, to) => {
                write!(formatter, "give the fields of {object} back to `{to}`")
            }
            Self::Release(secret, _) => write!(
                formatter,
                "take the owner from Secret/{}/{}, so that it stays",
                secret.namespace, secret.name
            ),
            Self::RemoveFinalizer(object, finalizer) => {
                write!(formatter, "remove the finalizer `{finalizer}` of {object}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(afterwards: Afterwards, expected: &[&str]) {
        let object = |api: &str, kind: &str, name: &str| ObjectRef::new(api, kind, "n", name);
        let there = Installation {
            deployments: vec![object("apps/v1", "Deployment", "overlayd")],
            others: vec![object("v1", "ServiceAccount", "overlayd")],
            held: vec![(
                object("external-secrets.io/v1", "ExternalSecret", "db"),
                "f".to_owned(),
            )],
            secrets: vec![(NamespacedName::new("n", "db"), "uid".to_owned())],
            applied: vec![object("v1", "ConfigMap", "a")],
        };
        let steps = steps(&there, afterwards);
        let text: Vec<String> = steps.iter().map(ToString::to_string).collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn the_daemon_stops_first_and_its_account_goes_last() {
        let (stop, wait, last) = (
            "delete Deployment/n/overlayd",
            "wait until the pods of Deployment/n/overlayd are gone",
            "delete ServiceAccount/n/overlayd",
        );
        check(
            Afterwards::Nobody,
            &[
                stop,
                wait,
                "take the owner from Secret/n/db, so that it stays",
                "remove the finalizer `f` of ExternalSecret/n/db",
                last,
            ],
        );
        check(
            Afterwards::Peers,
            &[
                stop,
                wait,
                "give the fields of ConfigMap/n/a back to `kustomize-controller`",
                last,
            ],
        );
    }

    #[test]
    fn of_nothing_nothing_is_to_be_done() {
        let nothing = Installation::default();
        for afterwards in [Afterwards::Peers, Afterwards::Nobody] {
            assert_eq!(steps(&nothing, afterwards), []);
        }
    }
}
