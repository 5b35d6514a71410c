//! Pure: the `namespace` field: every namespaced object, and those that name a namespace elsewhere.

use goyaml::Node;

use crate::budget::{Budget, Cost, NODE_BYTES, as_u64};
use crate::error::{BuildError, Problem};
use crate::resource::{ResMap, Resource, set_metadata};
use crate::schema::{Rows, is_cluster_scoped};
use crate::walk::{Missing, walk_mut};

/// How to set the namespace.
pub(crate) struct Options<'o> {
    /// The namespace to set.
    pub(crate) namespace: &'o str,
    /// The fields that get it, beside `metadata.namespace`.
    pub(crate) rows: &'o Rows,
    /// Leave a namespace that is given.
    pub(crate) unset_only: bool,
    /// Which subjects of role bindings get it.
    pub(crate) subjects: Subjects,
}

/// Which subjects of role bindings get the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subjects {
    /// Those named `default`.
    DefaultOnly,
    /// Every service account.
    AllServiceAccounts,
    /// None of them.
    None,
}

impl<'o> Options<'o> {
    /// As the field `namespace` of a kustomization sets it.
    pub(crate) fn of(namespace: &'o str, rows: &'o Rows) -> Self {
        Self {
            namespace,
            rows,
            unset_only: false,
            subjects: Subjects::DefaultOnly,
        }
    }
}

/// Sets the namespace of all objects that have one. Two objects that become equal are an error.
pub(crate) fn transform(
    resources: &mut ResMap,
    options: &Options<'_>,
    budget: &Budget,
) -> Result<(), BuildError> {
    for resource in resources.iter_mut() {
        // One namespace in the metadata, and one former id.
        let added = 2 * NODE_BYTES + as_u64(options.namespace.len());
        budget.charge(Cost::Bytes, added)?;
        resource.weight += added;
        resource.remember_id();
        let result = resource.metered(budget, |resource| one(resource, options, budget));
        result.map_err(|problem| resource.about(problem))?;
    }
    resources.check_distinct().map_err(|ids| {
        let ids: Vec<String> = ids.iter().map(crate::resource::ResId::show_long).collect();
        let message = format!(
            "namespace transformation produces ID conflict: {}",
            ids.join(", ")
        );
        BuildError::from(Problem::Identity(message))
            .hint("these objects differed in their namespaces alone: rename one of them")
    })
}

/// Sets the namespace of one object.
fn one(resource: &mut Resource, options: &Options<'_>, budget: &Budget) -> Result<(), Problem> {
    let gvk = resource.id().gvk.clone();
    let may_set =
        |node: &Node| !options.unset_only || node.as_text().unwrap_or_default().is_empty();
    if !is_cluster_scoped(&gvk) {
        let current = resource.node().at(&["metadata", "namespace"]);
        if current.is_none_or(may_set) {
            resource.change(|node| set_metadata(node, "namespace", options.namespace));
        }
    }
    if matches!(&*gvk.kind, "RoleBinding" | "ClusterRoleBinding") {
        resource.change_body(|node| set_subjects(node, options, budget))?;
    }
    let rows = options.rows.matching(&gvk);
    budget.charge_steps(1 + rows.len())?;
    for row in rows {
        let skipped = row.path.is(&["metadata", "namespace"])
            || (row.path.is(&["metadata", "name"]) && gvk.api_version() != "v1");
        if skipped {
            continue;
        }
        let missing = if row.create {
            Missing::Scalar
        } else {
            Missing::Skip
        };
        resource.change(|node| {
            walk_mut(node, &row.path, missing, &mut |field| {
                if may_set(field) {
                    budget.charge_bytes(options.namespace.len())?;
                    *field = Node::string(options.namespace);
                }
                Ok(())
            })
        })?;
    }
    Ok(())
}

/// Sets the namespace of the subjects of a role binding.
fn set_subjects(node: &mut Node, options: &Options<'_>, budget: &Budget) -> Result<(), Problem> {
    let Some(subjects) = node.get_mut("subjects").and_then(Node::as_sequence_mut) else {
        return Ok(());
    };
    for subject in subjects.iter_mut() {
        let text = |name: &str| {
            subject
                .get(name)
                .and_then(Node::as_text)
                .unwrap_or_default()
        };
        let chosen = match options.subjects {
            Subjects::DefaultOnly => text("name") == "default",
            Subjects::AllServiceAccounts => text("kind") == "ServiceAccount",
            Subjects::None => false,
        };
        let free = !options.unset_only || text("namespace").is_empty();
        if chosen
            && free
            && let Some(subject) = subject.as_mapping_mut()
        {
            budget.charge(Cost::Bytes, NODE_BYTES + as_u64(options.namespace.len()))?;
            subject.insert("namespace", Node::string(options.namespace));
        }
    }
    Ok(())
}
