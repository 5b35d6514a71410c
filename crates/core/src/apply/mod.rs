//! Pure: what is applied, in which order, what is deleted, and what is left alone: `Rendered ─plan→ ApplyPlan`.

pub mod change_set;
pub mod drift;
pub mod health;
pub mod ignore_rules;
pub mod inventory;
pub mod last_applied;
pub mod object_ref;
pub mod order;
pub mod ownership;
pub mod plain;
pub mod plan;
pub mod slim;
pub mod takeover;
pub mod unit_settings;
pub mod written_status;
