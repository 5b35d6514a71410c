//! Talks to the API server: a client that counts its requests.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower_layer::Layer;
use tower_service::Service;

use crate::metrics::Metrics;

/// A client of a configuration.
///
/// # Errors
/// The configuration cannot be used.
pub(crate) fn client(config: Config, metrics: &Arc<Metrics>) -> kube::Result<Client> {
    let builder = ClientBuilder::try_from(config)?;
    Ok(builder.with_layer(&Counting(metrics.clone())).build())
}

/// Counts what passes through.
struct Counting(Arc<Metrics>);

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            metrics: self.0.clone(),
        }
    }
}

#[derive(Clone)]
struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
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
        let answer = self.inner.call(request);
        let counted = answer.map(move |answer| {
            let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            metrics.api_request(method.as_str(), code);
            answer
        });
        counted.boxed()
    }
}
