//! Pure: the apply: the objects to apply and their order, those to delete and those to leave: `Rendered ─plan→ ApplyPlan`.

pub mod object_ref;
pub mod scope;

pub mod definition;
pub mod desired;
pub mod old_versions;
pub mod plan;
pub mod plan_options;

pub mod guard;
pub mod held;
pub mod order;
pub mod owner_labels;
pub mod ownership;
pub mod peers;
pub mod skip;
pub mod stages;

pub mod change_set;
pub mod drift;
pub mod health;
pub mod ignore_rules;
pub mod inventory;
pub mod last_applied;
pub mod left_fields;
pub mod plain;
pub mod slim;
pub mod status_schema;
pub mod takeover;
pub mod unit_settings;
pub mod watched;
pub mod written_status;
