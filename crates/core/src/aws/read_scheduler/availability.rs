//! Pure: what a service refuses at present: everything, while it is broken; batches or lists, where a policy denies them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::aws::throttle::Circuit;
use crate::names::NamespacedName;
use crate::secrets::provider_error::ProviderError;

/// The circuit of a service: why it is open, and which subscribers got an error instead of a value.
///
/// Invariant: subscribers are blocked only from a failed call until the next call that works.
#[derive(Debug, Default)]
pub(super) struct ServiceCircuit {
    circuit: Circuit,
    cause: Option<ProviderError>,
    blocked: BTreeSet<NamespacedName>,
}

impl ServiceCircuit {
    /// How long no call may be made; nothing if calls may be made.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.circuit.wait(now)
    }

    /// True while no call may be made, and for the one call that tries afterwards.
    pub(super) fn is_open(&self) -> bool {
        self.circuit.is_open()
    }

    /// The error of the last call that failed.
    pub(super) fn cause(&self) -> Option<&ProviderError> {
        self.cause.as_ref()
    }

    /// A call failed because the service is broken or cannot be reached.
    pub(super) fn failed(&mut self, error: &ProviderError, now: Instant, jitter: f64) {
        self.circuit.failed(now, jitter);
        self.cause = Some(error.clone());
    }

    /// Closes the circuit, and gives the subscribers that were blocked.
    pub(super) fn close(&mut self) -> Vec<NamespacedName> {
        self.circuit.succeeded();
        std::mem::take(&mut self.blocked).into_iter().collect()
    }

    /// Notes subscribers that got an error of the service.
    pub(super) fn block(&mut self, subscribers: impl IntoIterator<Item = NamespacedName>) {
        self.blocked.extend(subscribers);
    }
}

/// How long a denied action is not tried again. Administrators mend policies, so it is tried again after that.
const DENIED: Duration = Duration::from_secs(3600);
/// Batches that may be denied in a row before batches count as denied.
const DENIED_BATCHES: u8 = 3;

/// The actions that a policy denies, since when.
#[derive(Debug, Default)]
pub(super) struct Denials {
    batches: Option<Instant>,
    lists: Option<Instant>,
    /// Batches that were denied in a row, each perhaps because of one secret in it.
    batches_in_a_row: u8,
}

/// Whether a denial is news to the administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DenialNews {
    /// The action was not denied before.
    First,
    /// The denial was reported already.
    Repeated,
}

impl Denials {
    /// True while no batch may be sent.
    pub(super) fn are_batches_denied(&self) -> bool {
        self.batches.is_some()
    }

    /// True while no list may be sent.
    pub(super) fn are_lists_denied(&self) -> bool {
        self.lists.is_some()
    }

    /// A batch was answered.
    pub(super) fn batch_answered(&mut self) {
        self.batches_in_a_row = 0;
    }

    /// A batch was denied, perhaps because of one secret in it. True if that may still be so, and each secret is to be
    /// tried alone; false after several such batches in a row.
    pub(super) fn may_be_about_one(&mut self) -> bool {
        let is_early = self.batches_in_a_row < DENIED_BATCHES;
        if is_early {
            self.batches_in_a_row += 1;
        }
        is_early
    }

    /// The action of batches is denied.
    pub(super) fn deny_batches(&mut self, now: Instant) -> DenialNews {
        news(self.batches.replace(now))
    }

    /// The action of lists is denied, or lists fail.
    pub(super) fn deny_lists(&mut self, now: Instant) -> DenialNews {
        news(self.lists.replace(now))
    }

    /// Ends denials that are old enough. True if lists may be tried again from now on.
    pub(super) fn lift(&mut self, now: Instant) -> bool {
        let is_over = |denied: Option<Instant>| denied.is_some_and(|at| at + DENIED <= now);
        if is_over(self.batches) {
            self.batches = None;
        }
        let is_lifted = is_over(self.lists);
        if is_lifted {
            self.lists = None;
        }
        is_lifted
    }
}

fn news(before: Option<Instant>) -> DenialNews {
    match before {
        None => DenialNews::First,
        Some(_) => DenialNews::Repeated,
    }
}
