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
use crate::expression::{Expression, ExpressionError};
use crate::metrics::{Metrics, ReconcileResult};
use overlayd_core::api::annotations::{FLUX_FINALIZER, REQUESTED_AT};
use overlayd_core::api::receiver::{Receiver, ReceiverSpec, ReceiverStatus};
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
    pub(crate) metrics: Arc<Metrics>,
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
    let timer = context.metrics.start("Receiver");
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
    let result = match progress {
        Progress::Ready => ReconcileResult::RequeueAfter,
        _ => ReconcileResult::Error,
    };
    timer.finish(result, &unit.name, &unit.namespace);
    let interval = object.spec.interval.as_deref().and_then(parse_duration);
    Ok(Action::requeue(match progress {
        Progress::Retrying => Duration::from_secs(15),
        _ => interval.unwrap_or(INTERVAL).max(LEAST_INTERVAL),
    }))
}

/// A filter of a receiver that is no CEL, or larger than the bounds allow.
#[derive(Debug, thiserror::Error)]
#[error("`spec.{field}`: {error}")]
struct InvalidFilter {
    /// The path of the field below `spec`.
    field: String,
    error: ExpressionError,
}

/// Reads every filter, so that an invalid one is reported here and not to the git server that calls.
fn check_filters(spec: &ReceiverSpec) -> Result<(), InvalidFilter> {
    let check =
        |field: String, filter: Option<&String>| match filter.map(|text| Expression::parse(text)) {
            Some(Err(error)) => Err(InvalidFilter { field, error }),
            Some(Ok(_)) | None => Ok(()),
        };
    check("resourceFilter".to_owned(), spec.resource_filter.as_ref())?;
    for (index, resource) in spec.resources.iter().enumerate() {
        check(
            format!("resources[{index}].filter"),
            resource.filter.as_ref(),
        )?;
    }
    Ok(())
}

/// The address of a receiver, or the condition that says why it has none.
async fn address(
    object: &Receiver,
    context: &ReceiverContext,
) -> Result<String, (Progress, &'static str, String)> {
    let spec = &object.spec;
    if let Err(error) = check_filters(spec) {
        return Err((Progress::Stalled, "InvalidCELExpression", error.to_string()));
    }
    if let Some(message) = webhook_signature::unsupported_receiver(spec) {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_invalid_filter_is_reported_with_its_field() {
        let check = |spec: serde_json::Value, expected: Option<&str>| {
            let mut full = json!({"type": "generic", "secretRef": {"name": "token"}});
            full["resources"] = json!([{"kind": "GitRepository", "name": "a"}]);
            for (key, value) in spec.as_object().unwrap() {
                full[key] = value.clone();
            }
            let error = check_filters(&serde_json::from_value(full).unwrap()).err();
            let error = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with(expected.unwrap_or_default()), "{error}");
            assert_eq!(error.is_empty(), expected.is_none(), "{error}");
        };
        check(json!({}), None);
        check(
            json!({"resourceFilter": "req.ref == 'a' && res.metadata.name == 'b'"}),
            None,
        );
        check(
            json!({"resourceFilter": "req.ref ="}),
            Some("`spec.resourceFilter`: "),
        );
        let filter = json!({"kind": "GitRepository", "name": "b", "filter": "x".repeat(3000)});
        let resources = json!([{"kind": "GitRepository", "name": "a", "filter": "true"}, filter]);
        check(
            json!({"resources": resources}),
            Some("`spec.resources[1].filter`: the expression is longer than"),
        );
    }
}
