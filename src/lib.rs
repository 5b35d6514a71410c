//! overlayd: one daemon that applies kustomize overlays from git and turns ExternalSecrets into Secrets.
//!
//! Two flows make up the program; the modules follow them.
//!
//! ```text
//! sync     GitSource ─fetch→ Revision ─snapshot→ FileTree ─build→ Rendered
//!          Rendered ─plan→ ApplyPlan ─execute→ ChangeSet ⇒ inventory, status
//! secrets  ExternalSecret ─resolve→ DesiredSecret ─fetch→ Fetched ─compose→ SecretData
//!          SecretData ─render→ RenderedSecret ─decide→ SecretWrite ─write→ status
//! ```
//! ARCHITECTURE.md tells more. The library exists for the program and its tests; it promises nothing to others.

pub mod cli;
mod config;

mod api;
mod apply;
mod calendar;
mod causes;
mod chance;
mod controllers;
mod expression;
mod faults;
mod git;
mod health;
mod https;
mod lease;
mod rendering;
mod requests;
mod schedule;
mod secrets;
mod tasks;

mod metrics;
mod telemetry;
mod web;
