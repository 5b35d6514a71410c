//! A blocking client for any cluster: objects as JSON, by the path of their API.
//!
//! The daemon's own client is not used on purpose: what a test observes must not depend on the code under test. A
//! path is one of the API server, such as `/api/v1/namespaces/a/configmaps/b`.

use std::path::Path;

use anyhow::{Context as _, Result};
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Talks to one API server as the user of a kubeconfig.
pub struct Cluster {
    client: Client,
    runtime: Runtime,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// Connects with the current context of a kubeconfig.
    pub fn connect(kubeconfig: &Path) -> Result<Self> {
        // Whoever installed one first chose the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
            let config =
                Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
            anyhow::Ok(Client::try_from(config)?)
        });
        Ok(Self {
            client: client.context("cannot use the kubeconfig")?,
            runtime,
        })
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Value, kube::Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(body);
        let request = request.map_err(kube::Error::HttpError)?;
        self.runtime.block_on(self.client.request(request))
    }

    /// A text that the server answers, such as `/readyz`.
    pub fn text(&self, path: &str) -> Result<String> {
        let request = Request::builder().uri(path).body(Vec::new())?;
        Ok(self.runtime.block_on(self.client.request_text(request))?)
    }

    /// An object or list; nothing if it does not exist.
    pub fn get(&self, path: &str) -> Result<Option<Value>> {
        match self.send(Method::GET, path, "application/json", Vec::new()) {
            Ok(value) => Ok(Some(value)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot get {path}")),
        }
    }

    /// Creates an object below the path of its kind.
    pub fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let created = self.send(
            Method::POST,
            path,
            "application/json",
            object.to_string().into_bytes(),
        );
        created.with_context(|| format!("cannot create {} in {path}", object["metadata"]["name"]))
    }

    /// Applies an object on the server, as the test bed.
    pub fn apply(&self, path: &str, object: &Value) -> Result<Value> {
        self.apply_as("testbed", path, object)
    }

    /// Applies an object on the server, as another field manager.
    pub fn apply_as(&self, manager: &str, path: &str, object: &Value) -> Result<Value> {
        let path = format!("{path}?fieldManager={manager}&force=true");
        let applied = self.send(
            Method::PATCH,
            &path,
            "application/apply-patch+yaml",
            object.to_string().into_bytes(),
        );
        applied.with_context(|| format!("cannot apply {path}"))
    }

    /// Applies many objects, each at its path, so many at a time.
    pub fn apply_all(&self, objects: Vec<(String, Value)>, at_once: usize) -> Result<()> {
        use futures::{StreamExt as _, TryStreamExt as _};
        let applies = objects.into_iter().map(|(path, object)| {
            let client = self.client.clone();
            async move {
                let request = Request::builder()
                    .method(Method::PATCH)
                    .uri(format!("{path}?fieldManager=testbed&force=true"))
                    .header("content-type", "application/apply-patch+yaml")
                    .body(object.to_string().into_bytes())?;
                client.request::<Value>(request).await?;
                anyhow::Ok(())
            }
        });
        let applies = futures::stream::iter(applies).buffer_unordered(at_once);
        self.runtime.block_on(applies.try_collect())
    }

    /// Merges a patch into an object.
    pub fn patch(&self, path: &str, patch: &Value) -> Result<Value> {
        let patched = self.send(
            Method::PATCH,
            path,
            "application/merge-patch+json",
            patch.to_string().into_bytes(),
        );
        patched.with_context(|| format!("cannot patch {path}"))
    }

    /// Deletes an object.
    pub fn delete(&self, path: &str) -> Result<()> {
        let body = json!({"propagationPolicy": "Background"})
            .to_string()
            .into_bytes();
        self.send(Method::DELETE, path, "application/json", body)
            .with_context(|| format!("cannot delete {path}"))?;
        Ok(())
    }
}
