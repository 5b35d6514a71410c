//! Talks to the API server: a client that counts its requests, and bounds how many are sent at once.

use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower_layer::Layer;
use tower_service::Service;

use crate::metrics::Metrics;
use crate::permits::FairSemaphore;
use overlayd_core::fair_queue::{QueueSizes, Shares};
use overlayd_core::names::namespace_of_path;
use overlayd_core::request_path::check_request;

type LayerError = Box<dyn std::error::Error + Send + Sync>;

/// Makes a client from a configuration.
///
/// # Errors
/// The configuration is invalid.
pub(crate) fn client(config: Config, metrics: &Arc<Metrics>) -> kube::Result<Client> {
    let builder = ClientBuilder::try_from(config)?;
    let counting = Counting {
        metrics: metrics.clone(),
    };
    Ok(builder.with_layer(&counting).build())
}

/// The requests of all clients that wait for the first byte of their response. Each takes a connection with its buffers,
/// and more of them do not make the API server faster. One namespace leaves some for the others.
static PLACES: LazyLock<FairSemaphore> = LazyLock::new(|| {
    FairSemaphore::new(Shares {
        total: 56,
        of_one: 40,
    })
});

/// How many requests are on their way and wait, for metrics.
pub(crate) fn request_sizes() -> QueueSizes {
    PLACES.sizes()
}

/// Adds the counter and the bound to a service.
struct Counting {
    metrics: Arc<Metrics>,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            metrics: self.metrics.clone(),
        }
    }
}

/// The service that sends requests, with the counter and the bound around it.
#[derive(Clone)]
struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<LayerError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = LayerError;
    type Future = BoxFuture<'static, Result<S::Response, LayerError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LayerError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (metrics, method) = (self.metrics.clone(), request.method().clone());
        // No name of a spec leads to another object, however the path was made.
        if let Err(error) = check_request(&method, request.uri().path(), request.uri().query()) {
            return std::future::ready(Err(error.into())).boxed();
        }
        let namespace = namespace_of_path(request.uri().path()).to_owned();
        // The request is sent only when this future is polled.
        let answer = self.inner.call(request);
        let counted = async move {
            // A watch gives its permit back when its response begins, though it goes on.
            let _place = PLACES.acquire(&namespace, ()).await;
            let answer = answer.await;
            let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            metrics.api_request(method.as_str(), code);
            answer.map_err(Into::into)
        };
        counted.boxed()
    }
}
