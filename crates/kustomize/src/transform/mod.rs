//! Pure: the transformers, one per file, in the order in which kustomize runs them.

pub(crate) mod affix;
pub(crate) mod image;
mod json_patch;
mod merge;
pub(crate) mod metadata;
pub(crate) mod name_ref;
pub(crate) mod namespace;
pub(crate) mod patch;
pub(crate) mod replacement;
pub(crate) mod replica;
pub(crate) mod vars;

use crate::error::BuildErrors;
use crate::level::{Context, Level};
use crate::load::Loaded;

use affix::Affix;
pub(crate) use metadata::managed_by;

/// Runs the transformers of one kustomization over the whole set of its level.
pub(crate) fn run(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    patch::strategic_merge_list(context, loaded, level)?;
    patch::patches(context, loaded, level)?;
    names(context, loaded, level)?;
    labels(context, loaded, level)?;
    patch::json_patches(context, loaded, level)?;
    workloads(context, loaded, level)?;
    replacement::transform_all(context, loaded, level)
}

/// `namespace`, `namePrefix` and `nameSuffix`.
fn names(context: &Context<'_, '_>, loaded: &Loaded, level: &mut Level) -> Result<(), BuildErrors> {
    let kustomization = &loaded.kustomization;
    let tables = level.tables.clone();
    if !kustomization.namespace.is_empty() {
        let options = namespace::Options::of(&kustomization.namespace, &tables.namespace);
        namespace::transform(&mut level.resources, &options, context.loader.budget)
            .map_err(|error| error.field("namespace"))?;
        context.ran_builtin(loaded, level, "NamespaceTransformer")?;
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
        if text.is_empty() {
            continue;
        }
        affix::transform(
            &mut level.resources,
            affix,
            text,
            rows,
            context.loader.budget,
        )
        .map_err(|error| error.field(field))?;
        context.ran_builtin(loaded, level, affix.transformer())?;
    }
    Ok(())
}

/// `labels`, `commonLabels` and `commonAnnotations`.
fn labels(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    let kustomization = &loaded.kustomization;
    let budget = context.loader.budget;
    let tables = level.tables.clone();
    for (index, label) in kustomization.labels.iter().enumerate() {
        let rows = metadata::label_rows(label, &tables);
        rows.and_then(|rows| {
            metadata::transform(&mut level.resources, &label.pairs, &rows, budget)
        })
        .map_err(|error| error.field(format!("labels[{index}]")))?;
        context.ran_builtin(loaded, level, "LabelTransformer")?;
    }
    let common = &kustomization.common_labels;
    metadata::transform(&mut level.resources, common, &tables.common_labels, budget)
        .map_err(|error| error.field("commonLabels"))?;
    // kustomize runs commonLabels wherever it runs labels, with or without pairs.
    if !(common.is_empty() && kustomization.labels.is_empty()) {
        context.ran_builtin(loaded, level, "LabelTransformer")?;
    }
    let annotations = &kustomization.common_annotations;
    if !annotations.is_empty() {
        metadata::transform(
            &mut level.resources,
            annotations,
            &tables.common_annotations,
            budget,
        )
        .map_err(|error| error.field("commonAnnotations"))?;
        context.ran_builtin(loaded, level, "AnnotationsTransformer")?;
    }
    Ok(())
}

/// `replicas` and `images`.
fn workloads(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    let kustomization = &loaded.kustomization;
    let budget = context.loader.budget;
    let tables = level.tables.clone();
    for (index, replica) in kustomization.replicas.iter().enumerate() {
        replica::transform(&mut level.resources, replica, &tables.replicas, budget)
            .map_err(|error| error.field(format!("replicas[{index}]")))?;
        context.ran_builtin(loaded, level, "ReplicaCountTransformer")?;
    }
    image::transform(
        &mut level.resources,
        &kustomization.images,
        &tables.images,
        budget,
    )
    .map_err(|error| error.field("images"))?;
    for _ in &kustomization.images {
        context.ran_builtin(loaded, level, "ImageTagTransformer")?;
    }
    Ok(())
}
