//! Talks to the machine: real parts for tests, demo and benchmarks. Each is started and stopped here.
//!
//! - [`ControlPlane`]: etcd, kube-apiserver and kube-controller-manager, built once from Go modules.
//! - [`GitServer`]: `git http-backend` behind HTTP or TLS, with basic auth if wanted.
//! - [`SshServer`]: OpenSSH's server, for the same repositories.
//! - [`Moto`]: an independent implementation of AWS. [`Emulator`]: our own Secrets Manager, for faults and counting.
//! - [`Kwok`]: a simulated node, whose pods are Ready at once.
//! - [`PodIdentityAgent`]: the EKS agent's answer, on loopback, with credentials that expire.
//!
//! Everything listens on loopback, on free ports, and stops with the process that started it.
#![warn(missing_docs)]
// A cut at a byte inside a letter panics.
#![warn(clippy::string_slice)]

mod cluster;
mod control_plane;
mod emulator;
mod git_server;
mod inbox;
mod kubelet;
mod kwok;
mod moto;
mod pod_identity;
mod process;
mod proxy;
mod repository;
mod server;
mod ssh_server;

pub use cluster::Cluster;
pub use control_plane::{ADMIN_TOKEN, ControlPlane};
pub use emulator::{Emulator, Fault};
pub use git_server::{GitServer, GitServerOptions};
pub use inbox::Inbox;
pub use kubelet::mark_pods_ready;
pub use kwok::Kwok;
pub use moto::Moto;
pub use pod_identity::PodIdentityAgent;
pub use process::{Background, free_port, http, http_get, wait_for};
pub use proxy::Proxy;
pub use repository::WorkTree;
pub use ssh_server::SshServer;
pub use tools::{Progress, Tool, Tools, cache_dir, say};
