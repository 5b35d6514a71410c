//! What is to be applied: the directory of the source as the spec wants it, with variables put in.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::{Client, ResourceExt as _};
use kustomize::{BuildErrors, BuildOptions, Inputs, LoadRestriction, Object, Rendered, Reorder};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::controllers::Context;
use crate::controllers::builds::NotBuilt;
use crate::controllers::kustomization::{ANNOTATIONS, SyncError};
use crate::git::Fetched;
use overlayd_core::api::kustomization::{
    Kustomization, KustomizationSpec, SubstituteKind, SubstituteReference, SubstituteStrategy,
};
use overlayd_core::apply::desired::Desired;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::unit_settings::UnitSettings;
use overlayd_core::apply::written_status::unit_of;
use overlayd_core::render::substitution::{Variables, is_name, substitute};
use overlayd_core::render::variable_index::Read;

/// An object that is left as it was built says so with this label or annotation.
const SUBSTITUTE: &str = "kustomize.toolkit.fluxcd.io/substitute";

/// What is to be applied, and what that was made of.
pub(super) struct Built {
    pub(super) desired: Vec<Desired>,
    pub(super) inputs: Option<Inputs>,
}

/// The variables of a Kustomization; it hides what it holds.
#[derive(Clone)]
pub(crate) struct Substitution {
    variables: Variables,
    /// Values that came from Secrets.
    secrets: Vec<String>,
}

/// Takes values of Secrets out of texts, for whoever quotes them.
#[derive(Clone, Default)]
pub(super) struct Redaction(Vec<String>);

impl Redaction {
    /// What to take out where these variables were put in.
    pub(super) fn of(substitution: Option<&Substitution>) -> Self {
        // Shorter ones tell nothing, and would tear every text.
        const SHORTEST: usize = 3;
        let secrets = substitution
            .into_iter()
            .flat_map(|substitution| &substitution.secrets);
        // As it was put in, and as it is quoted.
        let forms = secrets.flat_map(|value| {
            let joined = value.replace('\n', "");
            let quoted = serde_json::to_string(&joined).unwrap_or_default();
            let quoted = quoted.trim_matches('"').to_owned();
            [value.clone(), joined.trim().to_owned(), joined, quoted]
        });
        let mut secrets: Vec<String> = forms.filter(|value| value.len() >= SHORTEST).collect();
        // The longest first: one value may be a part of another.
        secrets.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        secrets.dedup();
        Self(secrets)
    }

    pub(super) fn apply(&self, text: String) -> String {
        let hide = |text: String, value: &String| {
            if text.contains(value) {
                text.replace(value, "***")
            } else {
                text
            }
        };
        self.0.iter().fold(text, hide)
    }
}

/// Names the variables and their values, to know whether they have changed. It never leaves the process.
pub(super) fn hash(substitution: &Substitution) -> String {
    let mut hash = Sha256::default();
    for (name, value) in &substitution.variables {
        for text in [name, value] {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
    }
    hex(hash)
}

pub(super) fn hex(hash: Sha256) -> String {
    data_encoding::HEXLOWER.encode(&hash.finalize())
}

/// Reads the variables of the spec, and remembers where they come from; nothing if none are to be put in.
pub(super) async fn variables(
    object: &Kustomization,
    context: &Context,
) -> Result<Option<Substitution>, SyncError> {
    let (variables, reads) = read_variables(object, &context.client).await;
    context.reads.note(&unit_of(object), reads);
    variables
}

/// True if values of Secrets are put in.
pub(super) fn reads_secrets(object: &Kustomization) -> bool {
    let mut sources = object
        .spec
        .post_build
        .iter()
        .flat_map(|post_build| &post_build.substitute_from);
    sources.any(|source| source.kind == SubstituteKind::Secret)
}

/// Reads the variables of the spec; with what was read, at which version.
pub(super) async fn read_variables(
    object: &Kustomization,
    client: &Client,
) -> (Result<Option<Substitution>, SyncError>, Vec<(Read, String)>) {
    let mut reads = Vec::new();
    let variables = gather(object, client, &mut reads).await;
    (variables, reads)
}

async fn gather(
    object: &Kustomization,
    client: &Client,
    reads: &mut Vec<(Read, String)>,
) -> Result<Option<Substitution>, SyncError> {
    let Some(post_build) = &object.spec.post_build else {
        return Ok(None);
    };
    let (mut variables, mut missing) = (Variables::new(), None);
    let mut secrets = Vec::new();
    for reference in &post_build.substitute_from {
        let (version, found) = values(object, client, reference).await?;
        if reference.kind == SubstituteKind::Secret {
            secrets.extend(found.iter().flat_map(BTreeMap::values).cloned());
        }
        let namespace = object.namespace().unwrap_or_default();
        if found.is_none() && !reference.optional && missing.is_none() {
            missing = Some(SyncError::Build(format!(
                "`postBuild`: {:?} `{}` does not exist in namespace `{namespace}`; `optional: true` allows that",
                reference.kind, reference.name
            )));
        }
        reads.push(((reference.kind, namespace, reference.name.clone()), version));
        variables.extend(found.unwrap_or_default());
    }
    if let Some(missing) = missing {
        return Err(missing);
    }
    variables.extend(post_build.substitute.clone());
    let bad = |name: &&String| !is_name(name);
    if let Some(name) = variables.keys().find(bad) {
        return Err(SyncError::Build(format!(
            "`postBuild`: `{name}` is no name of a variable: letters, digits and `_` are, and no digit comes first"
        )));
    }
    // A value of many lines would tear the line that it is put into.
    for value in variables.values_mut() {
        value.retain(|letter| letter != '\n');
    }
    let always = post_build.substitute_strategy == Some(SubstituteStrategy::Always);
    Ok((always || !variables.is_empty()).then_some(Substitution { variables, secrets }))
}

/// The version and the values of a ConfigMap or Secret; an empty one and nothing if it is not there.
async fn values(
    object: &Kustomization,
    client: &Client,
    reference: &SubstituteReference,
) -> Result<(String, Option<BTreeMap<String, String>>), SyncError> {
    let namespace = object.namespace().unwrap_or_default();
    let (kind, name) = (reference.kind, &reference.name);
    let unreadable = |error: kube::Error| {
        let reason = crate::cluster::apply::describe(&error);
        SyncError::Build(format!(
            "`postBuild`: {kind:?} `{name}` cannot be read: {reason}"
        ))
    };
    let mut version = String::new();
    let values: Option<BTreeMap<String, String>> = match kind {
        SubstituteKind::ConfigMap => {
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
            let found = api.get_opt(name).await.map_err(unreadable)?;
            found.map(|found| {
                version = found.resource_version().unwrap_or_default();
                found.data.unwrap_or_default()
            })
        }
        SubstituteKind::Secret => {
            let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
            let found = api.get_opt(name).await;
            let text =
                |(key, ByteString(bytes))| (key, String::from_utf8_lossy(&bytes).into_owned());
            found.map_err(unreadable)?.map(|found: Secret| {
                version = found.resource_version().unwrap_or_default();
                let data = found.data.unwrap_or_default().into_iter();
                data.map(text).collect()
            })
        }
    };
    Ok((version, values))
}

/// Builds as Flux does: files may be named from anywhere in the source, and their order is kept.
pub(super) async fn build(
    object: &Kustomization,
    context: &Context,
    source: &Arc<Fetched>,
    variables: Option<Substitution>,
    settings: &UnitSettings,
) -> Result<Built, SyncError> {
    let (builds, source) = (context.builds.clone(), source.clone());
    let spec = object.spec.clone();
    let (may_rename, strict) = (settings.may_rename_namespaces, settings.strict_substitution);
    let runtime = tokio::runtime::Handle::current();
    let task = tokio::task::spawn_blocking(move || {
        let options = BuildOptions {
            load_restriction: LoadRestriction::None,
            reorder: Reorder::None,
            ..BuildOptions::default()
        };
        let rendered = builds.build_blocking(&source, &spec, &options, &runtime)?;
        if !may_rename && spec.target_namespace.is_some() {
            let plain = KustomizationSpec {
                target_namespace: None,
                ..spec.clone()
            };
            if let Some(name) = renamed_namespace(&rendered, || {
                builds.build_blocking(&source, &plain, &options, &runtime)
            })? {
                return Err(SyncError::Build(format!(
                    "`targetNamespace` would rename Namespace `{name}`, and a later prune would delete the namespace of that name; take it out of the build, or set the annotation `{ANNOTATIONS}rename-namespaces: \"true\"`"
                )));
            }
        }
        let desired = substituted(desired(&rendered), &rendered, variables.as_ref(), strict)?;
        Ok(Built {
            desired,
            // What stands elsewhere now is not known, and what a folder holds has no name.
            inputs: Some(rendered.inputs)
                .filter(|inputs| rendered.remotes.is_empty() && !inputs.is_empty()),
        })
    });
    let ended = |_| Err(SyncError::Build("the build task ended early".to_owned()));
    task.await.unwrap_or_else(ended)
}

/// The name of a Namespace that the target namespace has changed, if there is one.
fn renamed_namespace(
    rendered: &Rendered,
    plain: impl FnOnce() -> Result<Rendered, NotBuilt>,
) -> Result<Option<String>, NotBuilt> {
    let names = |rendered: &Rendered| -> Vec<String> {
        let objects = rendered.objects.iter();
        let namespaces = objects.filter(|object| object.kind() == "Namespace");
        namespaces.map(|object| object.name().to_owned()).collect()
    };
    let new = names(rendered);
    if new.is_empty() {
        return Ok(None);
    }
    let old = names(&plain()?);
    Ok(old.into_iter().find(|name| !new.contains(name)))
}

impl From<NotBuilt> for SyncError {
    fn from(reason: NotBuilt) -> Self {
        match reason {
            NotBuilt::Mirror(error) => {
                Self::Source(format!("cannot read the mirror: {}", error.message()))
            }
            NotBuilt::Path(text) => Self::Path(text),
            NotBuilt::Amend(text) => Self::Build(text),
            NotBuilt::Errors(errors) => Self::Build(explain(&errors)),
        }
    }
}

/// All errors of a build, each with its place and hint.
fn explain(errors: &BuildErrors) -> String {
    let hints: Vec<&str> = errors
        .0
        .iter()
        .filter_map(|error| error.hint.as_deref())
        .collect();
    if hints.is_empty() {
        errors.to_string()
    } else {
        format!("{errors} (hint: {})", hints.join("; "))
    }
}

/// The rendered objects with their names in the cluster.
pub(crate) fn desired(rendered: &Rendered) -> Vec<Desired> {
    let objects = applied(rendered);
    objects
        .map(|object| Desired {
            reference: reference(&object.to_json()),
            manifest: object.to_json(),
            source: object.source.clone(),
            hash: [0; 32],
        })
        .collect()
}

fn applied(rendered: &Rendered) -> impl Iterator<Item = &Object> {
    let objects = rendered.objects.iter();
    objects.filter(|object| !object.api_version().starts_with("kustomize.config.k8s.io/"))
}

fn reference(manifest: &Value) -> ObjectRef {
    let text = |pointer: &str| {
        let text = manifest.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default()
    };
    ObjectRef::new(
        text("/apiVersion"),
        text("/kind"),
        text("/metadata/namespace"),
        text("/metadata/name"),
    )
}

/// Puts the variables into each object; all that is missing anywhere is said at once.
pub(super) fn substituted(
    mut desired: Vec<Desired>,
    rendered: &Rendered,
    substitution: Option<&Substitution>,
    strict: bool,
) -> Result<Vec<Desired>, SyncError> {
    let Some(Substitution { variables, .. }) = substitution else {
        return Ok(desired);
    };
    let mut wrong = Vec::new();
    for (desired, object) in desired.iter_mut().zip(applied(rendered)) {
        if opts_out(&desired.manifest) {
            continue;
        }
        let text = object.to_yaml();
        if !text.contains('$') {
            continue;
        }
        match substitute(&text, variables, strict) {
            Err(error) => wrong.push(format!("{}: {error}", desired.reference)),
            Ok(text) => match manifest(&text) {
                Some(manifest) => {
                    desired.reference = reference(&manifest);
                    desired.manifest = manifest;
                }
                // The reader's words may quote a value.
                None => wrong.push(format!(
                    "{}: with its variables put in, it is no YAML of an object; a value with `: ` or `#` must stand in quotes",
                    desired.reference
                )),
            },
        }
    }
    if wrong.is_empty() {
        Ok(desired)
    } else {
        Err(SyncError::Build(wrong.join("; ")))
    }
}

/// Definitions hold `${…}` in their help texts, and are left alone.
fn opts_out(manifest: &Value) -> bool {
    let says = |field: &str| manifest["metadata"][field][SUBSTITUTE] == "disabled";
    manifest["kind"] == "CustomResourceDefinition" || says("labels") || says("annotations")
}

fn manifest(text: &str) -> Option<Value> {
    let nodes = goyaml::read(text, &goyaml::ReadOptions::sigs()).ok()?;
    let [node] = nodes.as_slice() else {
        return None;
    };
    let manifest = goyaml::to_json(node).ok()?;
    let has = |pointer: &str| manifest.pointer(pointer).is_some_and(Value::is_string);
    (has("/apiVersion") && has("/kind") && has("/metadata/name")).then_some(manifest)
}
