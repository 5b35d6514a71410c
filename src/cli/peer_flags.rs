//! Pure: flags of the peers' controllers that overlayd does not have, and what serves in their place.

/// Flags of Flux's controllers and of External Secrets, each with the answer for somebody who passes it.
const PEER_FLAGS: &[(&[&str], &str)] = &[
    (
        &[
            "storage-path",
            "storage-addr",
            "storage-adv-addr",
            "artifact-retention-ttl",
            "artifact-retention-records",
            "artifact-digest-algo",
            "http-retry",
        ],
        "leave it out: no artifacts are stored or served; --data-dir holds the mirrors of git repositories",
    ),
    (
        &[
            "helm-index-max-size",
            "helm-chart-max-size",
            "helm-chart-file-max-size",
            "helm-cache-max-size",
            "helm-cache-ttl",
            "helm-cache-purge-interval",
        ],
        "leave it out: the kinds of Helm are not served",
    ),
    (
        &["ssh-kex-algos", "ssh-hostkey-algos"],
        "leave it out: the algorithms that git servers and overlayd both know are negotiated",
    ),
    (
        &[
            "kube-api-qps",
            "kube-api-burst",
            "client-qps",
            "client-burst",
        ],
        "leave it out: the number of requests at once is bounded, and the API server's priority and fairness does the rest; see --concurrent-ssa",
    ),
    (
        &["feature-gates"],
        "leave it out: for StrictPostBuildSubstitutions there is --strict-substitutions, and health checks end at a new revision and at the first failure without a gate",
    ),
    (
        &["watch-configs-label-selector"],
        "leave it out: all ConfigMaps and Secrets of `substituteFrom` are watched",
    ),
    (
        &[
            "sops-age-secret",
            "sops-vault-configmap",
            "default-decryption-service-account",
            "default-kubeconfig-service-account",
            "insecure-kubeconfig-exec",
            "insecure-kubeconfig-tls",
        ],
        "leave it out: `decryption` and `kubeConfig` of a Kustomization are refused",
    ),
    (
        &["graceful-shutdown-timeout"],
        "leave it out: reconciles have 20 s to end",
    ),
    (&["receiverAddr"], "write --receiver-addr"),
    (
        &["rate-limit-interval", "export-http-path-metrics"],
        "leave it out: events are posted to --events-addr, whose receiver drops repetitions",
    ),
    (
        &[
            "token-cache-max-size",
            "default-service-account-token-cache-size",
            "enable-secrets-caching",
            "enable-configmaps-caching",
            "enable-managed-secrets-caching",
            "enable-secret-api-read-on-cache-mismatch",
            "experimental-enable-aws-session-cache",
        ],
        "leave it out: caches have bounds of their own",
    ),
    (&["live-addr"], "write --health-addr"),
    (&["loglevel"], "write --log-level"),
    (
        &["zap-time-encoding"],
        "leave it out: times are in RFC 3339",
    ),
    (
        &[
            "enable-push-secret-reconciler",
            "enable-cluster-push-secret-reconciler",
            "enable-cluster-external-secret-reconciler",
            "enable-secret-store-reconciler",
            "enable-generator-state",
            "generator-gc-grace-period",
            "unsafe-allow-generic-targets",
        ],
        "leave it out: PushSecrets, ClusterExternalSecrets and targets of other kinds are not served, and stores are always",
    ),
    (
        &[
            "metrics-secure",
            "metrics-auth",
            "metrics-cert-dir",
            "metrics-cert-name",
            "metrics-key-name",
            "enable-http2",
            "enable-extended-metric-labels",
        ],
        "leave it out: metrics are served as HTTP/1 without labels of objects",
    ),
];

/// A flag that a peer has and overlayd has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerFlag {
    /// As it was written, without its value.
    pub(crate) flag: String,
    /// What to do about it.
    pub(crate) instead: &'static str,
}

/// All flags of peers among the arguments of a command, in their order.
pub(crate) fn peer_flags(arguments: impl IntoIterator<Item = String>) -> Vec<PeerFlag> {
    let flags = arguments.into_iter().filter_map(|argument| {
        let flag = argument.split('=').next().unwrap_or_default();
        let name = flag.strip_prefix("--")?;
        let (_, instead) = PEER_FLAGS.iter().find(|(names, _)| names.contains(&name))?;
        Some(PeerFlag {
            flag: flag.to_owned(),
            instead,
        })
    });
    flags.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::args::Args;

    #[test]
    fn all_flags_of_peers_are_found_at_once() {
        let arguments = [
            "run",
            "--storage-path=/data",
            "--concurrent",
            "4",
            "--loglevel",
            "debug",
        ];
        let found = peer_flags(arguments.map(str::to_owned));
        let flags: Vec<&str> = found.iter().map(|flag| flag.flag.as_str()).collect();
        assert_eq!(flags, ["--storage-path", "--loglevel"]);
        assert_eq!(found[1].instead, "write --log-level");
    }

    #[test]
    fn no_flag_is_named_twice_or_served_and_what_is_named_instead_is_served() {
        let command = Args::command();
        let run = command.find_subcommand("run").unwrap();
        let served: BTreeSet<&str> = run
            .get_arguments()
            .filter_map(clap::Arg::get_long)
            .collect();
        let mut names = BTreeSet::new();
        for name in PEER_FLAGS.iter().flat_map(|(names, _)| *names) {
            assert!(names.insert(*name), "{name} is named twice");
            assert!(!served.contains(name), "{name} is served");
        }
        for (_, instead) in PEER_FLAGS {
            for word in instead.split([' ', ';', ',']) {
                if let Some(name) = word.strip_prefix("--") {
                    assert!(served.contains(name), "there is no {name}");
                }
            }
        }
    }
}
