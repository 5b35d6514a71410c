//! Pure: what a cluster or a repository of the peers means for overlayd, before overlayd starts.
//!
//! ```text
//! objects of the peers, from files or a cluster ─judge→ Vec<Finding> ─Summary→ exit code
//! ```
//! `steps` are the steps from a peer and back. `judge` knows the custom resources, the peers' controllers and encrypted
//! Secrets; `definitions` and `inventories` know what only a cluster holds. The rules about fields are those that the
//! controllers apply.

mod definitions;
mod inventories;
mod judge;
pub mod steps;

use serde_json::Value;

use crate::apply::object_ref::ObjectRef;

pub use definitions::judge_definition;
pub use inventories::{changed_ids, field_managers};
pub use judge::{credentials, judge};

/// What overlayd does with an object of the peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MigrationVerdict {
    /// It is served as it is.
    Served,
    /// It is served, and something is different or has to be known.
    Difference,
    /// It is not served: its peer has to run beside overlayd for it.
    Beside,
    /// It is of a kind that overlayd serves, and is refused with a condition.
    Refused,
}

impl MigrationVerdict {
    /// All verdicts, the gravest first.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Beside, Self::Difference, Self::Served];

    /// The word of the JSON output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Difference => "difference",
            Self::Beside => "beside",
            Self::Refused => "refused",
        }
    }

    /// The heading of the text output.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Served => "served as they are",
            Self::Difference => "served, with a difference",
            Self::Beside => "not served: their controller runs beside overlayd",
            Self::Refused => "refused: change them before overlayd starts",
        }
    }
}

/// What was found about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object.
    pub object: ObjectRef,
    /// The file that it stands in; none in a cluster.
    pub file: Option<String>,
    /// What overlayd does with it.
    pub verdict: MigrationVerdict,
    /// Why, in one sentence; empty if it is served as it is.
    pub reason: String,
}

impl Finding {
    fn new(manifest: &Value, verdict: MigrationVerdict, reason: impl Into<String>) -> Self {
        Self {
            object: ObjectRef::of_manifest(manifest),
            file: None,
            verdict,
            reason: reason.into(),
        }
    }
}

/// The gravest of these verdicts; [`MigrationVerdict::Served`] without findings.
pub fn gravest(findings: &[Finding]) -> MigrationVerdict {
    let verdicts = findings.iter().map(|finding| finding.verdict);
    verdicts.max().unwrap_or(MigrationVerdict::Served)
}
