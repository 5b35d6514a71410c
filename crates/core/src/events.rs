//! Pure: the Kubernetes events that overlayd writes: what they say, and which of them count up an earlier one.
//!
//! `EventText ─EventSeries::record→ Occurrence ─event→ core/v1 Event`. Two texts are one series only if object, type,
//! reason, note and annotations are all equal, so that each commit, error and deletion is an event of its own. (The
//! recorder of kube keys by reason, and shows only the first note of a reason within six minutes.)

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use sha2::{Digest as _, Sha256};

/// The longest note of an event, in bytes. The API server refuses longer notes of `events.k8s.io`, by which most tools read
/// events.
pub const MAX_NOTE: usize = 1024;
/// The most series in each of the two generations that [`EventSeries`] keeps.
const MAX_SERIES: usize = 2048;
/// The API server deletes an event an hour after its last write, unless it is configured otherwise.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// The longest name of an object.
const MAX_NAME: usize = 253;

/// Whether an event tells of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The event type `Normal`, and the severity `info` of Flux.
    Info,
    /// The event type `Warning`, and the severity `error` of Flux.
    Error,
}

impl Severity {
    /// The type of a core event.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Info => "Normal",
            Self::Error => "Warning",
        }
    }

    /// The severity of an event as Flux posts it.
    pub fn flux(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Error => "error",
        }
    }
}

/// Facts about an event for programs, such as `revision`: annotations of the core event, and metadata where it is posted.
pub type Facts = BTreeMap<String, String>;

/// What an event says, and about which object.
#[derive(Debug, Clone)]
pub struct EventText<'e> {
    /// The object that the event is about.
    pub object: &'e ObjectReference,
    /// The controller in whose name the event is written.
    pub controller: &'e str,
    /// The process that writes it.
    pub instance: &'e str,
    /// Whether it tells of a failure.
    pub severity: Severity,
    /// One word in camel case.
    pub reason: &'e str,
    /// For people. A note that is too long is cut.
    pub note: &'e str,
    /// For programs; they become annotations of the event.
    pub facts: &'e Facts,
}

/// The first `limit` bytes of a text, cut between two characters. A text that is cut ends with `…`.
pub fn cut(text: &str, limit: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit.saturating_sub(MARK.len()));
    let (kept, _) = text.split_at(end);
    format!("{kept}{MARK}")
}

/// The identity of a series: a digest of everything that makes an event differ from others.
type SeriesKey = [u8; 16];

/// One event of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// When the first event of the series occurred.
    pub first: Timestamp,
    /// How often it has occurred, this time included.
    pub count: i32,
}

#[derive(Debug, Clone, Copy)]
struct Series {
    occurrence: Occurrence,
    last: Timestamp,
}

/// The series that were written lately. It keeps a bounded number of them: when the young generation is full, it becomes
/// the old one, and the former old one is dropped.
#[derive(Debug, Default)]
pub struct EventSeries {
    young: BTreeMap<SeriesKey, Series>,
    old: BTreeMap<SeriesKey, Series>,
}

impl EventSeries {
    /// Records that an event occurs now. A series ends when the API server has forgotten its event.
    pub fn record(&mut self, text: &EventText<'_>, now: Timestamp) -> Occurrence {
        let key = key(text);
        let known = self.young.remove(&key).or_else(|| self.old.remove(&key));
        let known = known.filter(|known| now.duration_since(known.last) < LIFETIME);
        let occurrence = match known {
            Some(Series { occurrence, .. }) => Occurrence {
                count: occurrence.count.saturating_add(1),
                ..occurrence
            },
            None => Occurrence {
                first: now,
                count: 1,
            },
        };
        if self.young.len() >= MAX_SERIES {
            self.old = std::mem::take(&mut self.young);
        }
        let last = now;
        self.young.insert(key, Series { occurrence, last });
        occurrence
    }

    /// How many series are kept.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// True if no series is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn key(text: &EventText<'_>) -> SeriesKey {
    let object = text.object;
    let parts = [
        text.controller,
        object.kind.as_deref().unwrap_or_default(),
        object.namespace.as_deref().unwrap_or_default(),
        object.name.as_deref().unwrap_or_default(),
        object.uid.as_deref().unwrap_or_default(),
        text.severity.event_type(),
        text.reason,
        text.note,
    ];
    let facts = text.facts.iter().flat_map(|(key, value)| [key, value]);
    let mut digest = Sha256::new();
    for part in parts.into_iter().chain(facts.map(String::as_str)) {
        // With its length, so that no two lists of parts make the same bytes.
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    let digest: [u8; 32] = digest.finalize().into();
    let mut key = SeriesKey::default();
    key.copy_from_slice(&digest[..16]);
    key
}

/// The name of the event of a series: as in the events of Flux, the name of the object and the time of the first event.
pub fn event_name(object: &ObjectReference, first: Timestamp) -> String {
    let suffix = format!(".{:x}", first.as_nanosecond());
    let name = object.name.as_deref().unwrap_or_default();
    // Names of objects are ASCII; another name cannot be cut at any byte.
    let most = MAX_NAME - suffix.len();
    let kept = name.get(..most.min(name.len())).unwrap_or_default();
    format!("{}{suffix}", kept.trim_end_matches(['.', '-']))
}

/// The namespace of an event: that of its object, or else `default`, as the API server demands.
pub fn event_namespace(object: &ObjectReference) -> &str {
    object.namespace.as_deref().unwrap_or("default")
}

/// The core event of an occurrence.
pub fn event(text: &EventText<'_>, occurrence: Occurrence, now: Timestamp) -> Event {
    let object = text.object;
    let annotations = text.facts.clone();
    Event {
        metadata: ObjectMeta {
            name: Some(event_name(object, occurrence.first)),
            namespace: Some(event_namespace(object).to_owned()),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        },
        involved_object: object.clone(),
        type_: Some(text.severity.event_type().to_owned()),
        reason: Some(text.reason.to_owned()),
        message: Some(cut(text.note, MAX_NOTE)),
        source: Some(EventSource {
            component: Some(text.controller.to_owned()),
            host: None,
        }),
        reporting_component: Some(text.controller.to_owned()),
        reporting_instance: Some(text.instance.to_owned()),
        first_timestamp: Some(Time(occurrence.first)),
        last_timestamp: Some(Time(now)),
        count: Some(occurrence.count),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> ObjectReference {
        ObjectReference {
            kind: Some("Kustomization".to_owned()),
            namespace: Some("team".to_owned()),
            name: Some(name.to_owned()),
            uid: Some("u".to_owned()),
            ..ObjectReference::default()
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    /// An event of Kustomization `team/app` with this reason, note and revision.
    fn with_text<T>(
        reason: &str,
        note: &str,
        revision: &str,
        use_it: impl FnOnce(&EventText<'_>) -> T,
    ) -> T {
        use_it(&EventText {
            object: &object("app"),
            controller: "kustomize-controller",
            instance: "pod",
            severity: Severity::Info,
            reason,
            note,
            facts: &[("g/revision".to_owned(), revision.to_owned())].into(),
        })
    }

    #[test]
    fn a_note_is_cut_between_characters_and_says_so() {
        let check = |text: &str, limit: usize, expected: &str| {
            let cut = cut(text, limit);
            assert_eq!(cut, expected);
            assert!(cut.len() <= limit, "{} bytes", cut.len());
        };
        check("abc", 3, "abc");
        check("abcd", 3, "…");
        check("abcdef", 5, "ab…");
        check("aé€def", 6, "aé…");
        check("aé€def", 5, "a…");
        let long = "é".repeat(1000);
        let note = with_text("Progressing", &long, "r", |text| {
            let occurrence = EventSeries::default().record(text, at(0));
            event(text, occurrence, at(0)).message.unwrap()
        });
        assert_eq!(note, format!("{}…", "é".repeat(510)));
    }

    #[test]
    fn only_the_same_text_counts_up_a_series() {
        let mut series = EventSeries::default();
        let mut check = |(reason, note, revision), second: i64, expected: (i64, i32)| {
            let occurrence = with_text(reason, note, revision, |text| {
                series.record(text, at(second))
            });
            let (first, count) = expected;
            let expected = Occurrence {
                first: at(first),
                count,
            };
            assert_eq!(occurrence, expected, "{reason} {note} {revision}");
        };
        check(("BuildFailed", "no such file", "a"), 0, (0, 1));
        check(("BuildFailed", "no such file", "a"), 10, (0, 2));
        check(("BuildFailed", "another file", "a"), 20, (20, 1));
        check(("PruneFailed", "no such file", "a"), 30, (30, 1));
        check(("BuildFailed", "no such file", "b"), 40, (40, 1));
        check(("BuildFailed", "no such file", "a"), 50, (0, 3));
        // An hour after its last write the event is gone from the API server.
        check(("BuildFailed", "no such file", "a"), 3649, (0, 4));
        check(("BuildFailed", "no such file", "a"), 7249, (7249, 1));
    }

    #[test]
    fn the_number_of_series_is_bounded_and_the_lately_used_stay() {
        let mut series = EventSeries::default();
        let mut record = |note: &str| {
            let occurrence = with_text("Progressing", note, "a", |text| series.record(text, at(0)));
            (occurrence.count, series.len())
        };
        for number in 0..3 * MAX_SERIES {
            record(&format!("{number}"));
            record("often");
        }
        let (count, len) = record("often");
        assert_eq!(count, i32::try_from(3 * MAX_SERIES).unwrap() + 1);
        assert!(len <= 2 * MAX_SERIES, "{len}");
        assert_eq!(record("0").0, 1, "the oldest are forgotten");
    }

    #[test]
    fn an_event_has_the_form_of_those_of_flux() {
        let event = with_text("Progressing", "ConfigMap/team/a created", "main", |text| {
            let occurrence = Occurrence {
                first: at(0),
                count: 2,
            };
            event(text, occurrence, at(60))
        });
        let expected = serde_json::json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {
                "name": "app.18867251edfa0000", "namespace": "team",
                "annotations": {"g/revision": "main"},
            },
            "involvedObject": {"kind": "Kustomization", "namespace": "team", "name": "app", "uid": "u"},
            "type": "Normal", "reason": "Progressing", "message": "ConfigMap/team/a created",
            "source": {"component": "kustomize-controller"},
            "reportingComponent": "kustomize-controller", "reportingInstance": "pod",
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:01:00Z",
            "count": 2,
        });
        assert_eq!(serde_json::to_value(&event).unwrap(), expected);
    }

    #[test]
    fn names_of_events_are_valid_however_long_the_name_of_the_object_is() {
        let name = event_name(&object(&"a-".repeat(126)), at(0));
        assert!(name.len() <= MAX_NAME, "{name}");
        assert!(name.contains("a.1886"), "{name}");
        let cluster = ObjectReference {
            namespace: None,
            ..object("aws")
        };
        assert_eq!(event_namespace(&cluster), "default");
        assert_eq!(event_namespace(&object("app")), "team");
    }
}
