//! Pure: the transformers, one per file, in the order in which kustomize runs them.

mod affix;
pub(crate) mod config;
mod image;
mod json_patch;
mod merge;
mod metadata;
pub(crate) mod name_ref;
mod namespace;
mod patch;
mod replacement;
mod replica;
pub(crate) mod vars;

use crate::accumulate::{Context, Level};
use crate::error::{BuildError, BuildErrors};
use crate::load::Loaded;

pub(crate) use affix::Affix;
pub(crate) use metadata::managed_by;

/// Runs the transformers of one kustomization over the whole set of its level.
pub(crate) fn run(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    let kustomization = &loaded.kustomization;
    let tables = level.tables.clone();
    patch::strategic_merge_list(context, loaded, level)?;
    patch::patches(context, loaded, level)?;
    let resources = &mut level.resources;
    if !kustomization.namespace.is_empty() {
        namespace::transform(
            resources,
            &namespace::Options::of(&kustomization.namespace, &tables.namespace),
        )
        .map_err(|error| error.field("namespace"))?;
    }
    let prefix = (
        Affix::Prefix,
        "namePrefix",
        &kustomization.name_prefix,
        &tables.name_prefix,
    );
    let suffix = (
        Affix::Suffix,
        "nameSuffix",
        &kustomization.name_suffix,
        &tables.name_suffix,
    );
    for (affix, field, text, rows) in [prefix, suffix] {
        affix::transform(resources, affix, text, rows).map_err(|error| error.field(field))?;
    }
    for (index, label) in kustomization.labels.iter().enumerate() {
        let rows = metadata::label_rows(label, &tables);
        rows.and_then(|rows| metadata::transform(resources, &label.pairs, &rows))
            .map_err(|error| error.field(format!("labels[{index}]")))?;
    }
    metadata::transform(
        resources,
        &kustomization.common_labels,
        &tables.common_labels,
    )
    .map_err(|error| error.field("commonLabels"))?;
    metadata::transform(
        resources,
        &kustomization.common_annotations,
        &tables.common_annotations,
    )
    .map_err(|error| error.field("commonAnnotations"))?;
    patch::json_patches(context, loaded, level)?;
    let resources = &mut level.resources;
    for (index, replica) in kustomization.replicas.iter().enumerate() {
        replica::transform(resources, replica, &tables.replicas)
            .map_err(|error| error.field(format!("replicas[{index}]")))?;
    }
    for (index, image) in kustomization.images.iter().enumerate() {
        image::transform(resources, image, &tables.images)
            .map_err(|error| error.field(format!("images[{index}]")))?;
    }
    replacement::transform_all(context.loader, loaded, resources)?;
    config::transformers(context, loaded, level)
}

/// Runs the validators, which may look but not change.
pub(crate) fn validate(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    config::validators(context, loaded, level)
}

/// Says which object a transformer could not change.
fn about(error: impl Into<BuildError>, resource: &crate::resource::Resource) -> BuildError {
    let mut error: BuildError = error.into();
    if let Some(origin) = &resource.origin
        && error.place.is_none()
    {
        error = error.at(origin.file.clone(), resource.node().line as usize);
    }
    error.hint(format!("the object is {}", resource.show()))
}
