//! KWOK: simulated nodes, whose pods are Ready at once.
//!
//! It is for tests of rollouts: a Deployment becomes available without an image, a container or a network.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::json;
use tempfile::TempDir;
use tools::{Tool, Tools};

use crate::cluster::Cluster;
use crate::process::{Background, free_port};

/// KWOK with one node. Dropped, it stops.
#[derive(Debug)]
pub struct Kwok {
    process: Background,
    _directory: TempDir,
}

impl Kwok {
    /// The node; pods that name it are Ready at once.
    pub const NODE: &str = "kwok";

    /// Starts it for the cluster of a kubeconfig.
    pub fn start(kubeconfig: &Path, cluster: &Cluster) -> Result<Self> {
        let program = Tools::open()?.need(Tool::Kwok)?;
        let directory = tempfile::tempdir()?;
        // KWOK does not watch its standard input, so a shell stops it when the tests that share it end.
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                r#""$0" "$@" < /dev/null & pid=$!; cat > /dev/null; kill -9 $pid"#,
            ])
            .arg(program)
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--server-address=127.0.0.1:{}", free_port()?))
            .args([
                "--manage-all-nodes=true",
                "--cidr=10.1.0.0/16",
                "--node-ip=10.1.0.1",
            ])
            // Without this it reads settings from the user's home.
            .env("KWOK_WORKDIR", directory.path());
        let process = Background::start("kwok", &mut command, &directory.path().join("kwok.log"))?;
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": Self::NODE, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        });
        cluster.apply(&format!("/api/v1/nodes/{}", Self::NODE), &node)?;
        Ok(Self {
            process,
            _directory: directory,
        })
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
