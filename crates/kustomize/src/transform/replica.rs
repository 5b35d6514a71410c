//! Pure: `replicas`.

use goyaml::Node;

use crate::budget::Budget;
use crate::decode::did_you_mean;
use crate::error::{BuildError, Problem};
use crate::kustomization::Replica;
use crate::resource::ResMap;
use crate::schema::Rows;
use crate::walk::{Missing, walk_mut};

/// Sets the number of replicas of the objects of a name, in the fields of the table. A name that no object has is an error.
pub(crate) fn transform(
    resources: &mut ResMap,
    replica: &Replica,
    rows: &Rows,
    budget: &Budget,
) -> Result<(), BuildError> {
    let mut found = false;
    for position in resources.by_name_or_kind(Some(&replica.name), None) {
        let resource = resources.get(position);
        budget.charge_steps(8 + resource.previous.len())?;
        let named = resource.any_ids().any(|id| *id.name == *replica.name);
        if !named {
            continue;
        }
        let gvk = resource.id().gvk.clone();
        for row in rows.matching(&gvk) {
            found = true;
            let missing = if row.create {
                Missing::Scalar
            } else {
                Missing::Skip
            };
            let set = &mut |field: &mut Node| {
                *field = Node::int(replica.count);
                Ok(())
            };
            let result = resources.change_at(position, |resource| {
                resource.change_body(|node| walk_mut(node, &row.path, missing, set))
            });
            result.map_err(|problem| resources.get(position).about(problem))?;
        }
    }
    if found {
        return Ok(());
    }
    let names = resources
        .iter()
        .filter(|resource| !rows.matching(&resource.id().gvk).is_empty());
    let names: Vec<&str> = names.map(|resource| &*resource.id().name).collect();
    let hint = did_you_mean(&replica.name, names.iter().copied())
        .unwrap_or_else(|| format!("there are `{}`", names.join("`, `")));
    let kinds: Vec<String> = rows.iter().map(|row| row.gvk.kind.to_string()).collect();
    let error = BuildError::from(Problem::Transform(format!(
        "resource with name {} does not match a config with the following GVK [{}]",
        replica.name,
        kinds.join(" ")
    )));
    Err(error.hint(hint))
}
