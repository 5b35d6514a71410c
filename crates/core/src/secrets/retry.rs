//! Pure: what can be expected of trying a failed sync again, and how long to wait.

use std::time::Duration;

/// What can be expected of trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncErrorClass {
    /// It may work in a moment.
    Transient,
    /// Something that it needs does not exist or is not ready yet. Its change wakes the object.
    Waiting,
    /// It fails until the spec changes.
    Permanent,
}

/// The first and the longest wait between attempts; each is twice the one before. External Secrets has the same bounds
/// where trying again can help.
pub fn retry_bounds(class: SyncErrorClass) -> (Duration, Duration) {
    match class {
        SyncErrorClass::Transient | SyncErrorClass::Waiting => {
            (Duration::from_secs(1), Duration::from_secs(420))
        }
        SyncErrorClass::Permanent => (Duration::from_secs(300), Duration::from_secs(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permanent_failure_is_tried_again_rarely() {
        let check = |class, first, longest| {
            let bounds = retry_bounds(class);
            assert_eq!((bounds.0.as_secs(), bounds.1.as_secs()), (first, longest));
        };
        check(SyncErrorClass::Transient, 1, 420);
        check(SyncErrorClass::Waiting, 1, 420);
        check(SyncErrorClass::Permanent, 300, 3600);
    }
}
