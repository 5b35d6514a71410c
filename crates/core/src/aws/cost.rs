//! Pure: how many calls the stores and ExternalSecrets of a repository or a cluster cause, and what the calls cost.
//!
//! Secrets Manager bills 0.05 dollars for 10,000 calls (<https://aws.amazon.com/secrets-manager/pricing/>). Parameter Store
//! bills nothing at its standard throughput (<https://aws.amazon.com/systems-manager/pricing/>).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::aws::read_scheduler::{Digest, ReadScheduler, SecretId};
use crate::aws::reader_key::{ReaderKey, Service};
use crate::aws::usage::{Usage, UsageRead};
use crate::names::NamespacedName;
use crate::secrets::desired::Lookup;
use crate::secrets::refresh::periodic_interval;

/// The calls that a store causes, and what they cost.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoreCost {
    /// Different secrets that are read.
    pub secrets: usize,
    /// ExternalSecrets that read from the store.
    pub external_secrets: usize,
    /// Calls a day, with batches that all ExternalSecrets share.
    pub calls_per_day: f64,
    /// Dollars in 30 days.
    pub dollars_per_month: f64,
    /// Calls a day if each ExternalSecret reads each of its secrets by a call of its own at each interval.
    pub unshared_calls_per_day: f64,
    /// Dollars in 30 days for those calls.
    pub unshared_dollars_per_month: f64,
}

const DAY: f64 = 86_400.0;

/// Dollars in 30 days for so many calls a day.
pub fn dollars_per_month(service: Service, calls_per_day: f64) -> f64 {
    match service {
        Service::SecretsManager => calls_per_day * 30.0 / 10_000.0 * 0.05,
        Service::ParameterStore => 0.0,
    }
}

/// The cost of each store, by its printed name, and notes about what was left out. The calls that stores share are divided
/// among them by how often each needs them. Any time will do as `now`.
pub fn costs(usage: &Usage, now: Instant) -> (BTreeMap<String, StoreCost>, Vec<String>) {
    let (reads, notes) = usage.reads();
    let mut readers: BTreeMap<&ReaderKey, Vec<&UsageRead<'_>>> = BTreeMap::new();
    for read in &reads {
        readers.entry(&read.key).or_default().push(read);
    }
    let mut costs: BTreeMap<String, StoreCost> = BTreeMap::new();
    for (key, reads) in readers {
        add_reader(key, &reads, now, &mut costs);
    }
    for (name, cost) in &mut costs {
        let of_store = reads.iter().filter(|read| read.store.to_string() == *name);
        let mut keys: Vec<_> = of_store.clone().map(|read| &read.lookup).collect();
        keys.sort();
        keys.dedup();
        cost.secrets = keys.len();
        let mut external_secrets: Vec<_> = of_store
            .map(|read| (&read.external_secret.namespace, &read.external_secret.name))
            .collect();
        external_secrets.sort();
        external_secrets.dedup();
        cost.external_secrets = external_secrets.len();
    }
    (costs, notes)
}

/// Adds the calls of one reader to the costs of its stores.
fn add_reader(
    key: &ReaderKey,
    reads: &[&UsageRead<'_>],
    now: Instant,
    costs: &mut BTreeMap<String, StoreCost>,
) {
    let capabilities = key.service.capabilities();
    let mut scheduler = ReadScheduler::new(capabilities, [0; 32]);
    let mut weights: BTreeMap<String, f64> = BTreeMap::new();
    let mut single: BTreeMap<&Lookup, Duration> = BTreeMap::new();
    for read in reads {
        let cost = costs.entry(read.store.to_string()).or_default();
        let Some(interval) = periodic_interval(&read.external_secret.spec) else {
            continue;
        };
        let often = DAY / interval.as_secs_f64();
        cost.unshared_calls_per_day += often;
        cost.unshared_dollars_per_month += dollars_per_month(key.service, often);
        *weights.entry(read.store.to_string()).or_default() += often;
        match &read.lookup {
            Lookup::Value { key: id, version } if capabilities.batches(version) => {
                let secret = SecretId::new(id, version);
                let external_secret = read.external_secret;
                let subscriber =
                    NamespacedName::new(&external_secret.namespace, &external_secret.name);
                scheduler.watch(&subscriber, &secret, Digest::Missing, interval, now);
            }
            // A version by its id is read once a day.
            Lookup::Value { version, .. } if version.starts_with("uuid/") => {}
            other => {
                let known = single.entry(other).or_insert(interval);
                *known = interval.min(*known);
            }
        }
    }
    let singly = single.values().map(|interval| DAY / interval.as_secs_f64());
    let calls = scheduler.calls_per_day(now) + singly.sum::<f64>();
    let total: f64 = weights.values().sum();
    for (store, weight) in weights {
        let share = calls * weight / total;
        let cost = costs.entry(store).or_default();
        cost.calls_per_day += share;
        cost.dollars_per_month += dollars_per_month(key.service, share);
    }
}

/// What one subscriber watches.
#[derive(Debug, Clone)]
pub struct WatchedReads<'w> {
    /// The ExternalSecret.
    pub subscriber: &'w NamespacedName,
    /// How often it wants its secrets to be read.
    pub interval: Duration,
    /// The reader of each of its secrets.
    pub readers: Vec<&'w ReaderKey>,
}

/// A part of the calls of one reader.
#[derive(Debug, Clone, PartialEq)]
pub struct CallShare {
    /// The ExternalSecret that needs them.
    pub subscriber: NamespacedName,
    /// The service that is called.
    pub service: Service,
    /// Calls a day.
    pub calls_per_day: f64,
}

/// Divides the calls a day of each reader among the secrets that it watches, by how often each is wanted.
pub fn call_shares(
    watched: &[WatchedReads<'_>],
    calls_per_day: &BTreeMap<ReaderKey, f64>,
) -> Vec<CallShare> {
    let weight = |watch: &WatchedReads<'_>| 1.0 / watch.interval.as_secs_f64().max(1.0);
    let mut weights: BTreeMap<&ReaderKey, f64> = BTreeMap::new();
    for watch in watched {
        for key in &watch.readers {
            *weights.entry(key).or_default() += weight(watch);
        }
    }
    let shares = watched.iter().flat_map(|watch| {
        let readers = watch.readers.iter();
        readers.map(|key| {
            let part = weight(watch) / weights.get(key).copied().unwrap_or(1.0);
            CallShare {
                subscriber: watch.subscriber.clone(),
                service: key.service,
                calls_per_day: calls_per_day.get(key).copied().unwrap_or_default() * part,
            }
        })
    });
    shares.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::usage::{ExternalSecretUsage, StoreUsage};
    use super::*;
    use crate::aws::identity::{Base, Identity};
    use crate::aws::reader_key::Retry;

    /// So many ExternalSecrets of a secret each, or all of one.
    fn usage(count: usize, interval: &str, is_shared: bool) -> Usage {
        let external_secret = |number: usize| {
            let key = if is_shared {
                "one".to_owned()
            } else {
                format!("s{number}")
            };
            ExternalSecretUsage {
                namespace: "team".to_owned(),
                name: format!("es{number}"),
                spec: serde_json::from_value(json!({
                    "refreshInterval": interval,
                    "secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"},
                    "data": [{"secretKey": "k", "remoteRef": {"key": key}}],
                }))
                .unwrap(),
            }
        };
        let spec =
            json!({"provider": {"aws": {"service": "SecretsManager", "region": "eu-west-1"}}});
        Usage {
            stores: vec![StoreUsage {
                namespace: None,
                name: "aws".to_owned(),
                spec: serde_json::from_value(spec).unwrap(),
                queue: None,
            }],
            external_secrets: (0..count).map(external_secret).collect(),
        }
    }

    fn check(usage: &Usage, calls: f64, unshared: f64) {
        let (costs, notes) = costs(usage, Instant::now());
        assert!(notes.is_empty(), "{notes:?}");
        let cost = &costs["ClusterSecretStore aws"];
        assert!((cost.calls_per_day - calls).abs() < 0.5, "{cost:?}");
        assert!(
            (cost.unshared_calls_per_day - unshared).abs() < 0.5,
            "{cost:?}"
        );
    }

    #[test]
    fn what_is_shared_and_batched_costs_less() {
        check(&usage(5000, "1m", false), 360_000.0, 7_200_000.0);
        check(&usage(500, "1m", true), 1440.0, 720_000.0);
        // A list every 55 minutes, and everything once a day.
        check(
            &usage(1000, "1h", false),
            10.0 * 1440.0 / 55.0 + 50.0,
            24_000.0,
        );
        check(&usage(10, "0", false), 0.0, 0.0);
        let (costs, _) = costs(&usage(5000, "1m", false), Instant::now());
        let cost = &costs["ClusterSecretStore aws"];
        assert!(
            (cost.unshared_dollars_per_month - 1080.0).abs() < 0.1,
            "{cost:?}"
        );
        assert!((cost.dollars_per_month - 54.0).abs() < 0.1, "{cost:?}");
        assert_eq!((cost.secrets, cost.external_secrets), (5000, 5000));
    }

    #[test]
    fn calls_are_divided_by_how_often_secrets_are_wanted() {
        let key = |service| ReaderKey {
            identity: Identity {
                region: "eu-west-1".to_owned(),
                base: Base::Process,
                roles: Vec::new(),
            },
            service,
            retry: Retry {
                attempts: 1,
                interval: None,
            },
        };
        let (secrets, parameters) = (key(Service::SecretsManager), key(Service::ParameterStore));
        let (often, seldom) = (
            NamespacedName::new("team", "often"),
            NamespacedName::new("team", "seldom"),
        );
        let watch = |subscriber, minutes: u64, readers| WatchedReads {
            subscriber,
            interval: Duration::from_secs(60 * minutes),
            readers,
        };
        let watched = [
            watch(&often, 1, vec![&secrets, &secrets]),
            watch(&seldom, 2, vec![&secrets, &parameters]),
        ];
        let calls = [(secrets.clone(), 1000.0)].into();
        let shares = call_shares(&watched, &calls);
        let text = shares.iter().map(|share| {
            format!(
                "{} {:?} {:.0}",
                share.subscriber.name, share.service, share.calls_per_day
            )
        });
        assert_eq!(
            text.collect::<Vec<_>>(),
            [
                "often SecretsManager 400",
                "often SecretsManager 400",
                "seldom SecretsManager 200",
                "seldom ParameterStore 0",
            ]
        );
    }
}
