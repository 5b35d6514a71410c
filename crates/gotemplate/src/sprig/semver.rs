//! Pure: functions on versions, as Masterminds' semver reads them.
//!
//! They are those of sprig's `semver.go`. `semver` gives a value with methods (`methods.rs`), and `semverCompare`
//! takes the constraint first. The messages do not quote the text, which may come from a value.

use std::rc::Rc;

use gocompat::semver::{Constraint, Version};

use crate::error::{Fault, fault};
use crate::signature::{Row, text};
use crate::value::Value;

pub(crate) const ROWS: &[Row] = &[
    ("semver", "s", |_, v| {
        let version = Version::parse(&text(v, 0));
        version
            .map(|version| Value::Semver(Rc::new(version)))
            .ok_or_else(|| Fault::new("invalid semantic version"))
    }),
    ("semverCompare", "ss", |_, v| {
        let Some(constraint) = Constraint::parse(&text(v, 0)) else {
            return fault("improper constraint");
        };
        let Some(version) = Version::parse(&text(v, 1)) else {
            return fault("invalid semantic version");
        };
        Ok(Value::Bool(constraint.holds(&version)))
    }),
];
