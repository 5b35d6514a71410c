//! Talks to probes, Prometheus and git servers: `/healthz`, `/readyz`, `/metrics`, and `/hook/…` for receivers.

mod hooks;
mod reconcile_request;
mod server;
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

/// The pages that a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    /// Probes, metrics and receivers.
    All,
    /// Receivers alone: an address that git servers of the internet call shows nothing else.
    Hooks,
}

/// What the pages show.
#[derive(Clone)]
pub(crate) struct WebState {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) hooks: Arc<Hooks>,
}

/// Serves until the future `stop` completes.
pub(crate) async fn serve(
    listener: TcpListener,
    pages: Pages,
    state: WebState,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    server::serve(listener, router(pages, state), server::LIMITS, stop).await;
}

fn router(pages: Pages, state: WebState) -> Router {
    let WebState {
        metrics,
        readiness,
        hooks,
    } = state;
    let calls = Router::new()
        .route("/hook/{digest}", post(hooks::call))
        .with_state(hooks);
    if pages == Pages::Hooks {
        return calls;
    }
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Shared { metrics, readiness })
        .merge(calls)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::task::JoinSet;

    use super::*;
    use crate::controllers::receiver::ReceiverAddresses;

    #[tokio::test]
    async fn an_address_for_receivers_serves_nothing_else() {
        let state = WebState {
            metrics: Arc::default(),
            readiness: Arc::default(),
            hooks: Arc::new(Hooks::new(Arc::new(ReceiverAddresses::default()))),
        };
        let mut servers = JoinSet::new();
        for (pages, request, expected) in [
            (Pages::All, "GET /metrics", "200 OK"),
            (Pages::All, "GET /healthz", "200 OK"),
            // It answers, and is not open yet.
            (Pages::All, "POST /hook/0123", "503 Service Unavailable"),
            (Pages::Hooks, "POST /hook/0123", "503 Service Unavailable"),
            (Pages::Hooks, "GET /metrics", "404 Not Found"),
            (Pages::Hooks, "GET /healthz", "404 Not Found"),
            (Pages::Hooks, "GET /readyz", "404 Not Found"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            servers.spawn(serve(
                listener,
                pages,
                state.clone(),
                std::future::pending(),
            ));
            let mut client = TcpStream::connect(address).await.unwrap();
            let request = format!("{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            let status = answer.lines().next().unwrap_or_default();
            assert_eq!(
                status,
                format!("HTTP/1.1 {expected}"),
                "{pages:?} {request}"
            );
        }
    }
}
