//! Pure: `vars`, the old way of copying a field into others: `$(NAME)`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use goyaml::{Node, NodeKind, Scalar, Tag};

use crate::budget::{Budget, Cost, as_u64, check_depth};
use crate::error::{BuildError, BuildErrors, Problem};
use crate::kustomization::Var;
use crate::level::{Level, extend_vars};
use crate::link::Writes;
use crate::load::Loaded;
use crate::resource::{ResMap, Resource, effective_namespace};
use crate::schema::FieldTables;
use crate::transform::replacement::path::{self, FieldPathSegments};
use crate::walk::{Missing, walk_mut};

/// Adds the vars of a kustomization to its level.
pub(crate) fn register(loaded: &Loaded, level: &mut Level) -> Result<(), BuildErrors> {
    for var in &loaded.kustomization.vars {
        // Bound here, where the name is not ambiguous yet: other bases may bring objects of the same name.
        if let Some(position) = find(&mut level.resources, var)? {
            let name = var.name.as_str().into();
            level
                .resources
                .change_at(position, |resource| resource.vars.push(name));
        }
    }
    extend_vars(&mut level.vars, loaded.kustomization.vars.clone())
}

/// The position of the one object that a var names, or none yet.
fn find(resources: &mut ResMap, var: &Var) -> Result<Option<usize>, BuildError> {
    let wanted = &var.object;
    let empty_or = |wanted: &str, actual: &str| wanted.is_empty() || wanted == actual;
    let matches = |resource: &Resource| {
        resource.any_ids().any(|id| {
            *wanted.kind == *id.gvk.kind
                && empty_or(&wanted.group, &id.gvk.group)
                && empty_or(&wanted.version, &id.gvk.version)
                && *wanted.name == *id.name
                && empty_or(&wanted.namespace, effective_namespace(&id))
        })
    };
    let name = Some(wanted.name.as_str()).filter(|name| !name.is_empty());
    let mut found = resources.by_name_or_kind(name, None);
    found.retain(|&position| matches(resources.get(position)));
    if found.len() > 1 {
        let message = format!(
            "found {} resId matches for var {} ({})",
            found.len(),
            var.name,
            wanted.show()
        );
        let error = BuildError::from(Problem::Identity(message)).field("vars");
        return Err(match &var.place {
            Some(place) => error.at(place.file.clone(), place.line),
            None => error,
        });
    }
    Ok(found.first().copied())
}

/// Replaces `$(NAME)` in the fields of the table. Gives the names of the vars that no field had.
pub(crate) fn substitute(
    resources: &mut ResMap,
    vars: &[Var],
    tables: &FieldTables,
    budget: &Budget,
) -> Result<Vec<String>, BuildError> {
    if vars.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = Values::default();
    for var in vars {
        budget.charge_steps(resources.len())?;
        values.by_name.insert(&var.name, value(resources, var)?);
    }
    for resource in resources.iter_mut() {
        let gvk = resource.id().gvk.clone();
        let walk = resource.walk_steps();
        let rows = tables.var_references.matching(&gvk);
        budget.charge_steps(rows.len())?;
        for row in rows {
            let mut writes = Writes::default();
            let result = resource.metered(budget, |resource| {
                resource.change(|node| {
                    walk_mut(node, &row.path, Missing::Skip, &mut |field| {
                        substitute_field(field, &values, &mut writes, budget)
                    })?;
                    budget.charge(Cost::Steps, as_u64(writes.len()).saturating_mul(walk))?;
                    writes.settle(node);
                    Ok(())
                })
            });
            result.map_err(|problem: Problem| resource.about(problem))?;
        }
    }
    let used = values.used.into_inner();
    let unused = values.by_name.into_keys();
    Ok(unused
        .filter(|name| !used.contains(*name))
        .map(str::to_owned)
        .collect())
}

/// The values of vars by name, and which of them were asked for.
#[derive(Default)]
struct Values<'v> {
    by_name: BTreeMap<&'v str, Node>,
    used: RefCell<BTreeSet<String>>,
}

impl Values<'_> {
    fn get(&self, name: &str) -> Option<&Scalar> {
        let value = self.by_name.get(name)?.as_scalar()?;
        self.used.borrow_mut().insert(name.to_owned());
        Some(value)
    }
}

fn value(resources: &ResMap, var: &Var) -> Result<Node, BuildError> {
    let missing = |message: String| {
        let error = BuildError::from(Problem::Transform(message)).field("vars");
        match &var.place {
            Some(place) => error.at(place.file.clone(), place.line),
            None => error,
        }
    };
    let resource = resources
        .iter()
        .find(|resource| resource.vars.iter().any(|name| **name == *var.name))
        .ok_or_else(|| {
            let wanted = var.object.show();
            missing(format!("var '{}': no object is {wanted}", var.name))
                .hint("`objref` needs the kind and name that the object has in its own file")
        })?;
    // Vars write an index as `ports[0]`, replacements as `ports.0`.
    check_depth(var.field_path.matches('.').count(), &var.field_path)
        .map_err(|problem| missing(problem.to_string()))?;
    let segments = FieldPathSegments::parse(&var.field_path.replace('[', ".["));
    let node = path::lookup(resource.node(), &segments);
    let is_text = |node: &&Node| node.as_scalar().is_some() && !node.is_null();
    let node = node.filter(is_text).ok_or_else(|| {
        let object = resource.show_with_place();
        let message = format!(
            "var '{}': the object has no text at `{}`",
            var.name, var.field_path
        );
        missing(message).hint(format!("the object is {object}"))
    })?;
    let mut value = node.clone();
    // A date is a text for vars, as it is written.
    if let NodeKind::Scalar(scalar) = &mut value.kind
        && scalar.tag == Tag::Timestamp
    {
        scalar.tag = Tag::Str;
    }
    Ok(value)
}

fn substitute_field(
    field: &mut Node,
    values: &Values<'_>,
    writes: &mut Writes,
    budget: &Budget,
) -> Result<(), Problem> {
    match &mut field.kind {
        NodeKind::Sequence(list) => {
            for element in list
                .iter_mut()
                .filter(|element| element.as_scalar().is_some())
            {
                substitute_field(element, values, writes, budget)?;
            }
        }
        NodeKind::Mapping(map) => {
            for (_, value) in map.iter_mut().filter(|(_, value)| value.as_str().is_some()) {
                substitute_field(value, values, writes, budget)?;
            }
        }
        NodeKind::Scalar(scalar) => {
            let old = scalar.text.len();
            budget.charge_steps(1 + old)?;
            if !scalar.text.contains('$') {
                return Ok(());
            }
            let whole = scalar
                .text
                .strip_prefix("$(")
                .and_then(|rest| rest.strip_suffix(')'));
            match whole.and_then(|name| values.get(name)) {
                Some(value) => {
                    let (text, tag) = (value.text.clone(), value.tag);
                    budget.resize(as_u64(old), as_u64(text.len()))?;
                    writes.scalar(field, text, tag);
                }
                None => {
                    budget.charge_bytes(old)?;
                    let text = expand(&scalar.text, values, budget)?;
                    writes.scalar(field, text, Tag::Str);
                    budget.release(as_u64(old));
                }
            }
        }
    }
    Ok(())
}

/// `$(NAME)` becomes the value, `$$` one dollar that starts nothing; unknown names stay.
fn expand(text: &str, values: &Values<'_>, budget: &Budget) -> Result<String, Problem> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
            continue;
        }
        let name = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        match name {
            Some((name, after)) => {
                match values.get(name) {
                    Some(scalar) => {
                        budget.charge_bytes(scalar.text.len())?;
                        result.push_str(&scalar.text);
                    }
                    None => result.push_str(&format!("$({name})")),
                }
                rest = after;
            }
            None => result.push('$'),
        }
    }
    result.push_str(rest);
    Ok(result)
}
