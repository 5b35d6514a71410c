//! A real Kubernetes control plane, without containers and without nodes.
//!
//! etcd, kube-apiserver and kube-controller-manager run as processes on free ports of loopback, with their data in a
//! temporary folder. Nothing runs pods: a Deployment gets its pods, which stay pending unless KWOK or
//! `mark_pods_ready` plays the kubelet. Admission, quotas, garbage collection and namespaces work as on any cluster.
//!
//! It takes some seconds to start, so tests share one and separate themselves by namespaces.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use tools::Tools;

use crate::cluster::Cluster;
use crate::process::{Background, free_port, wait_for};

/// The token of the administrator in the kubeconfig of a [`ControlPlane`].
pub const ADMIN_TOKEN: &str = "test-bed-admin";
const READY: Duration = Duration::from_secs(90);

/// etcd, an API server, and a controller manager if ours was built. Dropped, all end.
#[derive(Debug)]
pub struct ControlPlane {
    parts: Vec<Background>,
    directory: TempDir,
    kubeconfig: PathBuf,
}

/// The programs of one control plane.
struct Programs {
    etcd: Vec<PathBuf>,
    api_server: Vec<PathBuf>,
    controller_manager: Option<Vec<PathBuf>>,
}

impl Programs {
    /// `KUBEBUILDER_ASSETS` if it is set, else ours.
    fn find() -> Result<Self> {
        if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
            let assets = PathBuf::from(assets);
            let program = |name: &str| assets.join(name);
            for name in ["etcd", "kube-apiserver"] {
                if !program(name).exists() {
                    bail!(
                        "KUBEBUILDER_ASSETS is set, but {} does not exist",
                        program(name).display()
                    );
                }
            }
            let manager = program("kube-controller-manager");
            return Ok(Self {
                etcd: vec![program("etcd")],
                api_server: vec![program("kube-apiserver")],
                controller_manager: manager.exists().then(|| vec![manager]),
            });
        }
        let binary = Tools::open()?.control_plane()?;
        let part = |name: &str| vec![binary.clone(), PathBuf::from(name)];
        Ok(Self {
            etcd: part("etcd"),
            api_server: part("kube-apiserver"),
            controller_manager: Some(part("kube-controller-manager")),
        })
    }
}

/// A program with the words before its arguments: our one binary holds all parts, and its first argument says which.
fn command(program: &[PathBuf]) -> Command {
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]);
    command
}

impl ControlPlane {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    ///
    /// A program is missing and cannot be built, or a part ends before the API server answers; the error then has the
    /// end of its log.
    pub fn start() -> Result<Self> {
        let programs = Programs::find()?;
        let directory = tempfile::tempdir()?;
        let path = directory.path().to_path_buf();
        let (etcd_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let mut parts = vec![start_etcd(&programs, &path, &etcd_url, &peer_url)?];
        parts.push(start_api_server(&programs, &path, &etcd_url, port)?);
        let kubeconfig = path.join("kubeconfig");
        wait_for("the API server's certificate", READY, || {
            for part in &mut parts {
                part.check()?;
            }
            write_kubeconfig(&kubeconfig, &path.join("certs/apiserver.crt"), port)
        })?;
        let mut plane = Self {
            parts,
            directory,
            kubeconfig,
        };
        plane.wait_ready()?;
        if let Some(program) = &programs.controller_manager {
            plane.start_controller_manager(program)?;
        }
        Ok(plane)
    }

    /// The kubeconfig of its administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client of its administrator.
    pub fn cluster(&self) -> Result<Cluster> {
        Cluster::connect(&self.kubeconfig)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let cluster = self.cluster()?;
        wait_for("the API server", READY, || {
            for part in &mut self.parts {
                part.check()?;
            }
            cluster.text("/readyz").map(drop)
        })
    }

    fn start_controller_manager(&mut self, program: &[PathBuf]) -> Result<()> {
        let directory = self.directory.path();
        let mut manager = command(program);
        manager
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg(format!(
                "--service-account-private-key-file={}",
                directory.join("sa.key").display()
            ))
            .arg(format!(
                "--root-ca-file={}",
                directory.join("certs/apiserver.crt").display()
            ))
            .args([
                "--leader-elect=false",
                "--secure-port=0",
                "--use-service-account-credentials=false",
            ]);
        let part = Background::start(
            "kube-controller-manager",
            &mut manager,
            &directory.join("manager.log"),
        )?;
        self.parts.push(part);
        Ok(())
    }
}

fn start_etcd(
    programs: &Programs,
    directory: &Path,
    client: &str,
    peer: &str,
) -> Result<Background> {
    let mut etcd = command(&programs.etcd);
    etcd.arg(format!("--data-dir={}", directory.join("etcd").display()));
    if programs.etcd.len() > 1 {
        etcd.arg(format!("--listen-client-url={client}"))
            .arg(format!("--listen-peer-url={peer}"));
    } else {
        etcd.arg("--unsafe-no-fsync")
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"));
    }
    Background::start("etcd", &mut etcd, &directory.join("etcd.log"))
}

fn start_api_server(
    programs: &Programs,
    directory: &Path,
    etcd: &str,
    port: u16,
) -> Result<Background> {
    let key = directory.join("sa.key");
    if programs.api_server.len() > 1 {
        let made = Command::new(&programs.api_server[0])
            .arg("keygen")
            .arg(&key)
            .status()?;
        anyhow::ensure!(made.success(), "cannot make a key for service accounts");
    } else {
        let made = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(&key)
            .arg("2048")
            .status();
        anyhow::ensure!(
            made.context("openssl is needed beside KUBEBUILDER_ASSETS")?
                .success(),
            "openssl failed"
        );
    }
    let tokens = directory.join("tokens.csv");
    std::fs::write(
        &tokens,
        format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n"),
    )?;
    let mut server = command(&programs.api_server);
    server
        .arg(format!("--etcd-servers={etcd}"))
        .arg(format!("--cert-dir={}", directory.join("certs").display()))
        .arg(format!("--secure-port={port}"))
        .arg("--bind-address=127.0.0.1")
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(format!(
            "--service-account-signing-key-file={}",
            key.display()
        ))
        .arg(format!("--service-account-key-file={}", key.display()))
        .arg("--service-cluster-ip-range=10.0.0.0/24")
        .arg(format!("--token-auth-file={}", tokens.display()))
        .args(["--authorization-mode=RBAC", "--allow-privileged", "--v=1"]);
    Background::start(
        "kube-apiserver",
        &mut server,
        &directory.join("apiserver.log"),
    )
}

fn write_kubeconfig(file: &Path, certificate: &Path, port: u16) -> Result<()> {
    let certificate = std::fs::read(certificate)?;
    anyhow::ensure!(
        !certificate.is_empty(),
        "the certificate is not written yet"
    );
    let authority = STANDARD.encode(certificate);
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: testbed\n\
         clusters:\n- name: testbed\n  cluster:\n    server: https://127.0.0.1:{port}\n    certificate-authority-data: {authority}\n\
         users:\n- name: admin\n  user:\n    token: {ADMIN_TOKEN}\n\
         contexts:\n- name: testbed\n  context:\n    cluster: testbed\n    user: admin\n"
    );
    Ok(std::fs::write(file, text)?)
}
