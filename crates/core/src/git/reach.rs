//! Pure: which servers a fetch may reach.
//!
//! The author of a GitRepository names its server. A remote base is named by a file of a repository instead, and a server
//! that it leads to may redirect the daemon to addresses that only the pod can reach: its own ports, the metadata of the
//! instance, the agent that gives out credentials.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

/// Which servers may be reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reach {
    /// All.
    #[default]
    Anywhere,
    /// Those that a file of a repository may name: hosts of the list if there is one, and by redirects no addresses of
    /// this machine or of its link.
    RemoteBase {
        /// The hosts; all if it is empty.
        hosts: BTreeSet<String>,
    },
}

/// A server that may not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReachError {
    /// A list of hosts is given, and this one is not on it.
    #[error("host `{0}` is none of those that remote bases may come from (`--remote-base-hosts`)")]
    Host(String),
    /// A redirect leads to this machine or its link.
    #[error("the server redirects to `{0}`, whose address is of this machine or of its link")]
    Local(String),
}

impl Reach {
    /// The reach of remote bases, with the hosts of `--remote-base-hosts`.
    pub fn remote_base(hosts: &[String]) -> Self {
        let hosts = hosts.iter().map(|host| host.trim().to_lowercase());
        Self::RemoteBase {
            hosts: hosts.filter(|host| !host.is_empty()).collect(),
        }
    }

    /// Checks the host of a request.
    ///
    /// # Errors
    /// It is none of the list.
    pub fn check_host(&self, host: &str) -> Result<(), ReachError> {
        match self {
            Self::RemoteBase { hosts } if !hosts.is_empty() && !hosts.contains(host) => {
                Err(ReachError::Host(host.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// True if redirects must not lead to this machine or its link.
    pub fn guards_redirects(&self) -> bool {
        matches!(self, Self::RemoteBase { .. })
    }
}

/// True for an address of this machine or of its link, such as that of the instance's metadata.
pub fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            // 0.0.0.0/8 reaches this machine, too.
            address.is_loopback() || address.is_link_local() || address.octets()[0] == 0
        }
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_local(IpAddr::V4(mapped)),
            None => is_local_v6(address),
        },
    }
}

fn is_local_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let is_link = segments[0] & 0xffc0 == 0xfe80;
    // The metadata service and the Pod Identity agent of EC2, which IPv6 has in a unique local network.
    let is_ec2 = segments[0] == 0xfd00 && segments[1] == 0x0ec2;
    address.is_loopback() || address.is_unspecified() || is_link || is_ec2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_and_its_link() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "169.254.169.254",
            "169.254.170.23",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
        ] {
            assert!(is_local(text.parse().unwrap()), "{text}");
        }
        for text in [
            "10.0.0.1",
            "192.168.1.1",
            "140.82.121.4",
            "2606:50c0::1",
            "fd12::1",
        ] {
            assert!(!is_local(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_list_of_hosts_is_kept_to() {
        let listed = Reach::remote_base(&["GitHub.com".to_owned(), " ".to_owned()]);
        assert_eq!(listed.check_host("github.com"), Ok(()));
        for host in ["evil.example", "github.com.evil.example", ""] {
            assert_eq!(
                listed.check_host(host),
                Err(ReachError::Host(host.to_owned()))
            );
        }
        let open = Reach::remote_base(&[]);
        assert_eq!(open.check_host("evil.example"), Ok(()));
        assert!(open.guards_redirects());
        assert!(!Reach::Anywhere.guards_redirects());
    }
}
