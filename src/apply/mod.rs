//! From rendered objects to a cluster: `Rendered ─plan→ ApplyPlan ─execute→ ChangeSet ⇒ Inventory`.
//!
//! [`object_ref`], [`inventory`] and [`plan`] are pure; [`execute`] is the only code of this half that
//! changes objects. Stages run one after the other, since definitions must exist before their objects.

pub(crate) mod claims;
pub(crate) mod drift;
pub(crate) mod execute;
pub(crate) mod ignored;
pub(crate) mod inventory;
pub(crate) mod live;
pub(crate) mod object_ref;
pub(crate) mod order;
pub(crate) mod plain;
pub(crate) mod plan;
pub(crate) mod records;
pub(crate) mod slim;
pub(crate) mod takeover;

pub(crate) use execute::{Applier, ApplyError, BOOTSTRAP_MANAGER, FIELD_MANAGER, ObjectFailure};
pub(crate) use object_ref::ObjectRef;
pub(crate) use plan::{ApplyPlan, Owner, PlanError};
