//! Pure: all that overlayd decides, as plain functions from values to values.
//!
//! The manifest of this crate has no runtime, no client of the API server or of AWS, and no git: the compiler, not a
//! reviewer, keeps its functions free of effects. Time (`now`), random bytes and everything observed come in as arguments.
//!
//! ```text
//! sync     Rendered ─plan→ ApplyPlan                           apply, render, git
//! secrets  ExternalSecret ─resolve→ DesiredSecret              secrets
//!          Fetched ─compose→ SecretData ─render→ RenderedSecret ─decide→ SecretWrite
//! aws      store ─identify→ Identity; secret ids ─plan→ calls  aws
//! ```

#![warn(missing_docs)]
// A cut at a byte inside a letter panics, and texts come from strangers.
#![warn(clippy::string_slice)]

pub mod api;
pub mod names;

pub mod apply;
pub mod aws;
pub mod fair_queue;
pub mod git;
pub mod kustomization;
pub mod migrate;
pub mod render;
pub mod secrets;

pub mod build_memory;
pub mod conditions;
pub mod cron_windows;
pub mod error_chain;
pub mod events;
pub mod receiver_resources;
pub mod recent_map;
pub mod reconcile_cache;
pub mod request_path;
pub mod rollout;
pub mod schedule;
pub mod uninstall;
pub mod webhook_signature;
pub mod work_queue;
