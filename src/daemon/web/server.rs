//! Serves HTTP within bounds: connections, the time for headers, and the time for a request are limited, so that a slow
//! or greedy client takes nothing from probes and other clients.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// What one listener allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at a time. Further ones wait in the queue of the system.
    pub(super) connections: usize,
    /// The longest time in which a client sends the headers of a request; also how long it may be idle between two.
    pub(super) headers: Duration,
    /// The longest time of a connection, with all its requests.
    pub(super) connection: Duration,
}

/// The limits of every listener. Prometheus keeps its connection open and begins another one after it was closed.
pub(super) const LIMITS: Limits = Limits {
    connections: 256,
    headers: Duration::from_secs(10),
    connection: Duration::from_secs(300),
};

/// How long a connection may go on when the daemon stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves a router until the future `stop` completes.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            (stream, place) = accept(&listener, &places) => {
                connections.spawn(connection(stream, router.clone(), limits, place));
            }
            // Connections that have ended leave nothing behind.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    // What takes longer is aborted with the set.
    let _ = tokio::time::timeout(FAREWELL, ended).await;
}

/// The next connection and its place.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let place = places.clone().acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            // A client has gone, or there are no file descriptors for the moment.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    _place: OwnedSemaphorePermit,
) {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers);
    let service = TowerToHyperService::new(router);
    let serving = server.serve_connection(TokioIo::new(stream), service);
    // A client that breaks off is no concern of the daemon.
    let _ = tokio::time::timeout(limits.connection, serving).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SHORT: Limits = Limits {
        connections: 1,
        headers: Duration::from_millis(50),
        connection: Duration::from_secs(60),
    };

    #[tokio::test]
    async fn a_client_that_sends_nothing_is_cut_off_and_gives_its_place_to_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, router, SHORT, async {
            let _ = stopped.await;
        }));
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        let mut next = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        next.write_all(request).await.unwrap();
        let mut answer = String::new();
        next.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("here"), "{answer}");
        let mut rest = String::new();
        // The server has closed it, with or without an answer.
        let _ = slow.read_to_string(&mut rest).await;
        assert!(!rest.contains("here"), "{rest}");
        drop(stop);
        assert!(server.join_next().await.is_some(), "it stops when asked");
    }
}
