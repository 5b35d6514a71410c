//! The daemon around the controllers.
//!
//! [`run`] is its life from start to end: [`setup`] makes the context, [`leader_election`] chooses the replica that works,
//! [`install`] applies the definitions, [`wiring`] starts the controllers and [`background`] the tasks beside them.
//! [`web`], [`metrics`] and [`telemetry`] are how people and programs see it.

mod background;
mod install;
pub(crate) mod leader_election;
pub(crate) mod metrics;
mod process_metrics;
pub(crate) mod queue_metrics;
pub(crate) mod run;
mod setup;
mod signals;
pub(crate) mod telemetry;
pub(crate) mod web;
mod wiring;
