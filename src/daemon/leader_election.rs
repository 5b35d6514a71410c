//! Talks to the API server: one process at a time does the work, by a Lease; others stand by.
//!
//! As client-go does it: no clock but our own is trusted. A standby takes the lease when it has seen no change of it for
//! its whole duration, or at once when it was given back. Who cannot renew it until the deadline ends, before anybody
//! else can have taken it.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;
use kube::runtime::watcher::watch_object;
use kube::{Client, ResourceExt as _};

use crate::cluster::error::{describe, is_conflict};

/// The Lease of all replicas of a namespace.
const NAME: &str = "overlayd-leader-election";

/// How long a lease holds, and how hard it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// A standby waits so long before it takes a lease that is not renewed.
    pub(crate) duration: Duration,
    /// Who cannot renew it for so long gives up; less than the duration.
    pub(crate) deadline: Duration,
    /// Between two renewals.
    pub(crate) retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(35),
            deadline: Duration::from_secs(30),
            retry: Duration::from_secs(5),
        }
    }
}

/// One candidate.
pub(crate) struct Elector {
    api: Api<Lease>,
    identity: String,
    timing: Timing,
    /// What was seen last, and since when it has not changed.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Elector {
    /// A candidate of this name, which no other process may have.
    pub(crate) fn new(client: Client, namespace: &str, identity: &str, timing: Timing) -> Self {
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
            // A lease that is given back is taken at once.
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
            // It holds from when it was asked for, and not from when the answer came.
            let asked = Instant::now();
            match tokio::time::timeout(left, self.take()).await {
                Ok(Ok(None)) => renewed = asked,
                Ok(Ok(Some(holder))) => {
                    tracing::error!(holder, "the lease is somebody else's");
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

    /// Gives the lease back, so that a standby need not wait.
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

    /// Takes or renews the lease; gives its holder if it is somebody else's.
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
                // Its version is in it: whoever came first has it.
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

    /// Takes note of what the lease says now.
    fn look(&mut self, spec: Option<LeaseSpec>, now: Instant) {
        match (&self.seen, spec) {
            (_, None) => self.seen = None,
            (Some((seen, _)), Some(spec)) if *seen == spec => {}
            (_, Some(spec)) => self.seen = Some((spec, now)),
        }
    }

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

    /// The lease as we hold it.
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
