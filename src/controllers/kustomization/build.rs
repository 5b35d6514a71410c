//! Builds what is applied: the directory of the source as the spec wants it, with variables substituted.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::{Client, ResourceExt as _};
use kustomize::{BuildOptions, Inputs, LoadRestriction, Object, Rendered, Reorder};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::cluster::apply::Placement;
use crate::controllers::builds::{Builds, NotBuilt, Reservation};
use crate::controllers::kustomization::context::KustomizationContext;
use crate::controllers::kustomization::error::{
    BuildError, ObjectSubstitutionError, ObjectSubstitutionReason, SyncError,
};
use crate::git::Fetched;
use overlayd_core::api::annotations::SUBSTITUTE;
use overlayd_core::api::kustomization::{
    Kustomization, KustomizationSpec, SubstituteKind, SubstituteReference, SubstituteStrategy,
};
use overlayd_core::apply::desired::Desired;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::unit_settings::UnitSettings;
use overlayd_core::kustomization::references::check_references;
use overlayd_core::kustomization::spec_digest::SpecDigest;
use overlayd_core::names::NamespacedName;
use overlayd_core::render::substitution::{
    MissingVariables, SubstitutionBudget, Variables, is_name, substitute,
};
use overlayd_core::render::variable_index::VariableSource;

/// The objects to apply.
pub(super) struct Built {
    pub(super) desired: Vec<Desired>,
    /// Everything that the build read, if nothing else decides its result.
    pub(super) inputs: Option<Inputs>,
    /// The scopes of the kinds, by which the objects have got their ids, and what was renewed.
    pub(super) placement: Placement,
}

/// The variables of a Kustomization. It has no `Debug`, because it holds values of Secrets.
#[derive(Clone)]
pub(crate) struct Substitution {
    variables: Variables,
    /// The values that came from Secrets.
    secrets: Vec<String>,
}

impl Substitution {
    /// The values that came from Secrets.
    pub(super) fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// A digest that covers the names and values of the variables.
    pub(super) fn digest(&self, spec: &SpecDigest) -> SpecDigest {
        spec.and(&json!({"variables": self.variables}))
    }
}

/// Reads the variables of the spec and records where they come from. `None` if there is nothing to substitute.
pub(super) async fn variables(
    object: &Kustomization,
    context: &KustomizationContext,
) -> Result<Option<Substitution>, SyncError> {
    let (variables, reads) = read_variables(object, &context.client).await;
    context.variables.record(&NamespacedName::of(object), reads);
    variables
}

/// True if values of Secrets are substituted.
pub(super) fn reads_secrets(object: &Kustomization) -> bool {
    let mut sources = object
        .spec
        .post_build
        .iter()
        .flat_map(|post_build| &post_build.substitute_from);
    sources.any(|source| source.kind == SubstituteKind::Secret)
}

/// Reads the variables of the spec, and returns with them the sources that were read, with resource versions.
pub(super) async fn read_variables(
    object: &Kustomization,
    client: &Client,
) -> (
    Result<Option<Substitution>, SyncError>,
    Vec<(VariableSource, String)>,
) {
    let mut reads = Vec::new();
    let variables = gather(object, client, &mut reads).await;
    (variables, reads)
}

/// Reads the sources of variables in order; later ones replace names of earlier ones, and `substitute` replaces all.
/// Every source is recorded in `reads`, also a missing one, since its creation changes the result.
async fn gather(
    object: &Kustomization,
    client: &Client,
    reads: &mut Vec<(VariableSource, String)>,
) -> Result<Option<Substitution>, SyncError> {
    let Some(post_build) = &object.spec.post_build else {
        return Ok(None);
    };
    check_references(&object.spec)?;
    let (mut variables, mut missing) = (Variables::new(), None);
    let mut secrets = Vec::new();
    for reference in &post_build.substitute_from {
        let (version, found) = values(object, client, reference).await?;
        if reference.kind == SubstituteKind::Secret {
            secrets.extend(found.iter().flat_map(BTreeMap::values).cloned());
        }
        let namespace = object.namespace().unwrap_or_default();
        if found.is_none() && !reference.optional && missing.is_none() {
            missing = Some(BuildError::VariablesMissing {
                kind: reference.kind,
                of: NamespacedName::new(&namespace, &reference.name),
            });
        }
        let source = VariableSource {
            kind: reference.kind,
            name: NamespacedName::new(namespace, &reference.name),
        };
        reads.push((source, version));
        variables.extend(found.unwrap_or_default());
    }
    if let Some(missing) = missing {
        return Err(missing.into());
    }
    variables.extend(post_build.substitute.clone());
    let bad = |name: &&String| !is_name(name);
    if let Some(name) = variables.keys().find(bad) {
        return Err(BuildError::VariableName(name.clone()).into());
    }
    // A value of several lines would break the line that it is put into.
    for value in variables.values_mut() {
        value.retain(|letter| letter != '\n');
    }
    let always = post_build.substitute_strategy == Some(SubstituteStrategy::Always);
    Ok((always || !variables.is_empty()).then_some(Substitution { variables, secrets }))
}

/// The resource version and the values of a ConfigMap or Secret. If it does not exist, the version is empty.
async fn values(
    object: &Kustomization,
    client: &Client,
    reference: &SubstituteReference,
) -> Result<(String, Option<BTreeMap<String, String>>), SyncError> {
    let namespace = object.namespace().unwrap_or_default();
    let (kind, name) = (reference.kind, &reference.name);
    let unreadable = |source: kube::Error| BuildError::VariablesUnreadable {
        kind,
        name: name.clone(),
        source,
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

/// Builds as Flux does: files may be named from anywhere in the source, and their order is kept. With variables, the
/// objects are those after the substitution.
///
/// A build reserves memory first. One that needs more than it has reserved runs again with more, until it had all.
pub(super) async fn build(
    object: &Kustomization,
    context: &KustomizationContext,
    source: &Arc<Fetched>,
    variables: Option<Substitution>,
    settings: &UnitSettings,
) -> Result<BuiltObjects, SyncError> {
    let unit = NamespacedName::of(object);
    loop {
        let task = BuildTask {
            builds: context.builds.clone(),
            source: source.clone(),
            spec: object.spec.clone(),
            variables: variables.clone(),
            settings: settings.clone(),
            reserved: context.builds.reserve(&unit).await,
        };
        let runtime = tokio::runtime::Handle::current();
        // The reservation ends with the task, also where nobody waits for it any longer.
        let work = move || (task.run(&runtime), task.reserved);
        let Ok((built, reserved)) = tokio::task::spawn_blocking(work).await else {
            return Err(BuildError::TaskEnded.into());
        };
        if built.is_err() && source.is_damaged() {
            context.sources.repair();
        }
        match built {
            Err(error) if error.needs_memory() && context.builds.went_over(&unit, &reserved) => {}
            built => return built,
        }
    }
}

/// The objects of a build, and everything that it read, if nothing else decides its result.
type BuiltObjects = (Vec<Desired>, Option<Inputs>);

/// Everything that a build needs on the thread where it runs.
struct BuildTask {
    builds: Arc<Builds>,
    source: Arc<Fetched>,
    spec: KustomizationSpec,
    variables: Option<Substitution>,
    settings: UnitSettings,
    reserved: Reservation,
}

impl BuildTask {
    fn run(&self, runtime: &Handle) -> Result<BuiltObjects, SyncError> {
        let rendered = self.render(&self.spec, runtime)?;
        if !self.settings.may_rename_namespaces && self.spec.target_namespace.is_some() {
            let plain = KustomizationSpec {
                target_namespace: None,
                ..self.spec.clone()
            };
            if let Some(name) = renamed_namespace(&rendered, || self.render(&plain, runtime))? {
                return Err(BuildError::RenamedNamespace(name).into());
            }
        }
        let desired = substituted(
            desired(&rendered),
            &rendered,
            self.variables.as_ref(),
            self.settings.strict_substitution,
            SubstitutionBudget::new(self.reserved.substitution_limits()),
        )?;
        // A remote base may change at any time, and what a generated file names has no content id.
        let inputs = Some(rendered.inputs)
            .filter(|inputs| rendered.remotes.is_empty() && !inputs.is_empty());
        Ok((desired, inputs))
    }

    fn render(&self, spec: &KustomizationSpec, runtime: &Handle) -> Result<Rendered, NotBuilt> {
        let options = BuildOptions {
            load_restriction: LoadRestriction::None,
            reorder: Reorder::None,
            limits: self.reserved.limits(),
            ..BuildOptions::default()
        };
        self.builds
            .build_blocking(&self.source, spec, &options, runtime)
    }
}

/// The name of a Namespace that `targetNamespace` has changed, if there is one.
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

/// The rendered objects with their references in the cluster.
pub(crate) fn desired(rendered: &Rendered) -> Vec<Desired> {
    let objects = applied(rendered);
    objects
        .map(|object| {
            let manifest = object.to_json();
            Desired {
                reference: ObjectRef::of_manifest(&manifest),
                manifest,
                source: object.source.clone(),
                hash: [0; 32],
            }
        })
        .collect()
}

/// The rendered objects that are for the cluster, and not for kustomize itself.
fn applied(rendered: &Rendered) -> impl Iterator<Item = &Object> {
    let objects = rendered.objects.iter();
    objects.filter(|object| !object.api_version().starts_with("kustomize.config.k8s.io/"))
}

/// Puts the variables into each object.
///
/// # Errors
/// All objects into which they cannot be put, each with its reason.
pub(super) fn substituted(
    mut desired: Vec<Desired>,
    rendered: &Rendered,
    substitution: Option<&Substitution>,
    strict: bool,
    mut budget: SubstitutionBudget,
) -> Result<Vec<Desired>, BuildError> {
    let Some(Substitution { variables, .. }) = substitution else {
        return Ok(desired);
    };
    let missing = if strict {
        MissingVariables::Refused
    } else {
        MissingVariables::Empty
    };
    let mut errors = Vec::new();
    for (desired, object) in desired.iter_mut().zip(applied(rendered)) {
        if opts_out(&desired.manifest) {
            continue;
        }
        let text = object.to_yaml();
        if !text.contains('$') {
            continue;
        }
        let put_in = substitute(&text, variables, missing, &mut budget)
            .map_err(ObjectSubstitutionReason::from)
            .and_then(|text| manifest(&text).ok_or(ObjectSubstitutionReason::NoObject))
            .and_then(|manifest| {
                budget.charge_values(&desired.manifest, &manifest)?;
                Ok(manifest)
            });
        match put_in {
            Ok(manifest) => {
                desired.reference = ObjectRef::of_manifest(&manifest);
                desired.manifest = manifest;
            }
            Err(reason) => errors.push(ObjectSubstitutionError {
                object: desired.reference.clone(),
                file: object.source.clone(),
                reason,
            }),
        }
    }
    if errors.is_empty() {
        Ok(desired)
    } else {
        Err(BuildError::Substitution(errors))
    }
}

/// Definitions hold `${…}` in their help texts, and are left alone.
fn opts_out(manifest: &Value) -> bool {
    let says = |field: &str| manifest["metadata"][field][SUBSTITUTE] == "disabled";
    manifest["kind"] == "CustomResourceDefinition" || says("labels") || says("annotations")
}

/// The one object of a text; `None` if substitution has made something else of it.
fn manifest(text: &str) -> Option<Value> {
    let nodes = goyaml::read(text, &goyaml::ReadOptions::sigs()).ok()?;
    let [node] = nodes.as_slice() else {
        return None;
    };
    let manifest = goyaml::to_json(node).ok()?;
    let has = |pointer: &str| manifest.pointer(pointer).is_some_and(Value::is_string);
    (has("/apiVersion") && has("/kind") && has("/metadata/name")).then_some(manifest)
}
