//! `dependsOn`: reads every dependency anew before a revision is applied.

use kube::api::Api;
use overlayd_core::api::kustomization::Kustomization;
use overlayd_core::kustomization::dependencies::{
    DependencyError, UnmetReason, dependencies, unmet,
};
use overlayd_core::names::NamespacedName;

use crate::controllers::kustomization::context::KustomizationContext;
use crate::controllers::kustomization::error::{Interruption, InvalidExpression, SyncError};
use crate::expression::Expression;

/// Checks that every dependency is met.
///
/// # Errors
/// The first dependency that is not, an expression that cannot be read, or no answer of the API server.
pub(super) async fn check(
    object: &Kustomization,
    context: &KustomizationContext,
    revision: &str,
) -> Result<(), Interruption> {
    if object.spec.depends_on.is_empty() {
        return Ok(());
    }
    let cycle = context
        .dependencies
        .check_cycle(&NamespacedName::of(object));
    cycle?;
    for (dependency, name) in dependencies(object) {
        let api: Api<Kustomization> = Api::namespaced(context.client.clone(), &name.namespace);
        let found = api.get_opt(&name.name).await.map_err(Interruption::Api)?;
        let reason = match (&dependency.ready_expr, &found) {
            (Some(text), Some(found)) => unmet_by_expression(text, object, found).await?,
            (_, found) => unmet(object, found.as_ref(), revision),
        };
        if let Some(reason) = reason {
            let dependency = name;
            return Err(DependencyError::Unmet { dependency, reason }.into());
        }
    }
    tracing::debug!(kustomization = %NamespacedName::of(object), "dependencies are ready");
    Ok(())
}

/// What a dependency lacks, as an expression judges it.
async fn unmet_by_expression(
    text: &str,
    object: &Kustomization,
    dependency: &Kustomization,
) -> Result<Option<UnmetReason>, SyncError> {
    let expression = Expression::parse(text).map_err(InvalidExpression::Ready)?;
    let value = |object: &Kustomization| serde_json::to_value(object);
    // What an expression cannot see, it must not take for absent.
    let (Ok(dependency), Ok(own)) = (value(dependency), value(object)) else {
        let reason = "the objects have no JSON form".to_owned();
        return Ok(Some(UnmetReason::ExpressionFailed(reason)));
    };
    let variables = vec![("dep".to_owned(), dependency), ("self".to_owned(), own)];
    Ok(match expression.holds(variables).await {
        Ok(true) => None,
        Ok(false) => Some(UnmetReason::ExpressionIsFalse),
        Err(error) => Some(UnmetReason::ExpressionFailed(error.to_string())),
    })
}
