//! Talks to the API server: reads what the peers have in a cluster, and changes nothing.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::{Client, ResourceExt as _};
use overlayd_core::api::kustomization::ResourceInventory;
use overlayd_core::apply::inventory;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::takeover::FIELD_MANAGER;
use overlayd_core::migrate::{
    Finding, MigrationVerdict, changed_ids, field_managers, judge_definition,
};
use serde_json::Value;

use crate::cluster::apply::Applier;

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// The custom resources and controllers of the peers, whole.
    pub(crate) objects: Vec<Value>,
    /// The definitions of the peers.
    pub(crate) definitions: Vec<Value>,
    /// What is known of definitions and inventories.
    pub(crate) findings: Vec<Finding>,
    /// Other facts, one sentence for each.
    pub(crate) notes: Vec<String>,
}

/// Reads the definitions of the peers, every object of their kinds, their Deployments, and the objects of inventories.
pub(crate) async fn take(client: Client) -> Result<Survey, SurveyError> {
    let mut survey = Survey::default();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definitions = definitions.list(&ListParams::default()).await?;
    for definition in definitions.items.into_iter().filter(is_of_peers) {
        let value = serde_json::to_value(&definition)?;
        survey.findings.extend(judge_definition(&value));
        survey.definitions.push(value);
        survey.read_objects(&client, &definition).await?;
    }
    let deployments = ApiResource {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        plural: "deployments".to_owned(),
    };
    survey.read(&client, &deployments).await?;
    survey.count_finalizers();
    survey.read_inventories(client).await?;
    Ok(survey)
}

/// Why the cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SurveyError {
    /// A list or read failed, so the survey would be incomplete.
    #[error("{}", crate::cluster::error::describe(.0))]
    Api(#[from] kube::Error),
    /// An object has not the form that every object has.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
}

/// True for a definition of Flux or External Secrets, by its group.
fn is_of_peers(definition: &CustomResourceDefinition) -> bool {
    let group = &definition.spec.group;
    ["fluxcd.io", "external-secrets.io"]
        .iter()
        .any(|peer| group.ends_with(peer))
}

impl Survey {
    /// The objects of a kind, in the version that the server prefers.
    async fn read_objects(
        &mut self,
        client: &Client,
        definition: &CustomResourceDefinition,
    ) -> Result<(), SurveyError> {
        let spec = &definition.spec;
        let served = spec.versions.iter().filter(|version| version.served);
        let Some(version) = served.max_by_key(|version| version.storage) else {
            return Ok(());
        };
        let resource = ApiResource {
            group: spec.group.clone(),
            version: version.name.clone(),
            api_version: format!("{}/{}", spec.group, version.name),
            kind: spec.names.kind.clone(),
            plural: spec.names.plural.clone(),
        };
        self.read(client, &resource).await
    }

    /// Adds every object of a resource, with the type that a list leaves out.
    async fn read(&mut self, client: &Client, resource: &ApiResource) -> Result<(), SurveyError> {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
        for object in api.list(&ListParams::default()).await?.items {
            let mut object = serde_json::to_value(object)?;
            object["apiVersion"] = resource.api_version.clone().into();
            object["kind"] = resource.kind.clone().into();
            self.objects.push(object);
        }
        Ok(())
    }

    /// Notes how many custom resources could not be deleted while no controller runs.
    fn count_finalizers(&mut self) {
        let held = self.objects.iter().filter(|object| {
            object["metadata"]["finalizers"]
                .as_array()
                .is_some_and(|finalizers| !finalizers.is_empty())
        });
        let count = held.count();
        if count > 0 {
            self.notes.push(format!(
                "{count} custom resources hold a finalizer of the peers; overlayd serves it, and a deletion without any controller would wait"
            ));
        }
    }

    /// The ids that overlayd would write otherwise, and who owns the fields of the applied objects.
    async fn read_inventories(&mut self, client: Client) -> Result<(), SurveyError> {
        let applier = Applier::new(client, FIELD_MANAGER);
        let units: Vec<Value> = self
            .objects
            .iter()
            .filter(|object| object["kind"] == "Kustomization")
            .cloned()
            .collect();
        let mut owners = Vec::new();
        for unit in units {
            let listed: Option<ResourceInventory> =
                serde_json::from_value(unit["status"]["inventory"].clone()).unwrap_or_default();
            let held = inventory::objects(listed.as_ref());
            let scopes = applier.place(&mut [], &held).await.scopes;
            for (before, after) in changed_ids(&held, &scopes) {
                self.findings.push(Finding {
                    object: ObjectRef::of_manifest(&unit),
                    file: None,
                    verdict: MigrationVerdict::Difference,
                    reason: format!("the id `{before}` of its inventory becomes `{after}`; it is the same object"),
                });
            }
            for object in held {
                if let Ok(api) = applier.api(&object).await
                    && let Ok(Some(live)) = api.get_metadata_opt(&object.name).await
                {
                    owners.push(live.managed_fields().to_vec());
                }
            }
        }
        let managers = field_managers(owners.iter().map(Vec::as_slice));
        for (manager, count) in managers {
            self.notes.push(format!(
                "field manager `{manager}` owns fields of {count} applied objects"
            ));
        }
        Ok(())
    }
}
