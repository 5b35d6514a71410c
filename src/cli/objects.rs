//! `overlayd get`, `reconcile`, `suspend` and `resume`: shows the objects of a cluster, and requests their reconciles.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::args::{GetArgs, KindArg, ObjectArgs, ReconcileArgs, SuspendArgs};
use crate::cli::report::Failure;
use crate::cli::{cluster, output};
use crate::cluster::error::describe;
use overlayd_core::api::annotations::{FORCE_SYNC, REQUESTED_AT};
use overlayd_core::api::external_secret::ExternalSecret;
use overlayd_core::api::git_repository::GitRepository;
use overlayd_core::api::kustomization::Kustomization;
use overlayd_core::api::secret_store::{ClusterSecretStore, SecretStore};
use overlayd_core::apply::health;

/// The field manager of changes that this command makes.
const CLI_MANAGER: &str = "overlayd-cli";
/// The time between two looks at the object.
const LOOK: Duration = Duration::from_millis(100);
/// After this time, a failure that was there before counts as the outcome.
const GRACE: Duration = Duration::from_secs(5);
/// How many digits of a commit are shown.
const SHORT: usize = 8;

/// Prints a table for each kind that has objects.
///
/// # Errors
/// The cluster cannot be reached, or a kind cannot be listed.
pub(super) async fn get(args: GetArgs) -> Result<(), Failure> {
    let client = cluster::connect(&args.cluster).await?;
    let namespace = namespace_of(&client, args.namespace.as_deref());
    let kinds = args
        .kind
        .map_or_else(|| KindArg::ALL.to_vec(), |kind| vec![kind]);
    let (mut tables, mut missing) = (Vec::new(), Vec::new());
    for kind in kinds {
        let resource = resource(kind);
        let everywhere = args.all_namespaces || !is_namespaced(kind);
        let api: Api<DynamicObject> = if everywhere {
            Api::all_with(client.clone(), &resource)
        } else {
            Api::namespaced_with(client.clone(), &namespace, &resource)
        };
        let listed = api.list(&ListParams::default()).await.map_err(|error| {
            Failure::new(format!("cannot list {}", resource.plural)).because(describe(&error), None)
        })?;
        if listed.items.is_empty() {
            missing.push(resource.kind);
        } else {
            let with_namespace = args.all_namespaces && is_namespaced(kind);
            tables.push(table(kind, &listed.items, with_namespace));
        }
    }
    if tables.is_empty() {
        let place = if args.all_namespaces {
            "the cluster".to_owned()
        } else {
            format!("namespace `{namespace}`")
        };
        output::note(&format!("no {} in {place}", missing.join(" or ")));
    }
    Ok(output::write(&tables.join("\n"))?)
}

/// Requests a reconcile, of the source first where that is wanted, and waits for its outcome.
///
/// # Errors
/// The reconcile fails, or is not done before the deadline.
pub(super) async fn reconcile(args: ReconcileArgs) -> Result<(), Failure> {
    let deadline = deadline(&args.timeout)?;
    let client = cluster::connect(&args.cluster).await?;
    let object = Object::new(&client, &args.object);
    if args.with_source {
        object
            .source(&client)
            .await?
            .request_reconcile(deadline)
            .await?;
    }
    object.request_reconcile(deadline).await
}

/// Sets `spec.suspend`.
pub(super) async fn suspend(args: SuspendArgs) -> Result<(), Failure> {
    let client = cluster::connect(&args.cluster).await?;
    let object = Object::new(&client, &args.object);
    object.set_suspended(true).await?;
    output::note(&format!(
        "✔ {object} suspended: overlayd leaves it and what it made alone"
    ));
    Ok(())
}

/// Clears `spec.suspend`, and waits for the reconcile that follows.
pub(super) async fn resume(args: ReconcileArgs) -> Result<(), Failure> {
    let deadline = deadline(&args.timeout)?;
    let client = cluster::connect(&args.cluster).await?;
    let object = Object::new(&client, &args.object);
    object.set_suspended(false).await?;
    output::note(&format!("✔ {object} resumed"));
    if args.with_source {
        object
            .source(&client)
            .await?
            .request_reconcile(deadline)
            .await?;
    }
    object.request_reconcile(deadline).await
}

/// The end of a wait that begins now.
fn deadline(timeout: &str) -> Result<Instant, Failure> {
    Ok(Instant::now() + super::timeout(timeout)?)
}

/// The resource of a kind, as a client asks for it.
fn resource(kind: KindArg) -> ApiResource {
    match kind {
        KindArg::GitRepository => ApiResource::erase::<GitRepository>(&()),
        KindArg::Kustomization => ApiResource::erase::<Kustomization>(&()),
        KindArg::SecretStore => ApiResource::erase::<SecretStore>(&()),
        KindArg::ClusterSecretStore => ApiResource::erase::<ClusterSecretStore>(&()),
        KindArg::ExternalSecret => ApiResource::erase::<ExternalSecret>(&()),
    }
}

/// False for the one kind of the cluster.
fn is_namespaced(kind: KindArg) -> bool {
    kind != KindArg::ClusterSecretStore
}

/// True for the kinds whose status says which request was handled last.
fn is_flux(kind: KindArg) -> bool {
    matches!(kind, KindArg::GitRepository | KindArg::Kustomization)
}

/// The namespace of the arguments, or else that of the kubeconfig's context.
fn namespace_of(client: &Client, given: Option<&str>) -> String {
    given
        .unwrap_or_else(|| client.default_namespace())
        .to_owned()
}

/// One object of a cluster.
struct Object {
    kind: KindArg,
    namespace: String,
    name: String,
    api: Api<DynamicObject>,
}

impl std::fmt::Display for Object {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = resource(self.kind).kind;
        write!(formatter, "{kind} {}/{}", self.namespace, self.name)
    }
}

impl Object {
    /// The object that the arguments name.
    fn new(client: &Client, args: &ObjectArgs) -> Self {
        let namespace = namespace_of(client, args.namespace.as_deref());
        Self::of(client, args.kind, namespace, args.name.clone())
    }

    /// An object by its name. No request is sent.
    fn of(client: &Client, kind: KindArg, namespace: String, name: String) -> Self {
        let resource = resource(kind);
        let api = if is_namespaced(kind) {
            Api::namespaced_with(client.clone(), &namespace, &resource)
        } else {
            Api::all_with(client.clone(), &resource)
        };
        Self {
            kind,
            namespace,
            name,
            api,
        }
    }

    /// A request about this object that failed.
    fn failed(&self, what: &str, error: &kube::Error) -> Failure {
        Failure::new(format!("cannot {what} {self}")).because(describe(error), None)
    }

    /// The object as it is now.
    ///
    /// # Errors
    /// There is no such object, or it cannot be read.
    async fn read(&self) -> Result<DynamicObject, Failure> {
        let found = self.api.get_opt(&self.name).await;
        let found = found.map_err(|error| self.failed("read", &error))?;
        found.ok_or_else(|| {
            Failure::new(format!("there is no {self}")).because(
                "the API server does not know it",
                Some(
                    "choose the namespace with --namespace; `overlayd get -A` shows what there is",
                ),
            )
        })
    }

    /// Merges a patch into the object, and gives the object after it.
    async fn patch(&self, patch: &Value) -> Result<DynamicObject, Failure> {
        let params = PatchParams {
            field_manager: Some(CLI_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(patch);
        let patched = self.api.patch(&self.name, &params, &patch).await;
        patched.map_err(|error| self.failed("change", &error))
    }

    /// The source of a Kustomization.
    async fn source(&self, client: &Client) -> Result<Self, Failure> {
        if self.kind != KindArg::Kustomization {
            return Err(Failure::new(format!("{self} has no source"))
                .because("`--with-source` is for Kustomizations", None));
        }
        let object = self.read().await?;
        let reference = &object.data["spec"]["sourceRef"];
        let text = |key: &str| reference[key].as_str().map(str::to_owned);
        let namespace = text("namespace").unwrap_or_else(|| self.namespace.clone());
        let name = text("name").unwrap_or_default();
        Ok(Self::of(client, KindArg::GitRepository, namespace, name))
    }

    /// Sets `spec.suspend` of an object that has it.
    async fn set_suspended(&self, suspended: bool) -> Result<(), Failure> {
        if !is_flux(self.kind) {
            let hint =
                "set `refreshPolicy: CreatedOnce` on an ExternalSecret to stop its refreshes";
            return Err(Failure::new(format!("{self} cannot be suspended"))
                .because("only GitRepositories and Kustomizations can", Some(hint)));
        }
        self.read().await?;
        let spec = json!({"spec": {"suspend": suspended}});
        self.patch(&spec).await.map(drop)
    }

    /// Requests a reconcile, and waits for its outcome.
    async fn request_reconcile(&self, deadline: Instant) -> Result<(), Failure> {
        let annotation = self.request_annotation()?;
        let before = self.read().await?;
        self.refuse_idle(&before)?;
        let (token, requested) = (Timestamp::now().to_string(), Instant::now());
        let request = json!({"metadata": {"annotations": {annotation: token}}});
        self.patch(&request).await?;
        output::note(&format!("► {self} is asked to reconcile"));
        loop {
            let live = self.read().await?;
            let is_late = requested.elapsed() > GRACE;
            match self.outcome(&before, &live, &token, is_late) {
                RequestOutcome::Ready => {
                    output::note(&format!("✔ {self}: {}", message(&live)));
                    return Ok(());
                }
                RequestOutcome::Failed => {
                    let ready = ready(&live);
                    let what = format!("{self} failed: {}", text(&ready["reason"]));
                    return Err(Failure::new(what).because(text(&ready["message"]), None));
                }
                RequestOutcome::Pending if Instant::now() >= deadline => {
                    return Err(self.too_late(&live));
                }
                RequestOutcome::Pending => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// The annotation that requests a reconcile of this kind.
    fn request_annotation(&self) -> Result<&'static str, Failure> {
        match self.kind {
            KindArg::ExternalSecret => Ok(FORCE_SYNC),
            KindArg::GitRepository | KindArg::Kustomization => Ok(REQUESTED_AT),
            KindArg::SecretStore | KindArg::ClusterSecretStore => {
                Err(Failure::new(format!("{self} cannot be asked"))
                    .because("a store is validated by itself, and when it changes", None))
            }
        }
    }

    /// Refuses an object that the daemon would not reconcile.
    fn refuse_idle(&self, object: &DynamicObject) -> Result<(), Failure> {
        if object.data["spec"]["suspend"] == json!(true) {
            let hint = "`overlayd resume` begins again";
            return Err(Failure::new(format!("{self} is not reconciled"))
                .because("it is suspended", Some(hint)));
        }
        if object.data["spec"]["refreshPolicy"] == json!("CreatedOnce")
            && !object.data["status"]["refreshTime"].is_null()
        {
            return Err(Failure::new(format!("{self} is not refreshed")).because(
                "its `refreshPolicy` is CreatedOnce, and it was created",
                None,
            ));
        }
        Ok(())
    }

    /// The outcome of a request, as the object shows it.
    fn outcome(
        &self,
        before: &DynamicObject,
        live: &DynamicObject,
        token: &str,
        is_late: bool,
    ) -> RequestOutcome {
        let ready = ready(live);
        let is_handled = if is_flux(self.kind) {
            live.data["status"]["lastHandledReconcileAt"] == json!(token)
        } else {
            let version = "syncedResourceVersion";
            let has_synced = live.data["status"][version] != before.data["status"][version];
            // A sync that fails changes nothing but its condition, and not even that if it failed before.
            let has_failed =
                ready["status"] == "False" && (ready != self::ready(before) || is_late);
            has_synced || has_failed
        };
        match ready["status"].as_str() {
            Some("True") if is_handled => RequestOutcome::Ready,
            Some("False") if is_handled => RequestOutcome::Failed,
            _ => RequestOutcome::Pending,
        }
    }

    /// The failure of a wait that has ended, with what the object shows at the end.
    fn too_late(&self, live: &DynamicObject) -> Failure {
        let state = match message(live) {
            state if state.is_empty() => "it has no status; is the daemon running?".to_owned(),
            state => state,
        };
        Failure::new(format!("{self} is not reconciled yet"))
            .because(state, Some("wait longer with --timeout"))
    }
}

/// The outcome of a requested reconcile.
enum RequestOutcome {
    Ready,
    Failed,
    /// The daemon has not handled the request yet.
    Pending,
}

/// A text, or nothing for a value of another type.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The condition `Ready`; null if there is none.
fn ready(object: &DynamicObject) -> Value {
    let found = health::condition(&object.data, "Ready");
    found.cloned().unwrap_or_default()
}

/// The message of the condition `Ready`, with short commits.
fn message(object: &DynamicObject) -> String {
    shortened(text(&ready(object)["message"]))
}

/// Commits are shown by their first digits.
fn shortened(words: &str) -> String {
    let mut short = String::with_capacity(words.len());
    let mut rest = words;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, tail) = rest.split_at(start);
        let digits = tail.find(|c: char| !c.is_ascii_hexdigit());
        let (digits, after) = tail.split_at(digits.unwrap_or(tail.len()));
        let is_commit = matches!(digits.len(), 40 | 64);
        let most = if is_commit { SHORT } else { usize::MAX };
        short.push_str(before);
        short.extend(digits.chars().take(most));
        rest = after;
    }
    short + rest
}

/// The columns as the peers have them.
fn table(kind: KindArg, objects: &[DynamicObject], with_namespace: bool) -> String {
    let head: &[&str] = match kind {
        _ if is_flux(kind) => &["NAME", "REVISION", "SUSPENDED", "READY", "MESSAGE"],
        KindArg::ExternalSecret => &["NAME", "STORE", "REFRESH INTERVAL", "READY", "MESSAGE"],
        _ => &["NAME", "CAPABILITIES", "READY", "MESSAGE"],
    };
    let with_namespace = |namespace: String, row: Vec<String>| {
        let first = with_namespace.then_some(namespace);
        first.into_iter().chain(row).collect::<Vec<_>>()
    };
    let head = head.iter().map(|&name| name.to_owned()).collect();
    let rows = objects.iter().map(|object| {
        let namespace = object.namespace().unwrap_or_default();
        with_namespace(namespace, row(kind, object))
    });
    let head = with_namespace("NAMESPACE".to_owned(), head);
    aligned(&[head].into_iter().chain(rows).collect::<Vec<_>>())
}

/// The cells of an object, in the order of the columns of its kind.
fn row(kind: KindArg, object: &DynamicObject) -> Vec<String> {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let own = match kind {
        KindArg::GitRepository | KindArg::Kustomization => {
            let revision = match kind {
                KindArg::GitRepository => &status["artifact"]["revision"],
                _ => &status["lastAppliedRevision"],
            };
            let suspended = spec["suspend"] == json!(true);
            let suspended = if suspended { "True" } else { "False" };
            vec![shortened(text(revision)), suspended.to_owned()]
        }
        KindArg::ExternalSecret => {
            let store = text(&spec["secretStoreRef"]["name"]);
            vec![store.to_owned(), text(&spec["refreshInterval"]).to_owned()]
        }
        _ => vec![text(&status["capabilities"]).to_owned()],
    };
    let ready = ready(object);
    let state = ready["status"].as_str().unwrap_or("Unknown").to_owned();
    let first_line = message(object)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    [object.name_any()]
        .into_iter()
        .chain(own)
        .chain([state, first_line])
        .collect()
}

/// Rows of equal length, with three spaces between the columns.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let widths = rows.iter().filter_map(|row| row.get(column));
        widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_columns_of_flux() {
        let commit = "d6d0d92d6d0d92d6d0d92d6d0d92d6d0d92d6d0d";
        let object: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "app", "namespace": "shop"},
            "spec": {"suspend": true},
            "status": {
                "lastAppliedRevision": format!("main@sha1:{commit}"),
                "conditions": [{"type": "Ready", "status": "True", "message": format!("Applied revision: main@sha1:{commit}")}],
            },
        }))
        .unwrap();
        let never: DynamicObject = serde_json::from_value(
            json!({"metadata": {"name": "never-seen", "namespace": "shop"}, "spec": {}}),
        )
        .unwrap();
        let objects = [object, never];
        let expected = "NAME         REVISION             SUSPENDED   READY     MESSAGE\n\
                        app          main@sha1:d6d0d92d   True        True      Applied revision: main@sha1:d6d0d92d\n\
                        never-seen                        False       Unknown\n";
        assert_eq!(table(KindArg::Kustomization, &objects, false), expected);
        let wide = table(KindArg::Kustomization, &objects, true);
        assert!(wide.starts_with("NAMESPACE   NAME "), "{wide}");
    }
}
