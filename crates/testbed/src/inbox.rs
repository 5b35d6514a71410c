//! An HTTP server that keeps every request body, for tests of outgoing webhooks.
//!
//! It answers every path and method with success.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;

use crate::server::{Server, serve};

/// A server that keeps the bodies of all requests. Dropped, it stops.
#[derive(Debug)]
pub struct Inbox {
    server: Server,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Inbox {
    /// Starts one.
    pub fn start() -> Result<Self> {
        let bodies: Arc<Mutex<Vec<String>>> = Arc::default();
        let router = Router::new().fallback(keep).with_state(bodies.clone());
        Ok(Self {
            server: serve(router, None)?,
            bodies,
        })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/", self.server.address)
    }

    /// What came so far.
    pub fn bodies(&self) -> Vec<String> {
        self.bodies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn keep(State(bodies): State<Arc<Mutex<Vec<String>>>>, body: Bytes) {
    let text = String::from_utf8_lossy(&body).into_owned();
    bodies
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(text);
}
