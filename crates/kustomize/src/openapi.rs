//! Pure: the merge schema that a kustomization's `openapi` brings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::budget::{Budget, Cost, NODE_BYTES, as_u64, check_depth};
use crate::error::{BuildError, BuildErrors, Problem};
use crate::load::{Loaded, Loader};
use crate::schema::{ListMerge, MergeSchema, Position};
use crate::tables::json_file;

/// Reads a swagger document into a merge schema. Definitions that it lacks may be those of the built-in one.
pub(crate) fn openapi(
    loader: &Loader<'_>,
    loaded: &Loaded,
    name: &str,
    built_in: Option<&MergeSchema>,
) -> Result<MergeSchema, BuildErrors> {
    let json = json_file(loader, loaded, name).map_err(|error| error.field("openapi"))?;
    let definitions = json["definitions"].as_object().cloned().unwrap_or_default();
    let mut kinds = BTreeMap::new();
    for definition in definitions.values() {
        for gvk in definition["x-kubernetes-group-version-kind"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let text = |name: &str| gvk[name].as_str().unwrap_or_default();
            let group = text("group");
            let api_version = if group.is_empty() {
                text("version").to_owned()
            } else {
                format!("{group}/{}", text("version"))
            };
            let mut lists = BTreeMap::new();
            let mut swagger = Swagger {
                definitions: &definitions,
                built_in,
                visited: BTreeSet::new(),
                lists: &mut lists,
                budget: loader.budget,
            };
            swagger
                .walk(definition, String::new())
                .map_err(|problem| BuildError::from(problem).field("openapi"))?;
            kinds.insert(format!("{api_version} {}", text("kind")), lists);
        }
    }
    Ok(MergeSchema::of(kinds))
}

/// Collects the lists of one kind that merge.
struct Swagger<'s> {
    definitions: &'s serde_json::Map<String, Value>,
    built_in: Option<&'s MergeSchema>,
    visited: BTreeSet<String>,
    lists: &'s mut BTreeMap<String, ListMerge>,
    budget: &'s Budget,
}

impl Swagger<'_> {
    /// Walks the properties of a schema. Each visit is a step of the budget.
    fn walk(&mut self, schema: &Value, path: String) -> Result<(), Problem> {
        // Definitions that name each other more than once make the walk longer each time.
        self.budget.charge_steps(32 + path.len())?;
        check_depth(path.matches(['.', '[']).count() + self.visited.len(), &path)?;
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return self.refer(target.rsplit('/').next().unwrap_or_default(), path);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            if let Some(items) = property.get("items") {
                self.list(property, &path)?;
                self.walk(items, format!("{path}[]"))?;
            } else if let Some(values) = property.get("additionalProperties") {
                self.walk(values, format!("{path}.*"))?;
            } else {
                self.walk(property, path)?;
            }
        }
        Ok(())
    }

    /// Follows a reference to another definition.
    fn refer(&mut self, name: &str, path: String) -> Result<(), Problem> {
        let definitions = self.definitions;
        match definitions.get(name) {
            Some(definition) => {
                if self.visited.insert(name.to_owned()) {
                    self.walk(definition, path)?;
                    self.visited.remove(name);
                }
            }
            None => {
                let position = self.built_in.and_then(|schema| schema.definition(name));
                let below = position.iter().flat_map(Position::below);
                self.lists
                    .extend(below.map(|(rest, keys)| (format!("{path}{rest}"), keys)));
            }
        }
        Ok(())
    }

    /// Notes the merge key of a list, if the schema gives one.
    fn list(&mut self, property: &Value, path: &str) -> Result<(), Problem> {
        let strategy = property["x-kubernetes-patch-strategy"].as_str();
        if !strategy.is_some_and(|strategy| strategy.contains("merge")) {
            return Ok(());
        }
        self.budget
            .charge(Cost::Bytes, as_u64(path.len()) + 2 * NODE_BYTES)?;
        let map_keys = property["x-kubernetes-list-map-keys"].as_array();
        let keys = map_keys.map(|keys| {
            keys.iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        });
        let merge_key = property["x-kubernetes-patch-merge-key"].as_str();
        self.lists.insert(
            path.to_owned(),
            keys.unwrap_or_else(|| merge_key.map(str::to_owned).into_iter().collect()),
        );
        Ok(())
    }
}
