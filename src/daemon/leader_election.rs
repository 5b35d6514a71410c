//! Talks to the API server: elects the one replica that works, by a Lease.
//!
//! The protocol is client-go's, which trusts no clock but its own: a standby takes the lease when it has seen no change of
//! it for the lease's whole duration, or at once when the lease was released. A leader that cannot renew the lease ends at
//! the deadline, which is before any standby can take it.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;
use kube::runtime::watcher::watch_object;
use kube::{Client, ResourceExt as _};

use crate::cli::config::LeaseTiming;
use crate::cluster::error::{describe, is_conflict};

/// The Lease of all replicas of a namespace.
const NAME: &str = "overlayd-leader-election";

/// The right of this replica to work: by a lease, or because it is the only one.
pub(crate) struct Leadership {
    elector: Option<Elector>,
    /// The lease is given back at the end.
    releases: bool,
}

impl Leadership {
    /// Nothing is elected: there is one replica.
    pub(crate) fn of_the_only_replica() -> Self {
        Self {
            elector: None,
            releases: false,
        }
    }

    /// By a lease that was acquired.
    pub(crate) fn by_lease(elector: Elector, releases: bool) -> Self {
        Self {
            elector: Some(elector),
            releases,
        }
    }

    /// Renews the lease, and returns when that failed for too long. Pends for ever without a lease.
    pub(crate) async fn lost(&mut self) {
        match &mut self.elector {
            Some(elector) => elector.hold().await,
            None => std::future::pending().await,
        }
    }

    /// Gives the lease back, if that is wanted. Call it only when nothing works any more.
    pub(crate) async fn release(&mut self) {
        if let (Some(elector), true) = (&mut self.elector, self.releases) {
            elector.release().await;
        }
    }
}

/// One candidate.
pub(crate) struct Elector {
    api: Api<Lease>,
    identity: String,
    timing: LeaseTiming,
    /// The lease as it was seen last, and since when it has not changed.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Elector {
    /// A candidate of this name, which must be unique among processes.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        identity: &str,
        timing: LeaseTiming,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            identity: identity.to_owned(),
            timing,
            seen: None,
        }
    }

    /// Waits until the lease is ours.
    pub(crate) async fn acquire(&mut self) {
        let api = self.api.clone();
        let mut changes = Box::pin(watch_object(api, NAME));
        let mut told = String::new();
        loop {
            match self.take().await {
                Ok(None) => return,
                Ok(Some(holder)) if holder != told => {
                    tracing::info!(holder, "standing by");
                    told = holder;
                }
                Ok(Some(_)) => {}
                Err(error) => {
                    tracing::warn!(error = %describe(&error), "the lease cannot be read or taken");
                }
            }
            // A released lease is taken at once.
            let changed = tokio::time::timeout(self.timing.retry, changes.next()).await;
            if let Ok(Some(Err(_)) | None) = changed {
                // A watch that fails does so at once.
                tokio::time::sleep(self.timing.retry).await;
            }
        }
    }

    /// Renews the lease until that fails for too long.
    pub(crate) async fn hold(&mut self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < self.timing.deadline {
            tokio::time::sleep(self.timing.retry).await;
            let left = self.timing.deadline.saturating_sub(renewed.elapsed());
            // The lease holds from the moment of the request, not from that of the answer.
            let asked = Instant::now();
            match tokio::time::timeout(left, self.take()).await {
                Ok(Ok(None)) => renewed = asked,
                Ok(Ok(Some(holder))) => {
                    tracing::error!(holder, "another replica holds the lease");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = %describe(&error), "the lease was not renewed");
                }
                Err(_) => {
                    tracing::warn!("the API server did not answer in time to renew the lease");
                }
            }
        }
    }

    /// Releases the lease, so that a standby need not wait.
    pub(crate) async fn release(&mut self) {
        let given_back = async {
            let Some(mut lease) = self.api.get_opt(NAME).await? else {
                return Ok(());
            };
            let mut spec = lease.spec.take().unwrap_or_default();
            if spec.holder_identity.as_ref() != Some(&self.identity) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            lease.spec = Some(spec);
            self.api
                .replace(NAME, &PostParams::default(), &lease)
                .await
                .map(drop)
        };
        let given_back: Result<(), kube::Error> = given_back.await;
        if let Err(error) = given_back {
            tracing::warn!(error = %describe(&error), "the lease was not given back; a standby takes over when it has run out");
        }
    }

    /// Takes or renews the lease. Gives the holder if another replica holds it.
    async fn take(&mut self) -> Result<Option<String>, kube::Error> {
        let lease = self.api.get_opt(NAME).await?;
        let spec = lease.as_ref().and_then(|lease| lease.spec.clone());
        self.look(spec.clone(), Instant::now());
        let spec = spec.unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if !self.may_take(&holder, Instant::now()) {
            return Ok(Some(holder));
        }
        let spec = self.taken(spec, Timestamp::now());
        let post = PostParams::default();
        let result = match lease {
            Some(mut lease) => {
                lease.spec = Some(spec.clone());
                // It carries the version that was read, so that of two candidates only the first succeeds.
                self.api.replace(NAME, &post, &lease).await
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(NAME.to_owned()),
                    ..ObjectMeta::default()
                };
                let lease = Lease {
                    metadata,
                    spec: Some(spec.clone()),
                };
                self.api.create(&post, &lease).await
            }
        };
        match result {
            Ok(lease) => {
                tracing::trace!(version = lease.resource_version(), "holding the lease");
                self.seen = Some((spec, Instant::now()));
                Ok(None)
            }
            Err(error) if is_conflict(&error) => Ok(Some("somebody who was faster".to_owned())),
            Err(error) => Err(error),
        }
    }

    /// Records what the lease says now.
    fn look(&mut self, spec: Option<LeaseSpec>, now: Instant) {
        match (&self.seen, spec) {
            (_, None) => self.seen = None,
            (Some((seen, _)), Some(spec)) if *seen == spec => {}
            (_, Some(spec)) => self.seen = Some((spec, now)),
        }
    }

    /// True if the lease is free, or was seen unchanged for its whole duration.
    fn may_take(&self, holder: &str, now: Instant) -> bool {
        if holder.is_empty() || holder == self.identity {
            return true;
        }
        let Some((spec, since)) = &self.seen else {
            return true;
        };
        let held = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        let held = held.map_or(self.timing.duration, Duration::from_secs);
        now.duration_since(*since) >= held
    }

    /// The lease with this process as its holder.
    fn taken(&self, old: LeaseSpec, now: Timestamp) -> LeaseSpec {
        let is_ours = old.holder_identity.as_ref() == Some(&self.identity);
        let transitions = old.lease_transitions.unwrap_or_default();
        let seconds = i32::try_from(self.timing.duration.as_secs()).unwrap_or(i32::MAX);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(seconds.max(1)),
            acquire_time: old
                .acquire_time
                .filter(|_| is_ours)
                .or(Some(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions + i32::from(!is_ours)),
            ..old
        }
    }
}
