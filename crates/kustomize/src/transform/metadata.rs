//! Pure: labels and annotations: `labels`, `commonLabels`, `commonAnnotations`, and the managed-by label.

use goyaml::{Node, NodeKind, Scalar, Tag};

use crate::budget::{Budget, Cost, NODE_BYTES, as_u64};
use crate::error::{BuildError, Problem};
use crate::kustomization::Label;
use crate::link::Writes;
use crate::resource::{ResMap, check_key};
use crate::schema::{FieldSpec, FieldTables, Rows};
use crate::walk::{Missing, walk_mut};

/// The rows of one entry of `labels`.
pub(crate) fn label_rows(label: &Label, tables: &FieldTables) -> Result<Rows, BuildError> {
    let mut rows = Rows::of(label.fields.iter().cloned());
    rows.merge_all(tables.labels.iter().cloned())?;
    if label.include_selectors {
        rows.merge_all(tables.common_labels.iter().cloned())?;
        return Ok(rows);
    }
    if label.include_templates {
        rows.merge_all(tables.template_labels.iter().cloned())?;
    }
    if label.include_volume_claim_templates {
        rows.merge_all(tables.volume_claim_template_labels.iter().cloned())?;
    }
    rows.merge_one(FieldSpec::new("metadata/labels", true))?;
    Ok(rows)
}

/// Sets each pair in the map of each row.
pub(crate) fn transform(
    resources: &mut ResMap,
    pairs: &[(String, String)],
    rows: &Rows,
    budget: &Budget,
) -> Result<(), BuildError> {
    if pairs.is_empty() {
        return Ok(());
    }
    let mut pairs: Vec<_> = pairs.iter().collect();
    pairs.sort();
    for resource in resources.iter_mut() {
        let gvk = resource.id().gvk.clone();
        for (key, value) in &pairs {
            let pair = Pair {
                key,
                value,
                link: resource.next_link(),
                budget,
            };
            let rows = rows.matching(&gvk);
            budget.charge_steps(1 + rows.len())?;
            let walk = resource.walk_steps();
            let result = resource.metered(budget, |resource| {
                resource.change_linked(|node, writes| {
                    rows.into_iter()
                        .try_for_each(|row| pair.set_in(node, row, writes))?;
                    // Each write to a linked value looks through the whole object for the others.
                    let writes = as_u64(writes.len());
                    budget.charge(Cost::Steps, writes.saturating_mul(walk))
                })
            });
            result.map_err(|problem| resource.about(problem))?;
        }
    }
    Ok(())
}

/// One label or annotation, which is one value wherever it is put (see [`crate::link`]).
struct Pair<'p> {
    key: &'p str,
    value: &'p str,
    link: u32,
    budget: &'p Budget,
}

impl Pair<'_> {
    /// Sets the pairs in the fields of one row.
    fn set_in(&self, node: &mut Node, row: &FieldSpec, writes: &mut Writes) -> Result<(), Problem> {
        let missing = if row.create {
            Missing::Mapping
        } else {
            Missing::Skip
        };
        walk_mut(node, &row.path, missing, &mut |field| {
            self.set(field, row.create, writes)
        })
    }

    /// Sets the pairs in one map, which is made if it is missing and `create` says so.
    fn set(&self, field: &mut Node, create: bool, writes: &mut Writes) -> Result<(), Problem> {
        if field.is_null() {
            if !create {
                return Ok(());
            }
            *field = Node::empty_mapping();
        }
        let kind = field.kind_name();
        let Some(map) = field.as_mapping_mut() else {
            return Err(Problem::Transform(format!(
                "labels and annotations must be a map, not a {kind}"
            )));
        };
        self.budget
            .charge(Cost::Steps, 1 + as_u64(map.len() / 16))?;
        let old = map
            .get(self.key)
            .map(|old| old.as_scalar().map_or(0, |scalar| scalar.text.len()));
        let new = as_u64(self.value.len());
        let (from, to) = match old {
            Some(old) => (as_u64(old), new),
            None => (0, 2 * NODE_BYTES + as_u64(self.key.len()) + new),
        };
        self.budget.resize(from, to)?;
        if let Some(old) = map.get_mut(self.key) {
            writes.scalar(old, self.value, Tag::Str);
            return Ok(());
        }
        check_key(self.key)?;
        let mut scalar = Scalar::new(self.value, Tag::Str);
        scalar.link = self.link;
        map.insert(self.key, NodeKind::Scalar(scalar).into());
        Ok(())
    }
}

/// Adds the label that says who rendered, as kustomize itself does.
pub(crate) fn managed_by(resources: &mut ResMap, budget: &Budget) -> Result<(), BuildError> {
    let pair = (
        "app.kubernetes.io/managed-by".to_owned(),
        "kustomize-v5.8.2".to_owned(),
    );
    transform(
        resources,
        &[pair],
        &Rows::of([FieldSpec::new("metadata/labels", true)]),
        budget,
    )
}
