//! Pure: the names of annotations, labels and finalizers, each once.
//!
//! Most names are defined by Flux, External Secrets or kubectl, so that existing manifests and tools work unchanged. Names
//! with [`OVERLAYD_PREFIX`] are defined by overlayd.

/// The annotation of a Flux object that requests a reconcile now. Each new value is a new request, and the status repeats
/// the handled value as `lastHandledReconcileAt`.
pub const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// The annotation of an ExternalSecret that requests a refresh now. Any changed annotation has this effect; the
/// documentation of External Secrets uses this name.
pub const FORCE_SYNC: &str = "force-sync";
/// The finalizer of Flux, on all of its kinds. overlayd adds it only to Kustomizations, which prune when they are deleted,
/// and removes it from all kinds.
pub const FLUX_FINALIZER: &str = "finalizers.fluxcd.io";
/// Annotations of an object with this prefix become metadata of its events.
pub const FLUX_EVENT_PREFIX: &str = "event.toolkit.fluxcd.io/";

/// The prefix of labels and annotations that control how an applied object is handled: `reconcile`, `prune`, `ssa`,
/// `force`.
pub const KUSTOMIZE_PREFIX: &str = "kustomize.toolkit.fluxcd.io/";
/// The label with the name of the Kustomization that owns an object.
pub const OWNER_NAME: &str = "kustomize.toolkit.fluxcd.io/name";
/// The label with the namespace of the Kustomization that owns an object.
pub const OWNER_NAMESPACE: &str = "kustomize.toolkit.fluxcd.io/namespace";
/// The label or annotation that is `disabled` on an object in which no variables are substituted.
pub const SUBSTITUTE: &str = "kustomize.toolkit.fluxcd.io/substitute";

/// The prefix of overlayd's own annotations.
pub const OVERLAYD_PREFIX: &str = "overlayd.dev/";
/// The annotation of a Kustomization with the hash of a list of deletions that a person approves.
pub const APPROVE_DELETIONS: &str = "overlayd.dev/approve-deletions";
/// The annotation of a namespace that existed before it was applied, so that it is not deleted with the rest.
pub const EXISTED: &str = "overlayd.dev/existed-before";
/// The annotation with the objects that must be healthy before an object is applied, in the format of Config Sync.
pub const DEPENDS_ON: &str = "config.kubernetes.io/depends-on";
/// The annotation, of a Kustomization or of an applied object, that decides what happens to changes by others.
pub const DRIFT: &str = "overlayd.dev/drift";
/// The annotation with the number of the wave in which an object is applied. Default: 0.
pub const WAVE: &str = "overlayd.dev/wave";
/// The annotation of an object that names the Kustomization (`namespace/name`) from which it is taken over.
pub const TAKE_OVER: &str = "overlayd.dev/take-over";
/// The annotation of a Kustomization that decides whether controllers of the peers in its build are applied.
pub const PEER_CONTROLLERS: &str = "overlayd.dev/peer-controllers";
/// The annotation of a store with the URL of an SQS queue of rotation events.
pub const ROTATION_QUEUE: &str = "overlayd.dev/rotation-queue";

/// The finalizer of External Secrets on an ExternalSecret. overlayd adds it only if the ExternalSecret owns its Secret, so
/// that the deletion of the definition does not take the Secret along, and removes it in all cases.
pub const EXTERNAL_SECRET_FINALIZER: &str =
    "externalsecrets.external-secrets.io/externalsecret-cleanup";
/// The finalizer of External Secrets on a store, which overlayd removes and never adds.
pub const STORE_FINALIZER: &str = "secretstore.externalsecrets.io/finalizer";
/// The annotation of a store that suppresses the warning about an unmaintained provider.
pub const IGNORE_MAINTENANCE: &str = "external-secrets.io/ignore-maintenance-checks";
/// The prefix of the labels and annotations that External Secrets writes on a Secret.
pub const MANAGED_PREFIX: &str = "reconcile.external-secrets.io/";
/// The label of a Secret that an ExternalSecret writes.
pub const MANAGED: &str = "reconcile.external-secrets.io/managed";
/// The label of a Secret that an ExternalSecret created and owns; its value is a hash of namespace and name.
pub const CREATED_BY: &str = "reconcile.external-secrets.io/created-by";
/// The annotation of a Secret with the hash of the data that was written.
pub const DATA_HASH: &str = "reconcile.external-secrets.io/data-hash";

/// The annotation in which `kubectl apply` keeps the last manifest.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
