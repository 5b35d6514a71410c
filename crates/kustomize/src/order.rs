//! Pure: the order of the output, as kustomize's `SortOrderTransformer.go` has it.

use crate::error::{BuildError, Problem};
use crate::kustomization::SortOptions;
use crate::options::Reorder;
use crate::resource::{ResMap, Resource};

/// Kinds that come first, in this order.
const ORDER_FIRST: [&str; 22] = [
    "Namespace",
    "ResourceQuota",
    "StorageClass",
    "CustomResourceDefinition",
    "ServiceAccount",
    "PodSecurityPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Service",
    "LimitRange",
    "PriorityClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];
/// Kinds that come last, in this order.
const ORDER_LAST: [&str; 2] = [
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// The root's own order, else that of the caller.
pub(crate) fn sorted(
    resources: ResMap,
    sort: Option<&SortOptions>,
    reorder: Reorder,
) -> Result<ResMap, BuildError> {
    let bad = |message: &str| {
        let error = BuildError::from(Problem::Kustomization(message.to_owned()));
        let error = error.field("sortOptions");
        Err(match sort.and_then(|sort| sort.place.as_ref()) {
            Some(place) => error.at(place.file.clone(), place.line),
            None => error,
        })
    };
    let owned = |kinds: &[&str]| kinds.iter().map(|&kind| kind.to_owned()).collect();
    let defaults = || (owned(&ORDER_FIRST), owned(&ORDER_LAST));
    let (first, last): (Vec<String>, Vec<String>) =
        match sort.map(|sort| (sort.order.as_str(), &sort.legacy)) {
            Some(("fifo", Some(_))) => return bad("legacySortOptions need `order: legacy`"),
            Some(("fifo", None)) => return Ok(resources),
            Some(("legacy", Some(lists))) => lists.clone(),
            Some(("legacy", None)) => defaults(),
            Some(("", _)) => return bad("the field `order` must be `legacy` or `fifo`"),
            Some((other, _)) => {
                return bad(&format!(
                    "the field `order` must be `legacy` or `fifo`, not `{other}`"
                ));
            }
            None if reorder == Reorder::None => return Ok(resources),
            None => defaults(),
        };
    Ok(by_rank(resources, &first, &last))
}

/// Sorts by the rank of the kind, then by group, version and kind, then by namespace and name.
fn by_rank(resources: ResMap, first: &[String], last: &[String]) -> ResMap {
    let rank = |kind: &str| -> i64 {
        let position = |list: &[String]| {
            list.iter()
                .position(|other| other == kind)
                .map(|at| i64::try_from(at).unwrap_or(i64::MAX))
        };
        let length = i64::try_from(first.len()).unwrap_or(i64::MAX);
        position(first).map_or_else(|| position(last).map_or(0, |at| at + 1), |at| at - length)
    };
    let mut keyed: Vec<_> = resources
        .into_inner()
        .into_iter()
        .map(|resource| {
            let id = resource.id();
            let namespace = if id.namespace.is_empty() {
                "~X"
            } else {
                &id.namespace
            };
            let key = (
                rank(&id.gvk.kind),
                id.gvk.sort_text(),
                format!("{namespace}|{}", id.name),
            );
            (key, resource)
        })
        .collect();
    keyed.sort_by(|(a, x), (b, y)| compare(a, x).cmp(&compare(b, y)));
    keyed
        .into_iter()
        .map(|(_, resource)| resource)
        .collect::<Vec<_>>()
        .into()
}

/// Two kinds of Namespace, one of them without a group, are sorted the other way round.
fn compare<'k>(key: &'k (i64, String, String), resource: &Resource) -> (i64, u8, &'k str, &'k str) {
    let id = resource.id();
    let core_namespace = &*id.gvk.kind == "Namespace" && id.gvk.group.is_empty();
    (key.0, u8::from(!core_namespace), &key.1, &key.2)
}
