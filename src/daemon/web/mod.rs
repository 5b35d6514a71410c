//! Talks to probes, Prometheus and git servers: `/healthz`, `/readyz`, `/metrics`, and `/hook/…` for receivers.

mod hooks;
mod reconcile_request;
pub(crate) use hooks::Hooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// The answer of the readiness probe.
#[derive(Debug, Default)]
pub(crate) struct Readiness(AtomicBool);

impl Readiness {
    /// Sets the answer of `/readyz`. A standby is ready too.
    pub(crate) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }
}

/// What the pages of probes and metrics show.
#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
}

/// Serves until the future `stop` completes.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    hooks: Arc<Hooks>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Shared { metrics, readiness });
    let calls = Router::new()
        .route("/hook/{digest}", post(hooks::call))
        .with_state(hooks);
    let router = router.merge(calls);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop)
        .await
}

/// 200 while this replica works or stands by, 503 while it starts and stops.
async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    if shared.readiness.0.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "controllers are not at work",
        )
    }
}

/// The metrics, in the text format of `OpenMetrics`.
async fn render(State(shared): State<Shared>) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        shared.metrics.render(),
    )
}
