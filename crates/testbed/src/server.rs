//! Servers of ours live on a thread of their own, so that they outlast the runtime of the test that started them.
//!
//! Each has a runtime with one worker. Tests that block their own thread therefore still get answers.

use std::net::SocketAddr;
use std::sync::mpsc;

use anyhow::{Context as _, Result};
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A running server. Dropped, it stops.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

/// Serves a router on a free port, over TLS if a configuration is given.
pub(crate) fn serve(
    router: Router,
    tls: Option<std::sync::Arc<rustls::ServerConfig>>,
) -> Result<Server> {
    let (stop, stopped) = oneshot::channel();
    let (ready, address) = mpsc::channel();
    std::thread::Builder::new()
        .name("testbed-server".to_owned())
        .spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
                ready.send(listener.local_addr()?)?;
                tokio::select! {
                    _ = stopped => Ok(()),
                    result = accept(listener, router, tls) => result,
                }
            })
        })?;
    let address = address.recv().context("the server did not start")?;
    Ok(Server {
        address,
        _stop: stop,
    })
}

/// Serves connections until the server stops; without TLS, axum does it.
async fn accept(
    listener: TcpListener,
    router: Router,
    tls: Option<std::sync::Arc<rustls::ServerConfig>>,
) -> Result<()> {
    let Some(tls) = tls else {
        return Ok(axum::serve(listener, router).await?);
    };
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, router) = (acceptor.clone(), router.clone());
        let connection = async move {
            // A client that does not trust us hangs up here, which some tests want.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = hyper_util::service::TowerToHyperService::new(router);
            let io = hyper_util::rt::TokioIo::new(stream);
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await;
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "a server of tests; its connections end with it"
        )]
        tokio::spawn(connection);
    }
}
