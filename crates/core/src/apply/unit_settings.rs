//! Pure: the settings in a Kustomization's annotations `overlayd.dev/…`, beyond the fields that it shares with Flux.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::annotations::{DRIFT, OVERLAYD_PREFIX};
use crate::apply::drift::DriftMode;
use crate::apply::guard::Guard;
use crate::apply::peers::PeerControllers;
use crate::apply::plan::OnError;
use crate::cron_windows::{Recurring, Window, Windows};

/// Defaults of the settings, from the flags of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitDefaults {
    /// A plan that deletes more objects than this, and a larger share than `deletion_share`, needs an approval. `None` is
    /// no limit.
    pub deletion_limit: Option<usize>,
    /// The share of the inventory, in percent, that a plan may delete without an approval.
    pub deletion_share: usize,
    /// A variable without a value is an error.
    pub strict_substitution: bool,
}

impl Default for UnitDefaults {
    fn default() -> Self {
        Self {
            deletion_limit: Some(20),
            deletion_share: 30,
            strict_substitution: true,
        }
    }
}

/// What is done with a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// It is carried out.
    #[default]
    Apply,
    /// Nothing is changed; the status reports what would change.
    Report,
}

/// The settings of a Kustomization.
#[derive(Debug, Clone)]
pub struct UnitSettings {
    /// How much may be deleted without an approval: `deletion-limit`, `deletion-share`, `approve-deletions`.
    pub guard: Guard,
    /// What the failure of an object means for the others: `on-error`.
    pub on_error: OnError,
    /// What is done about changes by others: `drift`.
    pub drift: DriftMode,
    /// What is done with a plan: `mode`.
    pub mode: Mode,
    /// A variable without a value is an error: `strict-substitution`.
    pub strict_substitution: bool,
    /// `targetNamespace` may rename objects of kind Namespace: `rename-namespaces`.
    pub may_rename_namespaces: bool,
    /// Whether controllers of Flux and External Secrets are applied: `peer-controllers`.
    pub peer_controllers: PeerControllers,
    /// When the Kustomization may be applied: `sync-windows`.
    pub windows: AnnotationWindows,
}

/// An annotation that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Its value has another form than it should.
    #[error("annotation `{name}: {text}`: {expected}")]
    Value {
        /// The whole name of the annotation.
        name: String,
        /// Its value.
        text: String,
        /// The form that it should have.
        expected: &'static str,
    },
    /// There is no annotation of this name.
    #[error("annotation `{name}` is not known; there are `{OVERLAYD_PREFIX}` {}", KNOWN.join(", "))]
    Unknown {
        /// The whole name of the annotation.
        name: String,
    },
}

/// The names of annotations, without their prefix.
const KNOWN: [&str; 11] = [
    "approve-deletions",
    "deletion-limit",
    "deletion-share",
    "drift",
    "mode",
    "on-error",
    "peer-controllers",
    "rename-namespaces",
    "strict-substitution",
    "sync-windows",
    "wave",
];

impl UnitSettings {
    /// Reads the annotations of a Kustomization. A setting without an annotation has its default.
    ///
    /// # Errors
    /// The first annotation that cannot be understood.
    pub fn new(
        annotations: &BTreeMap<String, String>,
        defaults: &UnitDefaults,
    ) -> Result<Self, SettingError> {
        let mut unit = Self {
            guard: Guard {
                limit: defaults.deletion_limit,
                share: defaults.deletion_share,
                ..Guard::default()
            },
            on_error: OnError::Stop,
            drift: DriftMode::Correct,
            mode: Mode::Apply,
            strict_substitution: defaults.strict_substitution,
            may_rename_namespaces: false,
            peer_controllers: PeerControllers::Leave,
            windows: AnnotationWindows::default(),
        };
        for (name, text) in annotations {
            if let Some(short) = name.strip_prefix(OVERLAYD_PREFIX) {
                let expected = unit.set(short, text.trim());
                expected.map_err(|expected| match expected {
                    Some(expected) => SettingError::Value {
                        name: name.clone(),
                        text: text.clone(),
                        expected,
                    },
                    None => SettingError::Unknown { name: name.clone() },
                })?;
            }
        }
        Ok(unit)
    }

    /// Takes one annotation. The error is the form that its value should have, or `None` if there is no such annotation.
    fn set(&mut self, name: &str, text: &str) -> Result<(), Option<&'static str>> {
        let yes_or_no = || match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Some("must be `true` or `false`")),
        };
        match name {
            "approve-deletions" => self.guard.approved = Some(text.to_owned()),
            "deletion-limit" if text == "off" => self.guard.limit = None,
            "deletion-limit" => {
                let number = text
                    .parse()
                    .map_err(|_| Some("must be a number of objects, or `off`"))?;
                self.guard.limit = Some(number);
            }
            "deletion-share" => {
                let percent = text.trim_end_matches('%').parse().ok();
                let percent = percent.filter(|percent| *percent <= 100);
                self.guard.share = percent.ok_or(Some("must be a percentage from 0 to 100"))?;
            }
            "drift" => {
                self.drift = DriftMode::named(text)
                    .ok_or(Some("must be `correct`, `report` or `ignore`"))?;
            }
            "mode" => {
                self.mode = match text {
                    "apply" => Mode::Apply,
                    "report" => Mode::Report,
                    _ => return Err(Some("must be `apply` or `report`")),
                };
            }
            "on-error" => {
                self.on_error = match text {
                    "stop" => OnError::Stop,
                    "continue" => OnError::Continue,
                    _ => return Err(Some("must be `stop` or `continue`")),
                };
            }
            "peer-controllers" => {
                self.peer_controllers = match text {
                    "leave" => PeerControllers::Leave,
                    "apply" => PeerControllers::Apply,
                    _ => return Err(Some("must be `leave` or `apply`")),
                };
            }
            "rename-namespaces" => self.may_rename_namespaces = yes_or_no()?,
            "strict-substitution" => self.strict_substitution = yes_or_no()?,
            "sync-windows" => {
                self.windows = AnnotationWindows::parse(text).ok_or(Some(
                    "must be windows as `allow 0 8 * * 1-5 9h Europe/Berlin` or `deny @weekly 24h`, separated by `;`",
                ))?;
            }
            // It is for the Kustomization that applies this one as an object.
            "wave" => {}
            _ => return Err(None),
        }
        debug_assert!(KNOWN.contains(&name) && DRIFT.starts_with(OVERLAYD_PREFIX));
        Ok(())
    }
}

/// When a Kustomization may be applied, by the annotation `sync-windows`.
#[derive(Debug, Clone, Default)]
pub struct AnnotationWindows {
    allow: Windows,
    deny: Windows,
}

impl AnnotationWindows {
    /// Parses windows as `allow|deny SCHEDULE DURATION [TIME ZONE]`, separated by `;` or line breaks.
    fn parse(text: &str) -> Option<Self> {
        let (mut allow, mut deny) = (Vec::new(), Vec::new());
        let lines = text.split([';', '\n']).map(str::trim);
        for line in lines.filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (kind, rest) = words.split_first()?;
            // A schedule is a word that begins with `@`, two words for `@every 1h`, or five fields.
            let length = match *rest.first()? {
                "@every" => 2,
                word if word.starts_with('@') => 1,
                _ => 5,
            };
            let (schedule, rest) = rest.split_at_checked(length)?;
            let (duration, zone) = match rest {
                [duration] => (duration, None),
                [duration, zone] => (duration, Some(*zone)),
                _ => return None,
            };
            let window = Recurring::new(&schedule.join(" "), duration, zone)?;
            match *kind {
                "allow" => allow.push(window),
                "deny" => deny.push(window),
                _ => return None,
            }
        }
        Some(Self {
            allow: allow.into_iter().collect(),
            deny: deny.into_iter().collect(),
        })
    }

    /// Whether the Kustomization may be applied at a time. Where windows overlap, `deny` wins.
    pub fn at(&self, now: Timestamp) -> Window {
        let allowed = if self.allow.is_empty() {
            Window::Open
        } else {
            self.allow.allow(now)
        };
        match (self.deny.deny(now), allowed) {
            (Window::Closed(denied), Window::Closed(allowed)) => {
                Window::Closed(denied.max(allowed))
            }
            (Window::Closed(wait), Window::Open) | (Window::Open, Window::Closed(wait)) => {
                Window::Closed(wait)
            }
            (Window::Open, Window::Open) => Window::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<UnitSettings, String> {
        let pairs = pairs
            .iter()
            .map(|(name, text)| (format!("{OVERLAYD_PREFIX}{name}"), (*text).to_owned()));
        let read = UnitSettings::new(&pairs.collect(), &UnitDefaults::default());
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn annotations_are_understood_or_refused() {
        let unit = read(&[
            ("deletion-limit", "off"),
            ("deletion-share", "50%"),
            ("on-error", "continue"),
            ("drift", "report"),
            ("mode", "report"),
            ("peer-controllers", "apply"),
        ])
        .unwrap();
        assert_eq!((unit.guard.limit, unit.guard.share), (None, 50));
        assert_eq!(
            (unit.on_error, unit.drift, unit.mode),
            (OnError::Continue, DriftMode::Report, Mode::Report)
        );
        assert_eq!(unit.peer_controllers, PeerControllers::Apply);
        for (name, text, expected) in [
            (
                "peer-controllers",
                "start",
                "annotation `overlayd.dev/peer-controllers: start`: must be `leave` or `apply`",
            ),
            (
                "deletion-limit",
                "many",
                "annotation `overlayd.dev/deletion-limit: many`: must be a number of objects, or `off`",
            ),
            (
                "deletion-share",
                "101",
                "annotation `overlayd.dev/deletion-share: 101`: must be a percentage from 0 to 100",
            ),
            (
                "mode",
                "dry",
                "annotation `overlayd.dev/mode: dry`: must be `apply` or `report`",
            ),
            (
                "strict-substitution",
                "no",
                "annotation `overlayd.dev/strict-substitution: no`: must be `true` or `false`",
            ),
        ] {
            assert_eq!(read(&[(name, text)]).unwrap_err(), expected);
        }
        let unknown = read(&[("on-eror", "continue")]).unwrap_err();
        assert!(
            unknown.starts_with("annotation `overlayd.dev/on-eror` is not known; there are"),
            "{unknown}"
        );
        assert!(
            UnitSettings::new(
                &[("other/x".to_owned(), String::new())].into(),
                &UnitDefaults::default()
            )
            .is_ok()
        );
    }

    #[test]
    fn windows_open_and_close() {
        let at = |text: &str, now: &str| {
            let windows = read(&[("sync-windows", text)]).map(|unit| unit.windows);
            windows.map(|windows| windows.at(now.parse().unwrap()) == Window::Open)
        };
        let office = "allow 0 8 * * 1-5 9h Europe/Berlin; deny 0 12 * * * 1h Europe/Berlin";
        assert_eq!(at(office, "2026-01-05T07:30:00Z"), Ok(true));
        assert_eq!(at(office, "2026-01-05T11:30:00Z"), Ok(false), "lunch");
        assert_eq!(at(office, "2026-01-04T07:30:00Z"), Ok(false), "a Sunday");
        assert_eq!(at("deny @daily 1h", "2026-01-04T00:30:00Z"), Ok(false));
        assert_eq!(at("deny @daily 1h", "2026-01-04T07:30:00Z"), Ok(true));
        for wrong in [
            "allow",
            "allow 0 8 * * 1h",
            "sometimes @daily 1h",
            "allow @daily 1d",
            "allow @daily 1h Nowhere/Land",
        ] {
            assert!(at(wrong, "2026-01-04T07:30:00Z").is_err(), "{wrong}");
        }
    }
}
