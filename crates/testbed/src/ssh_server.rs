//! OpenSSH's own server on a free port of loopback, serving the repositories of a [`GitServer`].
//!
//! It runs as the user of the tests. Where that is root, it runs as a user without rights, because a server of root
//! needs accounts and folders of the machine. The account `git` exists for this server alone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tools::{Sshd, Tools};

use crate::git_server::GitServer;
use crate::process::{Background, free_port, wait_for};

/// A running server. Dropped, it stops.
#[derive(Debug)]
pub struct SshServer {
    server: Background,
    directory: TempDir,
    port: u16,
    host_key: String,
}

/// The user of a server whose tests are run by root.
const WITHOUT_RIGHTS: &str = "65534";

impl SshServer {
    /// True if it can be started here: its packages are Debian's. In CI it must be.
    pub fn can_start() -> Result<bool> {
        let can = Tools::open()?.has_sshd();
        ensure!(
            can || std::env::var_os("CI").is_none(),
            "CI needs `apt-get` for OpenSSH's server"
        );
        Ok(can)
    }

    /// Starts a server that accepts the key of [`identity`](Self::identity).
    pub fn start(git: &GitServer) -> Result<Self> {
        let sshd = Tools::open()?.sshd()?;
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let port = free_port()?;
        let user = id("-u")?;
        let is_root = user == "0";
        let owner = if is_root {
            WITHOUT_RIGHTS.to_owned()
        } else {
            user
        };
        write_keys(&sshd, path)?;
        write_settings(path, port, &owner)?;
        for open in [path, &git.root()] {
            std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o755))?;
        }
        copy_program(&sshd, path)?;
        if is_root {
            let owned = Command::new("chown")
                .args(["-R", &owner])
                .arg(path)
                .status()?;
            ensure!(owned.success(), "cannot give the keys to the server");
        }
        let mut command = server_command(path, is_root.then_some(&owner));
        let mut server = Background::start("sshd", &mut command, &path.with_extension("log"))?;
        wait_for("sshd", Duration::from_secs(20), || {
            server.check()?;
            std::net::TcpStream::connect(("127.0.0.1", port))
                .map(drop)
                .context("not listening yet")
        })?;
        let host_key = std::fs::read_to_string(path.join("host.pub"))?;
        let host_key: Vec<_> = host_key.split_whitespace().take(2).collect();
        Ok(Self {
            host_key: host_key.join(" "),
            server,
            directory,
            port,
        })
    }

    /// The address of a repository.
    pub fn url(&self, git: &GitServer, name: &str) -> String {
        format!(
            "ssh://git@127.0.0.1:{}{}",
            self.port,
            git.path(name).display()
        )
    }

    /// The line of a `known_hosts` file.
    pub fn known_hosts(&self) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, self.host_key)
    }

    /// A private key: `user` is let in, `secret` is too and has a passphrase, `other` is not.
    pub fn identity(&self, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.directory.path().join(name))?)
    }

    /// What the server wrote so far.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

fn id(flag: &str) -> Result<String> {
    let output = Command::new("id").arg(flag).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The keys of the host and of users, and the list of those that are accepted.
fn write_keys(sshd: &Sshd, path: &Path) -> Result<()> {
    for (name, kind) in [
        ("host", "ed25519"),
        ("host_rsa", "rsa"),
        ("user", "ed25519"),
        ("other", "ed25519"),
    ] {
        keygen(sshd, &path.join(name), kind, "")?;
    }
    keygen(sshd, &path.join("secret"), "ecdsa", "a passphrase")?;
    let accepted = ["user.pub", "secret.pub"].map(|name| std::fs::read_to_string(path.join(name)));
    let accepted = accepted.into_iter().collect::<std::io::Result<Vec<_>>>()?;
    Ok(std::fs::write(path.join("allowed"), accepted.concat())?)
}

/// The server's configuration, and the account `git`, which exists for this server alone.
fn write_settings(path: &Path, port: u16, owner: &str) -> Result<()> {
    let account = format!("git:x:{owner}:{owner}::{}:/bin/sh\n", path.display());
    std::fs::write(path.join("passwd"), account)?;
    std::fs::write(path.join("group"), format!("git:x:{owner}:\n"))?;
    Ok(std::fs::write(path.join("config"), config(path, port))?)
}

/// Copies the server and its libraries, since another user cannot read the cache folder of root.
fn copy_program(sshd: &Sshd, path: &Path) -> Result<()> {
    let libraries = path.join("lib");
    std::fs::create_dir(&libraries)?;
    std::fs::copy(&sshd.program, path.join("sshd"))?;
    for name in ["libwrap.so.0", "libnss_wrapper.so"] {
        std::fs::copy(sshd.libraries.join(name), libraries.join(name))?;
    }
    Ok(())
}

/// The server, run as another user if there is one to change to.
fn server_command(path: &Path, user: Option<&String>) -> Command {
    let program = path.join("sshd");
    let mut command = match user {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
            command.args([&user, &group, "--clear-groups"]).arg(program);
            command
        }
    };
    let libraries = path.join("lib");
    command
        .args(["-D", "-e", "-f"])
        .arg(path.join("config"))
        .env("LD_LIBRARY_PATH", &libraries)
        .env("LD_PRELOAD", libraries.join("libnss_wrapper.so"))
        .env("NSS_WRAPPER_PASSWD", path.join("passwd"))
        .env("NSS_WRAPPER_GROUP", path.join("group"));
    command
}

fn keygen(sshd: &Sshd, file: &Path, kind: &str, passphrase: &str) -> Result<()> {
    let made = Command::new(&sshd.keygen)
        .args(["-q", "-t", kind, "-N", passphrase, "-f"])
        .arg(file)
        .status()?;
    ensure!(made.success(), "ssh-keygen failed");
    Ok(())
}

fn config(path: &Path, port: u16) -> String {
    let at = |name: &str| -> PathBuf { path.join(name) };
    let lines = [
        format!("Port {port}"),
        "ListenAddress 127.0.0.1".to_owned(),
        format!("HostKey {}", at("host").display()),
        format!("HostKey {}", at("host_rsa").display()),
        format!("AuthorizedKeysFile {}", at("allowed").display()),
        "PidFile none".to_owned(),
        "StrictModes no".to_owned(),
        "UsePAM no".to_owned(),
        "PasswordAuthentication no".to_owned(),
        "KbdInteractiveAuthentication no".to_owned(),
        // The repositories belong to the user who runs the tests, and git refuses those of another user.
        "ForceCommand env GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory 'GIT_CONFIG_VALUE_0=*' sh -c \"$SSH_ORIGINAL_COMMAND\"".to_owned(),
    ];
    lines.join("\n") + "\n"
}
