//! Talks to the API server: the client that service accounts and Secrets with keys are read with.

/// A client of the API server. The client itself has no `Debug`, and its configuration holds a token.
#[derive(Clone)]
pub(super) struct ClusterClient(pub(super) kube::Client);

impl std::fmt::Debug for ClusterClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ClusterClient")
    }
}
