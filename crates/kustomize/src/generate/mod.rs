//! Pure: ConfigMaps and Secrets from files, literals and env files, and how they meet what is there already.

mod absorb;
mod base64_lines;
pub(crate) mod hash;
mod sources;

use std::sync::Arc;

use goyaml::{Mapping, Node};

pub(crate) use absorb::{Behavior, absorb};

use crate::budget::{Cost, NODE_BYTES, as_u64};
use crate::error::{BuildError, BuildErrors, Problem};
use crate::kustomization::{GeneratorArgs, GeneratorOptions};
use crate::level::{Context, Level};
use crate::load::{Directory, Loaded, Loader};
use crate::resource::{ConfiguredBy, Origin, Resource, check_key};
use base64_lines::base64_lines;
use sources::Pair;

/// What a generator makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generated {
    /// `configMapGenerator`.
    ConfigMap,
    /// `secretGenerator`.
    Secret,
}

/// Runs `configMapGenerator`, then `secretGenerator`, then `generators`.
pub(crate) fn run(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    let kustomization = &loaded.kustomization;
    let config_maps = kustomization
        .config_maps
        .iter()
        .map(|args| (Generated::ConfigMap, args));
    let secrets = kustomization
        .secrets
        .iter()
        .map(|args| (Generated::Secret, args));
    for (index, (generated, args)) in config_maps.chain(secrets).enumerate() {
        let mut args = args.clone();
        args.options = merge_options(args.options, &kustomization.generator_options);
        let file = context.loader.show(&loaded.file);
        generate(context.loader, &loaded.directory, generated, &args)
            .and_then(|mut resource| {
                resource.origin = Some(Arc::new(Origin {
                    file,
                    path: loaded.file.clone(),
                    configured_by: Some(ConfiguredBy::builtin(generated.kind())),
                }));
                context.loader.count(1)?;
                absorb(
                    &mut level.resources,
                    resource,
                    Behavior::parse(&args.behavior),
                )
            })
            .map_err(|mut error| {
                // Secrets are counted from their own first one.
                let index = match generated {
                    Generated::ConfigMap => index,
                    Generated::Secret => index - kustomization.config_maps.len(),
                };
                let inner = error
                    .field
                    .take()
                    .map_or_else(String::new, |f| format!(".{f}"));
                let entry = format!("{}[{index}]{inner}", generated.field());
                error.field(format!("{entry} `{}`", args.name))
            })?;
    }
    Ok(())
}

impl Generated {
    /// The field of the kustomization, for messages.
    fn field(self) -> &'static str {
        match self {
            Self::ConfigMap => "configMapGenerator",
            Self::Secret => "secretGenerator",
        }
    }

    /// The kind of the generator, as origin annotations name it.
    fn kind(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMapGenerator",
            Self::Secret => "SecretGenerator",
        }
    }
}

/// Labels and annotations of the entry win, key by key; the switches are or-ed.
fn merge_options(own: GeneratorOptions, general: &GeneratorOptions) -> GeneratorOptions {
    let merge = |general: &[(String, String)], own: Vec<(String, String)>| {
        let mut merged = general.to_vec();
        for (key, value) in own {
            match merged.iter_mut().find(|(name, _)| *name == key) {
                Some((_, old)) => *old = value,
                None => merged.push((key, value)),
            }
        }
        merged
    };
    GeneratorOptions {
        labels: merge(&general.labels, own.labels),
        annotations: merge(&general.annotations, own.annotations),
        disable_name_suffix_hash: own.disable_name_suffix_hash || general.disable_name_suffix_hash,
        immutable: own.immutable || general.immutable,
    }
}

/// Makes one ConfigMap or Secret.
pub(crate) fn generate(
    loader: &Loader<'_>,
    directory: &Directory,
    generated: Generated,
    args: &GeneratorArgs,
) -> Result<Resource, BuildError> {
    if args.name.is_empty() {
        return Err(nameless(generated));
    }
    let charged = loader.budget.bytes();
    let pairs = sources::read(loader, directory, args)?;
    let metadata_pairs = args.options.labels.iter().chain(&args.options.annotations);
    for (key, value) in metadata_pairs {
        loader
            .budget
            .charge(Cost::Bytes, NODE_BYTES + as_u64(key.len() + value.len()))?;
    }
    let keys = pairs.iter().map(|pair| &pair.key);
    let metadata_keys = args.options.labels.iter().chain(&args.options.annotations);
    for key in keys.chain(metadata_keys.map(|(key, _)| key)) {
        check_key(key)?;
    }
    let object = object(generated, args, pairs);
    let mut resource = Resource::new(object.into())?;
    resource.needs_hash = !args.options.disable_name_suffix_hash;
    resource.generated = true;
    resource.weight = loader.budget.bytes().saturating_sub(charged);
    resource.charge_again(loader.budget)?;
    Ok(resource)
}

/// The error of an entry without a name.
fn nameless(generated: Generated) -> BuildError {
    let what = match generated {
        Generated::ConfigMap => "configmap",
        Generated::Secret => "secret",
    };
    let error = Problem::Transform(format!("a {what} must have a name"));
    BuildError::from(error).hint("give the entry a `name`")
}

/// The object of an entry: its metadata, and its pairs in the form of its kind.
fn object(generated: Generated, args: &GeneratorArgs, pairs: Vec<Pair>) -> Mapping {
    let mut object = Mapping::default();
    object.insert("apiVersion", Node::string("v1"));
    object.insert(
        "kind",
        Node::string(if generated == Generated::ConfigMap {
            "ConfigMap"
        } else {
            "Secret"
        }),
    );
    object.insert("metadata", metadata(args));
    match generated {
        Generated::ConfigMap => config_map_data(&mut object, pairs),
        Generated::Secret => {
            let data = pairs
                .iter()
                .map(|pair| (pair.key.as_str(), Node::string(base64_lines(&pair.value))));
            object.insert("data", data.collect::<Mapping>().into());
            let secret_type = if args.secret_type.is_empty() {
                "Opaque"
            } else {
                &args.secret_type
            };
            object.insert("type", Node::string(secret_type));
        }
    }
    if args.options.immutable {
        object.insert("immutable", Node::bool(true));
    }
    object
}

/// The metadata of the object: name, namespace, labels and annotations.
fn metadata(args: &GeneratorArgs) -> Node {
    let mut metadata = Mapping::default();
    metadata.insert("name", Node::string(args.name.as_str()));
    if !args.namespace.is_empty() {
        metadata.insert("namespace", Node::string(args.namespace.as_str()));
    }
    for (name, pairs) in [
        ("labels", &args.options.labels),
        ("annotations", &args.options.annotations),
    ] {
        if !pairs.is_empty() {
            let map = pairs
                .iter()
                .map(|(key, value)| (key.as_str(), Node::string(value.as_str())));
            metadata.insert(name, map.collect::<Mapping>().into());
        }
    }
    metadata.into()
}

/// Text goes into `data`, anything else into `binaryData`.
fn config_map_data(object: &mut Mapping, pairs: Vec<Pair>) {
    for pair in pairs {
        let (field, value) = match String::from_utf8(pair.value) {
            Ok(text) => ("data", Node::string(text)),
            Err(error) => ("binaryData", Node::string(base64_lines(error.as_bytes()))),
        };
        let data = object.entry_or(field, Node::empty_mapping);
        if let Some(data) = data.as_mapping_mut() {
            data.insert(pair.key, value);
        }
    }
}
