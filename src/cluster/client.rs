//! Talks to the API server: a client that counts its requests, and bounds how many are sent at once.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tokio::sync::Semaphore;
use tower_layer::Layer;
use tower_service::Service;

use crate::metrics::Metrics;

/// Makes a client from a configuration.
///
/// # Errors
/// The configuration is invalid.
pub(crate) fn client(config: Config, metrics: &Arc<Metrics>) -> kube::Result<Client> {
    let builder = ClientBuilder::try_from(config)?;
    let counting = Counting {
        metrics: metrics.clone(),
        places: Arc::new(Semaphore::new(AT_ONCE)),
    };
    Ok(builder.with_layer(&counting).build())
}

/// The most requests that wait for the first byte of their response. Each takes a connection with its buffers, and more of
/// them do not make the API server faster.
const AT_ONCE: usize = 40;

/// Adds the counter and the bound to a service.
struct Counting {
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            metrics: self.metrics.clone(),
            places: self.places.clone(),
        }
    }
}

/// The service that sends requests, with the counter and the bound around it.
#[derive(Clone)]
struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (metrics, method) = (self.metrics.clone(), request.method().clone());
        let places = self.places.clone();
        // The request is sent only when this future is polled.
        let answer = self.inner.call(request);
        let counted = async move {
            // The semaphore is never closed. A watch gives its permit back when its response begins, though it goes on.
            let _place = places.acquire().await;
            let answer = answer.await;
            let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            metrics.api_request(method.as_str(), code);
            answer
        };
        counted.boxed()
    }
}
