//! Talks to the API server: reads generators, and lets them make values.

use std::fmt::Debug;

use kube::Resource;
use kube::api::Api;
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;

use crate::controllers::external_secret::context::ExternalSecretContext;
use crate::controllers::external_secret::error::{GeneratorError, SecretSyncError};
use crate::controllers::external_secret::template::run_blocking;
use crate::random;
use overlayd_core::api::external_secret::GeneratorReference;
use overlayd_core::api::generators::{
    ClusterGenerator, ClusterGeneratorSpec, Fake, Password, UUID,
};
use overlayd_core::secrets::compose::FetchedValues;
use overlayd_core::secrets::desired::DesiredSecret;
use overlayd_core::secrets::generate::{GeneratedBytes, Generator, generate};

/// Makes the values of all generators that the spec refers to.
pub(super) async fn run_generators(
    context: &ExternalSecretContext,
    namespace: &str,
    desired: &DesiredSecret,
    fetched: &mut FetchedValues,
) -> Result<(), SecretSyncError> {
    let mut bytes = GeneratedBytes::default();
    for entry in desired.generators() {
        let made = match generator(context, namespace, &entry.generator).await {
            Err(error) => Err(error),
            Ok(generator) => {
                let work = || generate(&generator, &mut |bytes| random::fill(bytes), &mut bytes);
                run_blocking(context, namespace, work)
                    .await
                    .map_err(GeneratorError::from)
            }
        };
        let made = made.map_err(|error| SecretSyncError::Generator {
            field: entry.field.clone(),
            error,
        })?;
        fetched.generated.insert(entry.field.clone(), made);
    }
    Ok(())
}

/// The generator that a reference names.
async fn generator(
    context: &ExternalSecretContext,
    namespace: &str,
    reference: &GeneratorReference,
) -> Result<Generator, GeneratorError> {
    let generator = match reference.kind.as_str() {
        "Password" => {
            let found: Password = read(namespaced(context, namespace), reference).await?;
            Generator::Password(found.spec)
        }
        "UUID" => {
            let _found: UUID = read(namespaced(context, namespace), reference).await?;
            Generator::Uuid
        }
        "Fake" => {
            let found: Fake = read(namespaced(context, namespace), reference).await?;
            Generator::Fake(found.spec)
        }
        "ClusterGenerator" => {
            let found: ClusterGenerator = read(Api::all(context.client.clone()), reference).await?;
            of_cluster(found.spec)?
        }
        other => return Err(GeneratorError::UnsupportedKind(other.to_owned())),
    };
    if let Generator::Fake(spec) = &generator {
        let class = spec.controller.as_deref().unwrap_or_default();
        if !context.settings.class.serves_class(class) {
            return Err(GeneratorError::OtherClass {
                name: reference.name.clone(),
                class: class.to_owned(),
            });
        }
    }
    Ok(generator)
}

/// The generators of a kind in a namespace.
fn namespaced<K>(context: &ExternalSecretContext, namespace: &str) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(context.client.clone(), namespace)
}

/// Reads a generator at each sync, since its spec is small and a cache of all kinds would not be.
async fn read<K>(api: Api<K>, reference: &GeneratorReference) -> Result<K, GeneratorError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let GeneratorReference { kind, name, .. } = reference;
    let found = api.get_opt(name).await;
    let found = found.map_err(|error| GeneratorError::Unreadable {
        kind: kind.clone(),
        name: name.clone(),
        error,
    })?;
    found.ok_or_else(|| GeneratorError::NotFound {
        kind: kind.clone(),
        name: name.clone(),
    })
}

/// The generator in a ClusterGenerator: the one spec that is set.
fn of_cluster(spec: ClusterGeneratorSpec) -> Result<Generator, GeneratorError> {
    let generator = spec.generator;
    match (
        generator.password_spec,
        generator.uuid_spec,
        generator.fake_spec,
    ) {
        (Some(password), ..) => Ok(Generator::Password(password)),
        (_, Some(_), _) => Ok(Generator::Uuid),
        (_, _, Some(fake)) => Ok(Generator::Fake(fake)),
        _ => Err(GeneratorError::UnsupportedKind(spec.kind)),
    }
}
