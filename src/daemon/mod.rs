//! The daemon around the controllers.
//!
//! [`run`] is its life from start to end: [`setup`] makes the contexts, [`leader_election`] chooses the replica that works,
//! [`install`] applies the definitions, [`wiring`] starts the controllers and [`background`] the tasks beside them.
//! [`web`] and [`telemetry`] are how people and programs see it; the metrics themselves are in `crate::metrics`.

mod background;
mod install;
pub(crate) mod leader_election;
mod memory;
pub(crate) mod run;
mod setup;
mod signals;
pub(crate) mod telemetry;
pub(crate) mod web;
mod wiring;
