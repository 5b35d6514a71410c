//! Pure: damps the repairs of a Secret that another writer changes again and again.
//!
//! A change of the Secret is repaired at once, because it is usually a mistake. Where two programs write the same Secret,
//! each repair is answered by the other program within milliseconds, and both would write without end. A few repairs are
//! therefore made at once, and each further one waits twice as long as the one before. Only repairs wait: a refresh that
//! is due, a new value or a changed spec is written at once.
//!
//! Times are durations since the start of the process, so that a step of the wall clock neither shortens nor lengthens a
//! pause.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::external_secret::CreationPolicy;
use crate::schedule::backoff;

/// So many repairs are made at once.
const FREE: u32 = 5;
/// The first and the longest pause.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// A Secret that needs no repair for so long after its pause counts as left alone.
const CALM: Duration = Duration::from_secs(600);
/// The most writers that a message names.
const MAX_WRITERS: usize = 3;

/// The repairs of one Secret by this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepairHistory {
    repairs: u32,
    /// When the pause after the last repair ends.
    until: Duration,
}

impl RepairHistory {
    /// The history with one more repair, made now.
    #[must_use]
    pub fn repaired(&self, now: Duration) -> Self {
        let is_calm = now >= self.until.saturating_add(CALM);
        let before = if is_calm { 0 } else { self.repairs };
        let repairs = before.saturating_add(1);
        let pause = match repairs.checked_sub(FREE) {
            None | Some(0) => Duration::ZERO,
            Some(over) => backoff(PAUSES.0, PAUSES.1, over - 1),
        };
        Self {
            repairs,
            until: now.saturating_add(pause),
        }
    }

    /// How long the next repair must still wait. `None` if it may be made now.
    pub fn pause(&self, now: Duration) -> Option<Duration> {
        let rest = self.until.checked_sub(now)?;
        (!rest.is_zero()).then_some(rest)
    }

    /// True if repairs have to wait by now.
    pub fn is_contended(&self) -> bool {
        self.repairs > FREE
    }
}

/// The writers that change a Secret again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contention {
    /// The field managers of the other writers, as the API server names them; none if it does not know them.
    pub writers: Vec<String>,
    /// How the Secret is written by its ExternalSecret.
    pub creation: CreationPolicy,
}

impl Contention {
    /// What the condition and the event say of it. It names writers, never a key or a value.
    pub fn message(&self) -> String {
        let writers = match self.writers.as_slice() {
            [] => "another writer".to_owned(),
            writers => format!("`{}`", writers.join("`, `")),
        };
        let hint = match self.creation {
            CreationPolicy::Owner => {
                "; with `creationPolicy: Merge` the keys of other writers stay"
            }
            _ => "; two writers want the same keys",
        };
        format!(
            "the Secret is changed again and again by {writers}, so repairs wait longer each time{hint}"
        )
    }
}

/// The field managers of a live Secret's data besides our own, the one that wrote last first.
pub fn other_writers(secret: &ObjectMeta, own: &str) -> Vec<String> {
    let entries = secret.managed_fields.iter().flatten();
    let mut writers = BTreeMap::new();
    for entry in entries {
        let Some(manager) = entry.manager.as_deref().filter(|manager| *manager != own) else {
            continue;
        };
        let fields = entry.fields_v1.as_ref();
        // A manifest with `stringData` that is applied owns the fields under that name.
        let has = |field: &str| fields.is_some_and(|fields| fields.0.get(field).is_some());
        if !has("f:data") && !has("f:stringData") {
            continue;
        }
        let time = entry.time.as_ref().map(|time| time.0);
        let last = writers.entry(manager).or_insert(time);
        *last = time.max(*last);
    }
    let mut writers: Vec<_> = writers.into_iter().collect();
    writers.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    let names = writers.into_iter().map(|(name, _)| name.to_owned());
    names.take(MAX_WRITERS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_writer_that_answers_at_once_is_damped() {
        // The other writer answers each repair at once, as a controller does.
        let (mut history, mut now, mut repairs) = (RepairHistory::default(), seconds(100), 0);
        while now < seconds(135) {
            now += history.pause(now).unwrap_or(Duration::from_millis(20));
            history = history.repaired(now);
            repairs += 1;
        }
        assert!(history.is_contended());
        assert!((6..=12).contains(&repairs), "{repairs} writes in 35 s");
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let pause = history.pause(now).unwrap_or_default();
            longest = longest.max(pause);
            now += pause;
            history = history.repaired(now);
        }
        assert_eq!(longest, PAUSES.1);
    }

    #[test]
    fn a_person_who_edits_a_secret_is_answered_at_once() {
        let mut history = RepairHistory::default();
        for edit in 0..20 {
            let now = seconds(edit * 700);
            assert_eq!(history.pause(now), None);
            history = history.repaired(now);
            assert!(!history.is_contended());
        }
        for edit in 0..4 {
            history = history.repaired(seconds(20_000 + edit));
            assert_eq!(history.pause(seconds(20_000 + edit)), None);
        }
    }

    #[test]
    fn a_secret_that_is_left_alone_starts_anew() {
        let mut history = RepairHistory::default();
        for _ in 0..10 {
            history = history.repaired(seconds(5));
        }
        let quiet = seconds(4) + history.pause(seconds(5)).unwrap() + CALM;
        let calm = quiet + seconds(1);
        assert!(history.repaired(quiet).is_contended());
        assert!(!history.repaired(calm).is_contended());
    }

    #[test]
    fn other_writers_of_the_data_are_named() {
        let entry = |manager: &str, time: &str, fields: serde_json::Value| json!({"manager": manager, "time": time, "fieldsV1": fields});
        let data = json!({"f:data": {"f:k": {}}});
        let metadata: ObjectMeta = serde_json::from_value(json!({"managedFields": [
            entry("own", "2026-01-01T00:00:09Z", data.clone()),
            entry("old", "2026-01-01T00:00:01Z", json!({"f:stringData": {"f:k": {}}})),
            entry("new", "2026-01-01T00:00:02Z", data.clone()),
            entry("new", "2026-01-01T00:00:01Z", data),
            entry("labeler", "2026-01-01T00:00:03Z", json!({"f:metadata": {"f:labels": {"f:a": {}}}})),
        ]}))
        .unwrap();
        let writers = other_writers(&metadata, "own");
        assert_eq!(writers, ["new", "old"]);
        let contention = |creation| Contention {
            writers: writers.clone(),
            creation,
        };
        assert_eq!(
            contention(CreationPolicy::Owner).message(),
            "the Secret is changed again and again by `new`, `old`, so repairs wait longer each time; with `creationPolicy: Merge` the keys of other writers stay"
        );
        let message = contention(CreationPolicy::Merge).message();
        assert!(message.ends_with("two writers want the same keys"));
    }
}
