//! What the calls of each store cost at AWS, as metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::aws::Fetcher;
use crate::metrics::Metrics;
use overlayd_core::api::external_secret::StoreKind;
use overlayd_core::aws::cost::dollars_per_month;
use overlayd_core::names::ObjectKey;
use overlayd_core::secrets::dependency_index::{Dependency, DependencyIndex};

/// How often costs are measured.
const EVERY: Duration = Duration::from_secs(60);

/// What costs are measured by.
pub(crate) struct CostContext {
    pub(crate) metrics: Arc<Metrics>,
    /// How often each ExternalSecret causes a call.
    pub(crate) fetcher: Arc<Fetcher>,
    /// Which stores each ExternalSecret reads from.
    pub(crate) dependency_index: Arc<DependencyIndex>,
}

/// Calls a day and dollars a month.
type CallsAndDollars = (f64, f64);

/// Measures for as long as the process works.
pub(crate) async fn measure(context: CostContext) {
    let mut known: BTreeMap<ObjectKey, CallsAndDollars> = BTreeMap::new();
    loop {
        tokio::time::sleep(EVERY).await;
        // A store that costs nothing any more gets a zero once.
        for cost in known.values_mut() {
            *cost = (0.0, 0.0);
        }
        for share in context.fetcher.shares() {
            let dependencies = context
                .dependency_index
                .dependencies_of(&share.subscriber)
                .into_iter();
            let stores = dependencies.filter_map(|dependency| match dependency {
                Dependency::Store(StoreKind::SecretStore, name) => {
                    Some(ObjectKey::new("SecretStore", name))
                }
                Dependency::Store(StoreKind::ClusterSecretStore, name) => {
                    Some(ObjectKey::new("ClusterSecretStore", name))
                }
                _ => None,
            });
            let stores: Vec<_> = stores.collect();
            let each =
                share.calls_per_day / f64::from(u32::try_from(stores.len().max(1)).unwrap_or(1));
            for store in stores {
                let cost = known.entry(store).or_default();
                cost.0 += each;
                cost.1 += dollars_per_month(share.service, each);
            }
        }
        for (ObjectKey { kind, name }, (calls, dollars)) in &known {
            let store = (&**kind, name.namespace.as_str(), name.name.as_str());
            context.metrics.store_cost(store, *calls, *dollars);
        }
        known.retain(|_, cost| cost.0 > 0.0);
    }
}
