//! Pure: a valid ExternalSecret: every entry has its store, nothing is unsupported, keys are distinct.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::external_secret::{
    CreationPolicy, DataFromEntry, DeletionPolicy, ExternalSecretSpec, Find, GeneratorReference,
    MetadataPolicy, RemoteReference, Rewrite, SourceReference, StoreKind, StoreReference,
    TemplateFrom,
};
use crate::request_path::{InvalidName, check_name};
use crate::secrets::refresh::interval;
use crate::secrets::template_from::TemplateTarget;

/// What is to be read, and what is made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredSecret {
    /// The name of the Secret.
    pub target: String,
    /// `target.immutable`: the Secret is never changed once it exists.
    pub immutable: bool,
    /// What is done if the Secret exists, and if it does not.
    pub creation: CreationPolicy,
    /// What is done when the stores no longer have the values.
    pub deletion: DeletionPolicy,
    /// The entries of `dataFrom`, in order. Keys of later entries replace those of earlier ones.
    pub sources: Vec<DataFromSource>,
    /// The entries of `data`, by the key of the Secret. They replace keys of `sources`.
    pub data: Vec<(String, RemoteEntry)>,
}

/// An entry of `dataFrom`, which gives several keys.
#[derive(Debug, Clone, PartialEq)]
pub enum DataFromSource {
    /// The members of one secret.
    Extract(RemoteEntry),
    /// All secrets that a search matches.
    Find(FindEntry),
    /// The values of a generator.
    Generate(GeneratorEntry),
}

/// A single secret of a store.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteEntry {
    /// The store.
    pub store: StoreRef,
    /// Which secret, and which part of it.
    pub remote: RemoteReference,
    /// How the keys of an extract are rewritten.
    pub rewrite: Vec<Rewrite>,
    /// The field of the spec, for messages: `dataFrom[0].extract`.
    pub field: String,
}

/// A search in a store.
#[derive(Debug, Clone, PartialEq)]
pub struct FindEntry {
    /// The store.
    pub store: StoreRef,
    /// Which secrets match.
    pub find: Find,
    /// How the keys are rewritten.
    pub rewrite: Vec<Rewrite>,
    /// The field of the spec, for messages.
    pub field: String,
}

/// The use of a generator.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratorEntry {
    /// The generator.
    pub generator: GeneratorReference,
    /// How the keys are rewritten.
    pub rewrite: Vec<Rewrite>,
    /// The field of the spec, for messages.
    pub field: String,
}

/// What is looked up in a store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lookup {
    /// The value of a key; an empty version is the current one.
    Value {
        /// The key in the store: a name, a path or an ARN.
        key: String,
        /// Empty, a stage of the provider, or `uuid/` and a version id.
        version: String,
    },
    /// The tags of a key, as a JSON object.
    Tags {
        /// The key in the store.
        key: String,
    },
    /// The values of all keys that match.
    Find(Search),
}

/// Which keys match: those below the path, whose name matches the expression, and that have all of the tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Search {
    /// The path; `None` for the whole store.
    pub path: Option<String>,
    /// An expression in RE2's syntax, which may match anywhere in the name.
    pub name: Option<String>,
    /// Tags and their values.
    pub tags: BTreeMap<String, String>,
}

/// What is looked up, and in which store. Equal lookups of one ExternalSecret are made once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreLookup {
    /// The store.
    pub store: StoreRef,
    /// What is looked up in it.
    pub lookup: Lookup,
}

impl RemoteEntry {
    /// The lookup that it needs.
    pub fn lookup(&self) -> StoreLookup {
        let key = self.remote.key.clone();
        let lookup = match self.remote.metadata_policy.unwrap_or_default() {
            MetadataPolicy::Fetch => Lookup::Tags { key },
            MetadataPolicy::None => Lookup::Value {
                key,
                version: self.remote.version.clone().unwrap_or_default(),
            },
        };
        StoreLookup {
            store: self.store.clone(),
            lookup,
        }
    }
}

impl FindEntry {
    /// The lookup that it needs.
    pub fn lookup(&self) -> StoreLookup {
        let name = self.find.name.as_ref();
        // A name without an expression matches every key.
        let name = name.map(|name| name.regexp.clone().unwrap_or_default());
        let search = Search {
            path: self.find.path.clone().filter(|path| !path.is_empty()),
            name,
            tags: self.find.tags.clone(),
        };
        StoreLookup {
            store: self.store.clone(),
            lookup: Lookup::Find(search),
        }
    }
}

/// A store by kind and name, printed as ``SecretStore `aws` ``.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreRef {
    /// The kind.
    pub kind: StoreKind,
    /// The name. A SecretStore is in the namespace of the ExternalSecret.
    pub name: String,
}

impl std::fmt::Display for StoreRef {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?} `{}`", self.kind, self.name)
    }
}

/// Why a spec cannot be synced as it is written. Only a change of the spec can help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The type would create a credential of the cluster.
    #[error("`target.template.type: {0}` would mint a credential of the cluster, and is refused")]
    ForbiddenType(String),
    /// There is nothing to read.
    #[error("either `data` or `dataFrom` must be given")]
    Empty,
    /// A field names no store, and there is no default.
    #[error("`{0}` names no store, and there is no `secretStoreRef`")]
    NoStore(String),
    /// An entry has no kind of source, or several.
    #[error("`{0}` must have exactly one of `extract`, `find` and `sourceRef.generatorRef`")]
    Ambiguous(String),
    /// A key occurs twice.
    #[error("key `{0}` stands twice in `data`")]
    RepeatedKey(String),
    /// A `templateFrom` entry has an unknown target.
    #[error(
        "`target.template.templateFrom[{0}].target: {1}` is none of Data, Labels and Annotations, which a Secret has"
    )]
    Target(usize, String),
    /// The target is an object of another kind.
    #[error(
        "`target.manifest` makes an object that is no Secret, which overlayd does not; take it out to make a Secret"
    )]
    Manifest,
    /// The template engine is unknown.
    #[error("`target.template.engineVersion: {0}` is not known; v2 is")]
    Engine(String),
    /// The interval is no duration.
    #[error("`refreshInterval: {0}` is not a duration; write it as 30s, 5m or 1h30m")]
    Interval(String),
    /// A search has neither a name nor tags.
    #[error("`{0}.find` needs a `name` or `tags`")]
    EmptyFind(String),
    /// The expression of a search is invalid.
    #[error("`{field}.find.name.regexp`: {reason}")]
    Regexp {
        /// The field of the spec.
        field: String,
        /// What is wrong with the expression.
        reason: gocompat::regex::ErrorCode,
    },
    /// A source is empty.
    #[error("`{0}.sourceRef` is empty: it needs a `storeRef` or a `generatorRef`")]
    EmptySource(String),
    /// A generator gives several keys, and one is asked for.
    #[error("`{0}.sourceRef.generatorRef` cannot give one key; use it in `dataFrom`")]
    GeneratorForKey(String),
    /// A name that no object can have.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The policies exclude each other.
    #[error(
        "`target.deletionPolicy: {deletion:?}` cannot go with `target.creationPolicy: {creation:?}`"
    )]
    Policies {
        /// The creation policy.
        creation: CreationPolicy,
        /// The deletion policy.
        deletion: DeletionPolicy,
    },
}

/// Checks a spec, and fills its defaults. `name` is the name of the ExternalSecret.
///
/// # Errors
/// The spec is invalid, or asks for something that overlayd does not support.
pub fn resolve(name: &str, spec: &ExternalSecretSpec) -> Result<DesiredSecret, SpecError> {
    if spec.data.is_empty() && spec.data_from.is_empty() {
        return Err(SpecError::Empty);
    }
    if interval(spec).is_none() {
        return Err(SpecError::Interval(spec.refresh_interval.clone()));
    }
    check_target(spec)?;
    let mut keys = BTreeSet::new();
    let repeated = spec
        .data
        .iter()
        .find(|entry| !keys.insert(&entry.secret_key));
    // Under the other policies the later one wins, as it does in External Secrets.
    if let Some(entry) = repeated
        && spec.target.deletion_policy == DeletionPolicy::Retain
    {
        return Err(SpecError::RepeatedKey(entry.secret_key.clone()));
    }
    let data = spec.data.iter().enumerate().map(|(index, entry)| {
        let field = format!("data[{index}]");
        if entry
            .source_ref
            .as_ref()
            .is_some_and(|source| source.generator_ref.is_some())
        {
            return Err(SpecError::GeneratorForKey(field));
        }
        let store = store(spec, entry.source_ref.as_deref(), &field)?;
        let entry_ = RemoteEntry {
            store,
            remote: entry.remote_ref.clone(),
            rewrite: Vec::new(),
            field,
        };
        Ok((entry.secret_key.clone(), entry_))
    });
    let data = data.collect::<Result<_, SpecError>>()?;
    let sources = spec
        .data_from
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| source(spec, index, entry).transpose());
    let sources = sources.collect::<Result<_, _>>()?;
    let target = spec
        .target
        .name
        .clone()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| name.to_owned());
    check_name("target.name", &target)?;
    Ok(DesiredSecret {
        target,
        immutable: spec.target.immutable == Some(true),
        creation: spec.target.creation_policy,
        deletion: spec.target.deletion_policy,
        sources,
        data,
    })
}

/// An entry of `dataFrom`; `None` for an entry that names a store and looks nothing up.
fn source(
    spec: &ExternalSecretSpec,
    index: usize,
    entry: &DataFromEntry,
) -> Result<Option<DataFromSource>, SpecError> {
    let field = format!("dataFrom[{index}]");
    let source_ref = entry.source_ref.as_deref();
    let generator = source_ref.and_then(|source| source.generator_ref.clone());
    let rewrite = entry.rewrite.clone();
    Ok(Some(match (&entry.extract, &entry.find, generator) {
        (Some(remote), None, None) => DataFromSource::Extract(RemoteEntry {
            store: store(spec, source_ref, &field)?,
            remote: remote.clone(),
            rewrite,
            field: format!("{field}.extract"),
        }),
        (None, Some(find), None) => {
            check_find(&field, find)?;
            DataFromSource::Find(FindEntry {
                store: store(spec, source_ref, &field)?,
                find: find.clone(),
                rewrite,
                field: format!("{field}.find"),
            })
        }
        (None, None, Some(generator)) => {
            let field = format!("{field}.sourceRef.generatorRef");
            check_name(format!("{field}.name"), &generator.name)?;
            DataFromSource::Generate(GeneratorEntry {
                generator,
                rewrite,
                field,
            })
        }
        (None, None, None) if source_ref.is_some() => {
            store(spec, source_ref, &field)?;
            return Ok(None);
        }
        _ => return Err(SpecError::Ambiguous(field)),
    }))
}

fn check_find(field: &str, find: &Find) -> Result<(), SpecError> {
    if find.name.is_none() && find.tags.is_empty() {
        return Err(SpecError::EmptyFind(field.to_owned()));
    }
    let pattern = find.name.as_ref().and_then(|name| name.regexp.as_deref());
    let compiled = gocompat::regex::compile(pattern.unwrap_or_default());
    compiled.map(drop).map_err(|error| SpecError::Regexp {
        field: field.to_owned(),
        reason: error.code(),
    })
}

fn check_target(spec: &ExternalSecretSpec) -> Result<(), SpecError> {
    let target = &spec.target;
    let (creation, deletion) = (target.creation_policy, target.deletion_policy);
    let shared = matches!(
        creation,
        CreationPolicy::Merge | CreationPolicy::None | CreationPolicy::CreateOrMerge
    );
    if deletion == DeletionPolicy::Delete && shared {
        return Err(SpecError::Policies { creation, deletion });
    }
    if deletion == DeletionPolicy::Merge && creation == CreationPolicy::None {
        return Err(SpecError::Policies { creation, deletion });
    }
    if target.manifest.is_some() {
        return Err(SpecError::Manifest);
    }
    check_template(spec)
}

/// Checks the template. An admission webhook may check the same, but need not be installed.
fn check_template(spec: &ExternalSecretSpec) -> Result<(), SpecError> {
    const ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
    const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
    let Some(template) = &spec.target.template else {
        return Ok(());
    };
    if !matches!(template.engine_version.as_str(), "" | "v2") {
        return Err(SpecError::Engine(template.engine_version.clone()));
    }
    for (index, entry) in template.template_from.iter().enumerate() {
        if TemplateTarget::of(&entry.target).is_none() {
            return Err(SpecError::Target(index, entry.target.clone()));
        }
        for reference in [&entry.config_map, &entry.secret].into_iter().flatten() {
            let field = format!("target.template.templateFrom[{index}].name");
            check_name(field, &reference.name)?;
        }
    }
    let metadata = template.metadata.clone().unwrap_or_default();
    let type_ = template.type_.as_deref().unwrap_or_default();
    let annotates = |entry: &TemplateFrom| {
        TemplateTarget::of(&entry.target) == Some(TemplateTarget::Annotations)
    };
    let mints = type_ == ACCOUNT_TOKEN
        && (metadata.annotations.contains_key(ACCOUNT_NAME)
            || template.template_from.iter().any(annotates));
    if mints || type_ == "bootstrap.kubernetes.io/token" {
        return Err(SpecError::ForbiddenType(type_.to_owned()));
    }
    Ok(())
}

fn store(
    spec: &ExternalSecretSpec,
    source: Option<&SourceReference>,
    field: &str,
) -> Result<StoreRef, SpecError> {
    if let Some(source) = source
        && source.store_ref.is_none()
        && source.generator_ref.is_none()
    {
        return Err(SpecError::EmptySource(field.to_owned()));
    }
    let own = source.and_then(|source| source.store_ref.as_ref());
    let reference: Option<&StoreReference> = own.or(spec.secret_store_ref.as_ref());
    let name = reference
        .and_then(|reference| reference.name.clone())
        .filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| SpecError::NoStore(field.to_owned()))?;
    let kind = reference
        .and_then(|reference| reference.kind)
        .unwrap_or_default();
    Ok(StoreRef { kind, name })
}

impl DesiredSecret {
    /// All lookups, each once.
    pub fn lookups(&self) -> BTreeSet<StoreLookup> {
        let of_source = |source: &DataFromSource| match source {
            DataFromSource::Extract(entry) => Some(entry.lookup()),
            DataFromSource::Find(entry) => Some(entry.lookup()),
            DataFromSource::Generate(_) => None,
        };
        let data = self.data.iter().map(|(_, entry)| entry.lookup());
        self.sources
            .iter()
            .filter_map(of_source)
            .chain(data)
            .collect()
    }

    /// Every store that is read from, each once.
    pub fn stores(&self) -> BTreeSet<StoreRef> {
        self.lookups()
            .into_iter()
            .map(|lookup| lookup.store)
            .collect()
    }

    /// True if keys are rewritten, which may take long.
    pub fn rewrites(&self) -> bool {
        let rewrites = |source: &DataFromSource| match source {
            DataFromSource::Extract(entry) => !entry.rewrite.is_empty(),
            DataFromSource::Find(entry) => !entry.rewrite.is_empty(),
            DataFromSource::Generate(entry) => !entry.rewrite.is_empty(),
        };
        self.sources.iter().any(rewrites)
    }

    /// Every entry that uses a generator, in order.
    pub fn generators(&self) -> impl Iterator<Item = &GeneratorEntry> {
        self.sources.iter().filter_map(|source| match source {
            DataFromSource::Generate(entry) => Some(entry),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(spec: Value, expected: &str) {
        let spec: ExternalSecretSpec = serde_json::from_value(spec).unwrap();
        let text = match resolve("db", &spec) {
            Ok(desired) => format!(
                "{} <- {} sources, {} data",
                desired.target,
                desired.sources.len(),
                desired.data.len()
            ),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn specs_and_what_becomes_of_them() {
        let store = json!({"name": "aws"});
        let data = |key: &str| json!({"secretKey": key, "remoteRef": {"key": "a"}});
        check(
            json!({"secretStoreRef": store, "data": [data("x")]}),
            "db <- 0 sources, 1 data",
        );
        check(
            json!({"secretStoreRef": store, "dataFrom": [{"extract": {"key": "a"}}], "target": {"name": "t"}}),
            "t <- 1 sources, 0 data",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x")], "refreshInterval": "1d"}),
            "error: `refreshInterval: 1d` is not a duration; write it as 30s, 5m or 1h30m",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x")], "refreshInterval": "-1h"}),
            "db <- 0 sources, 1 data",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x")], "target": {"template": {"engineVersion": "v1"}}}),
            "error: `target.template.engineVersion: v1` is not known; v2 is",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x")], "target": {"name": "../../other/secrets/x"}}),
            "error: `target.name: ../../other/secrets/x` is no name of an object: lower-case letters, digits, `-` and `.` are allowed",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x")], "target": {"template": {"templateFrom": [{"configMap": {"name": "a?watch=true", "items": []}}]}}}),
            "error: `target.template.templateFrom[0].name: a?watch=true` is no name of an object: lower-case letters, digits, `-` and `.` are allowed",
        );
        check(
            json!({"dataFrom": [{"sourceRef": {"generatorRef": {"kind": "Password", "name": "a/b"}}}]}),
            "error: `dataFrom[0].sourceRef.generatorRef.name: a/b` is no name of an object: lower-case letters, digits, `-` and `.` are allowed",
        );
        check(
            json!({"secretStoreRef": store}),
            "error: either `data` or `dataFrom` must be given",
        );
        check(
            json!({"data": [data("x")]}),
            "error: `data[0]` names no store, and there is no `secretStoreRef`",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x"), data("x")]}),
            "error: key `x` stands twice in `data`",
        );
        check(
            json!({"secretStoreRef": store, "dataFrom": [{}]}),
            "error: `dataFrom[0]` must have exactly one of `extract`, `find` and `sourceRef.generatorRef`",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x")], "target": {"template": {"templateFrom": [{"literal": "a", "target": "spec"}]}}}),
            "error: `target.template.templateFrom[0].target: spec` is none of Data, Labels and Annotations, which a Secret has",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x")], "target": {"creationPolicy": "None", "deletionPolicy": "Delete"}}),
            "error: `target.deletionPolicy: Delete` cannot go with `target.creationPolicy: None`",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x")], "target": {"creationPolicy": "None", "deletionPolicy": "Merge"}}),
            "error: `target.deletionPolicy: Merge` cannot go with `target.creationPolicy: None`",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x"), data("x")], "target": {"deletionPolicy": "Delete"}}),
            "db <- 0 sources, 2 data",
        );
        check(
            json!({"secretStoreRef": store, "data": [data("x")], "target": {"manifest": {"apiVersion": "v1", "kind": "ConfigMap"}}}),
            "error: `target.manifest` makes an object that is no Secret, which overlayd does not; take it out to make a Secret",
        );
        let account = json!({"type": "kubernetes.io/service-account-token", "templateFrom": [{"literal": "a: b", "target": "annotations"}]});
        check(
            json!({"secretStoreRef": store, "data": [data("x")], "target": {"template": account}}),
            "error: `target.template.type: kubernetes.io/service-account-token` would mint a credential of the cluster, and is refused",
        );
    }

    #[test]
    fn sources_of_several_keys() {
        let from = |entry: Value| json!({"secretStoreRef": {"name": "aws"}, "dataFrom": [entry]});
        check(
            from(json!({"find": {"name": {"regexp": "^a"}}})),
            "db <- 1 sources, 0 data",
        );
        check(
            from(json!({"find": {"tags": {"a": "b"}}})),
            "db <- 1 sources, 0 data",
        );
        check(
            from(json!({"find": {"path": "/a"}})),
            "error: `dataFrom[0].find` needs a `name` or `tags`",
        );
        check(
            from(json!({"find": {"name": {"regexp": "("}}})),
            "error: `dataFrom[0].find.name.regexp`: missing closing )",
        );
        check(
            from(json!({"find": {"tags": {"a": "b"}}, "extract": {"key": "a"}})),
            "error: `dataFrom[0]` must have exactly one of `extract`, `find` and `sourceRef.generatorRef`",
        );
        check(
            from(json!({"sourceRef": {"generatorRef": {"kind": "UUID", "name": "u"}}})),
            "db <- 1 sources, 0 data",
        );
        // Asks nothing, and gives nothing, as in External Secrets.
        check(
            from(json!({"sourceRef": {"storeRef": {"name": "s"}}})),
            "db <- 0 sources, 0 data",
        );
        check(
            from(json!({"sourceRef": {}})),
            "error: `dataFrom[0].sourceRef` is empty: it needs a `storeRef` or a `generatorRef`",
        );
        check(
            json!({"data": [{"secretKey": "k", "remoteRef": {"key": "a"}, "sourceRef": {"generatorRef": {"kind": "UUID", "name": "u"}}}]}),
            "error: `data[0].sourceRef.generatorRef` cannot give one key; use it in `dataFrom`",
        );
    }
}
