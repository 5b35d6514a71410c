//! `Receiver`: gives a git server an address that it can call.

mod addresses;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt as _};

use crate::controllers::ReconcileError;
use crate::controllers::objects::{api_of, remove_finalizer, secrets_of, write_status};
use crate::controllers::unreadable::Readable;
use overlayd_core::api::annotations::{FLUX_FINALIZER, REQUESTED_AT};
use overlayd_core::api::receiver::{Receiver, ReceiverStatus, ReceiverType};
use overlayd_core::conditions::{Progress, flux_conditions};
use overlayd_core::names::NamespacedName;
use overlayd_core::receiver_resources::check_resource;
use overlayd_core::request_path::check_name;
use overlayd_core::schedule::parse_duration;
use overlayd_core::webhook_signature;

pub(crate) use addresses::ReceiverAddresses;

/// The interval at which the token is read again, where the spec gives none.
const INTERVAL: Duration = Duration::from_secs(600);

/// No shorter interval counts: the token is read each time.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// What the controller of receivers works with.
pub(crate) struct ReceiverContext {
    pub(crate) client: Client,
    /// The addresses that are served.
    pub(crate) addresses: Arc<ReceiverAddresses>,
}

/// Serves a receiver at its address, and writes the address into its status.
pub(crate) async fn reconcile(
    object: Readable<Receiver>,
    context: Arc<ReceiverContext>,
) -> Result<Action, ReconcileError> {
    let api = api_of(&context.client, &*object);
    let unit = NamespacedName::of(&*object);
    if object.metadata.deletion_timestamp.is_some() {
        context.addresses.set(&unit, None);
        // overlayd never adds Flux's finalizer here, and removes it so that a deletion can end.
        remove_finalizer(&api, &*object, FLUX_FINALIZER).await?;
        return Ok(Action::await_change());
    }
    let old = object.status.clone().unwrap_or_default();
    let mut status = ReceiverStatus {
        last_handled_reconcile_at: object.annotations().get(REQUESTED_AT).cloned(),
        ..old.clone()
    };
    let generation = object.metadata.generation.unwrap_or_default();
    let (progress, reason, message) = match address(&object, &context).await {
        Ok(path) => {
            context.addresses.set(&unit, Some(&path));
            let message = format!("Receiver initialized for path: {path}");
            status.webhook_path = Some(path);
            (Progress::Ready, "Succeeded", message)
        }
        Err((progress, reason, message)) => {
            context.addresses.set(&unit, None);
            status.webhook_path = None;
            (progress, reason, message)
        }
    };
    if progress != Progress::Retrying {
        status.observed_generation = generation;
    }
    let now = Timestamp::now();
    status.conditions =
        flux_conditions(&old.conditions, generation, progress, reason, &message, now);
    if status != old {
        write_status(&api, &*object, &status).await?;
    }
    let interval = object.spec.interval.as_deref().and_then(parse_duration);
    Ok(Action::requeue(match progress {
        Progress::Retrying => Duration::from_secs(15),
        _ => interval.unwrap_or(INTERVAL).max(LEAST_INTERVAL),
    }))
}

/// The address of a receiver, or the condition that says why it has none.
async fn address(
    object: &Receiver,
    context: &ReceiverContext,
) -> Result<String, (Progress, &'static str, String)> {
    let spec = &object.spec;
    let filters = spec
        .resources
        .iter()
        .filter_map(|resource| resource.filter.as_ref());
    if spec.resource_filter.is_some() || filters.count() > 0 {
        let message =
            "filters by CEL (`resourceFilter`, `resources[].filter`) are not supported yet";
        return Err((Progress::Stalled, "FeatureGateDisabled", message.to_owned()));
    }
    let is_known = matches!(
        spec.type_,
        ReceiverType::Generic
            | ReceiverType::GenericHmac
            | ReceiverType::Github
            | ReceiverType::Gitlab
    );
    if !is_known {
        let message = "receivers of this type are not supported yet; there are github, gitlab, generic-hmac and generic";
        return Err((Progress::Stalled, "FeatureGateDisabled", message.to_owned()));
    }
    let invalid = |message: String| (Progress::Stalled, "ValidationFailed", message);
    for resource in &spec.resources {
        check_resource(resource).map_err(|error| invalid(error.to_string()))?;
    }
    let name = &spec.secret_ref.name;
    check_name("spec.secretRef.name", name).map_err(|error| invalid(error.to_string()))?;
    let secret = secrets_of(&context.client, object).get_opt(name).await;
    let missing = |what: String| (Progress::Retrying, "TokenNotFound", what);
    let secret = secret.map_err(|error| missing(crate::cluster::error::describe(&error)))?;
    let secret = secret.ok_or_else(|| {
        missing(format!(
            "Secret `{name}` of `spec.secretRef` does not exist"
        ))
    })?;
    let token = secret.data.and_then(|mut data| data.remove("token"));
    let token = token.filter(|token| !token.0.is_empty());
    let token = token.ok_or_else(|| missing(format!("Secret `{name}` has no key `token`")))?;
    let namespace = object.namespace().unwrap_or_default();
    Ok(webhook_signature::path(
        &token.0,
        &object.name_any(),
        &namespace,
    ))
}
