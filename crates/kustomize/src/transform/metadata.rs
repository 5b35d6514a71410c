//! Pure: labels and annotations: `labels`, `commonLabels`, `commonAnnotations`, and the managed-by label.

use goyaml::Node;

use super::about;
use crate::error::{BuildError, Problem};
use crate::kustomization::Label;
use crate::resource::ResMap;
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
) -> Result<(), BuildError> {
    if pairs.is_empty() {
        return Ok(());
    }
    let mut pairs: Vec<_> = pairs.iter().collect();
    pairs.sort();
    for resource in resources.iter_mut() {
        let gvk = resource.id().gvk.clone();
        for row in rows.matching(&gvk) {
            let missing = if row.create {
                Missing::Mapping
            } else {
                Missing::Skip
            };
            let set = &mut |field: &mut Node| set_pairs(field, &pairs, row.create);
            let result = resource.change_body(|node| walk_mut(node, &row.path, missing, set));
            result.map_err(|problem| about(problem, resource))?;
        }
    }
    Ok(())
}

fn set_pairs(field: &mut Node, pairs: &[&(String, String)], create: bool) -> Result<(), Problem> {
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
    for (key, value) in pairs {
        map.insert(key.as_str(), Node::string(value.as_str()));
    }
    Ok(())
}

/// Adds the label that says who rendered, as kustomize itself does.
pub(crate) fn managed_by(resources: &mut ResMap) -> Result<(), BuildError> {
    let pair = (
        "app.kubernetes.io/managed-by".to_owned(),
        "kustomize-v5.8.2".to_owned(),
    );
    transform(
        resources,
        &[pair],
        &Rows::of([FieldSpec::new("metadata/labels", true)]),
    )
}
