//! Talks to git servers: git over SSH for libgit2, carried by russh.
//!
//! libgit2 opens one connection and keeps it: it reads the refs, writes which commits it wants, and reads the pack. A server
//! is trusted only by keys that are known beforehand, never on first use.

use std::borrow::Cow;
use std::io::{Error as IoError, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use hyper::body::Bytes;
use russh::keys::{
    Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate,
    decode_secret_key,
};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Preferred, client};

use crate::git::known_hosts::KnownHost;
use crate::git::transport::Session;
use overlayd_core::error_chain::causes;
use overlayd_core::git::credentials::SshCredentials;

/// The most rounds of a passphrase's key derivation; `ssh-keygen` uses 16 or 24.
const MAX_ROUNDS: u32 = 1000;
/// The longest error text of a server that is kept, in bytes.
const MAX_COMPLAINT: usize = 4096;

/// Why a connection fails.
#[derive(Debug, thiserror::Error)]
enum SshError {
    /// The fingerprint of a key that `known_hosts` does not hold for this host.
    #[error("the server's host key {0} is not in `known_hosts`; if it is right, put it there")]
    HostKey(String),
    /// Without a key of the host in `known_hosts` nothing can be trusted, so no connection is opened.
    #[error(
        "no host key of this server is in `known_hosts`; `ssh-keyscan` prints those that it has"
    )]
    Unknown,
    /// The private key cannot be used, in words that quote nothing of it.
    #[error(transparent)]
    Identity(#[from] KeyError),
    /// The user that the key was offered for.
    #[error("the server does not take this key for user `{0}`")]
    Refused(String),
    /// The server speaks `ssh-rsa` alone, whose signatures are SHA-1.
    #[error("the server takes RSA keys with SHA-1 alone, which is broken; use an ed25519 key")]
    OldRsa,
    /// The connection failed or broke.
    #[error(transparent)]
    Ssh(#[from] russh::Error),
}

/// Why the private key of the Secret cannot be used. No text quotes the key.
#[derive(Debug, thiserror::Error)]
enum KeyError {
    #[error("`identity` of the Secret is not text")]
    NotText,
    /// An encrypted PKCS#8 key says how much work its derivation takes, and russh does not bound it.
    #[error(
        "`identity` of the Secret is an encrypted PKCS#8 key, which is not supported; convert it with `ssh-keygen -p`"
    )]
    EncryptedPkcs8,
    /// The key asks for more work than a key of `ssh-keygen` does.
    #[error("`identity` of the Secret asks for more than {MAX_ROUNDS} rounds of its passphrase")]
    TooManyRounds,
    #[error("`identity` of the Secret is encrypted; put its passphrase into `password`")]
    NoPassphrase,
    /// The reader's own text may quote the key, so it is left out.
    #[error("`identity` of the Secret cannot be read as a private key, or its `password` is wrong")]
    Unreadable,
}

/// Why a URL names no repository that git over SSH can ask for.
#[derive(Debug, thiserror::Error)]
enum AddressError {
    #[error(transparent)]
    Url(#[from] url::ParseError),
    #[error("the path of the URL is not UTF-8")]
    NotUtf8,
    /// It would be read as a flag, or ends in the middle for a program in C.
    #[error("the path of the URL is none")]
    Path,
}

/// Checks the server's key.
struct Host(KnownHost);

impl client::Handler for Host {
    type Error = SshError;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, SshError> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false);
        };
        if self.0.has(key) {
            return Ok(true);
        }
        Err(SshError::HostKey(
            key.fingerprint(HashAlg::Sha256).to_string(),
        ))
    }
}

/// The kinds of keys that the server may show: only those that are known, since a server with several keys would otherwise
/// choose one that is not known.
fn algorithms(known: &KnownHost) -> Vec<Algorithm> {
    let has = |algorithm: &Algorithm| {
        known.keys().iter().any(|key| match algorithm {
            // The same key, signed with SHA-2.
            Algorithm::Rsa { hash } => hash.is_some() && key.algorithm().is_rsa(),
            other => key.algorithm() == *other,
        })
    };
    let all = Preferred::DEFAULT.key.iter();
    all.filter(|algorithm| has(algorithm)).cloned().collect()
}

/// Reads a private key in OpenSSH's form or PEM, with or without a passphrase.
fn identity(credentials: &SshCredentials) -> Result<PrivateKey, KeyError> {
    let text = std::str::from_utf8(credentials.identity.expose()).map_err(|_| KeyError::NotText)?;
    let mut lines: String = text
        .lines()
        .map(str::trim)
        .flat_map(|line| [line, "\n"])
        .collect();
    if lines.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        zeroize::Zeroize::zeroize(&mut lines);
        return Err(KeyError::EncryptedPkcs8);
    }
    if let Ok(key) = russh::keys::ssh_key::PrivateKey::from_openssh(&lines)
        && let russh::keys::ssh_key::Kdf::Bcrypt { rounds, .. } = key.kdf()
        && *rounds > MAX_ROUNDS
    {
        zeroize::Zeroize::zeroize(&mut lines);
        return Err(KeyError::TooManyRounds);
    }
    // russh refuses unencrypted PEM together with a passphrase.
    let is_encrypted = lines.contains("ENCRYPTED") || lines.contains("BEGIN OPENSSH");
    let passphrase = credentials.passphrase.as_ref().filter(|_| is_encrypted);
    let passphrase = passphrase.map(|value| String::from_utf8_lossy(value.expose()).into_owned());
    let key = decode_secret_key(&lines, passphrase.as_deref());
    zeroize::Zeroize::zeroize(&mut lines);
    if let Some(mut passphrase) = passphrase {
        zeroize::Zeroize::zeroize(&mut passphrase);
    }
    key.map_err(|error| match error {
        russh::keys::Error::KeyIsEncrypted => KeyError::NoPassphrase,
        _ => KeyError::Unreadable,
    })
}

/// An address of SSH.
struct Address {
    host: String,
    port: u16,
    /// The command that is run on the server.
    command: String,
}

impl Address {
    /// Reads an address, and quotes its path for the shell of the server as git does.
    ///
    /// # Errors
    /// The path is no UTF-8, holds a zero byte, or begins with `-`, which the server's shell would take for a flag.
    fn new(url: &str) -> Result<Self, AddressError> {
        let url = url::Url::parse(url)?;
        let path = percent_encoding::percent_decode_str(url.path()).decode_utf8();
        let path = path.map_err(|_| AddressError::NotUtf8)?;
        // A home directory is written `/~user`.
        let path = match path.strip_prefix('/') {
            Some(home) if home.starts_with('~') => home,
            _ => &*path,
        };
        if path.starts_with('-') || path.contains('\0') {
            return Err(AddressError::Path);
        }
        let quoted = path.replace('\'', r"'\''").replace('!', r"'\!'");
        Ok(Self {
            host: url
                .host_str()
                .unwrap_or_default()
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: url.port().unwrap_or(22),
            command: format!("git-upload-pack '{quoted}'"),
        })
    }
}

/// The SSH transport of libgit2.
pub(super) struct Ssh {
    pub(super) session: Session,
}

impl SmartSubtransport for Ssh {
    fn action(
        &self,
        url: &str,
        action: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        // One connection serves both steps of a fetch.
        let Service::UploadPackLs = action else {
            return Err(git2::Error::from_str("overlayd never pushes"));
        };
        let failed = |reason: String| git2::Error::from_str(&clean(&reason));
        let address = Address::new(url).map_err(|error| failed(error.to_string()))?;
        let credentials = self.session.ssh().ok_or_else(|| {
            failed("a key is needed: name a Secret with `identity` and `known_hosts` in `spec.secretRef`".to_owned())
        })?;
        let known = KnownHost::new(
            credentials.known_hosts.as_deref(),
            &address.host,
            address.port,
        );
        let known = known.map_err(|error| failed(error.to_string()))?;
        let opened = self.session.within_deadline(async {
            open(&address, credentials, known)
                .await
                .map_err(|error| causes(&error))
        });
        let (handle, read, write) = opened.map_err(failed)?;
        Ok(Box::new(Pipe {
            session: self.session.clone(),
            handle,
            read,
            write,
            rest: Bytes::new(),
            complaint: Vec::new(),
            status: None,
            has_read: false,
            has_ended: false,
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// An open connection, and the two halves of the channel to `git-upload-pack`.
type Opened = (
    client::Handle<Host>,
    ChannelReadHalf,
    ChannelWriteHalf<client::Msg>,
);

/// Connects, checks the server's key, authenticates and starts `git-upload-pack`.
///
/// # Errors
/// The server is not known or does not take the key, or the connection breaks.
async fn open(
    address: &Address,
    credentials: &SshCredentials,
    known: KnownHost,
) -> Result<Opened, SshError> {
    let algorithms = algorithms(&known);
    if algorithms.is_empty() {
        return Err(SshError::Unknown);
    }
    let key = identity(credentials)?;
    let config = client::Config {
        client_id: russh::SshId::Standard(Cow::Borrowed("SSH-2.0-overlayd")),
        preferred: Preferred {
            key: Cow::Owned(algorithms),
            compression: Cow::Owned(vec![russh::compression::NONE]),
            ..Preferred::DEFAULT
        },
        keepalive_interval: Some(Duration::from_secs(15)),
        nodelay: true,
        ..client::Config::default()
    };
    let to = (address.host.as_str(), address.port);
    let mut handle = client::connect(Arc::new(config), to, Host(known)).await?;
    let hash = if key.algorithm().is_rsa() {
        match handle.best_supported_rsa_hash().await? {
            Some(None) => return Err(SshError::OldRsa),
            told => Some(told.flatten().unwrap_or(HashAlg::Sha256)),
        }
    } else {
        None
    };
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
    let answer = handle
        .authenticate_publickey(&credentials.user, key)
        .await?;
    if !answer.success() {
        return Err(SshError::Refused(credentials.user.clone()));
    }
    let channel = handle.channel_open_session().await?;
    channel.exec(true, address.command.as_str()).await?;
    let (read, write) = channel.split();
    Ok((handle, read, write))
}

/// The program on the other side.
struct Pipe {
    /// The deadline and the runtime of the operation, on whose thread libgit2 reads and writes.
    session: Session,
    handle: client::Handle<Host>,
    read: ChannelReadHalf,
    write: ChannelWriteHalf<client::Msg>,
    /// Output of the program that libgit2 has not read yet.
    rest: Bytes,
    /// The standard error of the program.
    complaint: Vec<u8>,
    /// The exit status, once the program has ended.
    status: Option<u32>,
    /// The program has written something. Only a program that never did is an error at its end.
    has_read: bool,
    /// The channel is closed, and no more output comes.
    has_ended: bool,
}

impl Pipe {
    /// Waits for more output, or for the end.
    fn fill(&mut self) -> Result<(), String> {
        while self.rest.is_empty() && !self.has_ended {
            let Self { session, read, .. } = self;
            match session.within_deadline(async { Ok(read.wait().await) })? {
                Some(ChannelMsg::Data { data }) => {
                    self.has_read |= !data.is_empty();
                    self.rest = data;
                }
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) => {
                    let room = MAX_COMPLAINT.saturating_sub(self.complaint.len());
                    self.complaint.extend(data.iter().take(room));
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => self.status = Some(exit_status),
                Some(ChannelMsg::Failure) => {
                    return Err("the server refuses to run `git-upload-pack`".to_owned());
                }
                Some(ChannelMsg::Close) | None => self.has_ended = true,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Why the program ended without output.
    fn why(&self) -> String {
        let complaint = String::from_utf8_lossy(&self.complaint);
        match (complaint.trim(), self.status) {
            ("", Some(status)) => format!("`git-upload-pack` ended with {status}"),
            ("", None) => "the server closed the connection".to_owned(),
            (complaint, _) => format!("the server says: {complaint}"),
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let failed = |reason: &str| IoError::other(clean(reason));
        self.fill().map_err(|reason| failed(&reason))?;
        if self.rest.is_empty() && !self.has_read {
            return Err(failed(&self.why()));
        }
        let length = buffer.len().min(self.rest.len());
        let part = self.rest.split_to(length);
        buffer[..length].copy_from_slice(&part);
        Ok(length)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let data = Bytes::copy_from_slice(bytes);
        let Self { session, write, .. } = self;
        let sent = session.within_deadline(async {
            write
                .data_bytes(data)
                .await
                .map_err(|error| error.to_string())
        });
        sent.map_err(|reason| IoError::other(clean(&reason)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Self {
            session,
            write,
            handle,
            ..
        } = self;
        // The deadline may have passed, and the result is not needed.
        session.for_a_second(async {
            let _ = write.eof().await;
            let _ = handle.disconnect(Disconnect::ByApplication, "", "en").await;
        });
    }
}

/// Cleans the text of a server: it passes through C, where a zero byte ends it, and into conditions.
fn clean(text: &str) -> String {
    let shown = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_what_is_run_there() {
        let check = |url: &str, expected: &str| {
            let text = match Address::new(url) {
                Ok(address) => format!("{} {} {}", address.host, address.port, address.command),
                Err(error) => error.to_string(),
            };
            assert_eq!(text, expected, "{url}");
        };
        check(
            "ssh://host/team/repo.git",
            "host 22 git-upload-pack '/team/repo.git'",
        );
        check("ssh://host:2222/~me/r", "host 2222 git-upload-pack '~me/r'");
        check("ssh://host/a%20b", "host 22 git-upload-pack '/a b'");
        check(
            "ssh://host/it's!",
            r"host 22 git-upload-pack '/it'\''s'\!''",
        );
        check("ssh://host/a%00b", "the path of the URL is none");
    }

    #[test]
    fn what_a_server_says_holds_no_zero() {
        assert_eq!(clean("bad\0 \u{1b}[2Jthing\n"), "bad   [2Jthing ");
    }
}
