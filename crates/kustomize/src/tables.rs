//! Pure: the field tables that a kustomization brings: the files of `configurations` and `crds`.

use std::collections::BTreeSet;

use goyaml::{Booleans, ReadOptions};
use serde_json::Value;

use crate::budget::{Budget, Cost, NODE_BYTES, as_u64, check_depth};
use crate::decode::Decoder;
use crate::error::{BuildError, BuildErrors, Errors, Problem};
use crate::load::{Loaded, Loader};
use crate::schema::{FieldSpec, FieldTables, NameReference};

/// Reads the files of `configurations`.
pub(crate) fn configurations(
    loader: &Loader<'_>,
    loaded: &Loaded,
) -> Result<Vec<FieldTables>, BuildErrors> {
    let mut all = Vec::new();
    for (index, name) in loaded.kustomization.configurations.iter().enumerate() {
        let field = format!("configurations[{index}]");
        let (path, text) = loader
            .text(&loaded.directory, name)
            .map_err(|error| error.field(field.clone()))?;
        let shown = loader.show(&path);
        let options = ReadOptions {
            booleans: Booleans::Yaml11,
            ..ReadOptions::default()
        };
        let nodes = goyaml::read(&text, &options)
            .map_err(|error| malformed(&error, &shown).field(field.clone()))?;
        if let Some(node) = nodes.first() {
            loader
                .budget
                .charge_expansion(node)
                .map_err(|problem| BuildError::from(problem).field(field.clone()))?;
        }
        let mut errors = Errors::default();
        let mut decoder = Decoder::new(&mut errors, &shown, true);
        all.extend(
            nodes
                .first()
                .and_then(|node| FieldTables::parse_configuration(&mut decoder, node)),
        );
        errors
            .finish()
            .map_err(|errors| errors.map(|error| error.field(field.clone())))?;
    }
    Ok(all)
}

fn malformed(error: &goyaml::ReadError, shown: &str) -> BuildError {
    BuildError::from(Problem::Malformed(format!("invalid YAML: {error}"))).at(shown, error.line())
}

/// Reads the files of `crds`: maps from type names to schemas, as Go's openapi-gen writes them.
pub(crate) fn crds(loader: &Loader<'_>, loaded: &Loaded) -> Result<Vec<FieldTables>, BuildErrors> {
    let mut all = Vec::new();
    for (index, name) in loaded.kustomization.crds.iter().enumerate() {
        let json = json_file(loader, loaded, name)
            .map_err(|error| error.field(format!("crds[{index}]")))?;
        let types = json
            .as_object()
            .filter(|types| types.values().all(|value| value.get("Schema").is_some()));
        let Some(types) = types else {
            let problem =
                Problem::Malformed(format!("`{name}` is not a map of type names to schemas"));
            let hint =
                "`crds` takes the output of openapi-gen; name a CRD manifest under `resources`";
            return Err(BuildError::from(problem)
                .field(format!("crds[{index}]"))
                .hint(hint)
                .into());
        };
        for (type_name, definition) in types {
            let properties = &definition["Schema"]["properties"];
            let is_object = ["apiVersion", "kind", "metadata"]
                .iter()
                .all(|name| properties.get(name).is_some());
            if is_object {
                let kind = type_name.rsplit(['.', '/']).next().unwrap_or_default();
                let mut walk = CrdWalk {
                    types,
                    kind,
                    tables: FieldTables::default(),
                    visited: BTreeSet::new(),
                    budget: loader.budget,
                };
                walk.properties(properties, "")
                    .map_err(|problem| BuildError::from(problem).field(format!("crds[{index}]")))?;
                all.push(walk.tables);
            }
        }
    }
    Ok(all)
}

/// Reads a file of JSON or YAML as one JSON value.
pub(crate) fn json_file(
    loader: &Loader<'_>,
    loaded: &Loaded,
    name: &str,
) -> Result<Value, BuildError> {
    let (path, text) = loader.text(&loaded.directory, name)?;
    let shown = loader.show(&path);
    let nodes =
        goyaml::read(&text, &ReadOptions::default()).map_err(|error| malformed(&error, &shown))?;
    let node = nodes.first().cloned().unwrap_or_default();
    loader.budget.charge_expansion(&node)?;
    goyaml::to_json(&node)
        .map_err(|error| BuildError::from(Problem::Malformed(error.to_string())).at(shown, 0))
}

/// Follows the properties of one type to those that say what they are.
struct CrdWalk<'w> {
    types: &'w serde_json::Map<String, Value>,
    kind: &'w str,
    tables: FieldTables,
    visited: BTreeSet<String>,
    budget: &'w Budget,
}

impl CrdWalk<'_> {
    fn properties(&mut self, properties: &Value, path: &str) -> Result<(), Problem> {
        for (name, property) in properties.as_object().into_iter().flatten() {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}/{name}")
            };
            // Types that name each other more than once make the walk longer each time.
            self.budget.charge_steps(32 + path.len())?;
            check_depth(path.matches('/').count(), &path)?;
            self.property(property, &path)?;
            let target = property
                .get("$ref")
                .or_else(|| property["items"].get("$ref"))
                .and_then(Value::as_str);
            if let Some(target) = target
                && self.visited.insert(target.to_owned())
            {
                let types = self.types;
                if let Some(definition) = types.get(target) {
                    self.properties(&definition["Schema"]["properties"], &path)?;
                }
                self.visited.remove(target);
            }
        }
        Ok(())
    }

    fn property(&mut self, property: &Value, path: &str) -> Result<(), Problem> {
        let has = |name: &str| property.get(name).is_some();
        let row_bytes = as_u64(path.len()) + 2 * NODE_BYTES;
        if property
            .as_object()
            .is_some_and(|fields| fields.keys().any(|key| key.starts_with("x-kubernetes-")))
        {
            self.budget.charge(Cost::Bytes, row_bytes)?;
        }
        let row = |path: &str| {
            let mut row = FieldSpec::new(path, false);
            row.gvk.kind = self.kind.into();
            row
        };
        if has("x-kubernetes-annotation") {
            self.tables.common_annotations.merge_one(row(path))?;
        }
        if has("x-kubernetes-label-selector") {
            self.tables.common_labels.merge_one(row(path))?;
        }
        if has("x-kubernetes-identity") {
            self.tables.name_prefix.merge_one(row(path))?;
        }
        let text = |name: &str| property.get(name).and_then(Value::as_str);
        let version = text("x-kubernetes-object-ref-api-version");
        if let (Some(version), Some(kind)) = (version, text("x-kubernetes-object-ref-kind")) {
            let key = text("x-kubernetes-object-ref-name-key").unwrap_or("name");
            let referrers = vec![row(&format!("{path}/{key}"))];
            let target = crate::gvk::Gvk::new(version, kind);
            let reference = FieldTables {
                name_references: vec![NameReference { target, referrers }],
                ..FieldTables::default()
            };
            self.tables.merge(&reference)?;
        }
        Ok(())
    }
}
