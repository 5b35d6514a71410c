//! Pure: intervals that differ a little between objects, so that objects of equal intervals do not reconcile together.

use std::time::Duration;

use kube::Resource;

use overlayd_core::schedule::jittered;

/// The share by which intervals are spread, earlier or later, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jitter(pub(crate) u8);

impl Jitter {
    /// The interval of an object. It depends on the object's uid alone, so that the same object has the same interval
    /// every time.
    pub(crate) fn spread<K: Resource>(self, interval: Duration, object: &K) -> Duration {
        jittered(interval, self.0, seed(object))
    }
}

/// A number that differs between objects.
fn seed<K: Resource>(object: &K) -> u64 {
    let uid = object.meta().uid.as_deref().unwrap_or_default();
    uid.bytes().fold(1469, |seed, byte| {
        seed.wrapping_mul(131).wrapping_add(u64::from(byte))
    })
}
