//! What a Kustomization of a cluster would make of a build at a desk.

use std::sync::Arc;

use kube::{Client, ResourceExt as _};
use kustomize::Rendered;

use crate::cluster::apply::How;
use crate::controllers::kustomization::build;
use overlayd_core::api::kustomization::Kustomization;
use overlayd_core::apply::plan::{Desired, Guard};
use overlayd_core::apply::unit_settings::UnitDefaults;
use overlayd_core::apply::unit_settings::UnitSettings;

/// What the Kustomization asks for, as far as a desk can know.
pub(crate) struct DeskSettings {
    unit: UnitSettings,
    how: How,
}

impl DeskSettings {
    /// What may be deleted unasked, unless the daemon's flags say otherwise.
    pub(crate) fn guard(&self) -> &Guard {
        &self.unit.guard
    }

    /// How it would be applied; also whether values of Secrets may stand anywhere.
    pub(crate) fn how(&self) -> &How {
        &self.how
    }
}

/// The objects that it would apply, with its variables put in.
///
/// # Errors
/// The annotations, the variables or the build; in words for a person.
pub(crate) async fn desired(
    unit: &Kustomization,
    client: &Client,
    rendered: &Rendered,
) -> Result<(Vec<Desired>, DeskSettings), String> {
    let settings = UnitSettings::new(unit.annotations(), &UnitDefaults::default());
    let settings = settings.map_err(|error| error.to_string())?;
    let (variables, _) = build::read_variables(unit, client).await;
    let variables = variables.map_err(|error| error.to_string())?;
    let desired = build::desired(rendered);
    let desired = build::substituted(
        desired,
        rendered,
        variables.as_ref(),
        settings.strict_substitution,
    );
    let how = How {
        hides_values: build::reads_secrets(unit),
        ignored: Arc::new(super::sync::ignored(unit)?),
        ..How::default()
    };
    let settings = DeskSettings {
        unit: settings,
        how,
    };
    Ok((desired.map_err(|error| error.to_string())?, settings))
}
