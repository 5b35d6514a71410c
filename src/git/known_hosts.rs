//! Decides with russh's key types: which keys a server may show, by the text of a `known_hosts` file.
//!
//! The patterns are those of OpenSSH: names with `*` and `?`, `!` before what is not meant, `[host]:port`, and hashed
//! names. A key that is marked `@revoked` is never taken; certificate authorities are not supported, and trust nothing.

use aws_lc_rs::hmac;
use russh::keys::PublicKey;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};

/// The keys that the big forges publish, for Secrets that name no keys of their own.
///
/// From their documentation: `docs.github.com` (SSH key fingerprints), `docs.gitlab.com` (SSH host keys), and
/// `bitbucket.org/site/ssh`. A test compares them with the fingerprints that stand there.
const FORGES: &str = "\
github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl
gitlab.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf
bitbucket.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIazEu89wgQZ4bqs3d63QSMzYVa0MuJ2e2gKTKqu+UUO
";

/// The number of a line that is malformed. Its text is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {0} of `known_hosts` is no host with a key")]
pub(crate) struct KnownHostsError(usize);

/// The keys of one server.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownHost {
    keys: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
}

impl KnownHost {
    /// The keys that a `known_hosts` text has for a server; without a text, the keys of the big forges.
    ///
    /// # Errors
    /// The first line that is malformed.
    pub(crate) fn new(text: Option<&str>, host: &str, port: u16) -> Result<Self, KnownHostsError> {
        let name = name(host, port);
        let mut known = Self::default();
        for (number, line) in text.unwrap_or(FORGES).lines().enumerate() {
            // Neither names nor base64 hold a `#`.
            let line = line.split('#').next().unwrap_or_default();
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            if line.is_empty() {
                continue;
            }
            let entry = line.parse().map_err(|_| KnownHostsError(number + 1));
            let entry: Entry = entry?;
            if !names(entry.host_patterns(), &name) {
                continue;
            }
            match entry.marker() {
                None => known.keys.push(entry.public_key().clone()),
                Some(Marker::Revoked) => known.revoked.push(entry.public_key().clone()),
                Some(Marker::CertAuthority) => {}
            }
        }
        Ok(known)
    }

    /// The keys that the server may show.
    pub(crate) fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// True for a key that the server may show.
    pub(crate) fn has(&self, key: &PublicKey) -> bool {
        let is = |known: &PublicKey| known.key_data() == key.key_data();
        self.keys.iter().any(is) && !self.revoked.iter().any(is)
    }
}

/// A server as OpenSSH names it.
fn name(host: &str, port: u16) -> String {
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_lowercase();
    if port == 22 {
        host
    } else {
        format!("[{host}]:{port}")
    }
}

/// True if a line of `known_hosts` is for a host of this name, as OpenSSH matches patterns.
fn names(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            hmac::verify(&key, name.as_bytes(), hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let fits = |pattern: &str| fits(pattern.to_lowercase().as_bytes(), name.as_bytes());
            let meant = patterns
                .iter()
                .any(|pattern| !pattern.starts_with('!') && fits(pattern));
            let excluded = patterns
                .iter()
                .filter_map(|pattern| pattern.strip_prefix('!'));
            meant && !excluded.into_iter().any(fits)
        }
    }
}

/// Matches `*` and `?`. After a mismatch, the last `*` is made longer by one character.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut in_pattern, mut star) = (0, 0, None);
    while at < name.len() {
        match pattern.get(in_pattern) {
            Some(b'*') => {
                star = Some((in_pattern, at));
                in_pattern += 1;
            }
            Some(letter) if *letter == b'?' || *letter == name[at] => {
                at += 1;
                in_pattern += 1;
            }
            _ => match &mut star {
                Some((place, reached)) => {
                    *reached += 1;
                    (at, in_pattern) = (*reached, *place + 1);
                }
                None => return false,
            },
        }
    }
    pattern[in_pattern..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use russh::keys::HashAlg;

    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    fn check(hosts: &str, host: &str, port: u16, expected: usize) {
        let text = format!("# a comment\n\n{hosts}   {KEY}  a comment\n");
        let known = KnownHost::new(Some(&text), host, port).unwrap();
        assert_eq!(known.keys().len(), expected, "{hosts} for {host}:{port}");
    }

    #[test]
    fn the_forges_have_the_fingerprints_that_they_publish() {
        for (host, fingerprint) in [
            (
                "github.com",
                "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
            ),
            (
                "gitlab.com",
                "SHA256:eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8",
            ),
            (
                "bitbucket.org",
                "SHA256:ybgmFkzwOSotHTHLJgHO0QN8L0xErw6vd0VhFA9m3SM",
            ),
        ] {
            let known = KnownHost::new(None, host, 22).unwrap();
            let [key] = known.keys() else {
                panic!("{host} has {} keys", known.keys().len())
            };
            assert_eq!(
                key.fingerprint(HashAlg::Sha256).to_string(),
                fingerprint,
                "{host}"
            );
        }
        assert!(
            KnownHost::new(None, "github.example", 22)
                .unwrap()
                .keys()
                .is_empty()
        );
    }

    #[test]
    fn hosts_are_named_as_openssh_names_them() {
        check("git.example", "git.example", 22, 1);
        check("git.example", "GIT.example", 22, 1);
        check("git.example", "git.example", 2222, 0);
        check("[git.example]:2222", "git.example", 2222, 1);
        check("a,b.example", "b.example", 22, 1);
        check("*.example", "git.example", 22, 1);
        check("*.example,!git.example", "git.example", 22, 0);
        check("g?t.*", "git.example", 22, 1);
        check("@cert-authority *.example", "git.example", 22, 0);
        // Made by `ssh-keygen -H`.
        check(
            "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg=",
            "192.168.1.61",
            22,
            1,
        );
        check(
            "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg=",
            "192.168.1.62",
            22,
            0,
        );
    }

    #[test]
    fn a_revoked_key_is_not_taken() {
        let text = format!("* {KEY}\n@revoked * {KEY}\n");
        let known = KnownHost::new(Some(&text), "git.example", 22).unwrap();
        let key = known.keys()[0].clone();
        assert!(!known.has(&key));
        let known = KnownHost::new(Some(&format!("* {KEY}")), "git.example", 22).unwrap();
        assert!(known.has(&key));
        assert!(KnownHost::new(Some("git.example nonsense"), "x", 22).is_err());
    }
}
