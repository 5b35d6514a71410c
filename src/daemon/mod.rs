//! The daemon around the controllers: how it starts, who leads, what it serves, and what it tells.

pub(crate) mod leader_election;
pub(crate) mod metrics;
pub(crate) mod run;
pub(crate) mod telemetry;
pub(crate) mod web;
